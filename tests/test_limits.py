"""Runs that ask for more than the machine has end in one line, before any work."""
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dpc import main as pretraining
from eval import test as classifier
from tests.tiny import CLASSIFIER, PRETRAINING, run
from utils.parallel import gpus, launch
from utils.parallel.gpus import count_processes

SCRIPTS = {'dpc/main.py': (pretraining, PRETRAINING), 'eval/test.py': (classifier, CLASSIFIER)}


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize('flags, said', [
    (['--num_procs', 1000], '--num_procs 1000: this machine has'),
    (['--num_workers', 1000], '--num_workers 1000: this machine has'),
    (['--img_dim', 4096, '--batch_size', 64], 'GB of memory'),
    (['--num_seq', 4000, '--img_dim', 224, '--short_videos', 'pad'], 'GB of memory'),
    (['--seed', 2 ** 70], 'argument --seed'),
    (['--ds', 10 ** 30], 'argument --ds'),
    (['--num_seq', '9' * 5000], 'argument --num_seq'),
], ids=lambda value: str(value)[:40])
def test_more_than_the_machine_has(script, flags, said, csv_root, tmp_path, capsys):
    module, tiny = SCRIPTS[script]
    argv = [*tiny, '--csv_root', csv_root, '--log_dir', tmp_path, *flags]
    start = time.monotonic()
    assert run(module, argv) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1 and said in error
    assert time.monotonic() - start < 20 and list(tmp_path.iterdir()) == []


def test_processes_that_memory_would_not_hold(monkeypatch):
    monkeypatch.setattr(gpus, 'available_memory', lambda: 7e8)
    assert count_processes('cpu', 1) == 1
    with pytest.raises(gpus.UserError, match='--num_procs 2 needs at least 1.0 GB of memory; 0.7 GB are free'):
        count_processes('cpu', 2)


def allocate(args):
    torch.empty(2 ** 55)


def allocate_array(args):
    np.empty(2 ** 55)


@pytest.mark.parametrize('main', [allocate, allocate_array])
def test_an_allocation_that_fails_is_one_line(main):
    status, message, _ = launch.run(main, SimpleNamespace(timeout=1, gpu='cpu'))
    assert status == 2 and message.startswith('error: this machine has not enough memory for these clips: lower --batch_size')
    assert len(message.splitlines()) == 1
