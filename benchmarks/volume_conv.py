"""Time of the volume convolution on two time steps, as four products of images against PyTorch's Conv3d, in turns.

    python -m benchmarks.volume_conv
    python -m benchmarks.volume_conv --device cuda

Stage 4 of R18 at 128 px: 256 channels, 2 time steps, 4×4 locations, forward and backward.
"""
import statistics
import time

import torch
import torch.nn as nn

from backbone.resnet_2d3d import VolumeConv
from benchmarks.flags import machine, make_parser, parse, write_json
from benchmarks.train_step import our_device, synchronize

CHANNELS, STEPS, SIDE = 256, 2, 4


def seconds(forward, volume, device, repetitions):
    synchronize(device)
    start = time.perf_counter()
    for _ in range(repetitions):
        forward(volume).sum().backward()
    synchronize(device)
    return (time.perf_counter() - start) / repetitions


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument('--blocks', type=int, default=None, help='blocks, B·N (default 32 on the CPU, 1024 on a GPU)')
    parser.add_argument('--rounds', type=int, default=9, help='alternating rounds; the median is reported (default 9)')
    args = parse(parser, argv)
    args.blocks = args.blocks or {'cpu': 32, 'cuda': 1024}[args.device]
    return args


def main(args):
    device = our_device(args)
    results = {}
    for dtype in (torch.float32, torch.bfloat16):
        conv = VolumeConv(CHANNELS, CHANNELS, 3, padding=1, bias=False).to(device, dtype)
        volume = torch.randn(args.blocks, CHANNELS, STEPS, SIDE, SIDE, device=device, dtype=dtype)
        if device.type == 'cuda':
            conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last_3d)
            volume = volume.contiguous(memory_format=torch.channels_last_3d)
        volume.requires_grad_(True)
        ways = {'conv3d': lambda x: nn.Conv3d.forward(conv, x), 'images': conv}
        turns = {way: [] for way in ways}
        for _ in range(1 + args.rounds):  # the first one warms up
            for way, forward in ways.items():
                turns[way].append(seconds(forward, volume, device, repetitions=5))
        medians = {way: statistics.median(times[1:]) for way, times in turns.items()}
        name = str(dtype).removeprefix('torch.')
        results[name] = medians
        print(f'{machine(args.device)}, {name:9} Conv3d {1e3 * medians["conv3d"]:8.2f} ms, as images '
              f'{1e3 * medians["images"]:8.2f} ms: {medians["conv3d"] / medians["images"]:.2f} ×')
    write_json(args, results)


if __name__ == '__main__':
    main(parse_args())
