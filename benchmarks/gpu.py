"""Everything that README and notes owe for a GPU, in parts of at most nine minutes; one JSON and the README's tables.

    python -m benchmarks.gpu --out FOLDER                   all parts
    python -m benchmarks.gpu --out FOLDER --part 1          one part: speed (1), memory (2), study (3)
    python -m benchmarks.gpu --out FOLDER --miniature       the same commands in small on the CPU, to see that they work

Each command writes its own JSON into the folder and is skipped if that is there; results.json joins them. A command
that fails or takes too long is named, and the others run.
"""
import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch

from utils import ROOT
from utils.cli import Parser

SMALL = ['--img_dim', '32', '--batch_size', '2']
# part: {name: (seconds, flags on a GPU, flags in miniature)}; a name begins with that of its benchmark
PARTS = {
    1: {'input_pipeline': (120, ['--batch_size', '128'],
                           ['--videos', '2', '--rounds', '1', '--clips', '1', '--seconds', '1', '--batch_size', '2']),
        'train_step': (120, ['--compile'], [*SMALL, '--rounds', '1', '--steps', '1']),
        'train_step_r34': (150, ['--compile', '--net', 'resnet34', '--img_dim', '224', '--batch_size', '44'],
                           [*SMALL, '--net', 'resnet34', '--rounds', '1', '--steps', '1', '--ways', 'ours_bf16']),
        'end_to_end': (150, ['--compile'],
                       [*SMALL, '--videos', '4', '--repeat', '1', '--plain_batches', '1', '--workers', '1'])},
    2: {'step_memory': (60, ['--batch_size', '128'], SMALL),
        'step_memory_r34': (60, ['--net', 'resnet34', '--img_dim', '224', '--batch_size', '44'], SMALL),
        'loss_memory': (60, [], ['--clips', '4']),
        'evaluation': (90, ['--batch_size', '64', '--rounds', '3'],
                       [*SMALL, '--num_seq', '2', '--lengths', '60', '--blocks', '8', '--rounds', '1',
                        '--num_workers', '0']),
        'volume_conv': (60, [], ['--blocks', '2', '--rounds', '1'])},
    3: {'study': (540, ['--minutes', '8'], None)},
}


def parse_args(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', required=True, metavar='FOLDER', help='folder for the figures')
    parser.add_argument('--part', type=int, choices=PARTS, default=None, help='run one part only (default: all)')
    parser.add_argument('--miniature', action='store_true', help='on the CPU, in seconds')
    args = parser.parse_args(argv)
    if not args.miniature and not torch.cuda.is_available():
        parser.error('this machine has no CUDA device: give --miniature to try the commands on the CPU')
    return args


def command_of(name, flags, folder, device):
    if name == 'study':
        return [sys.executable, str(ROOT / 'experiments' / 'study.py'), '--device', device, '--output',
                str(folder / 'study'), *flags]
    benchmark = name.removesuffix('_r34')
    return [sys.executable, '-m', f'benchmarks.{benchmark}', '--device', device, '--json', str(folder / f'{name}.json'),
            *flags]


def run(name, seconds, command, folder):
    """Runs one command, its output in {name}.txt; returns what went wrong, or None."""
    with open(folder / f'{name}.txt', 'w') as output:
        try:
            status = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT,
                                    timeout=seconds).returncode
        except subprocess.TimeoutExpired:
            return f'took more than {seconds} s'
    return f'ended with status {status}' if status else None


def main(args):
    folder = Path(args.out).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    parts = [args.part] if args.part else list(PARTS)
    failed = {}
    for name, (seconds, flags, small) in [item for part in parts for item in PARTS[part].items()]:
        flags = small if args.miniature else flags
        if flags is None or (folder / f'{name}.json').exists():
            continue
        start = time.monotonic()
        problem = run(name, seconds, command_of(name, flags, folder, 'cpu' if args.miniature else 'cuda'), folder)
        if problem:
            failed[name] = problem
        print(f'{name:18} {time.monotonic() - start:5.0f} s   {problem or "done"}', flush=True)
    figures = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob('*.json'))
               if path.name != 'results.json'}
    (folder / 'results.json').write_text(json.dumps({'figures': figures, 'failed': failed}, indent=1))
    tables = '\n'.join(f'## {path.stem}\n\n    ' + path.read_text().strip().replace('\n', '\n    ') + '\n'
                       for path in sorted(folder.glob('*.txt')))
    (folder / 'tables.md').write_text(tables)
    print(f'written to {folder}: results.json, and what each command printed, tables.md')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(parse_args()))
