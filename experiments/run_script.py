"""Shared by demo.py and study.py: running the scripts of this repository, and finding the files of their runs."""
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from utils import ROOT
from utils.run.read_log import read_records


def run(script, *arguments, **flags):
    """Runs a script of this repository as a user would; ends the program if it fails."""
    script = script if Path.cwd() == ROOT else str(ROOT / script)
    words = [script, *map(str, arguments), *command_line(flags)]
    print(f'\n$ python {shlex.join(words)}', flush=True)
    process = subprocess.Popen([sys.executable, *words])
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        status = process.wait()
    except KeyboardInterrupt:  # Ctrl-C reaches the script, too, which may have to save
        process.wait()
        sys.exit(f'interrupted in {script}')
    finally:
        signal.signal(signal.SIGTERM, before)
    if status:
        sys.exit(f'error: {script} ended with status {status}; its own message is above')


def command_line(flags):
    """{'lr': 0.1, 'packed': True, 'weights': ['a', 'b']} -> ['--lr', '0.1', '--packed', '--weights', 'a', 'b']"""
    words = []
    for name, value in flags.items():
        values = [] if value is True else value if isinstance(value, (list, tuple)) else [value]
        words += [f'--{name}', *map(str, values)]
    return words


def run_folder(output, name):
    """The run folder of the run called `name`, the newest if it was started more than once."""
    return max((output / f'log_{name}').iterdir(), key=lambda folder: folder.stat().st_mtime)


def newest_model(output, name):
    """The checkpoint of the last epoch of the run called `name`."""
    return max((run_folder(output, name) / 'model').glob('epoch*.pth.tar'),
               key=lambda path: int(path.name.removeprefix('epoch').removesuffix('.pth.tar')))


def epoch_curves(folder):
    """{'train': {statistic: values by epoch}, 'val': the same} from a run's log.jsonl."""
    records = read_records(folder / 'log.jsonl')
    return {kind: {name: [record[name] for record in records if record['kind'] == kind] for name in names}
            for kind, names in (('train', ('loss', 'top1', 'clips_per_s')), ('val', ('loss', 'top1')))}
