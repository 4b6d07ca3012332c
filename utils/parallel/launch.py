"""Starts a run: in this process, in the group that torchrun made, or in one process per GPU asked for."""
import contextlib
import errno
import logging
import multiprocessing
import os
import signal
import socket
import sys
from multiprocessing import resource_tracker

import torch
from torch.multiprocessing import ProcessExitedException, start_processes

from utils import system_errors
from utils.cli import UserError, cpu_cores, prepare_output
from utils.parallel import distributed
from utils.parallel.environment import in_environment
from utils.parallel.gpus import count_processes, uses_cuda
from utils.parallel.signals import STOP_SIGNALS, Stopped, kill_workers

NO_MEMORY = ('this machine has not enough memory for these clips: lower --batch_size, --num_seq, --seq_len or '
             '--img_dim, or encode in parts with --encode_chunks')
GRACE_SECONDS, SAVING_SECONDS = 10, 300  # for the other processes to end after one has failed; after a stop signal


def launch(main, args):
    """Calls `main(args)` in as many processes as `--gpu` and `--num_procs` ask for, and exits with its status.

    A UserError is printed as `error: …`, status 2. A run stopped by a signal exits with status 128 + its number.
    """
    lost_contact = None
    with surviving_output():
        try:
            count = 1 if in_environment() else count_processes(args.gpu, args.num_procs)
            if count == 1:
                status, message, lost_contact = run(main, args)
            else:
                status, message = run_group(main, args, count)
        except UserError as error:
            status, message = 2, f'error: {error}'
        if message:
            print(message, file=sys.stderr)
        leave(status, lost_contact)


def leave(status, lost_contact):
    """Ends this process; at once if it lost contact, as threads that wait for the others would hold up a normal
    exit."""
    sys.stdout.flush()
    sys.stderr.flush()
    if lost_contact:
        os._exit(status)
    sys.exit(status)


def run(main, args):
    """Runs `main(args)` in this process, in its group if it has one.

    Returns (exit status, message, and if it failed only because another process of the group is gone, how to resume).
    """
    try:
        with distributed.group(args.timeout, uses_cuda(args.gpu)):
            main(args)
    except Stopped as stopped:
        return 128 + stopped.signum, str(stopped), None
    except distributed.LostContact as error:
        advice = (f'Resume with the same command and --resume {error.saved}' if error.saved else
                  'Nothing was saved yet')
        return 2, f'error: {error}. {advice}', advice
    except UserError as error:
        return 2, f'error: {error}', None
    except OSError as error:
        said = system_errors.in_one_line(error)
        if said is None:
            raise
        return 2, f'error: {said}', None
    except torch.OutOfMemoryError as error:
        return 2, (f'error: {str(error).splitlines()[0]} Lower --batch_size, or encode it in parts with --encode_chunks'
                   ), None
    except MemoryError:
        return 2, f'error: {NO_MEMORY}', None
    except RuntimeError as error:
        if "can't allocate memory" in str(error):  # of PyTorch's allocator on the CPU, here or in a data worker
            return 2, f'error: {NO_MEMORY}', None
        if 'DataLoader worker' not in str(error):  # raised wherever the main process happens to be
            raise
        return 2, (f'error: {str(error).splitlines()[0]} If it was killed, memory may have run out: try fewer '
                   '--num_workers or a smaller --batch_size'), None
    except KeyboardInterrupt:
        return 128 + signal.SIGINT, 'interrupted', None
    finally:
        kill_workers()
    return 0, '', None


def run_group(main, args, count):
    """Runs `main(args)` in `count` new processes; when one fails, the others are ended. (exit status, message)."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    os.environ.setdefault('TORCH_CPP_LOG_LEVEL', 'ERROR')  # its store prints stack traces when a process is gone
    logging.getLogger('torch.multiprocessing.spawn').setLevel(logging.ERROR)  # it announces each process that it ends
    outcomes = multiprocessing.get_context('spawn').SimpleQueue()
    asked, started = [], []

    def forward(signum, frame):
        asked.append(signum)
        for process in started:
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL if asked.count(signal.SIGINT) > 1 else signum)

    for signum in STOP_SIGNALS:
        signal.signal(signum, forward)
    # A terminal sends Ctrl-C to every process: block it until each child has left the terminal's group, see `child`.
    # The resource tracker starts first, as its start would unblock the signal.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    processes = start_processes(child, (main, args, count, port, outcomes), count, join=False, start_method='spawn')
    started += processes.processes
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    if asked:  # during the start: another thread may receive what this one blocks
        for process in started:
            os.kill(process.pid, asked[0])
    failed = None
    try:
        while not processes.join(timeout=1, grace_period=SAVING_SECONDS if asked else GRACE_SECONDS):
            pass
    except ProcessExitedException as error:
        failed = error

    said = []
    while not outcomes.empty():
        said.append(outcomes.get())
    if failed and failed.signal_name and not asked:
        why = ' (the system does that when memory runs out)' if failed.signal_name == 'SIGKILL' else ''
        advice = next((lost for _, _, lost in said if lost), '')
        return 128 - failed.exit_code, (f'error: process {failed.error_index} of {count} was killed by '
                                        f'{failed.signal_name}{why}; the others were ended. {advice}')
    if asked and not said:
        return 128 + asked[0], f'stopped by {signal.Signals(asked[0]).name} before anything was saved'
    # A process that only lost contact knows least: the one that failed first says why.
    return min(said, key=lambda outcome: bool(outcome[2]), default=(0, '', None))[:2]


def child(number, main, args, count, port, outcomes):
    """One process of a group started by `run_group`. It gets SIGINT when its parent is killed."""
    os.setpgrp()  # from now on Ctrl-C reaches the parent alone, which forwards it
    os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count),
                      MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    torch.set_num_threads(max(1, cpu_cores() // count))
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # raises one that arrived during the start
        with surviving_output():
            outcome = run(main, args)
    except KeyboardInterrupt:
        outcome = 128 + signal.SIGINT, 'interrupted', None
    if outcome[0]:
        outcomes.put(outcome)
    leave(*outcome[::2])


class SurvivingStream:
    """A stream whose reader may leave (`| head`, a closed terminal): the output is dropped and the run continues."""

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        return self._until_closed(self.stream.write, text)

    def flush(self):
        self._until_closed(self.stream.flush)

    def _until_closed(self, function, *args):
        try:
            return function(*args)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            with open(os.devnull, 'w') as nowhere:
                os.dup2(nowhere.fileno(), self.stream.fileno())


@contextlib.contextmanager
def surviving_output():
    prepare_output()
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(SurvivingStream, streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
