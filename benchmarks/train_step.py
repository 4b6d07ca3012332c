"""How many clips a second one training step takes, against the plain step, in the same run and in turns.

    python -m benchmarks.train_step                                        R18, 128 px, on the CPU
    python -m benchmarks.train_step --device cuda --compile                the same on a GPU
    python -m benchmarks.train_step --device cuda --compile --net resnet34 --img_dim 224 --batch_size 44
    python -m benchmarks.train_step --profile ours_bf16                    where the time of one way goes

A step is forward, loss, backward and Adam on clips that are on the device already: N=8 blocks of T=5 frames, P=3. The
plain step is benchmarks/plain_net.py in float32 with PyTorch's defaults. Work is counted from the plain net's products
(three times its forward pass), so TFLOP/s say how fast the method is, whatever products are saved; the peak is that of
a large matrix product in the same run. What was expected and found is in benchmarks/NOTES.md.
"""
import argparse
import contextlib
import json
import os
import statistics
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from backbone import NETWORKS
from benchmarks.plain_net import PlainDPC, plain_info_nce
from dpc.loss import dense_info_nce
from dpc.model import DPC

NUM_SEQ, SEQ_LEN, PRED_STEP = 8, 5, 3


def flop_per_clip(network, img_dim):
    """Forward and backward pass of one clip, in FLOP."""
    with torch.device('meta'), FlopCounterMode(display=False) as counter:
        PlainDPC(network, PRED_STEP)(torch.empty(1, NUM_SEQ, 3, SEQ_LEN, img_dim, img_dim))
    return 3 * counter.get_total_flops()


def synchronize(device):
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def matrix_peak(device, dtype, seconds=1.):
    """FLOP/s of a square matrix product in `dtype`, the best within so many seconds."""
    side = 8192 if device.type == 'cuda' else 1024
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < seconds or len(times) < 3:
        synchronize(device)
        before = time.perf_counter()
        a @ b
        synchronize(device)
        times.append(time.perf_counter() - before)
    return 2 * side ** 3 / min(times)


def plain_step(device, network, batch_size, img_dim):
    """The plain training step as a function, of clips [B, N, C, T, H, W] if given any."""
    model = PlainDPC(network, PRED_STEP).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    random_block = torch.randn(batch_size, NUM_SEQ, 3, SEQ_LEN, img_dim, img_dim, device=device)

    def step(block=random_block):
        loss = plain_info_nce(*model(block))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def our_step(device, network, batch_size, img_dim, dtype, compiled=False, grad_checkpoint=False, accum_steps=1,
             chunk=None):
    """The project's training step as a function without arguments, on blocks in the layout the loader gives."""
    on_gpu = device.type == 'cuda'
    layout = torch.channels_last_3d if on_gpu else torch.preserve_format
    model = DPC(network, PRED_STEP).to(device, memory_format=layout)
    model.backbone.grad_checkpoint, model.backbone.accum_steps = grad_checkpoint, accum_steps
    if compiled:
        model.backbone.compile()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5, fused=True)
    frames = torch.randn(batch_size, NUM_SEQ, SEQ_LEN, img_dim, img_dim, 3, device=device, dtype=dtype)
    block = frames.permute(0, 1, 5, 2, 3, 4)

    def step():
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            prediction, target = model(block)
        loss, _ = dense_info_nce(prediction, target, chunk)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


@contextlib.contextmanager
def tf32():
    """TF32 for products outside the loss, as training sets it on CUDA."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('high')
    yield
    torch.set_float32_matmul_precision(precision)


def ways(args, device):
    """{name: (the step, its precision)}"""
    sizes = device, args.net, args.batch_size, args.img_dim
    steps = {'plain': (plain_step(*sizes), torch.float32),
             'ours_float32': (our_step(*sizes, torch.float32), torch.float32),
             'ours_bf16': (our_step(*sizes, torch.bfloat16), torch.bfloat16)}
    if args.compile:
        steps['compiled_float32'] = our_step(*sizes, torch.float32, compiled=True), torch.float32
        steps['compiled_bf16'] = our_step(*sizes, torch.bfloat16, compiled=True), torch.bfloat16
    return {name: steps[name] for name in args.ways or steps}


def seconds_per_step(step, device, name, steps=1):
    with contextlib.nullcontext() if name == 'plain' else tf32():
        synchronize(device)
        start = time.perf_counter()
        for _ in range(steps):
            step()
        synchronize(device)
    return (time.perf_counter() - start) / steps


def profile(step, device):
    step()
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == 'cuda':
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as record:
        step()
        synchronize(device)
    print(record.key_averages().table(sort_by=f'self_{device.type}_time_total', row_limit=25))


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu', help='default cpu')
    parser.add_argument('--net', choices=NETWORKS, default='resnet18', help='backbone (default resnet18)')
    parser.add_argument('--img_dim', type=int, default=128, help='px, side of the frames (default 128)')
    parser.add_argument('--batch_size', type=int, default=None, help='clips (default 4 on the CPU, 128 on a GPU)')
    parser.add_argument('--compile', action='store_true', help='also time our step with torch.compile')
    parser.add_argument('--ways', nargs='+', default=None, help='only these of the table (default: all)')
    parser.add_argument('--rounds', type=int, default=7, help='rounds in turns, of which the median counts (default 7)')
    parser.add_argument('--steps', type=int, default=None, 
                        help='steps of each way in a round (default 1 on the CPU, 10 on a GPU)')
    parser.add_argument('--profile', metavar='WAY', default=None, help='print where the time of this way goes, and end')
    parser.add_argument('--json', default=None, help='file to write the figures to (default: none)')
    args = parser.parse_args(argv)
    args.batch_size = args.batch_size or {'cpu': 4, 'cuda': 128}[args.device]
    args.steps = args.steps or {'cpu': 1, 'cuda': 10}[args.device]
    return args


def main(args):
    device = torch.device(args.device)
    if args.profile:
        args.ways = [args.profile]
    steps = ways(args, device)
    if args.profile:
        profile(steps[args.profile][0], device)
        return
    times = {name: [] for name in steps}
    for name, (step, _) in steps.items():
        for _ in range(2):  # compiles, chooses kernels, makes the optimiser's state
            seconds_per_step(step, device, name)
    for _ in range(args.rounds):
        for name, (step, _) in steps.items():
            times[name].append(seconds_per_step(step, device, name, args.steps))

    work = flop_per_clip(args.net, args.img_dim)
    peaks = {dtype: matrix_peak(device, dtype) for dtype in (torch.float32, torch.bfloat16)}
    machine = torch.cuda.get_device_name() if args.device == 'cuda' else f'CPU, {torch.get_num_threads()} threads'
    results = {'machine': machine, 'cores': os.cpu_count(), 'torch': torch.__version__, 'arguments': vars(args),
               'flop_per_clip': work, 'peak_flops': {str(dtype): peak for dtype, peak in peaks.items()}, 'ways': {}}
    print(f'{args.net}, {args.img_dim} px, {args.batch_size} clips, {machine}: {work / 1e9:.0f} GFLOP a clip; '
          f'matrix products reach {peaks[torch.float32] / 1e12:.2f} TFLOP/s in float32, {peaks[torch.bfloat16] / 1e12:.2f} in bf16')
    print(f'{"":18}{"clips/s":>10}{"x plain":>10}{"TFLOP/s":>10}{"of peak":>10}')
    for name, (_, dtype) in steps.items():
        rate = args.batch_size / statistics.median(times[name])
        row = {'clips_per_s': rate, 'flops': rate * work, 'share_of_peak': rate * work / peaks[dtype]}
        if 'plain' in times:
            row['times_plain'] = statistics.median(times['plain']) / statistics.median(times[name])
        results['ways'][name] = row
        print(f'{name:18}{rate:10.2f}{row.get("times_plain", float("nan")):10.2f}{rate * work / 1e12:10.2f}'
              f'{row["share_of_peak"]:10.0%}')
    if args.json:
        with open(args.json, 'w') as file:
            json.dump(results, file, indent=1)


if __name__ == '__main__':
    main(parse_args())
