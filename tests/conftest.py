"""Settings and data for all tests."""
import os
import signal

# Before numpy and torch are imported, here and in the processes started: the arrays of tests are too small to share, and a
# second thread would only spin, which doubles the CPU time of a linear probe.
os.environ.update({f'{library}_NUM_THREADS': '1' for library in ('OMP', 'OPENBLAS', 'MKL', 'NUMEXPR')})

import pytest

from tests import tiny
from tests.forked import cheap_settings, published_networks, small_networks
from utils.parallel import gpus

cheap_settings()


@pytest.fixture(autouse=True, scope='module')
def published_widths(request):
    """Modules marked so have the published networks, others small ones."""
    if request.node.get_closest_marker('published_widths'):
        published_networks()
    yield
    small_networks()


@pytest.fixture(autouse=True, scope='session')
def freed_memory_is_released():
    """Runs in this process would set it up to keep what they free, and it would grow to several GB."""
    gpus.keep_freed_memory = lambda: None


@pytest.fixture(autouse=True)
def own_signal_handlers():
    """A run in this process takes the signals that stop it; give them back."""
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    yield
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


@pytest.fixture(scope='session')
def csv_root(tmp_path_factory):
    """Tiny ucf101, hmdb51, k400_150 and k400_256; not to be changed."""
    return tiny.make_data_sets(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='session')
def pretrained(csv_root, tmp_path_factory):
    """The run folder of an epoch of pretraining on the tiny UCF101."""
    return tiny.pretrain(csv_root, tmp_path_factory.mktemp('pretrained'))


@pytest.fixture(scope='session')
def classifier(csv_root, tmp_path_factory):
    """The run folder of an epoch of training a classifier of 101 classes from scratch on the tiny UCF101."""
    return tiny.classify(csv_root, tmp_path_factory.mktemp('classifier'), '--train_what', 'all')
