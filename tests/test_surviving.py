"""Runs that are stopped, killed or starved go on exactly, or end with a line that says why; the faults are real."""
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests import forked
from tests.tiny import PRETRAINING, ROOT, equal, read_log, without_the_small_validation, write_rows

EPOCHS = 2


def command(csv_root, log_dir, *flags):
    return ['-m', 'dpc.main', *PRETRAINING, '--dataset', 'ucf101', '--epochs', str(EPOCHS),
            '--num_workers', '1', '--print_freq', '1', '--batch_size', '2', '--save_minutes', '0.01',
            '--csv_root', str(csv_root), '--log_dir', str(log_dir), *map(str, flags)]


def start(*args):
    return forked.Command(command(*args), cwd=ROOT, start_new_session=True)


def finish(process, seconds=120):
    """(exit status, stdout, stderr); that the validation is small is no news here"""
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, without_the_small_validation(err)


def folder_of(log_dir):
    folder, = log_dir.glob('log_*/*')
    return folder


def wait_for_steps(log_dir, count, seconds=120):
    """Until the run has logged `count` training steps."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        logs = list(log_dir.glob('log_*/*/log.jsonl'))
        if logs and logs[0].read_text().count('"kind": "step"') >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f'no {count} steps within {seconds} s')


def checkpoints(log_dir):
    return {path.name: torch.load(path, weights_only=True) for path in (folder_of(log_dir) / 'model').iterdir()}


def assert_same_run(log_dir, undisturbed):
    """The same files with the same content to the last bit, but for the size of the log."""
    ours, expected = checkpoints(log_dir), checkpoints(undisturbed)
    assert ours.keys() == expected.keys()
    for name in expected:
        del ours[name]['log_size'], expected[name]['log_size']
        assert equal(ours[name], expected[name]), name
    for kind in ('step', 'val'):
        records = [[[record[name] for name in ('iteration', 'epoch', 'loss', 'top1')]
                    for record in read_log(folder_of(place), kind)] for place in (log_dir, undisturbed)]
        assert records[0] == records[1]


@pytest.fixture(scope='module')
def processes(request):
    return request.param


@pytest.fixture(scope='module')
def undisturbed(csv_root, tmp_path_factory, processes):
    log_dir = tmp_path_factory.mktemp('undisturbed')
    status, _, err = finish(start(csv_root, log_dir, '--num_procs', processes))
    assert status == 0, err
    return log_dir


def kill_and_resume(csv_root, log_dir, processes, moments, undisturbed):
    """Kills the run without warning at each of `moments` (steps done, seconds after), then lets it finish."""
    flags = ['--num_procs', processes, '--resume', 'auto']
    for steps, delay in moments:
        process = start(csv_root, log_dir, *flags)
        wait_for_steps(log_dir, steps)
        time.sleep(delay)
        processes_of_run = [process.pid, *children_of(process.pid)]
        process.kill()
        process.communicate()
        wait_until_gone(processes_of_run)  # the others notice that the first is gone
    status, _, err = finish(start(csv_root, log_dir, *flags))
    assert status == 0, err
    assert_same_run(log_dir, undisturbed)


ONE = pytest.param(1, id='one process')
TWO = pytest.param(2, id='two processes')
SOAK = [pytest.param(count, marks=pytest.mark.soak, id=f'{count} processes') for count in (1, 2)]


@pytest.mark.parametrize('processes', [ONE, SOAK[1]], indirect=True)
def test_killed_at_a_random_moment(csv_root, tmp_path, processes, undisturbed):
    kill_and_resume(csv_root, tmp_path, processes, [(random.randrange(1, 4), random.uniform(0, 0.5))], undisturbed)


@pytest.mark.parametrize('processes', SOAK, indirect=True)
def test_killed_at_many_random_moments(csv_root, tmp_path, processes, undisturbed):
    moments = [(random.randrange(8), random.uniform(0, 2)) for _ in range(10)]
    kill_and_resume(csv_root, tmp_path, processes, moments, undisturbed)


def children_of(pid):
    """Processes that `pid` has started, oldest first."""
    with open(f'/proc/{pid}/task/{pid}/children') as file:
        return [int(child) for child in file.read().split()]


def wait_until_gone(pids, seconds=30):
    deadline = time.monotonic() + seconds
    while any(os.path.exists(f'/proc/{pid}') for pid in pids):
        assert time.monotonic() < deadline, f'{pids} are still there after {seconds} s'
        time.sleep(0.05)


@pytest.mark.parametrize('signum', [signal.SIGUSR1, *(pytest.param(signum, marks=pytest.mark.soak)
                                                      for signum in (signal.SIGINT, signal.SIGHUP))])
def test_signal_saves_and_ends(csv_root, tmp_path, signum):
    process = start(csv_root, tmp_path, '--save_minutes', 0, '--epochs', 100)
    wait_for_steps(tmp_path, 2)
    process.send_signal(signum)
    status, _, err = finish(process)
    assert status == 128 + signum
    saved = folder_of(tmp_path) / 'model' / 'last.pth.tar'
    assert f'stopped by {signum.name}' in err and f'--resume {saved}\n' in err and 'Traceback' not in err
    saved = checkpoints(tmp_path)
    newest = max(saved.values(), key=lambda checkpoint: checkpoint['iteration'])
    assert newest['iteration'] >= 2
    assert read_log(folder_of(tmp_path), 'end')[0]['how'].startswith(f'stopped by {signum.name} in epoch')


@pytest.mark.parametrize('processes', [SOAK[0], TWO], indirect=True)
def test_stopped_by_a_signal_and_resumed(csv_root, tmp_path, processes, undisturbed):
    flags = ['--num_procs', processes]
    process = start(csv_root, tmp_path, *flags)
    wait_for_steps(tmp_path, 3)
    process.terminate()
    status, _, err = finish(process)
    assert status == 143 and err.count('stopped by SIGTERM') == 1 and 'Traceback' not in err
    status, _, err = finish(start(csv_root, tmp_path, *flags, '--resume', 'auto'))
    assert status == 0, err
    assert_same_run(tmp_path, undisturbed)


def test_full_disk_ends_a_group_with_one_line(csv_root, tmp_path):
    """Files may not grow beyond 1 MB in these processes."""
    process = start(csv_root, tmp_path, '--num_procs', 2)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    status, _, err = finish(process)
    assert status == 2 and err.startswith('error: cannot write the checkpoint') and err.count('\n') == 1


def test_killed_data_worker(csv_root, tmp_path):
    process = start(csv_root, tmp_path, '--epochs', 100)
    wait_for_steps(tmp_path, 1)
    os.kill(children_of(process.pid)[0], signal.SIGKILL)
    status, _, err = finish(process, 60)
    assert status == 2 and err.startswith('error: DataLoader worker') and 'Traceback' not in err


def test_stopped_data_worker(csv_root, tmp_path):
    """The run ends, although the worker takes no signal but SIGKILL."""
    process = start(csv_root, tmp_path, '--epochs', 100, '--timeout', 3)
    wait_for_steps(tmp_path, 1)
    worker = children_of(process.pid)[0]
    os.kill(worker, signal.SIGSTOP)
    status, _, err = finish(process, 60)
    assert status == 2 and err.startswith('error: the data workers have not read a frame for 3 s')
    assert err.count('\n') == 1 and not os.path.exists(f'/proc/{worker}')


def test_the_reader_of_the_output_leaves(csv_root, tmp_path):
    """As `| head -1` does: the run trains on and ends well."""
    process = forked.Command(command(csv_root, tmp_path), cwd=ROOT, stdout=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    status, _, err = finish(process)
    assert (status, err) == (0, '')
    assert read_log(folder_of(tmp_path), 'end')[0]['how'] == 'finished'


def test_run_folder_deleted_under_a_run(csv_root, tmp_path):
    process = start(csv_root, tmp_path, '--epochs', 100)
    wait_for_steps(tmp_path, 1)
    shutil.rmtree(folder_of(tmp_path) / 'model')
    status, _, err = finish(process, 60)
    assert status == 2 and 'is gone; it was deleted or moved during the run' in err and err.count('\n') == 1


def test_replaced_samples_are_counted_once_by_a_resumed_group(csv_root, tmp_path):
    """The checkpoint has the total of all processes."""
    csv_root, broken = with_a_broken_video(csv_root, tmp_path)
    flags = ['--num_procs', 2, '--num_workers', 0, '--save_minutes', 0, '--epochs', 1]
    status, _, err = finish(start(csv_root, tmp_path / 'whole', *flags))
    assert status == 0, err
    process = start(csv_root, tmp_path / 'parts', *flags)
    wait_for_steps(tmp_path / 'parts', 2)
    process.terminate()
    assert finish(process)[0] == 143
    status, _, err = finish(start(csv_root, tmp_path / 'parts', *flags, '--resume', 'auto'))
    assert status == 0, err
    counts = [read_log(folder_of(tmp_path / part), 'train')[0]['replaced'] for part in ('whole', 'parts')]
    assert counts[0] == counts[1] > 0


def with_a_broken_video(csv_root, tmp_path):
    """A copy of the tiny UCF101 of whose training videos a third lack a frame in their middle, some of each group."""
    rows = [line.rsplit(',', 1) for line in (csv_root / 'ucf101' / 'train_split01.csv').read_text().splitlines()]
    copies = []
    for i, (path, count) in enumerate(rows):
        copy = tmp_path / 'frames' / Path(path).parent.name / Path(path).name
        shutil.copytree(path, copy)
        if i % 4 == i // 4:
            (copy / 'image_00012.jpg').unlink()
        copies.append((copy, count))
    write_rows(tmp_path / 'csv' / 'ucf101' / 'train_split01.csv', copies)
    return tmp_path / 'csv', copies


def test_killed_process_of_a_group(csv_root, tmp_path):
    process = start(csv_root, tmp_path, '--num_procs', 2, '--num_workers', 0, '--epochs', 100)
    wait_for_steps(tmp_path, 1)
    os.kill(children_of(process.pid)[-1], signal.SIGKILL)
    status, _, err = finish(process, 60)
    assert status == 128 + signal.SIGKILL
    assert 'error: process 1 of 2 was killed by SIGKILL' in err and 'Traceback' not in err
    assert f'--resume {folder_of(tmp_path)}/model/last.pth.tar' in err or 'Nothing was saved yet' in err


def test_hung_process_of_a_group(csv_root, tmp_path):
    process = start(csv_root, tmp_path, '--num_procs', 2, '--num_workers', 0, '--epochs', 100, '--timeout', 6)
    wait_for_steps(tmp_path, 1)
    os.kill(children_of(process.pid)[-1], signal.SIGSTOP)
    status, _, err = finish(process, 60)
    assert status == 2
    assert 'lost contact' in err and 'process 1: no sign of life' in err and 'Traceback' not in err


@pytest.mark.parametrize('seconds', [0, pytest.param(1, marks=pytest.mark.soak)])
def test_ctrl_c_while_a_group_starts(csv_root, tmp_path, seconds):
    """A terminal signals every process of the run; by the interpreter, as what is interrupted is mostly imports."""
    process = subprocess.Popen([sys.executable, *command(csv_root, tmp_path, '--num_procs', 2, '--epochs', 100)], cwd=ROOT,
                               text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    while len(children_of(process.pid)) < 3:  # two processes, and multiprocessing's own
        time.sleep(0.01)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    status, _, err = finish(process, 60)
    assert status == 128 + signal.SIGINT and 'interrupted' in err and 'Traceback' not in err


def test_two_runs_never_write_to_one_folder(csv_root, tmp_path):
    process = start(csv_root, tmp_path, '--epochs', 100)
    wait_for_steps(tmp_path, 1)
    status, _, err = finish(start(csv_root, tmp_path, '--epochs', 100, '--resume', 'auto'))
    assert status == 2 and 'another process is writing to this run' in err
    process.kill()
    process.communicate()
