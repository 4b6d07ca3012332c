"""Worker processes that end quietly on Ctrl-C, and the progress bar of all scripts."""
import signal
import sys
import time
from multiprocessing import resource_tracker

from joblib import Parallel
from tqdm import tqdm

from utils.cli import cpu_cores, positive_int


def add_jobs_argument(parser):
    parser.add_argument('--jobs', default=cpu_cores(), type=positive_int,
                        help='processes, one thread each (default: the cores available to this process)')


def in_processes(tasks, **options):
    """Yields the results of joblib tasks, run in worker processes. options: arguments of joblib.Parallel.

    Ctrl-C reaches every process of the terminal, and a worker that is interrupted while it starts prints a traceback.
    So workers are started with SIGINT blocked. A Ctrl-C in that time is remembered and raised once they run.
    """
    # Both unblock SIGINT when they start, so they start first: the resource tracker, and the executor of Parallel.
    resource_tracker.ensure_running()
    with Parallel(**options) as workers:
        interrupted = []
        before = signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            results = workers(tasks)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            signal.signal(signal.SIGINT, before)
        if interrupted:
            time.sleep(0.2)             # joblib's own thread also prints a traceback if it is ended while it starts
            results.throw(KeyboardInterrupt)
        yield from results


def progress_bar(results=None, total=None, desc=None):
    """A bar over videos; where stderr is a file, it gets a line every 30 s at most."""
    return tqdm(results, total=total, desc=desc, unit='video', disable=not total,
                mininterval=0.5 if sys.stderr.isatty() else 30)
