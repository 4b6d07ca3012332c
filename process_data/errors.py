"""How the scripts of process_data end when the user, not the code, has to do something."""
import argparse
import signal
import sys
import time
from multiprocessing import resource_tracker

from joblib import Parallel


class UserError(Exception):
    """A mistake the user can mend: the message names the file and the remedy."""


class ArgumentParser(argparse.ArgumentParser):
    """Says what is wrong with the flags in one line, without the list of them all."""

    def error(self, message):
        self.exit(2, f'error: {message}; --help explains the flags\n')


def run_cli(main, args):
    """Calls main(args) and exits with the status it returns; a UserError becomes one line and status 2."""
    # File names are bytes: those that are no valid UTF-8 are printed escaped.
    sys.stdout.reconfigure(errors='backslashreplace')
    try:
        sys.exit(main(args))
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print('stopped; the same command starts again', file=sys.stderr)
        sys.exit(130)


def in_processes(tasks, **options):
    """Yields the results of joblib's `tasks` from the processes that `options`, joblib.Parallel's, ask for.

    Ctrl-C goes to every process of the terminal, and a worker that it finds in the middle of its start prints a
    traceback. So the workers start with it blocked; here it waits until they are started, and then ends them.
    """
    # First what unblocks Ctrl-C when it is started: the resource tracker, and the executor that Parallel makes.
    resource_tracker.ensure_running()
    with Parallel(**options) as workers:
        asked = []
        before = signal.signal(signal.SIGINT, lambda *_: asked.append(True))
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            results = workers(tasks)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            signal.signal(signal.SIGINT, before)
        if asked:
            time.sleep(0.2)             # joblib's own thread, ended while it takes the first tasks, prints one too
            results.throw(KeyboardInterrupt)
        yield from results
