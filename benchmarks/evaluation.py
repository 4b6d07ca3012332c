"""Clips per second of feature extraction, clips of several videos in a batch against one video a step, in turns.

    python -m benchmarks.evaluation                                   R18, 128 px, on the CPU
    python -m benchmarks.evaluation --device cuda --batch_size 64     on a GPU
    python -m benchmarks.evaluation --img_dim 48 --num_seq 4          the clips of the demo

Times eval.extract.inference.clip_outputs, which eval/features.py and eval/test.py use, on frames that are in memory, in
the precision of --amp auto. The numbers of clips are those of UCF101's videos at ds 3: 1 for seven videos of ten, up to
6. The baseline encodes the clips of one video at a time, as the published test did.
"""
import itertools
import statistics
import time

import numpy as np
import torch

from benchmarks.flags import add_step_flags, machine, make_parser, parse, write_json
from benchmarks.train_step import our_device, synchronize
from eval.extract.inference import clip_outputs
from eval.extract.vectors import vectors_of
from eval.model import Representation
from utils.cli import positive_int
from utils.parallel.precision import choose_precision
from utils.run.setup import put_on

CLIPS = (1, 2, 3, 4, 5, 6)
SHARES = (0.7, 0.12, 0.08, 0.05, 0.03, 0.02)  # of the videos


def make_videos(count, num_seq, seq_len, img_dim):
    """Dicts as VideoDataset gives them, random frames."""
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.integers(0, 256, (max(CLIPS), num_seq * seq_len, img_dim, img_dim, 3), np.uint8))
    return [{'frames': frames[:clips]} for clips in rng.choice(CLIPS, count, p=SHARES)]


def clips_per_second(encode, videos, num_seq, precision, batch_size):
    """batch_size None: one video a step."""
    synchronize(precision.device)
    start = time.perf_counter()
    if batch_size is None:
        outputs = itertools.chain(*(clip_outputs(encode, [video], num_seq, precision, len(video['frames']))
                                    for video in videos))
    else:
        outputs = clip_outputs(encode, videos, num_seq, precision, batch_size)
    clips = sum(len(output) for _, output in outputs)
    synchronize(precision.device)
    return clips / (time.perf_counter() - start)


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_step_flags(parser, batch_size=16)
    parser.add_argument('--num_seq', type=positive_int, default=8, help='N, blocks in a clip (default 8)')
    parser.add_argument('--videos', type=positive_int, default=None,
                        help='per turn (default 40 on the CPU, 400 on a GPU)')
    parser.add_argument('--rounds', type=positive_int, default=5,
                        help='alternating rounds; the median is reported (default 5)')
    args = parse(parser, argv)
    args.videos = args.videos or {'cpu': 40, 'cuda': 400}[args.device]
    return args


def main(args):
    precision = choose_precision('auto', our_device(args))
    model = put_on(Representation(args.net).requires_grad_(False).eval(), precision.device)
    videos = make_videos(args.videos, args.num_seq, 5, args.img_dim)
    ways = {'one video a step': None, f'{args.batch_size} clips a step': args.batch_size}
    turns = {way: [] for way in ways}
    for turn in range(1 + args.rounds):  # the first one warms up
        for way, batch_size in ways.items():
            speed = clips_per_second(vectors_of(model), videos, args.num_seq, precision, batch_size)
            if turn:
                turns[way].append(speed)
    baseline, ours = (statistics.median(turns[way]) for way in ways)
    print(f'{machine(args.device)}, {precision.name}, {args.net}, {args.img_dim} px, {args.num_seq} blocks')
    for way, speed in zip(ways, (baseline, ours)):
        print(f'{way:20} {speed:8.1f} clips/s   {speed / baseline:.2f} ×')
    write_json(args, {'one_video': baseline, 'batched': ours})


if __name__ == '__main__':
    main(parse_args())
