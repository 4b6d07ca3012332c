"""Pictures of what a pretrained network predicts, for single clips and across a list of videos."""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils.packages

import numpy as np
import torch

from eval.extract.resources import resources_of
from eval.forecast.breakdown import easiest_first, principal_colours, summarise
from eval.forecast.clip_pictures import (
    MAX_ROWS,
    ClipView,
    draw_clip,
    film_locations,
    moving_locations,
    write_film,
    write_picture,
)
from eval.forecast.list_pictures import draw_colours, draw_extremes, draw_overview
from eval.forecast.predictions import match_of, predict_clips
from eval.forecast.setup import (
    add_prediction_arguments,
    check_prediction_arguments,
    middle_clips,
    next_command,
    prepare_predictions,
    read_videos,
    skipped_lines,
)
from eval.networks.seen import seen_text
from utils.cli import Parser, UserError, make_folder, positive_int
from utils.data.splits import fits
from utils.next_step import command, say_next
from utils.parallel.launch import launch
from utils.parallel.signals import Stopped, StopSignals
from utils.run.log import progress_bar, say
from utils.run.setup import clip_settings, rate_setting
from utils.text import ENCODING, printable

EXTREMES = 4      # easiest and as many hardest clips
MAX_FILMED = 24   # locations of a film: those that move most
MAX_COLOURED = 8  # clips with their features as colours


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    add_prediction_arguments(parser)
    parser.add_argument('--out', required=True, metavar='FOLDER', help='folder for pictures, films and visualise.json')
    parser.add_argument('--pictures', default=4, type=positive_int, help='of these, clips to draw (default 4)')
    parser.add_argument('--locations', default=3, type=positive_int,
                        help='predicted locations in the picture of a clip: those that move most (default 3, at most '
                             f'{MAX_ROWS})')
    parser.add_argument('--no_film', action='store_true', help='no .mp4 of each drawn clip')
    args = parser.parse_args(argv)
    check_prediction_arguments(parser, args)
    if args.locations > MAX_ROWS:
        parser.error(f'--locations {args.locations}: a picture shows at most {MAX_ROWS}; the film shows more')
    return args


def main(args):
    model, size, videos, failed, precision, checkpoint = prepare_predictions(args)
    span = args.num_seq * args.seq_len * args.ds
    if short := int((~fits(videos, span)).sum()):
        say(f'{short} of {len(videos)} videos are shorter than a clip of {span} frames and repeat their last frame')
    folder = Path(args.out)
    make_folder(folder, '--out')
    clip = clip_settings(args)
    dataset = middle_clips(videos, clip)

    # predictions
    broken, keep = [], args.pictures
    clips = read_videos(dataset, resources_of(args, precision), 'clips', broken)
    batches, left_out = predict_clips(model, clips, args.num_seq, size, precision,
                                      min(args.batch_size, len(videos)), keep)
    skipped = skipped_lines(failed, broken, len(videos), left_out, args.batch_size)
    summary = {'weights': args.weights, 'dataset': None if args.video else args.dataset, 'net': args.net,
               **clip._asdict(), **rate_setting(args),
               'pred_step': args.pred_step, 'batch_size': len(batches[0].index),
               **summarise(batches, size, videos.groups()),
               'top1_of_clip': [[videos.path(row), top1] for row, top1, _ in easiest_first(batches)],
               'left_out': left_out, 'pretraining': seen_text(checkpoint, videos), 'skipped': skipped}

    drawn = draw_pictures(folder, batches, keep, dataset, size, summary, args)
    summary['drawn'] = {f'clip{number}': videos.path(row) for number, row in enumerate(drawn, 1)}
    with open(folder / 'visualise.json', 'w', **ENCODING) as file:
        json.dump(summary, file, indent=1)
    print('\n'.join(lines_of(summary)))
    print(f'written to {folder}: overview.png, extremes.png, colours.png, visualise.json and, for {len(drawn)} of the '
          'clips, clip1.png …' + ('' if args.no_film else ', clip1.mp4 …'))
    say_next(next_command(args, 'eval/horizon.py', 'horizon'), command('eval/report.py', folder, out='report.html'))
    if args.video and skipped:  # of a list, single videos may be missing
        sys.exit(1)


def draw_pictures(folder, batches, count, dataset, size, summary, args):
    """All files but visualise.json; returns the rows of the drawn clips, `count` or fewer, in the list of videos."""
    write_picture(folder / 'overview.png', draw_overview(summary, printable(Path(args.weights).name)))
    draw_ranked(folder / 'extremes.png', easiest_first(batches), dataset, summary)
    kept = [batch for batch in batches if batch.feature is not None]
    drawn = [(batch, i) for batch in kept for i in range(len(batch.index))][:count]
    draw_colour_maps(folder / 'colours.png', kept, min(len(drawn), MAX_COLOURED), dataset, size)
    with StopSignals() as signals:
        for number, (batch, i) in enumerate(progress_bar(drawn, 'pictures'), 1):
            if signals.received:
                raise Stopped(signals.received, f'stopped after drawing {number - 1} of {len(drawn)} clips')
            view = view_of(batch, i, dataset, size)
            write_picture(folder / f'clip{number}.png',
                          draw_clip(view, moving_locations(batch.motion[i], args.locations)))
            if not args.no_film:
                write_film(folder / f'clip{number}.mp4', view, film_locations(batch.motion[i], MAX_FILMED))
    return [batch.index[i] for batch, i in drawn]


def middle_frames(dataset, index):
    """uint8 [N, H, W, 3]: the middle frame of each block of a video's clip. UserError: it can't be read any more."""
    video = dataset[dataset.pieces(index)[0]]
    if 'broken' in video:
        raise UserError(video['broken'])
    return video['blocks'][0, :, dataset.seq_len // 2].numpy()


def draw_ranked(path, ranked, dataset, summary):
    """The frames of the first and last of the clips `ranked`, given as by `easiest_first`."""
    count = min(EXTREMES, (len(ranked) + 1) // 2)
    rows = []
    for kind, clips in (('easy', ranked[:count]), ('hard', ranked[max(count, len(ranked) - EXTREMES):])):
        for row, top1, rank in clips:
            line = f'{kind}: {top1:.0%} right, mean rank {rank:.1f} of {summary["candidates"]}: '
            rows.append((line + name_of(dataset.videos, row), middle_frames(dataset, row)))
    write_picture(path, draw_extremes(rows, summary['pred_step']))


def view_of(batch, i, dataset, size):
    """The ClipView of clip i of a Batch."""
    rank, taken = batch.rank[i], batch.taken[i]
    match = match_of(batch.prediction[i], batch.feature[i, -len(rank):])
    others = {clip: middle_frames(dataset, batch.index[clip]) for clip in {*taken[..., 0].ravel().tolist()} - {i}}
    return ClipView(name_of(dataset.videos, batch.index[i]), middle_frames(dataset, batch.index[i]), size, rank, taken,
                    match, i, others, batch.rank.size, len(batch.index))


def draw_colour_maps(path, batches, count, dataset, size):
    """The first `count` clips of some batches, with their features as colours."""
    feature = torch.cat([batch.feature for batch in batches])           # [V, N, S, D]
    colours, first = principal_colours(feature), 0
    taken = []
    for batch in batches:
        clip, step, location = np.moveaxis(batch.taken, -1, 0)          # each [B, P, S]
        taken.append(colours[first + clip, step - step.shape[1], location])  # blocks counted from the end
        first += len(clip)
    rows = sum((batch.index for batch in batches), [])[:count]
    write_picture(path, draw_colours([name_of(dataset.videos, row) for row in rows],
                                     [middle_frames(dataset, row) for row in rows], colours[:count],
                                     np.concatenate(taken)[:count], size))


def name_of(videos, index):
    """The last two parts of a video's path."""
    return printable('/'.join(videos.path(index).split('/')[-2:]))


def lines_of(summary):
    """What is printed of the summary."""
    steps = ', '.join(f'{value:.1%}' for value in summary['top1_by_step'])
    speeds = ', '.join(f'{each["top1"]:.1%}' for each in summary['top1_by_motion'])
    kinds = ', '.join(f'{value:.1%} {name}' for name, value in summary['taken_for'].items())
    return [f'{summary["clips"]} clips, {summary["predictions"]} predicted locations, {summary["candidates"]} '
            f'candidates each (chance {summary["chance"]:.2%}): top-1 {summary["top1"]:.1%}, '
            f'top-5 {summary["top5"]:.1%}',
            f'top-1 by predicted block, the next first: {steps}', f'top-1 by motion, slow to fast: {speeds}',
            f'taken for: {kinds}', *filter(None, [summary['pretraining']])]


if __name__ == '__main__':
    launch(main, parse_args())
