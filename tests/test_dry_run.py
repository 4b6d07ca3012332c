"""--dry_run: what it says, what it draws, and that it leaves nothing else behind."""
import os
import re
import signal
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from dpc import main as pretraining
from eval import test as classifier
from tests.tiny import CLASSIFIER, PRETRAINING, pretrain, read_log, run
from utils.run import dry_run, training
from utils.run.dry_run import FirstBatches, explain_loss


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_pretraining(csv_root, tmp_path, capsys):
    """The loss is that of the first step of the run itself; nothing is left but the picture."""
    folder = pretrain(csv_root, tmp_path / 'run', '--print_freq', 1)
    loss = read_log(folder, 'step')[0]['loss']
    capsys.readouterr()
    flags = [*PRETRAINING, '--csv_root', csv_root, '--log_dir', tmp_path / 'dry', '--epochs', 100, '--start-epoch', 10]
    assert run(pretraining, [*flags, '--dry_run']) == 0
    said = capsys.readouterr().out
    assert f'{loss:.3f} in the first step; guessing among 4 candidates gives ln 4 = 1.386' in said  # 4 clips, one location
    assert re.search(r'about \d+[sm].*: 90 epochs of 2 training steps, 1 of validation', said)
    assert re.search(r'step .* s, .* clips/s, \d+% of the time waiting for data', said) and ' GB at the peak' in said
    assert f'picture    {tmp_path}/dry/dry_run.png\n' in said
    assert list((tmp_path / 'dry').iterdir()) == [tmp_path / 'dry' / 'dry_run.png']


def test_a_classifier(csv_root, tmp_path, capsys):
    assert run(classifier, [*CLASSIFIER, '--csv_root', csv_root, '--log_dir', tmp_path, '--dry_run']) == 0
    assert 'guessing among 101 candidates gives ln 101 = 4.615' in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [tmp_path / 'dry_run.png']
    assert run(classifier, ['--test', 'random', '--dry_run']) == 2
    assert 'error: --dry_run is for training' in capsys.readouterr().err


@pytest.mark.parametrize('negatives, candidates', [('all', 4), ('local', 2)])
def test_in_two_processes(csv_root, tmp_path, capfd, negatives, candidates):
    flags = [*PRETRAINING, '--csv_root', csv_root, '--log_dir', tmp_path, '--num_procs', 2, '--negatives', negatives]
    assert run(pretraining, [*flags, '--dry_run']) == 0
    said = capfd.readouterr().out
    assert f'among {candidates} candidates' in said and said.count('dry run:') == 1
    assert list(tmp_path.iterdir()) == [tmp_path / 'dry_run.png']


def test_the_picture(csv_root, tmp_path, monkeypatch):
    """Plain and augmented rows of the same clips; the augmented ones are what the first step is given."""
    drawn, seen = [], []
    draw_clips, train_step = dry_run.draw_clips, training.train_step
    monkeypatch.setattr(dry_run, 'draw_clips', lambda *args, **options: (
        drawn.append((args, options)), draw_clips(*args, **options))[1])
    monkeypatch.setattr(training, 'train_step', lambda run, batch, *about: (
        seen.append(batch.block), train_step(run, batch, *about))[1])
    assert run(pretraining, [*PRETRAINING, '--csv_root', csv_root, '--log_dir', tmp_path, '--dry_run']) == 0
    ((rows, pred_step, _), options), = drawn
    assert rows.shape == (4, 3, 3, 5, 32, 32) and pred_step == 1
    assert options['captions'] == ['plain', 'augmented', 'plain', 'augmented']
    assert torch.equal(rows[1::2], seen[0][:2])
    assert not torch.equal(rows[0::2], rows[1::2])
    assert cv2.imread(str(tmp_path / 'dry_run.png')).std() > 10


def test_an_existing_run_is_left_alone(csv_root, tmp_path):
    """Also by --resume auto, which would find it."""
    pretrain(csv_root, tmp_path)
    before = files(tmp_path)
    flags = [*PRETRAINING, '--csv_root', csv_root, '--log_dir', tmp_path, '--epochs', 2, '--resume', 'auto']
    assert run(pretraining, [*flags, '--dry_run']) == 0
    after = files(tmp_path)
    assert after.pop(tmp_path / 'dry_run.png') and after == before


@pytest.mark.parametrize('flags, status, message', [
    (['--lr', '1e30'], 2, 'error: non-finite loss'), ([], 128 + signal.SIGTERM, 'dry run stopped')])
def test_nothing_is_left_of_one_that_fails(csv_root, tmp_path, capsys, monkeypatch, flags, status, message):
    if status != 2:
        validate = dry_run.validate
        monkeypatch.setattr(dry_run, 'validate', lambda *args: (
            os.kill(os.getpid(), signal.SIGTERM), validate(*args))[1])
    flags = [*PRETRAINING, '--csv_root', csv_root, '--log_dir', tmp_path, '--dry_run', *flags]
    assert run(pretraining, flags) == status
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_log_dir_that_cannot_be_made(csv_root, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    flags = [*PRETRAINING, '--csv_root', csv_root, '--log_dir', tmp_path / 'file', '--dry_run']
    assert run(pretraining, flags) == 2
    assert re.match(r'error: cannot make a folder in .*file .*--log_dir\n$', capsys.readouterr().err)


class FakeBatches:
    """Batch number i takes i + 1 seconds to come, of which i are spent waiting for data; 20 in an epoch."""

    def __init__(self, clock, num_workers, pieces):
        self.clock = clock
        self.loader, self.sampler = SimpleNamespace(num_workers=num_workers), SimpleNamespace(pieces=pieces)

    def __len__(self):
        return 20

    def epoch(self, epoch, first_step):
        for i in range(20):
            self.clock.now += i + 1
            yield SimpleNamespace(block=np.zeros((i + 1, 2)), wait_seconds=i)


@pytest.mark.parametrize('num_workers, pieces, count', [(0, 1, 2), (2, 1, 4), (6, 4, 2), (16, 4, 8), (16, 1, 20)])
def test_the_later_half_is_timed(monkeypatch, num_workers, pieces, count):
    """A step takes 10 seconds beside its batch."""
    clock = SimpleNamespace(now=0.)
    monkeypatch.setattr(dry_run.time, 'perf_counter', lambda: clock.now)
    batches = FirstBatches(FakeBatches(clock, num_workers, pieces))
    for _ in batches.epoch(0):
        clock.now += 10
    later = range(count // 2, count)
    seconds = sum(10 + i + 1 for i in later)
    assert len(batches) == count
    assert batches.seconds() == pytest.approx(seconds / len(later))
    assert batches.clips_per_second() == pytest.approx(sum(i + 1 for i in later) / seconds)
    assert batches.waiting() == pytest.approx(sum(later) / seconds)


@pytest.mark.parametrize('loss, meaning', [(1., 'better than guessing'), (2.3, 'no better than guessing'),
                                           (9., 'worse than guessing')])
def test_what_a_loss_means(loss, meaning):
    said = explain_loss(loss, 10)
    assert said.startswith(f'{loss:.3f} in the first step; guessing among 10 candidates gives ln 10 = 2.303: {meaning}')
