"""How far ahead a pretrained network predicts: top-1 by step, beyond the blocks it was trained to predict."""
import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils.packages

import numpy as np
import torch

from eval.extract.resources import resources_of
from eval.forecast.clip_pictures import write_picture
from eval.forecast.list_pictures import draw_horizon
from eval.forecast.predictions import in_batches
from eval.forecast.rollout import CANDIDATES, choose_steps, curves_of, evaluate_clips
from eval.forecast.setup import (
    add_prediction_arguments,
    check_prediction_arguments,
    middle_clips,
    next_command,
    prepare_predictions,
    read_videos,
    skipped_lines,
)
from eval.metrics.intervals import FEWEST_GROUPS
from eval.networks.seen import seen_text
from utils.cli import Parser, UserError, make_folder, positive_int
from utils.data.clip_starts import count_blocks
from utils.next_step import say_next
from utils.parallel.launch import launch
from utils.run.log import say
from utils.run.setup import check_memory, clip_settings, rate_setting
from utils.text import ENCODING, printable


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    add_prediction_arguments(parser)
    parser.add_argument('--out', required=True, metavar='FOLDER', help='folder for horizon.png and horizon.json')
    parser.add_argument('--steps', type=positive_int,
                        help='blocks to predict after the seen ones (default: twice --pred_step, or --pred_step for a '
                             'network pretrained with --prediction parallel; fewer if less than half of the videos '
                             'are long enough); shorter videos are left out')
    args = parser.parse_args(argv)
    check_prediction_arguments(parser, args)
    return args


def main(args):
    model, _, videos, failed, precision, checkpoint = prepare_predictions(args)
    seen = args.num_seq - args.pred_step
    parallel = isinstance(model.network_pred, torch.nn.ModuleList)
    if parallel and args.steps and args.steps > args.pred_step:
        raise UserError(f'{args.weights} predicts its {args.pred_step} blocks at once and cannot be rolled out to '
                        f'{args.steps}: give --steps {args.pred_step} or fewer')
    videos, steps, short = long_enough(videos, seen, args, most=args.pred_step if parallel else 2 * args.pred_step)
    longer = argparse.Namespace(**{**vars(args), 'num_seq': seen + steps})
    check_memory(longer, precision.device, training=False, views=1)
    folder = Path(args.out)
    make_folder(folder, '--out')

    # data: the clip in the middle of each video, as many seen blocks as in pretraining
    clip = clip_settings(args)._replace(num_seq=seen + steps)
    dataset = middle_clips(videos, clip)

    # predictions
    broken, random = [], torch.Generator().manual_seed(args.seed)
    clips = read_videos(dataset, resources_of(args, precision), 'clips', broken)
    batches, left_out = in_batches(clips, min(args.batch_size, len(videos)),
                                   lambda batch: evaluate_clips(model, batch, seen, steps, precision, random))
    skipped = skipped_lines(failed, broken, len(videos), left_out, args.batch_size)
    groups = videos.groups()
    index, found = curves_of(batches, groups)
    if len(index) < 2:
        raise UserError('a single video could be read: give two or more')

    summary = {'weights': args.weights, 'dataset': None if args.video else args.dataset, 'net': args.net,
               **clip._asdict(), **rate_setting(args),
               'pred_step': args.pred_step, 'seen': seen, 'steps': steps, 'clips': len(index),
               'groups': len({groups[row] for row in index}),
               'batch_size': len(batches[0][0]), 'by_candidates': found, 'videos': [videos.path(row) for row in index],
               'too_short': short, 'left_out': left_out, 'pretraining': seen_text(checkpoint, videos),
               'skipped': skipped}
    write_picture(folder / 'horizon.png', draw_horizon(summary, printable(Path(args.weights).name)))
    with open(folder / 'horizon.json', 'w', **ENCODING) as file:
        json.dump(summary, file, indent=1)
    print('\n'.join(lines_of(summary)))
    print(f'written to {folder}: horizon.png, horizon.json')
    say_next(next_command(args, 'eval/features.py', 'features.npz'))
    if args.video and skipped:  # of a list, single videos may be missing
        sys.exit(1)


def long_enough(videos, seen, args, most):
    """(the videos that have blocks for all steps, the steps, how many videos are too short). most: steps by default.
    UserError: fewer than two are long enough."""
    if len(videos) < 2:
        raise UserError('a single video: give two or more')
    blocks = np.array([count_blocks(int(count), 0, args.seq_len, args.ds) for count in videos.n_frames])
    steps = choose_steps(blocks, seen, most, args.steps)
    if not steps:
        possible = int(np.sort(blocks)[-2]) - seen
        remedy = (f'give --steps {possible} or fewer' if possible > 0 else
                  f'{seen} seen blocks and one to predict, of {args.seq_len} frames with --ds {args.ds}, '
                  f'are {(seen + 1) * args.seq_len * args.ds} frames; give longer videos')
        raise UserError(f'fewer than two of {len(videos)} videos are long enough for '
                        f'{f"--steps {args.steps}" if args.steps else "a prediction"}: {remedy}')
    fit = blocks >= seen + steps
    if short := int((~fit).sum()):
        say(f'{short} of {len(videos)} videos have fewer than the {seen} seen and {steps} predicted blocks and are '
            'left out')
    return videos.select(fit), steps, short


def lines_of(summary):
    """What is printed of the summary: a table for each kind of candidates, top-1 in % and its 95% interval."""
    lines = [f'{summary["clips"]} clips: {summary["seen"]} blocks seen, {summary["steps"]} predicted, of which '
             f'pretraining predicted {summary["pred_step"]}; top-1 in % '
             + (f'[95% interval over {summary["groups"]} groups]' if summary['groups'] >= FEWEST_GROUPS else
                f'{{of the worst to the best of {summary["groups"]} groups, too few for an interval}}')]
    for name, table in summary['by_candidates'].items():
        curves = table['curves']
        lines += ['', f'candidates: {table["candidates"]} locations of {CANDIDATES[name]}; '
                      f'chance {table["chance"]:.2%}',
                  'step' + ''.join(f'{curve:>22}' for curve in curves)]
        for k in range(summary['steps']):
            lines.append(f'{k + 1:4}' + ''.join(f'{cell_of(curve, k):>22}' for curve in curves.values()))
    return [*lines, '', *filter(None, [summary['pretraining']])]


def cell_of(curve, k):
    low, high = curve['interval'][k]
    if low is None:
        values = [values[k] for values in curve['top1_of_group'].values()]
        return f'{100 * curve["top1"][k]:.1f} {{{100 * min(values):.1f} to {100 * max(values):.1f}}}'
    return f'{100 * curve["top1"][k]:.1f} [{100 * low:.1f}, {100 * high:.1f}]'


if __name__ == '__main__':
    launch(main, parse_args())
