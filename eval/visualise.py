"""Pictures of what a pretrained network predicts, for single clips and across a list of videos."""
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from eval.breakdown import easiest_first, principal_colours, summarise
from eval.given import WHAT_VIDEOS, given_videos
from eval.heatmaps import MAX_ROWS, ClipView, draw_clip, film_places, moving_places, write_film, write_picture
from eval.outputs import ENCODING, printable
from eval.overview import draw_colours, draw_extremes, draw_overview
from eval.prediction import load_network, match_of, predict_clips
from eval.settings import SETTINGS, SPLITS, default_settings, resolve_settings, trained_settings
from eval.setup import add_feature_arguments
from eval.videos import broken_of_all, read_videos
from utils.checkpoint import read_checkpoint
from utils.cli import Parser, UserError, make_folder, positive_int
from utils.data.batches import make_loader
from utils.data.clips import VideoDataset, count_blocks
from utils.data.lists import csv_file, fits, list_folder
from utils.data.splits import read_split
from utils.parallel.launch import launch
from utils.parallel.signals import Stopped, StopSignals
from utils.run.contract import check_backbone, run_on_meta
from utils.run.log import progress_bar, say, warn
from utils.run.setup import clip_settings, put_on, start_evaluation, workers_of

EXTREMES = 4      # easiest and as many hardest clips
MAX_FILMED = 24   # places of a film: those that move most
MAX_COLOURED = 8  # clips with their features as colours


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument('video', nargs='*', metavar='VIDEO',
                        help=f'{WHAT_VIDEOS}, to draw as far as they fill batches; default: videos of --dataset')
    parser.add_argument('--weights', required=True, metavar='FILE',
                        help='checkpoint of pretraining; random: weights drawn from --seed')
    parser.add_argument('--out', required=True, metavar='FOLDER', help='folder for pictures, films and visualise.json')
    parser.add_argument('--split', default=1, type=int, choices=SPLITS,
                        help='split whose test list is read, or training list if there is no other (default 1)')
    parser.add_argument('--clips', default=256, type=positive_int,
                        help='videos of the list, drawn at random, of each of which the middle is judged (default 256)')
    parser.add_argument('--pictures', default=4, type=positive_int, help='of these, clips to draw (default 4)')
    parser.add_argument('--places', default=3, type=positive_int,
                        help='predicted places in the picture of a clip: those that move most (default 3, at most '
                             f'{MAX_ROWS})')
    parser.add_argument('--no_film', action='store_true', help='no .mp4 of each drawn clip')
    parser.add_argument('--pred_step', type=positive_int,
                        help='P, blocks predicted in pretraining (default: as stored in the checkpoint, or 3)')
    add_feature_arguments(parser)
    parser.set_defaults(dataset=None)
    args = parser.parse_args(argv)
    if args.video and args.dataset:
        parser.error(f'--dataset {args.dataset} and frames of videos were given: choose one')
    if args.places > MAX_ROWS:
        parser.error(f'--places {args.places}: a picture shows at most {MAX_ROWS}; the film shows more')
    if args.num_procs > 1 or ',' in (args.gpu or ''):
        parser.error('the candidates of a prediction are those of one process: give one GPU, or leave out --num_procs')
    args.dataset = args.dataset or 'ucf101'
    return args


def main(args):
    checkpoint = {} if args.weights == 'random' else read_checkpoint(args.weights)
    resolve_settings(args, trained_settings(checkpoint, (*SETTINGS, 'pred_step')),
                     {**default_settings('' if args.video else args.dataset), 'pred_step': 3}, args.weights)
    if args.pred_step >= args.num_seq:
        raise UserError(f'--pred_step {args.pred_step} leaves none of the --num_seq {args.num_seq} blocks to be seen')
    precision = start_evaluation(args)
    videos, _, failed = given_videos(args.video) if args.video else (listed_videos(args), None, [])
    for name, error in failed:
        warn(f'skipped {name}: {error}')
    if failed and not len(videos):
        raise UserError(f'none of the {len(failed)} videos can be read')
    span = args.num_seq * args.seq_len * args.ds
    if short := int((~fits(videos, span)).sum()):
        say(f'{short} of {len(videos)} videos are shorter than a clip of {span} frames and repeat their last frame')

    # model
    model = load_network(args.weights, checkpoint, args.net, args.pred_step)
    check_backbone(model.backbone, args.net, args.img_dim, args.seq_len)
    size = map_size(model, args.seq_len, args.img_dim)
    put_on(model, precision.device)

    folder = Path(args.out)
    make_folder(folder, '--out')

    # data: the clip in the middle of each video
    clip = clip_settings(args)
    dataset = VideoDataset(videos, **clip, starts_of=lambda n_frames: np.array(
        [(count_blocks(n_frames, args.num_seq, args.seq_len, args.ds) - args.num_seq) // 2]))
    loader = make_loader(dataset, workers_of(args), args.timeout, batch_size=None, sampler=range(len(dataset)))

    # predictions
    broken, keep = [], len(videos) if args.video else args.pictures
    batches, left_out = predict_clips(model, read_videos(loader, 'clips', broken), args.num_seq, size, precision,
                                      min(args.batch_size, len(videos)), keep)
    skipped = [f'{name}: {error}' for name, error in failed] + [error for _, error in broken_of_all(broken, len(videos))]
    if left_out:
        say(f'{left_out} clips that do not fill a batch of {args.batch_size} are left out: see --batch_size')
    summary = {'weights': args.weights, 'dataset': None if args.video else args.dataset, 'net': args.net, **clip,
               'pred_step': args.pred_step, 'batch_size': len(batches[0].index), **summarise(batches, size),
               'top1_of_clip': [[videos.path(row), top1] for row, top1, _ in easiest_first(batches)],
               'left_out': left_out, 'skipped': skipped}

    drawn = draw_pictures(folder, batches, keep, dataset, size, summary, args)
    summary['drawn'] = {f'clip{number}': videos.path(row) for number, row in enumerate(drawn, 1)}
    with open(folder / 'visualise.json', 'w', **ENCODING) as file:
        json.dump(summary, file, indent=1)
    print('\n'.join(lines_of(summary)))
    print(f'written to {folder}: overview.png, extremes.png, colours.png, visualise.json and, for {len(drawn)} of the '
          'clips, clip1.png …' + ('' if args.no_film else ', clip1.mp4 …'))
    if args.video and skipped:  # of a list, single videos may be missing
        sys.exit(1)


def draw_pictures(folder, batches, count, dataset, size, summary, args):
    """All files but visualise.json; returns the rows of the drawn clips, `count` or fewer, in the list of videos."""
    write_picture(folder / 'overview.png', draw_overview(summary, printable(Path(args.weights).name)))
    draw_ranked(folder / 'extremes.png', easiest_first(batches), dataset, summary)
    kept = [batch for batch in batches if batch.feature is not None]
    drawn = [(batch, i) for batch in kept for i in range(len(batch.index))][:count]
    draw_colour_maps(folder / 'colours.png', kept, min(len(drawn), MAX_COLOURED), dataset, size)
    signals = StopSignals()
    for number, (batch, i) in enumerate(progress_bar(drawn, 'pictures'), 1):
        if signals.received:
            raise Stopped(signals.received, f'stopped after drawing {number - 1} of {len(drawn)} clips')
        view = view_of(batch, i, dataset, size)
        write_picture(folder / f'clip{number}.png', draw_clip(view, moving_places(batch.motion[i], args.places)))
        if not args.no_film:
            write_film(folder / f'clip{number}.mp4', view, film_places(batch.motion[i], MAX_FILMED))
    return [batch.index[i] for batch, i in drawn]


def listed_videos(args):
    """`--clips` of the listed videos, drawn at random from the seed."""
    folder = list_folder(args.csv_root, args.dataset, args.img_dim)
    part = 'test' if os.path.exists(csv_file(folder, args.split, 'test')) else 'train'
    videos = read_split(folder, args.split, part, args.frame_root)
    return videos.select(np.random.default_rng(args.seed).permutation(len(videos))[:args.clips])


def map_size(model, seq_len, img_dim):
    """(h, w) of the feature map, (1, 1) where it is pooled."""
    return (1, 1) if model.pooled else tuple(run_on_meta(model.backbone, (1, 3, seq_len, img_dim, img_dim)).shape[-2:])


def middle_frames(dataset, index):
    """uint8 [N, H, W, 3]: the middle frame of each block of a video's clip. UserError: it can't be read any more."""
    video = dataset[index]
    if 'broken' in video:
        raise UserError(video['broken'])
    return video['frames'][0].unflatten(0, (dataset.num_seq, -1))[:, dataset.seq_len // 2].numpy()


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
    rank, taken = batch.answers.rank[i], batch.answers.taken[i]
    match = match_of(batch.prediction[i], batch.feature[i, -len(rank):])
    others = {clip: middle_frames(dataset, batch.index[clip]) for clip in {*taken[..., 0].ravel().tolist()} - {i}}
    return ClipView(name_of(dataset.videos, batch.index[i]), middle_frames(dataset, batch.index[i]), size, rank, taken,
                    match, i, others, batch.answers.rank.size, len(batch.index))


def draw_colour_maps(path, batches, count, dataset, size):
    """The first `count` clips of some batches, with their features as colours."""
    feature = torch.cat([batch.feature for batch in batches])           # [V, N, S, D]
    colours, first = principal_colours(feature), 0
    taken = []
    for batch in batches:
        clip, step, place = np.moveaxis(batch.answers.taken, -1, 0)     # each [B, P, S]
        taken.append(colours[first + clip, step - step.shape[1], place])  # blocks counted from the end
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
    return [f'{summary["clips"]} clips, {summary["predictions"]} predicted places, {summary["candidates"]} candidates '
            f'each (chance {summary["chance"]:.2%}): top-1 {summary["top1"]:.1%}, top-5 {summary["top5"]:.1%}',
            f'top-1 by predicted block, the next first: {steps}', f'top-1 by motion, slow to fast: {speeds}',
            f'taken for: {kinds}']


if __name__ == '__main__':
    launch(main, parse_args())
