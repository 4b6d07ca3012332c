"""Starts a run: in this process, in the group that torchrun made, or in one process for each GPU asked for."""
import errno
import os
import signal
import socket
import sys
import threading
import time
from multiprocessing import resource_tracker

import torch
import torch.multiprocessing as multiprocessing

from utils.parallel import distributed
from utils.cli import UserError, cpu_cores
from utils.parallel.device import count_processes, uses_cuda
from utils.parallel.signals import SIGNALS, Stopped
from utils.data.batches import worker_errors

GRACE_SECONDS = 10  # for the others to end after one process has failed
FULL, FORBIDDEN = 'make room and go on with --resume auto', 'change its permissions or name another place'
REMEDIES = {errno.ENOSPC: FULL, errno.EDQUOT: FULL, errno.EFBIG: FULL,
            errno.EACCES: FORBIDDEN, errno.EPERM: FORBIDDEN, errno.EROFS: FORBIDDEN}
INTERRUPTED = 128 + signal.SIGINT, 'interrupted', False  # as run_one returns


def launch(main, args):
    """Calls `main(args)` in as many processes as `--gpu` and `--num_procs` ask for, and ends with its exit status.

    A UserError is printed as `error: …`, status 2. A run stopped by a signal ends with status 128 + its number.
    """
    lost_contact = False
    try:
        count = 1 if distributed.in_environment() else count_processes(args.gpu, args.num_procs)
        if count == 1:
            status, message, lost_contact = run_one(main, args)
        else:
            status, message = run_group(main, args, count)
    except UserError as error:
        status, message = 2, f'error: {error}'
    if message:
        print(message, file=sys.stderr)
    leave(status, lost_contact)


def leave(status, lost_contact):
    """Ends this process. At once if it lost contact: what waits for the others in the background holds up an exit."""
    if lost_contact:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def run_one(main, args):
    """Runs `main(args)` in this process, in its group if it has one.

    Returns (exit status, what to say, whether it is only that another process of the group is gone).
    """
    try:
        with distributed.group(args.timeout, uses_cuda(args.gpu)), worker_errors():
            main(args)
    except Stopped as stopped:
        return 128 + stopped.signum, str(stopped), False
    except UserError as error:
        return 2, f'error: {error}', isinstance(error, distributed.LostContact)
    except OSError as error:
        remedy = REMEDIES.get(error.errno)
        if remedy is None or (remedy is FORBIDDEN and not error.filename):
            raise
        return 2, f'error: {error.filename or "the log"}: {error.strerror}; {remedy}', False
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0, '', False


def run_group(main, args, count):
    """Runs `main(args)` in `count` new processes; when one fails the rest is ended. (exit status, what to say)."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    os.environ.setdefault('TORCH_CPP_LOG_LEVEL', 'ERROR')  # else its store prints stack traces when a process is gone
    context = multiprocessing.get_context('spawn')
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    processes = [context.Process(target=child, args=(main, args, number, count, port, os.getpid(), sender))
                 for number, (_, sender) in enumerate(pipes)]
    asked = []

    def forward(signum, frame):
        asked.append(signum)
        for process in processes:
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL if asked.count(signal.SIGINT) > 1 else signum)

    # Ctrl-C goes to every process of the terminal: blocked until each child is out of its reach, see `child`
    resource_tracker.ensure_running()  # or the first start would do that, and unblock it
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    for process in processes:
        process.start()
    for signum in SIGNALS:
        signal.signal(signum, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    while (all(process.exitcode in (None, 0) for process in processes)
           and any(process.is_alive() for process in processes)):
        time.sleep(0.1)
    killed = [(number, -process.exitcode) for number, process in enumerate(processes) if (process.exitcode or 0) < 0]
    end(processes, 300 if asked else GRACE_SECONDS)

    said = [receiver.recv() for receiver, _ in pipes if receiver.poll()]
    if killed and not asked:
        number, signum = killed[0]
        why = ' (the system does that when memory runs out)' if signum == signal.SIGKILL else ''
        return 128 + signum, (f'error: process {number} of {count} was killed by {signal.Signals(signum).name}{why}; '
                              'the others were ended. Go on with the same command and --resume auto')
    if asked and not said:
        return 128 + asked[0], f'stopped by {signal.Signals(asked[0]).name} before anything was saved'
    # Who only lost contact knows least: the process that failed first says why.
    outcome = min(said, key=lambda outcome: outcome[2], default=(0, '', False))
    crashed = [number for number, (process, (receiver, _)) in enumerate(zip(processes, pipes)) if process.exitcode == 1]
    if crashed and (outcome[2] or not said):
        return 1, f'error: process {crashed[0]} of {count} failed, see its traceback above'
    return outcome[:2]


def end(processes, seconds):
    """Waits a little for the processes, which notice by themselves that one is gone, then kills what is left."""
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0., deadline - time.monotonic()))
    for process in processes:
        if process.is_alive():
            process.kill()
            process.join()


def child(main, args, number, count, port, parent, sender):
    """One process of a group started by `run_group`."""
    os.setpgrp()  # from now on Ctrl-C reaches the parent alone, which passes it on
    os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count),
                      MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    torch.set_num_threads(max(1, cpu_cores() // count))
    threading.Thread(target=follow, args=(parent,), daemon=True).start()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # raises one that came while this process started
        outcome = run_one(main, args)
    except KeyboardInterrupt:
        outcome = INTERRUPTED
    if outcome[0]:
        sender.send(outcome)
    leave(outcome[0], lost_contact=outcome[2])


def follow(parent):
    """Ends this process when the parent has been killed: nothing may go on writing to its run folder."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
