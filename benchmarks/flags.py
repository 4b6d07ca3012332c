"""Flags shared by the benchmarks, and the file for their figures."""
import argparse
import json
import os

import torch

from backbone import NETWORKS
from utils.cli import Parser, positive_int


def make_parser(description):
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu', help='where to run (default cpu)')
    parser.add_argument('--json', default=None, help='file to write the figures to (default: none)')
    return parser


def add_step_flags(parser, img_dim=128, batch_size=None):
    """Flags for what is trained. batch_size None: 4 on the CPU, 128 on a GPU."""
    parser.add_argument('--net', choices=NETWORKS, default='resnet18', help='backbone (default resnet18)')
    parser.add_argument('--img_dim', type=positive_int, default=img_dim,
                        help='px, side of the frames (default %(default)s)')
    parser.add_argument('--batch_size', type=positive_int, default=batch_size,
                        help=f'clips (default {batch_size or "4 on the CPU, 128 on a GPU"})')


def parse(parser, argv):
    args = parser.parse_args(argv)
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: this machine has no CUDA device')
    if vars(args).get('batch_size', 0) is None:
        args.batch_size = {'cpu': 4, 'cuda': 128}[args.device]
    return args


def machine(device):
    """Name of the GPU, or the number of CPU threads that torch uses."""
    if device == 'cuda':
        return torch.cuda.get_device_name()
    return f'CPU, {torch.get_num_threads()} threads'


def write_json(args, results):
    """Writes the figures, the machine and the arguments to `--json` if given."""
    if args.json:
        made_by = {'machine': machine(args.device), 'cores': os.cpu_count(), 'torch': torch.__version__}
        with open(args.json, 'w') as file:
            json.dump({**made_by, 'arguments': vars(args), **results}, file, indent=1)
