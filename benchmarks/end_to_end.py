"""Clips a second of pretraining as a user runs it, from JPEG frames on disk to the optimiser, against the plain way.

    python -m benchmarks.end_to_end                       on the CPU, a small run
    python -m benchmarks.end_to_end --device cuda         R18, 128 px, 128 clips, all cores

Ours is the last epoch of `python dpc/main.py` on generated frames, read from the run's log.jsonl. An epoch covers each
video --repeat times. The first is not counted: workers start, kernels are chosen and compiled. The plain way is one
process, whatever --workers: it reads a batch with plain_clip of benchmarks/input_pipeline.py, then takes a plain step
(benchmarks/plain_net.py). Expectations and findings are in benchmarks/NOTES.md.
"""
import json
import math
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

from benchmarks.flags import add_step_flags, machine, make_parser, parse, write_json
from benchmarks.input_pipeline import DS, make_videos, plain_clip
from benchmarks.train_step import plain_step, synchronize
from utils import ROOT


def write_lists(folder, videos, repeat):
    """The csv lists of a data set 'bench' that names each video `repeat` times for training, and the classes."""
    rows = [f'{path},{frames}\n' for path, frames in zip(videos.paths(), videos.n_frames)]
    classes = sorted({Path(path).parent.name for path in videos.paths()})
    (folder / 'bench').mkdir(parents=True)
    (folder / 'bench' / 'train_split01.csv').write_text(''.join(rows * repeat))
    (folder / 'bench' / 'test_split01.csv').write_text(''.join(rows))
    (folder / 'bench' / 'classInd.txt').write_text(''.join(f'{i} {name}\n' for i, name in enumerate(classes, start=1)))


def our_run(root, args):
    """Clips/s and the share of time spent waiting for data, of the last epoch."""
    command = [sys.executable, str(ROOT / 'dpc' / 'main.py'), '--dataset', 'bench', '--csv_root', str(root / 'csv'),
               '--net', args.net, '--img_dim', str(args.img_dim), '--ds', str(DS), '--val_on', 'test',
               '--batch_size', str(args.batch_size), '--num_workers', str(args.workers), '--epochs', str(args.epochs),
               '--log_dir', str(root), '--prefix', 'bench',
               '--gpu', 'cpu' if args.device == 'cpu' else '0', *(['--compile', 'all'] if args.compile else [])]
    subprocess.run(command, check=True, stdout=None if args.verbose else subprocess.DEVNULL)
    log, = root.glob('log_bench/*/log.jsonl')
    epochs = [line for line in map(json.loads, log.read_text().splitlines()) if line['kind'] == 'train']
    return {'clips_per_s': epochs[-1]['clips_per_s'], 'data_wait': epochs[-1]['data_wait']}


def plain_run(videos, args):
    """The same for the plain way, over a few batches after the first; None when out of memory.

    Runs in a process of its own, so that its memory is released before ours starts."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn')) as pool:
        try:
            return pool.submit(plain_batches, videos, args).result()
        except torch.OutOfMemoryError:
            return None


def plain_batches(videos, args):
    device, rng = torch.device(args.device), np.random.default_rng(0)
    step = plain_step(device, args.net, args.batch_size, args.img_dim)
    waited = 0.
    for batch in range(args.plain_batches + 1):
        if batch == 1:
            waited, start = 0., time.perf_counter()
        before = time.perf_counter()
        which = rng.integers(len(videos), size=args.batch_size)
        block = torch.stack([plain_clip(videos.path(i), int(videos.n_frames[i]), args.img_dim, rng) for i in which])
        waited += time.perf_counter() - before
        step(block.to(device))
        synchronize(device)
    seconds = time.perf_counter() - start
    return {'clips_per_s': args.plain_batches * args.batch_size / seconds, 'data_wait': waited / seconds}


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_step_flags(parser)
    parser.add_argument('--workers', type=int, default=os.cpu_count(),
                        help='processes that read data (default: all cores)')
    parser.add_argument('--compile', action='store_true', help='run ours with --compile all')
    parser.add_argument('--videos', type=int, default=None,
                        help='videos to generate (default 8 on the CPU, 256 on a GPU)')
    parser.add_argument('--repeat', type=int, default=None,
                        help='times each appears in an epoch (default 2 on the CPU, 160 on a GPU)')
    parser.add_argument('--epochs', type=int, default=2, help='of our run; the last is measured (default 2)')
    parser.add_argument('--plain_batches', type=int, default=2,
                        help='measured batches of the plain way, after one to warm up (default 2)')
    parser.add_argument('--verbose', action='store_true', help='show the output of our run')
    args = parse(parser, argv)
    small = args.device == 'cpu'
    args.videos = args.videos or (8 if small else 256)
    args.repeat = args.repeat or (2 if small else 160)
    return args


def main(args):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        videos = make_videos(str(root / 'frames'), args.videos, n_frames=220)
        write_lists(root / 'csv', videos, args.repeat)
        results = {'plain': plain_run(videos, args), 'ours': our_run(root, args)}
    print(f'{args.net}, {args.img_dim} px, {args.batch_size} clips, {machine(args.device)}, {os.cpu_count()} cores, '
          f'{args.workers} workers')
    print(f'{"":8}{"clips/s":>10}{"x plain":>10}{"waiting for data":>20}    (plain reads in one process)')
    for name, row in results.items():
        if row is None:
            print(f'{name:8}{"out of memory":>40}')
            continue
        ratio = row['clips_per_s'] / results['plain']['clips_per_s'] if results['plain'] else math.nan
        print(f'{name:8}{row["clips_per_s"]:10.2f}{ratio:10.2f}{row["data_wait"]:20.1%}')
    write_json(args, results)


if __name__ == '__main__':
    main(parse_args())
