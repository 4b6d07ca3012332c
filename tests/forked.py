"""Command lines of this project in processes forked from one that has imported torch and every module once.

A start takes milliseconds, where `python dpc/main.py` imports for seconds. Everything else is as in a new process: its own
id, session, working directory, environment, streams and signals. Settings are cheap, as in the tests (tests/conftest.py), also
in the processes of a group, which are forked, too. Some tests of each folder start scripts by the interpreter.
"""
import atexit
import functools
import gc
import importlib
import json
import multiprocessing
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import torch.utils.data

from backbone import resnet_2d3d
from eval.classify import outputs
from eval.metrics import intervals
from eval.protocols import attentive_probe, linear_probe, pictures
from utils.parallel import distributed, launch

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = resnet_2d3d.WIDTHS, dict(resnet_2d3d.STAGES)
NARROW_WIDTHS = 64, 32, 32, 32  # channels of the backbone's stages
PACKAGES = ('backbone', 'dpc', 'eval', 'experiments', 'process_data', 'utils')
LARGEST_REQUEST = 2 ** 18  # bytes of arguments and environment


def small_networks():
    """A tenth of the time and 2% of the parameters of the published ones."""
    resnet_2d3d.WIDTHS = NARROW_WIDTHS
    resnet_2d3d.STAGES.update(resnet18=('basic', (2, 1, 1, 1)), resnet34=('basic', (2, 2, 1, 1)))


def published_networks():
    resnet_2d3d.WIDTHS = PUBLISHED[0]
    resnet_2d3d.STAGES.update(PUBLISHED[1])


def cheap_settings():
    """Small networks; few resamples, candidates and cells, names and pixels of a picture; short waits for what hangs."""
    small_networks()
    intervals.RESAMPLES = 200
    linear_probe.DECAYS = 1., 1e-2
    attentive_probe.GRID, attentive_probe.DEFAULT = ((1e-3, 0.1), (1e-2, 0.1)), 0
    pictures.QUERIES, pictures.NEIGHBOURS, pictures.DPI = 3, 2, 50
    outputs.MAX_LABELLED, outputs.DPI = 10, 50
    distributed.BEAT_SECONDS, distributed.SILENT_SECONDS, launch.GRACE_SECONDS = 0.5, 3, 2
    torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL = 1  # s, which a DataLoader waits for a worker to end


# ---- in the tests' process

def run(argv, timeout=120, check=False, **options):
    """A finished command: subprocess.CompletedProcess with stdout and stderr as text. Options as of `Command`."""
    command = Command(argv, **options)
    try:
        out, err = command.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        command.kill()
        raise
    assert not check or command.returncode == 0, err
    return subprocess.CompletedProcess(command.args, command.returncode, out, err)


class Command:
    """A running command, used like subprocess.Popen.

    argv:              [script, argument, …] or ['-m', module, argument, …]
    cwd, env:          its working directory (None: this process's) and environment (None: this process's)
    stdout:            subprocess.PIPE to read it while the command runs; else all that it wrote is read at its end, without
                       waiting for helpers that outlive it with its streams open, as torch's do for seconds
    text:              whether `communicate` returns text or bytes
    start_new_session: whether it leads a process group of its own
    """

    def __init__(self, argv, cwd=None, env=None, stdout=None, text=True, start_new_session=False):
        self.args = [os.fspath(word) if isinstance(word, os.PathLike) else str(word) for word in argv]
        self.returncode, self.stdout, self._text = None, None, text
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        out = self._out.fileno()
        if stdout == subprocess.PIPE:
            read, out = os.pipe()
            self.stdout = open(read)
        self._status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {'argv': self.args, 'cwd': os.fspath(cwd or os.getcwd()), 'env': {**(env or os.environ)},
                   'session': start_new_session}
        socket.send_fds(server(), [json.dumps(request).encode()], [theirs.fileno(), out, self._err.fileno()])
        theirs.close()
        if self.stdout:
            os.close(out)
        self.pid = int(self._status.recv(20))

    def poll(self):
        return self._result(0.)

    def wait(self, timeout=None):
        if self._result(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def _result(self, timeout):
        if self.returncode is None:
            self._status.settimeout(timeout)
            try:
                self.returncode = os.waitstatus_to_exitcode(int(self._status.recv(20)))
            except (BlockingIOError, TimeoutError):
                pass
        return self.returncode

    def communicate(self, timeout=None):
        """(stdout, stderr) at the end of the command."""
        self.wait(timeout)
        self._out.seek(0)
        self._err.seek(0)
        out = self.stdout.read().encode() if self.stdout and not self.stdout.closed else self._out.read()
        said = out, self._err.read()
        return tuple(bytes_.decode(errors='surrogateescape') for bytes_ in said) if self._text else said

    def send_signal(self, signum):
        if self.poll() is None:
            os.kill(self.pid, signum)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


@functools.cache
def server():
    """The socket of this process's server, which ends when the socket is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * LARGEST_REQUEST)
    quiet = {'TORCH_CPP_LOG_LEVEL': 'ERROR'}  # read at the import; utils/parallel/launch.py sets it for a group
    subprocess.Popen([sys.executable, '-m', 'tests.forked', str(theirs.fileno())], pass_fds=[theirs.fileno()],
                     cwd=ROOT, env={**os.environ, **quiet}, stdin=subprocess.DEVNULL)
    theirs.close()
    return ours


# ---- in the server

class FreshProcess(multiprocessing.context.ForkProcess):
    """Stands in for a spawned process: forked, but with the signal handlers of a new interpreter."""

    def run(self):
        for signum in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}:
            if callable(signal.getsignal(signum)):
                signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        super().run()


class FreshContext(multiprocessing.context.ForkContext):
    Process = FreshProcess


def import_everything():
    """The project and all that it imports; no thread may run afterwards, as threads don't survive a fork."""
    cheap_settings()
    importlib.import_module('torch._dynamo')  # which the first call on the meta device imports
    for package in PACKAGES:
        for module in pkgutil.walk_packages([str(ROOT / package)], f'{package}.'):
            importlib.import_module(module.name)
    get_context = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: FreshContext() if method == 'spawn' else get_context(method)
    tasks = os.listdir('/proc/self/task')
    assert len(tasks) == 1, f'importing has started {len(tasks) - 1} threads'


def serve(requests):
    """Forks for every request; returns the request in the process that is to run it, None in the server at the end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # watchers are not waited for
    while True:
        message, fds, _, _ = socket.recv_fds(requests, LARGEST_REQUEST, 3)
        if not message:
            return None
        if os.fork() == 0:  # the watcher: parent of the command, tells the tests its process id and its end
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests.close()
            status = socket.socket(fileno=fds[0])
            pid = os.fork()
            if pid == 0:
                status.close()
                return prepare(json.loads(message), *fds[1:])
            for fd in fds[1:]:
                os.close(fd)
            status.send(str(pid).encode())
            try:
                status.send(str(os.waitpid(pid, 0)[1]).encode())
            except BrokenPipeError:  # the test doesn't wait
                pass
            os._exit(0)
        for fd in fds:
            os.close(fd)


def prepare(request, out, err):
    """Makes this process what the interpreter would have made it; returns its arguments."""
    if request['session']:
        os.setsid()
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    os.chdir(request['cwd'])
    multiprocessing.process.ORIGINAL_DIR = request['cwd']
    os.environ.clear()
    os.environ.update(request['env'])
    encoding, _, errors = os.environ.get('PYTHONIOENCODING', 'utf-8').partition(':')
    sys.stdout = open(1, 'w', encoding=encoding, errors=errors or 'strict', closefd=False)
    sys.stderr = open(2, 'w', encoding=encoding, errors='backslashreplace', buffering=1, closefd=False)
    return request['argv']


def execute(argv):
    """As `python {argv}`: the script's or the current folder first on sys.path, the root only if the script puts it there."""
    if argv[0] == '-m':
        sys.path[0] = os.getcwd()
        sys.argv = argv[1:]
        sys.modules.pop(argv[1], None)
        runpy.run_module(argv[1], run_name='__main__', alter_sys=True)
    else:
        script = os.path.abspath(argv[0])
        sys.path[0] = os.path.dirname(script)
        sys.argv = argv
        runpy.run_path(script, run_name='__main__')


def leave():
    """Ends this process with `status`; taking the imported modules apart would take longer than most commands."""
    if status is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == '__main__':
    status = None
    atexit.register(leave)  # before any import registers its own: the first is called last
    import_everything()
    gc.collect()
    gc.freeze()  # or the collector would copy every page after a fork
    arguments = serve(socket.socket(fileno=int(sys.argv[1])))
    if arguments:
        try:
            execute(arguments)
            status = 0
        except SystemExit as end:
            if isinstance(end.code, str):  # which the interpreter prints
                raise
            status = end.code or 0
