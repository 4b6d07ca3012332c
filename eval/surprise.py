"""How surprising videos are over time: −log2 of the probability that a pretrained network gives the true next block."""
import contextlib
import dataclasses
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils.packages

import numpy as np

from eval.extract.answers import Answers
from eval.extract.inputs import WHAT_VIDEOS, given_videos, names_given, stems_of
from eval.extract.over_time import times_of
from eval.extract.resources import resources_of
from eval.extract.setup import add_feature_arguments
from eval.extract.written import check_out, refuse_others, replacing
from eval.forecast.bank import make_bank, read_bank, refuse_other, write_bank
from eval.forecast.clip_pictures import write_picture
from eval.forecast.course import Course, block_times, is_course, write_course
from eval.forecast.next_block import CANDIDATES, surprise_along
from eval.forecast.pairs import compare_pairs, lines_of_pairs, read_pairs
from eval.forecast.setup import complete_statistics, place_predictor, read_predictor, training_videos
from eval.forecast.surprise_pictures import Source, draw_course, write_surprise_film
from eval.forecast.video_maps import encoder_of, maps_of_videos
from eval.networks.seen import seen_text
from utils.checkpoint import tensors_hash
from utils.cli import Parser, make_folder, positive, positive_int
from utils.data.splits import at_frame_rate
from utils.next_step import command, say_next
from utils.parallel.launch import launch
from utils.run.log import warn
from utils.run.setup import clip_settings, rate_setting, start_evaluation
from utils.text import ENCODING, counted
from utils.video.frames import FrameError


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument('video', nargs='*', metavar='VIDEO', help=WHAT_VIDEOS)
    parser.add_argument('--weights', required=True, metavar='FILE',
                        help='checkpoint of pretraining; random: weights drawn from --seed, with --dataset')
    parser.add_argument('--out', required=True, metavar='FOLDER',
                        help='folder for {video}.csv and surprise.json, not one that holds the videos')
    parser.add_argument('--bank', metavar='DATASET',
                        help=f'compare with {CANDIDATES} blocks drawn from the training videos of this data set, or '
                             'with the bank.npz that was made of them: bits of different videos are then comparable '
                             '(default: with other blocks of the same video; comparable within it only)')
    parser.add_argument('--pairs', metavar='FILE',
                        help='csv with rows path_a,path_b[,group], an ordinary video and an odd one, such as a '
                             'spliced one: also how often the odd one surprises more; needs --bank. Paths '
                             'that are not there are taken relative to the folder of this csv')
    parser.add_argument('--picture', action='store_true',
                        help='also {video}.png: the curve under the frames, and the moments of most surprise')
    parser.add_argument('--film', action='store_true', help='also {video}.mp4: the surprise of each location as heat')
    parser.add_argument('--json', action='store_true',
                        help='print an object a line: {"video", "bits", "copy_bits", "top", …}, {"video", "error"}, '
                             'and with --pairs {"pairs", …} at the end')
    parser.add_argument('--pred_step', type=positive_int,
                        help='P, blocks predicted in pretraining; the other N − P are seen before each prediction '
                             '(default: as stored in the checkpoint, or 3)')
    parser.add_argument('--frame_rate', type=positive, metavar='F',
                        help='frames a second of extracted frames, and of files without usable time stamps; usable '
                             'ones are always kept')
    add_feature_arguments(parser)
    parser.set_defaults(dataset=None)
    args = parser.parse_args(argv)
    if args.num_procs > 1 or ',' in (args.gpu or ''):
        parser.error('videos are read in one process: give one GPU, or leave out --num_procs')
    if not args.video and not args.pairs:
        parser.error('give videos, or --pairs')
    if args.pairs and not args.bank:
        parser.error('--pairs compares videos, which takes common candidates: give --bank')
    if args.bank and not os.path.isfile(args.bank):
        if args.dataset:
            parser.error(f'--bank {args.bank} is a data set, whose videos also serve as --dataset: leave that out')
        args.dataset = args.bank    # whose training videos are needed
    return args


def main(args):
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr if args.json else out):       # there, only answers are printed
        pairs = read_pairs(args.pairs) if args.pairs else []
        given = names_given(args.video)
        given += dict.fromkeys(path for pair in pairs for path in (pair.ordinary, pair.odd) if path not in given)
        check_files(Path(args.out), given, args)
        checkpoint = read_predictor(args, args.dataset or '')
        precision = start_evaluation(args)
        made_with = what_maps_depend_on(args, checkpoint, precision)
        bank = read_bank(args.bank, made_with) if args.bank and os.path.isfile(args.bank) else None
        model, size = place_predictor(args, checkpoint, precision)
        resources = resources_of(args, precision)
        training = training_videos(args, checkpoint) if args.dataset else None
        completed = complete_statistics(args, model, checkpoint, training, resources)
        made_with['bn_statistics'] = f'of {args.dataset}, seed {args.seed}' if completed else 'of the weights'
        folder, answers = Path(args.out), Answers(out, args.json)
        make_folder(folder, '--out')

        # data
        context = args.num_seq - args.pred_step  # M, blocks seen before each prediction
        blocks = dataclasses.replace(resources, clips_at_once=resources.clips_at_once * args.num_seq)
        encode, clip = encoder_of(model), clip_settings(args)._replace(num_seq=1)
        if bank:
            refuse_other(args.bank, bank, made_with)
        elif args.bank:
            bank = new_bank(args, made_with, encode, training, blocks)
        videos, names, failed = given_videos(given)
        for name, error in failed:
            answers.fail(name, error)
        videos, names, times = usable_videos(at_frame_rate(videos, args.fps), names, context, args, answers)
        say_notes(bank, videos, size, args)
        if pretraining := seen_text(checkpoint, videos):
            print(pretraining)

        # surprise
        stems, measures, broken = stems_of(videos.paths()), {}, []
        for index, feature, difference in maps_of_videos(encode, videos, clip, blocks, broken):
            bits, copy_bits, seen, candidates = surprise_along(model, feature, context, bank and bank.feature)
            start, end = block_times(times[index], len(feature), args.seq_len, args.ds)
            course = Course(names[index], start[1:], end[1:], bits, copy_bits, difference[1:], seen, candidates, size,
                            context)
            source = Source(videos.path(index), videos.fps, args.seq_len, args.ds, times[index])
            try:
                write_files(folder / stems[index], course, source, args)
            except FrameError as error:
                answers.fail(names[index], str(error))
                continue
            measures[names[index]] = course.measures()
            summary = {**course.summary(), 'csv': f'{folder / stems[index]}.csv'}
            answers.give(summary, text_of(summary))
        for index, error in broken:
            answers.fail(names[index], error)

        found = None
        if pairs:
            errors = {each['video']: each['error'] for each in answers.failed}
            found = compare_pairs(pairs, measures, errors, answers.fail)
        summary = {'weights': args.weights, 'weights_hash': made_with['weights'], 'net': args.net,
                   **clip_settings(args)._asdict(), **rate_setting(args), 'pred_step': args.pred_step,
                   'hash': bank and bank.hash_with(context),
                   'bank': bank and {'hash': bank.hash, 'blocks': len(bank.feature), **bank.made_with},
                   'pretraining': pretraining, 'videos': answers.given, 'failed': answers.failed, 'pairs': found}
        with open(folder / 'surprise.json', 'w', **ENCODING) as file:
            json.dump(summary, file, indent=1)
        if found:
            answers.say(found, '\n'.join(lines_of_pairs(found)))
        if answers.given and not args.json:
            say_end(summary, folder, answers.given, args)
    if answers.failed:
        sys.exit(1)


def check_files(folder, given, args):
    """UserError: a file that is to be written is one of the given videos, or is there and of others."""
    files = {stem: [file for file, wanted in zip(files_of(folder / stem), (True, args.picture, args.film)) if wanted]
             for stem in stems_of([name.removesuffix('.zip') for name in given])}
    check_out(folder, given, sum(files.values(), []))
    refuse_others(file for stem, own in files.items() if not is_course(folder / f'{stem}.csv') for file in own)


def files_of(path):
    """(csv, picture, film)"""
    return tuple(path.with_name(f'{path.name}.{ending}') for ending in ('csv', 'png', 'mp4'))


def what_maps_depend_on(args, checkpoint, precision):
    """Plain values."""
    return {'weights': tensors_hash(checkpoint)[:12] if checkpoint else f'random {args.seed}',
            'net': args.net, **clip_settings(args)._replace(num_seq=1)._asdict(), **rate_setting(args),
            'amp': precision.name}


def new_bank(args, made_with, encode, training, resources):
    """The Bank of blocks of the `training` videos, written to --out. made_with: what the maps depend on."""
    clip = clip_settings(args)._replace(num_seq=1)
    bank = make_bank(encode, training, clip, resources, {**made_with, 'dataset': args.dataset, 'seed': args.seed})
    path = Path(args.out, 'bank.npz')
    write_bank(path, bank)
    fewer = f' (of {CANDIDATES:,}: there are no more that can be read)' if len(bank.feature) < CANDIDATES else ''
    print(f'bank {bank.hash}: {len(bank.feature):,} blocks{fewer} of training videos of {args.dataset}; for other '
          f'videos: --bank {path}')
    return bank


def usable_videos(videos, names, context, args, answers):
    """(VideoList, names, [times of the frames, s]) of the videos that are long enough and have times; says what is
    wrong with the others."""
    seen = counted(context, 'seen block')
    needed, what = context + 1, f'{seen} and the next'
    if not args.bank:
        needed, what = context + 2, f'{seen}, the next, and another to compare it with'
    blocks = -(-videos.n_frames // args.ds) // args.seq_len
    for row in np.flatnonzero(blocks < needed):
        answers.fail(names[row], f'too short: {what} are {(needed * args.seq_len - 1) * args.ds + 1} frames with '
                                 f'--ds {args.ds}, and it has {videos.n_frames[row]}'
                                 + ('' if args.bank else '; with --bank a block less is enough'))
    long = np.flatnonzero(blocks >= needed)
    times, failed = times_of(videos.select(long), args.frame_rate)
    for row, error in failed.items():
        answers.fail(names[long[row]], error)
    usable = long[[*times]]
    return videos.select(usable), [names[row] for row in usable], [*times.values()]


def write_files(path, course, source, args):
    """{path}.csv, which vouches for the others, and the picture and film that the flags ask for. FrameError: a frame
    can't be read any more."""
    csv, picture, film = files_of(path)
    with replacing(csv) as file:
        write_course(file, course)
    if args.picture:
        with replacing(picture) as file:
            write_picture(file, draw_course(course, source))
    if args.film:
        with replacing(film) as file:
            write_surprise_film(file, course, source)


def text_of(summary):
    """In words, of a Course."""
    top = ', '.join(f'{each["bits"]:.1f} bits at {each["seconds"]:.2f} s' for each in summary['top'])
    return (f'{summary["video"]}: {summary["blocks"]} blocks, {summary["bits"]:.2f} bits on average (as the last seen '
            f'block {summary["copy_bits"]:.2f}); most: {top}')


def say_notes(bank, videos, size, args):
    """What to know of the bits and the heat of a VideoList before they are seen."""
    own = set(map(os.path.realpath, videos.paths())) & set(map(os.path.realpath, bank.paths if bank else ()))
    if own:
        warn(f'of the {counted(len(videos), "video")} the bank has blocks of {len(own)}: a block that is its own '
             'candidate has a bit at least')
    if size == (1, 1) and (args.picture or args.film):
        print('the feature map has a single location (1×1): no heat is drawn')


def say_end(summary, folder, given, args):
    """What holds for all videos, and the next command. summary: of surprise.json. given: summaries of the videos."""
    compared = (f'the blocks of bank {summary["bank"]["hash"]}: comparable where the hash {summary["hash"]} is equal'
                if summary['bank'] else
                'other blocks of the same video: comparable within a video only (--bank makes videos comparable)')
    files = files_of(Path(given[0]['csv'].removesuffix('.csv')))
    names = ', '.join(file.name for file, made in zip(files, (True, args.picture, args.film)) if made)
    others = f'; the same of {len(given) - 1} more' if len(given) > 1 else ''
    print(f'bits compare each block with {compared}\nwritten to {folder}: surprise.json, {names}{others}')
    say_next(command('eval/report.py', folder, out='report.html'))


if __name__ == '__main__':
    launch(main, parse_args())
