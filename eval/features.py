"""Stores the features of every video of a data set: the aggregator's context and the backbone's blocks. With --every, a
row for each window along every video instead, as detectors of actions take them."""
import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils.packages

from eval.classify.outputs import skipped_text
from eval.extract.answers import Answers
from eval.extract.inputs import WHAT_VIDEOS
from eval.extract.over_time import POOLS, write_over_time
from eval.extract.setup import add_feature_arguments, features_of, prepare
from eval.networks.load import is_classifier
from eval.networks.seen import labels_text, seen_text
from eval.networks.settings import SPLITS
from eval.networks.weights import WHAT_THIRD_PARTY, net_of
from utils.cli import Parser, make_folder, positive, positive_int_or_all
from utils.next_step import command, data_flags, say_next
from utils.parallel import distributed
from utils.parallel.launch import launch
from utils.run.log import warn
from utils.text import counted


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument('video', nargs='*', metavar='VIDEO', help=f'{WHAT_VIDEOS}; default: the lists of --dataset')
    parser.add_argument('--weights', required=True, metavar='FILE',
                        help='checkpoint or model folder, of pretraining or of a classifier; random: weights drawn '
                             'from --seed; '
                             + WHAT_THIRD_PARTY)
    parser.add_argument('--out', required=True, metavar='FILE',
                        help='.npz to write, or with --every a folder for {video}.npy and {video}.json, not one that '
                             'holds the videos; if it has just these features already, nothing is done')
    parser.add_argument('--split', type=positive_int_or_all, choices=[*SPLITS, 'all'],
                        help='training and test list to read; all: every video of the three splits (default: that of '
                             '--weights if they are of this data set, else 1)')
    parser.add_argument('--per_clip', action='store_true', help='also store the vectors of every clip')
    over_time = parser.add_argument_group('features over time')
    over_time.add_argument('--every', type=positive, metavar='SECONDS',
                           help='seconds from the start of one window, a clip, to that of the next. Multiples of the '
                                'length of a block (0.6 for --ds 3 at 25 frames a second) are fastest: windows then '
                                'share blocks, and each is encoded once')
    over_time.add_argument('--feature', choices=['context', 'block'],
                           help='context: the aggregator\'s state; block: the backbone\'s features (default context)')
    over_time.add_argument('--pool', choices=POOLS,
                           help='mean: over locations, rows [T, D]; none: keep them, [T, S, D] (default mean)')
    over_time.add_argument('--frame_rate', type=positive, metavar='F',
                           help='frames a second of extracted frames, and of files without usable time stamps; usable '
                                'ones are always kept')
    over_time.add_argument('--json', action='store_true',
                           help='print an object a line: {"video", "rows", …} or {"video", "error"}')
    add_feature_arguments(parser)
    args = parser.parse_args(argv)
    if args.every:
        args.feature, args.pool = args.feature or 'context', args.pool or 'mean'
        if args.per_clip or args.out.endswith('.npz'):
            parser.error(f'--every writes a file for each video: {"leave out --per_clip" if args.per_clip else ""}'
                         f'{"" if args.per_clip else f"give a folder instead of --out {args.out}"}')
        return args
    for flag in ('feature', 'pool', 'frame_rate', 'json'):
        if getattr(args, flag):
            parser.error(f'--{flag} is for features over time: give --every SECONDS, too')
    if not args.out.endswith('.npz') or Path(args.out).is_dir():
        parser.error(f'--out {args.out}: give the name of an .npz file')
    return args


def main(args):
    if args.every:
        features_over_time(args)
    else:
        features_of_videos(args)


def features_over_time(args):
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr if args.json else out):  # there, only answers are printed
        checkpoints, listed, _, precision = prepare(args, args.video)
        make_folder(args.out, '--out')
        seen = seen_of(args, checkpoints[args.weights], listed)
        found, failed = write_over_time(args, checkpoints[args.weights], listed, precision, seen)
        if distributed.is_main():
            answers = Answers(out, args.json)
            for about in found if args.json else ():
                answers.give(about, '')
            failures = [*listed.unusable, *failed]
            for path, error in failures if args.json else ():  # in words each was a warning
                answers.fail(path, error)
            print(f'{args.out}: {args.feature} of {counted(sum(about["rows"] for about in found), "window")} of '
                  f'{counted(len(found), "video")}, one every {args.every:g} s'
                  + (f'; {counted(len(failures), "video")} skipped' if failures else ''))
            if seen:
                warn(f'{args.weights}: {seen}')
            say_next(*next_commands(args, checkpoints[args.weights], listed))
    if args.video and distributed.from_main(bool(failed or listed.unusable)):
        sys.exit(1)


def features_of_videos(args):
    checkpoints, listed, _, precision = prepare(args, args.video)
    features = features_of(args, args.weights, args.seed, checkpoints[args.weights], listed, precision, args.out,
                           args.per_clip)
    skipped, checkpoint = None, checkpoints[args.weights]
    if distributed.is_main():
        count, size = features.context.shape
        print(f'{args.out}: context and block, {size} numbers for each of {count} videos')
        if seen := seen_of(args, checkpoint, listed):
            warn(f'{args.weights}: {seen}')
        skipped = features.skipped
        if skipped:
            print(skipped_text(skipped))
        say_next(*next_commands(args, checkpoint, listed))
    if args.video and distributed.from_main(skipped):  # of a list, single videos may be missing
        sys.exit(1)


def seen_of(args, checkpoint, listed):
    """A sentence on the given videos, or on the test videos of a list, that the network has seen; None if none is known
    of."""
    videos, what = ((listed.videos, 'videos') if args.video else
                    (listed.videos.select(listed.rows_of('test')), 'test videos'))
    return '; '.join(filter(None, [labels_text(checkpoint, videos, what), seen_text(checkpoint, videos, what)])) or None


def next_commands(args, checkpoint, listed):
    """What fits the weights and the videos; nothing for those of others."""
    data = {**data_flags(args), 'dataset': None if args.video else args.dataset}
    if (listed.label != -1).any():
        return [command('eval/frozen.py', **data, weights=args.weights, out=f'frozen_{Path(args.dataset).name}')]
    if is_classifier(checkpoint):
        return [command('eval/predict.py', *args.video or listed.videos.paths()[:1], weights=args.weights)]
    if checkpoint and net_of(args.weights, None) is None:
        return [command('eval/visualise.py', *args.video, **data, weights=args.weights, out='pictures')]
    return []


if __name__ == '__main__':
    launch(main, parse_args())
