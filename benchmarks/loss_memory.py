"""Memory and time of the loss by batch size: cross-entropy alone, with ranks, and in recomputed chunks of rows.

    python -m benchmarks.loss_memory                    on the CPU: rise of the process's peak memory
    python -m benchmarks.loss_memory --device cuda      on a GPU: rise of the allocator's peak, up to 1,024 clips

Forward and backward pass on features [B, P=3, S=16, D=256], as R18 gives at 128 px; each measurement runs in a process
of its own. Expectations and findings are in benchmarks/NOTES.md.
"""
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor

import torch
import torch.nn.functional as F

from benchmarks.flags import make_parser, parse, write_json
from benchmarks.train_step import synchronize
from dpc.loss import dense_info_nce
from utils.parallel.memory import peak_gb

P, S, D = 3, 16, 256


def plain_loss(prediction, target):
    score = prediction.flatten(0, 2) @ target.flatten(0, 2).t()
    return F.cross_entropy(score, torch.arange(len(score), device=score.device))


def measure(way, clips, chunk, device):
    """-> (rise of the peak in bytes, median of the seconds) of a forward and backward pass."""
    device = torch.device(device)
    prediction, target = (torch.randn(clips, P, S, D, device=device, requires_grad=True) for _ in range(2))
    small_prediction, small_target = (torch.randn(1, P, S, D, device=device, requires_grad=True) for _ in range(2))
    losses = {'plain': plain_loss, 'at once': lambda *pair: dense_info_nce(*pair)[0],
              'chunks': lambda *pair: dense_info_nce(*pair, chunk)[0]}
    losses[way](small_prediction, small_target).backward()  # libraries allocate their buffers
    before = peak_gb(device)
    losses[way](prediction, target).backward()
    rise = round((peak_gb(device) - before) * 1e9)
    seconds = []
    for _ in range(5):
        synchronize(device)
        start = time.perf_counter()
        losses[way](prediction, target).backward()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return rise, statistics.median(seconds)


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument('--clips', type=int, nargs='+', default=None,
                        help='batch sizes (default 64 128 256 on the CPU, and 512 1024 on a GPU)')
    parser.add_argument('--chunk', type=int, default=1024, help='rows scored at a time (default 1024)')
    args = parse(parser, argv)
    args.clips = args.clips or {'cpu': [64, 128, 256], 'cuda': [64, 128, 256, 512, 1024]}[args.device]
    return args


def main(args):
    results = []
    print(f'{"clips":>6}{"rows":>8}' + ''.join(f'{way:>22}' for way in ('plain', 'at once', f'chunks of {args.chunk}')))
    for clips in args.clips:
        line = f'{clips:6}{clips * P * S:8}'
        for way in ('plain', 'at once', 'chunks'):
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn')) as pool:
                rise, seconds = pool.submit(measure, way, clips, args.chunk, args.device).result()
            results.append({'clips': clips, 'way': way, 'bytes': rise, 'seconds': seconds})
            line += f'{rise / 2 ** 20:12.0f} MiB{seconds:5.2f} s'
        print(line, flush=True)
    write_json(args, {'measurements': results})


if __name__ == '__main__':
    main(parse_args())
