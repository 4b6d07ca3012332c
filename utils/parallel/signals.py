"""Signals that ask a run to stop: it finishes its step, saves, and says how to resume. Its workers leave them to it."""
import contextlib
import multiprocessing
import os
import signal
import sys

STOPPING = b'\nstopping after this step; Ctrl-C again quits at once\n'
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)


class Stopped(Exception):
    """The run was asked to stop and has saved. `signum` decides the exit status, 128 + signum."""

    def __init__(self, signum, message):
        super().__init__(message)
        self.signum = signum


class StopSignals:
    """Remembers the first stop signal in `received` (0: none); a second Ctrl-C quits at once.

    As a context it takes the signals for as long as somebody looks at `received`: after it they act as before."""

    def __init__(self):
        self.received, self.before = 0, {}
        for signum in STOP_SIGNALS:
            if signal.getsignal(signum) != signal.SIG_IGN:  # nohup ignores SIGHUP
                self.before[signum] = signal.signal(signum, self._receive)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for signum, handler in self.before.items():
            signal.signal(signum, handler)
        if self.received and kind is None:  # too late to be seen
            os.kill(os.getpid(), self.received)

    def _receive(self, signum, frame):
        if self.received and signum == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            raise KeyboardInterrupt
        if not self.received and signum == signal.SIGINT and os.environ.get('RANK', '0') == '0':
            with contextlib.suppress(OSError, ValueError):  # past the stream's buffer, which a signal may find in use
                os.write(sys.stderr.fileno(), STOPPING)
        self.received = self.received or signum


def leave_signals_to_parent():
    """For a worker process. A scheduler may signal every process of a job, and the parent still needs its workers to
    finish the step."""
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


def kill_workers():
    """Kills this process's data workers, which are daemons: one that is stuck or stopped would hold up the exit."""
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's raises an error when a data worker dies
    workers = [child for child in multiprocessing.active_children() if child.daemon]
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join()
    signal.signal(signal.SIGCHLD, handler)
