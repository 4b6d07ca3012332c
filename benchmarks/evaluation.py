"""Clips and blocks per second of feature extraction, from JPEG frames to vectors, in turns with two others.

    python -m benchmarks.evaluation                                   R18, 128 px, on the CPU
    python -m benchmarks.evaluation --device cuda --batch_size 64     on a GPU
    python -m benchmarks.evaluation --img_dim 48 --num_seq 4          the clips of the demo

Times eval.extract.inference.outputs_of, which eval/features.py, eval/test.py and eval/predict.py use, in the precision
of --amp auto, for videos of 60 frames, of 180 as UCF101's, and of 3,000. "One video a step" encodes all clips of a
video at once and blocks that are in two clips twice, as the published test did. "Model alone" gets the same number of
blocks in full batches that are ready on the device: nothing can be faster than that.
"""
import statistics
import tempfile
import time
from types import SimpleNamespace

import torch

from benchmarks.flags import add_step_flags, machine, make_parser, parse, write_json
from benchmarks.input_pipeline import make_videos
from benchmarks.train_step import our_device, synchronize
from eval.extract.inference import outputs_of, read_pieces
from eval.extract.resources import Resources
from eval.extract.vectors import vectors_of
from eval.model import Representation
from utils.cli import positive_int, whole_number
from utils.data.clips import Clip, VideoDataset
from utils.data.colour import to_block
from utils.parallel.precision import choose_precision
from utils.run.setup import put_on, workers_of

SEQ_LEN, DS = 5, 3


@torch.no_grad()
def one_video_a_step(model, dataset, resources):
    blocks = []
    for piece in read_pieces(dataset, resources, '', []):
        blocks.append(piece['blocks'][0])
        if piece['last']:
            frames = torch.cat(blocks)[torch.from_numpy(dataset.plan(int(piece['index'])).rows)]    # [K, N, T, H, W, 3]
            block = to_block(frames.flatten(1, 2).to(resources.precision.device), None, dataset.num_seq)
            with resources.precision.autocast():
                vectors_of(model)(model.encode(block)).float().cpu()
            blocks = []


def ours(model, dataset, resources):
    for _ in outputs_of(model.encode, vectors_of(model), dataset, resources, '', []):
        pass


@torch.no_grad()
def model_alone(model, dataset, resources):
    B, N = resources.clips_at_once, dataset.num_seq
    device, side = resources.precision.device, dataset.img_dim
    block = to_block(torch.zeros(B * N, SEQ_LEN, side, side, 3, dtype=torch.uint8, device=device), None, 1)
    clips, blocks = counts(dataset)
    while blocks > 0 or clips > 0:
        with resources.precision.autocast():
            if blocks > 0:
                maps = model.encode(block[:blocks])                             # [B·N, 1, S, D]
            of_clips = maps[:, 0].repeat(N, 1, 1)[:N * min(B, max(clips, 1))]       # a few blocks several times
            vectors_of(model)(of_clips.unflatten(0, (-1, N))).float().cpu()
        blocks, clips = blocks - B * N, clips - B


def counts(dataset):
    """(clips, blocks) of all videos."""
    plans = [dataset.plan(index) for index in range(len(dataset.videos))]
    return sum(len(plan.rows) for plan in plans), sum(len(plan.first) for plan in plans)


WAYS = {'one video a step': one_video_a_step, 'this code': ours, 'model alone': model_alone}


def seconds_of(way, *about):
    device = about[-1].precision.device
    synchronize(device)
    start = time.perf_counter()
    WAYS[way](*about)
    synchronize(device)
    return time.perf_counter() - start


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_step_flags(parser, batch_size=16)
    parser.add_argument('--num_seq', type=positive_int, default=8, help='N, blocks in a clip (default 8)')
    parser.add_argument('--lengths', type=positive_int, nargs='+', default=[60, 180, 3000],
                        help='frames of the videos (default 60 180 3000)')
    parser.add_argument('--blocks', type=positive_int, default=None,
                        help='per turn, in as many videos as it takes (default 200 on the CPU, 5000 on a GPU)')
    parser.add_argument('--num_workers', type=whole_number,
                        help='processes that read (default: one per core, at most 16)')
    parser.add_argument('--rounds', type=positive_int, default=5,
                        help='alternating rounds; the median is reported (default 5)')
    args = parse(parser, argv)
    args.blocks = args.blocks or {'cpu': 200, 'cuda': 5000}[args.device]
    return args


def main(args):
    precision = choose_precision('auto', our_device(args))
    model = put_on(Representation(args.net).requires_grad_(False).eval(), precision.device)
    resources = Resources(precision, workers_of(SimpleNamespace(num_workers=args.num_workers)), 600, args.batch_size)
    print(f'{machine(args.device)}, {precision.name}, {args.net}, {args.img_dim} px, {args.num_seq} blocks')
    figures = {}
    for length in args.lengths:
        with tempfile.TemporaryDirectory() as root:
            videos = make_videos(root, -(-args.blocks * SEQ_LEN * DS // length), length, 240, 320)
            dataset = VideoDataset(videos, Clip(args.num_seq, SEQ_LEN, DS, args.img_dim))
            turns = {way: [] for way in WAYS}
            for turn in range(1 + args.rounds):  # the first one warms up
                for way, found in turns.items():
                    seconds = seconds_of(way, model, dataset, resources)
                    if turn:
                        found.append(seconds)
        clips, blocks = counts(dataset)
        median = {way: statistics.median(found) for way, found in turns.items()}
        print(f'{len(videos)} videos of {length} frames: {clips} clips, {blocks} blocks')
        for way, seconds in median.items():
            print(f'  {way:20} {clips / seconds:8.1f} clips/s {blocks / seconds:8.1f} blocks/s   '
                  f'{median["one video a step"] / seconds:.2f} ×')
        figures[str(length)] = {way: {'clips_per_second': clips / seconds, 'blocks_per_second': blocks / seconds}
                                for way, seconds in median.items()}
    write_json(args, figures)


if __name__ == '__main__':
    main(parse_args())
