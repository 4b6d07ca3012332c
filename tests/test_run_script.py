"""experiments/run_script.py: command lines, and that a program which is stopped lets its script save."""
import signal
import subprocess
import sys

from experiments import run_script

SCRIPT = """
import signal, sys, time
def stop(signum, frame):
    time.sleep(0.5)
    open(sys.argv[2], 'w').write('saved')
    sys.exit(3)
signal.signal(signal.SIGTERM, stop)
print('ready', flush=True)
time.sleep(60)
"""


def test_command_line():
    assert run_script.command_line({'lr': 0.1, 'packed': True, 'weights': ['a b', 'c'], 'gpu': 0}) == [
        '--lr', '0.1', '--packed', '--weights', 'a b', 'c', '--gpu', '0']


def test_relative_paths_are_those_of_the_caller(tmp_path, monkeypatch):
    script = tmp_path / 'script.py'
    script.write_text('import sys; open(sys.argv[2], "w")')
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    run_script.run(str(script), out='file')
    assert (tmp_path / 'here' / 'file').exists()


def test_a_signal_reaches_the_script_which_may_end_in_peace(tmp_path):
    script, out = tmp_path / 'script.py', tmp_path / 'out'
    script.write_text(SCRIPT)
    code = f'from experiments import run_script; run_script.run({str(script)!r}, out={str(out)!r})'
    program = subprocess.Popen([sys.executable, '-c', code], cwd=run_script.ROOT, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    while 'ready' not in program.stdout.readline():
        pass
    program.send_signal(signal.SIGTERM)
    _, error = program.communicate(timeout=30)
    assert out.read_text() == 'saved' and program.returncode == 1
    assert error.startswith('error: ') and 'ended with status 3' in error
