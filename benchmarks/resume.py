"""Whether a resumed run continues exactly: two epochs in one run against one epoch and a resumed second, by precision.

    python -m benchmarks.resume                     on the CPU: no weight may differ
    python -m benchmarks.resume --device cuda       on a GPU: kernels that add in any order may differ in the last digits

Runs dpc/main.py on generated frames. Prints the largest difference of any weight, relative to the largest change of that
tensor in the second epoch, and the same for the loss of the second epoch.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.end_to_end import write_lists
from benchmarks.flags import add_step_flags, machine, make_parser, parse, write_json
from benchmarks.input_pipeline import DS, make_videos
from utils import ROOT
from utils.run.read_log import read_records


def train(root, name, args, amp, *flags):
    """Pretraining with --prefix `name`; returns its run folder."""
    command = [sys.executable, str(ROOT / 'dpc' / 'main.py'), '--dataset', 'bench', '--csv_root', str(root / 'csv'),
               '--net', args.net, '--img_dim', str(args.img_dim), '--ds', str(DS), '--val_on', 'test', '--amp', amp,
               '--batch_size', str(args.batch_size), '--log_dir', str(root), '--prefix', name,
               '--gpu', 'cpu' if args.device == 'cpu' else '0', *flags]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    folder, = root.glob(f'log_{name}/*')
    return folder


def weights(folder, epoch):
    return torch.load(folder / 'model' / f'epoch{epoch}.pth.tar', weights_only=True, map_location='cpu')['state_dict']


def last_loss(folder):
    return [record['loss'] for record in read_records(folder / 'log.jsonl') if record['kind'] == 'train'][-1]


def compare(root, args, amp):
    """{'weights': …, 'loss': …}: largest relative differences of the resumed run."""
    whole = train(root, f'whole_{amp}', args, amp, '--epochs', '2')
    train(root, f'parts_{amp}', args, amp, '--epochs', '1')
    parts = train(root, f'parts_{amp}', args, amp, '--epochs', '2', '--resume', 'auto')
    first, one, two = weights(whole, 1), weights(whole, 2), weights(parts, 2)
    apart = 0.
    for name, tensor in one.items():
        change = (tensor.double() - first[name].double()).abs().max().item()
        apart = max(apart, (tensor.double() - two[name].double()).abs().max().item() / max(change, 1e-12))
    losses = last_loss(whole), last_loss(parts)
    return {'weights': apart, 'loss': abs(losses[0] - losses[1]) / losses[0]}


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_step_flags(parser)
    parser.add_argument('--repeat', type=int, default=4, help='times each of 8 videos appears in an epoch (default 4)')
    parser.add_argument('--amp', nargs='+', default=None, help='precisions (default: off and bf16, on GPUs also fp16)')
    args = parse(parser, argv)
    args.amp = args.amp or ['off', 'bf16', *(['fp16'] if args.device == 'cuda' else [])]
    return args


def main(args):
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_lists(root / 'csv', make_videos(str(root / 'frames'), 8, n_frames=220), args.repeat)
        for amp in args.amp:
            results[amp] = compare(root, args, amp)
            print(f'{machine(args.device)}, {args.net}, {amp:4}: largest difference of a weight '
                  f'{results[amp]["weights"]:.2g}, of the loss {results[amp]["loss"]:.2g} (relative)', flush=True)
    write_json(args, results)


if __name__ == '__main__':
    main(parse_args())
