"""The next command, with which every command ends: a line to copy, with the paths of what was just made. No torch."""
import os
import shlex
import shutil
import sys
from pathlib import Path

from utils import ROOT


def command(script, *words, **flags):
    """A command line that runs as it is where this process was started.

    script: path from the root of the repository. Flags that are None or False are left out; lists are several words.

    >>> command('eval/test.py', dataset='my videos', test=None).split('/')[-1]
    "test.py --dataset 'my videos'"
    """
    return line_of([ROOT / script, *words], flags)


def same_command(without=(), **flags):
    """This command again, without some of its words, and with the values of some flags replaced or added."""
    words, replaced = [], False
    for word in sys.argv[1:]:
        if word.startswith('--'):
            replaced = word.partition('=')[0].removeprefix('--') in flags
        if not replaced and word not in without:
            words.append(word)
    return line_of([Path(sys.argv[0]), *words], flags)


def line_of(words, flags):
    """A command line of this interpreter."""
    line = [python(), *map(shortest, words)]
    for flag, value in flags.items():
        if value is not None and value is not False:
            values = value if isinstance(value, (list, tuple)) else [] if value is True else [value]
            line += [f'--{flag}', *map(shortest, values)]
    return ' '.join(map(shlex.quote, line))


def data_flags(args):
    """{flag: value} of parsed flags that say which data to read, and on which device to compute."""
    own_lists = args.csv_root != str(ROOT / 'process_data' / 'data')
    return {'dataset': args.dataset, 'csv_root': args.csv_root if own_lists else None, 'frame_root': args.frame_root,
            'gpu': args.gpu}


def run_flags(args):
    """`data_flags` and where the runs go, for a command that begins a run."""
    return {**data_flags(args), 'log_dir': args.log_dir if args.log_dir != str(ROOT) else None}


def python():
    """What to call this interpreter: `python` where that is the one, as in an activated environment."""
    found = shutil.which('python')
    if found and os.path.realpath(os.path.dirname(found)) == os.path.realpath(os.path.dirname(sys.executable)):
        return 'python'
    return shortest(Path(sys.executable))


def shortest(value):
    """A word as str; of a Path, the shorter of the whole one and the one from the current folder."""
    if not isinstance(value, Path):
        return str(value)
    relative = os.path.relpath(value)
    return min(os.path.abspath(value), f'./{relative}' if relative.startswith('-') else relative, key=len)


def say_next(*commands):
    """Prints commands, each a line."""
    for line in commands:
        print(f'next: {line}')
