"""Clips per second of a training step against the plain step, alternating in the same run.

    python -m benchmarks.train_step                                        R18, 128 px, on the CPU
    python -m benchmarks.train_step --device cuda --compile                the same on a GPU
    python -m benchmarks.train_step --device cuda --compile --net resnet34 --img_dim 224 --batch_size 44
    python -m benchmarks.train_step --profile ours_bf16                    profile of one way

A step is forward, loss, backward and Adam on clips that are on the device: N=8 blocks of T=5 frames, P=3. end_to_end.py
covers the rest of training (statistics, gradient norm, search for non-finite values). The plain step is
benchmarks/plain_net.py in float32 with PyTorch's defaults and cuDNN's benchmark mode. Each way runs in a process of its
own, which is idle during the others' turns; ours is set up by utils.parallel.gpus.choose_device, as in training.
TFLOP/s count the plain net's products (three times its forward pass) for every way. The peak is that of a large matrix
product in the same run. Memory is the process's peak on the CPU, the allocator's on a GPU.
Expectations and findings are in benchmarks/NOTES.md.
"""
import ctypes
import multiprocessing
import statistics
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.flags import add_step_flags, machine, make_parser, parse, write_json
from benchmarks.plain_net import PlainDPC, plain_info_nce
from dpc.loss import dense_info_nce
from dpc.model import DPC
from utils.parallel.gpus import choose_device
from utils.parallel.memory import peak_gb
from utils.parallel.precision import PRECISIONS, automatic_precision
from utils.run.setup import put_on

NUM_SEQ, SEQ_LEN, PRED_STEP = 8, 5, 3
WARM_UP = 2  # untimed steps at the start of a turn: memory was released after the previous one


def flop_per_clip(network, img_dim):
    """FLOP of the forward and backward pass of one clip."""
    with torch.device('meta'), FlopCounterMode(display=False) as counter:
        PlainDPC(network, PRED_STEP)(torch.empty(1, NUM_SEQ, 3, SEQ_LEN, img_dim, img_dim))
    return 3 * counter.get_total_flops()


def synchronize(device):
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def matrix_peak(device, dtype, seconds=1.):
    """FLOP/s of a square matrix product in `dtype`, the best within `seconds`."""
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
    """The plain training step as a function of clips [B, N, C, T, H, W], random by default."""
    torch.backends.cudnn.benchmark = True  # the one setting that everyone knows
    model = PlainDPC(network, PRED_STEP).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    random_block = torch.randn(batch_size, NUM_SEQ, 3, SEQ_LEN, img_dim, img_dim, device=device)

    def step(block=random_block):
        loss = plain_info_nce(*model(block))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def our_step(device, network, batch_size, img_dim, dtype, compiled=False, encode_chunks=1, chunk=None):
    """The project's training step as a function without arguments, on random clips in the loader's memory layout."""
    model = put_on(DPC(network, PRED_STEP), device)
    model.encode_chunks = encode_chunks
    if compiled:
        model.backbone.compile(dynamic=False)
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


# name: (precision, compiled)
WAYS = {'plain': (torch.float32, False), 'ours_float32': (torch.float32, False), 'ours_bf16': (torch.bfloat16, False),
        'compiled_float32': (torch.float32, True), 'compiled_bf16': (torch.bfloat16, True)}


def our_device(args):
    """The device, with the process set up as in training."""
    return choose_device('cpu' if args.device == 'cpu' else '0')


def make_step(way, args):
    """(step, device) of this way; the process must run no other."""
    sizes = args.net, args.batch_size, args.img_dim
    if way == 'plain':
        device = torch.device(args.device)
        return plain_step(device, *sizes), device
    device = our_device(args)
    return our_step(device, *sizes, *WAYS[way]), device


def seconds_per_step(step, device, steps):
    synchronize(device)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    synchronize(device)
    return (time.perf_counter() - start) / steps


def take_turns(way, args, pipe):
    """The process of one way: answers each message with (seconds per step, peak GB), or None when out of memory."""
    step = None
    while pipe.recv():
        try:
            if step is None:
                step, device = make_step(way, args)
            for _ in range(WARM_UP):
                step()
            result = seconds_per_step(step, device, args.steps), peak_gb(device)
        except torch.OutOfMemoryError:
            result = None
        release_memory(args.device)  # for the other ways
        pipe.send(result)


def release_memory(device):
    if device == 'cuda':
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()  # the first turn, which tries kernels, is discarded
    else:
        ctypes.CDLL(None).malloc_trim(0)


def in_turns(args):
    """{way: (median seconds per step, peak memory in GB)} of the ways that fit into memory."""
    context = multiprocessing.get_context('spawn')
    pipes, processes = {}, []
    for way in args.ways:
        pipes[way], end = context.Pipe()
        processes.append(context.Process(target=take_turns, args=(way, args, end), daemon=True))
        processes[-1].start()
        end.close()  # so that recv() raises EOFError if the process dies
    turns = {way: [] for way in args.ways}
    for _ in range(1 + args.rounds):
        for way, pipe in pipes.items():
            pipe.send(True)
            turns[way].append(pipe.recv())
    for pipe, process in zip(pipes.values(), processes):
        pipe.send(False)
        process.join()
    results = {}
    for way in args.ways:
        if None not in turns[way]:
            seconds, memory = zip(*turns[way][1:])  # the first turn compiles and chooses kernels
            results[way] = statistics.median(seconds), max(memory)
    return results


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
    parser = make_parser(__doc__)
    add_step_flags(parser)
    parser.add_argument('--compile', action='store_true', help='also time our step with torch.compile')
    parser.add_argument('--ways', nargs='+', choices=WAYS, default=None,
                        help='what to time (default: all, compiled_… only with --compile)')
    parser.add_argument('--rounds', type=int, default=5, help='alternating rounds; the median is reported (default 5)')
    parser.add_argument('--steps', type=int, default=None,
                        help='steps of each way per round (default 5 on the CPU, 10 on a GPU)')
    parser.add_argument('--profile', choices=WAYS, default=None, help='only print a profile of this way')
    args = parse(parser, argv)
    args.steps = args.steps or {'cpu': 5, 'cuda': 10}[args.device]
    args.ways = args.ways or [way for way in WAYS if args.compile or not way.startswith('compiled')]
    return args


def main(args):
    if args.profile:
        profile(*make_step(args.profile, args))
        return
    turns = in_turns(args)
    device = our_device(args)
    work = flop_per_clip(args.net, args.img_dim)
    peaks = {dtype: matrix_peak(device, dtype) for dtype in (torch.float32, torch.bfloat16)}
    results = {'flop_per_clip': work, 'peak_flops': {str(dtype): peak for dtype, peak in peaks.items()}, 'ways': {}}
    print(f'{args.net}, {args.img_dim} px, {args.batch_size} clips, {machine(args.device)}: '
          f'{work / 1e9:.0f} GFLOP a clip; matrix products reach {peaks[torch.float32] / 1e12:.2f} TFLOP/s in float32, '
          f'{peaks[torch.bfloat16] / 1e12:.2f} in bf16')
    print(f'{"":18}{"clips/s":>10}{"x plain":>10}{"TFLOP/s":>10}{"of peak":>10}{"GB":>8}')
    for way in args.ways:
        if way not in turns:
            print(f'{way:18}{"out of memory":>38}')
            continue
        seconds, memory = turns[way]
        rate = args.batch_size / seconds
        row = {'clips_per_s': rate, 'flops': rate * work, 'share_of_peak': rate * work / peaks[WAYS[way][0]],
               'memory_gb': memory, 'times_plain': turns['plain'][0] / seconds if 'plain' in turns else None}
        results['ways'][way] = row
        print(f'{way:18}{rate:10.2f}{row["times_plain"] or float("nan"):10.2f}{rate * work / 1e12:10.2f}'
              f'{row["share_of_peak"]:10.0%}{memory:8.1f}')
    results['auto'] = compare_auto(device, turns)
    write_json(args, results)


def compare_auto(device, turns):
    """What `--amp auto` takes here and its speed relative to the faster of our ways; None if both weren't timed."""
    name, reason = automatic_precision(device)
    seconds = {WAYS[way][0]: turns[way][0] for way in ('ours_float32', 'ours_bf16') if way in turns}
    if len(seconds) < 2 or PRECISIONS[name] not in seconds:
        return None
    share = min(seconds.values()) / seconds[PRECISIONS[name]]
    print(f'--amp auto: {name}, {reason}: {share:.2f} of the speed of the faster of our two')
    return {'precision': name, 'reason': reason, 'share_of_faster': share}


if __name__ == '__main__':
    main(parse_args())
