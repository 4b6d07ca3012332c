"""Writes the csv lists and the class list for training, from frame folders or video files and the split files of a data
set.

    python process_data/write_csv.py --dataset ucf101 --frame_root frames/ucf101 --split_root ucfTrainTestlist
    python process_data/write_csv.py --dataset ucf101 --videos UCF-101 --split_root ucfTrainTestlist
    python process_data/write_csv.py --dataset ssv2 --videos ssv2 --annotations train.json validation.json \
        --labels labels.json
    python process_data/write_csv.py --dataset csv --videos mine --annotations labels.csv

Writes {csv_root}/{name}/train_split01.csv and test_split01.csv, 02, 03 (UCF101, HMDB51, demo, puppets; for folders,
csv files and unlabelled videos 01 only) or train_split.csv and val_split.csv (Kinetics, ssv2, jester) or test_split.csv
(diving48), with rows `path,n_frames[,label[,group]]`, classInd.txt, and dataset.json, which names the folder of frames
or videos: lists of another folder are not replaced. It also tells training what the data demands: --flip 0 where
classes tell left from right, and the --ds that suits the frame rate. Without a label the class of a video is the name
of the folder around its frame folder.
Videos without class folders (--dataset folder, demo_unlabelled, puppets_unlabelled) are unlabelled: they get lists for
pretraining and no classInd.txt.

Videos of one group belong together, in the same list and when some are held out: the clips of a recording in UCF101
(gNN), of a film in HMDB51, of a YouTube id in Kinetics, what --group_regex captures, or the column group of --dataset
csv. Where the group is empty, or in no row, a video is its own group.

ssv2, diving48 and jester are read from the official files, the lists from --annotations and the names of the classes
from --labels; beside the videos found and missing stands the published number. Videos are found by their names, in any
folder.

With --dataset csv the classes are those of csv files with the columns path,label and maybe split and group. `label` is
the name of a class, or several names separated by ';'.

With --videos the lists name the video files themselves, and nothing needs to be extracted. Their frames are counted
from the packets of the container where each packet is one frame: H.264, HEVC, AV1, VP9 and Motion JPEG in .mp4, .mov,
.mkv and .webm, MPEG-4 in .mp4 and .avi, Motion JPEG in .avi. They are counted by decoding, which takes longer, in all
other files and in those that are interlaced, cut short or without distinct time stamps. Unreadable files are named and
left out. A warning names the range of the frame rates where they differ by more than a fifth.
"""
import argparse
import contextlib
import functools
import json
import os
import re
import sys
from typing import NamedTuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import utils.packages

from process_data import extract_report as report
from process_data import layout
from process_data.dataset_kinds import KINDS, Given
from process_data.missing_classes import missing_classes
from utils.cli import Parser, UserError, cpu_cores, positive_int, run_cli, warn, whole_number
from utils.data.classes import SEPARATOR
from utils.data.demands import DATASET_FILE, read_dataset_file
from utils.data.groups import group_of
from utils.next_step import command, say_next
from utils.video.files import find_frame_folders, find_videos, other_pictures
from utils.video.frame_rate import spread_of_rates
from utils.video.sources import count_all

LISTED_MISSING = 10


class Video(NamedTuple):
    path: str  # of the frame folder or file, relative to the root
    n_frames: int


def parse_args(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--dataset', required=True, choices=KINDS,
                        help='format of the split files')
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--frame_root', help='folder with the frames (default: for demo and puppets, '
                                             'process_data/data/{dataset}_frames)')
    source.add_argument('--videos', metavar='FOLDER',
                        help='folder with the video files: lists of files, without frames (default: lists of frames)')
    parser.add_argument('--split_root', help='ucf101, hmdb51: folder with the split files (default: for demo and '
                                             'puppets, process_data/data/{dataset}_splits)')
    parser.add_argument('--annotations', nargs='+', metavar='FILE',
                        help='k400, k600, k700: the official csv files with label,youtube_id,time_start,time_end,'
                             'split; ssv2, diving48, jester: the two official lists, json or csv files whose names '
                             'have train, val or test in them; csv: files with path,label and maybe split (train, val '
                             'or test; videos of val are for testing) and group')
    parser.add_argument('--labels', metavar='FILE',
                        help='ssv2, diving48, jester: labels.json, Diving48_vocab.json, jester-v1-labels.csv')
    parser.add_argument('--csv_root', default=layout.DATA_ROOT,
                        help='the lists are written to a folder in it (default: %(default)s)')
    parser.add_argument('--name', help='name of that folder, and of the data set in training (default: the data set; '
                                       'for Kinetics\' frames with the short side: k400_150; for folder and csv: the '
                                       'name of that folder)')
    parser.add_argument('--short_side', type=int, choices=KINDS['k400'].short_sides,
                        help='Kinetics: short side of the frames, px (default: the one that the extraction recorded in '
                             'the frame root, else 150)')
    parser.add_argument('--relative', action='store_true',
                        help='write paths relative to --frame_root or --videos; training then needs that folder as '
                             '--frame_root (default: off, absolute)')
    parser.add_argument('--test_share', type=float,
                        help='folder, and csv without the column split: share of the videos of each class used for '
                             'testing, 0 to 1 (default: 0.25; for demo_unlabelled and puppets_unlabelled 0.05)')
    parser.add_argument('--group_regex', help='videos whose names match with the same first group (or whole match) are '
                                              'one group, which stays in the same list (default: the groups that names '
                                              'of UCF101, HMDB51 and Kinetics tell, else each video is its own)')
    parser.add_argument('--seed', default=0, type=whole_number,
                        help='folder, csv: seed of the random split (default: %(default)s)')
    parser.add_argument('--jobs', default=cpu_cores(), type=positive_int,
                        help='threads that count the frames of video files, or those missing from the report (default: '
                             'the cores available to this process)')
    args = parser.parse_args(argv)
    kind = KINDS[args.dataset]
    if kind.own_folders and not args.videos:
        args.frame_root = args.frame_root or layout.synthetic_folder(args.dataset, 'frames')
    if kind.own_folders and 'split_root' in kind.needs:
        args.split_root = args.split_root or layout.synthetic_folder(args.dataset, 'splits')
    if args.test_share is None:
        args.test_share = kind.test_share
    if not args.frame_root and not args.videos:
        parser.error('--frame_root or --videos is needed')
    for flag in kind.needs:
        if not getattr(args, flag):
            parser.error(f'--{flag} is needed for {args.dataset}')
    for flag in ('annotations', 'labels'):
        if getattr(args, flag) and flag not in kind.needs:
            parser.error(f'--dataset {args.dataset} has no --{flag}; labels in csv files are --dataset csv')
    if not 0 < args.test_share < 1:
        parser.error('--test_share must be above 0 and below 1')
    if args.name is not None and (args.name in ('', os.curdir, os.pardir) or '/' in args.name):
        parser.error(f'--name is the name of a folder in --csv_root, not a path: {args.name!r}')
    try:
        re.compile(args.group_regex or '')
    except re.error as error:
        parser.error(f'--group_regex: {error}')
    return args


def main(args):
    kind, source = KINDS[args.dataset], args.videos or args.frame_root
    layout.require_folder(source, '--videos' if args.videos else '--frame_root')
    if args.split_root:
        layout.require_folder(args.split_root, '--split_root')
    out = os.path.join(args.csv_root, list_name(args))
    layout.require_writable(out)
    check_source(out, source)
    # Counting frames may take long, so mistakes in split files and annotations are found before.
    index = functools.cache(lambda: (index_videos if args.videos else index_frames)(source, args.jobs))
    given = Given(source, index, args.split_root, args.annotations, args.test_share, args.group_regex, args.seed,
                  args.labels)
    lists, class_names, labels, *groups = kind.read(given)
    videos = index()
    if kind.classes not in (None, len(class_names)):
        warn(f'{len(class_names)} classes, not {kind.classes}')
    found = {name: [folder for folder in folders if folder in videos] for name, folders in lists.items()}
    for name, folders in lists.items():
        if not folders:
            raise UserError(f'{name}: no video belongs to it; check the split files')
        if not found[name]:
            raise UserError(f'{source}: none of the {len(folders)} videos of {name} is there, such as {folders[0]}; '
                            + ('check --videos' if args.videos else 'extract them first, or check --frame_root')
                            + (' and the paths in --annotations' if labels else ''))

    with layout.write_whole(os.path.join(out, DATASET_FILE)) as file:
        json.dump({'source': os.path.abspath(source), **kind.demands}, file, indent=1)
    root = '' if args.relative else os.path.abspath(source)
    named = groups[0] if groups else {}
    group = {folder: named.get(folder) or group_of(folder, args.group_regex)
             for folders in found.values() for folder in folders}
    columns = [labels, group] if any(group.values()) else [labels] if labels else []
    for name, folders in lists.items():
        path = os.path.join(out, name + '.csv')
        layout.write_rows(path, [(os.path.join(root, videos[folder].path), videos[folder].n_frames,
                                  *(column.get(folder, '') for column in columns)) for folder in found[name]])
        missing = [folder for folder in folders if folder not in videos]
        print(f'{path}: {len(found[name])} videos, {len(missing)} missing'
              + (f' ({kind.published[name]} published)' if name in kind.published else ''))
        for folder in missing[:LISTED_MISSING]:
            print(f'  missing: {folder}')
    for line in missing_classes(lists, videos, labels)[:LISTED_MISSING]:
        warn(line)
    write_class_list(os.path.join(out, 'classInd.txt'), class_names, kind.separator)
    several = [folder for folders in found.values() for folder in folders if SEPARATOR in labels.get(folder, '')]
    if several:
        print(f'{len(several)} videos have several labels (first {several[0]}: {labels[several[0]]}); if that is '
              f'wrong, no class name may have a {SEPARATOR!r} in it')
    own_root = None if args.csv_root == layout.DATA_ROOT else args.csv_root
    say_next(command('dpc/main.py', dataset=os.path.basename(out), csv_root=own_root,
                     frame_root=source if args.relative else None, dry_run=True))


def check_source(out, source):
    """UserError: the folder has lists of another folder of frames or videos, which would be replaced."""
    before = read_dataset_file(out).get('source')
    if before not in (None, os.path.abspath(source)):
        raise UserError(f'{out} has the lists of {before}: give another --name, or remove that folder to replace them')


def write_class_list(path, class_names, separator):
    """Without classes, removes the class list of an earlier run."""
    if class_names:
        with layout.write_whole(path) as file:
            file.writelines(f'{i}{separator}{name}\n' for i, name in enumerate(class_names, 1))
        print(f'{path}: {len(class_names)} classes')
    else:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
        print('no class list: the videos are unlabelled, for pretraining only')


def list_name(args):
    """Name of the folder with the lists."""
    kind, default = KINDS[args.dataset], args.dataset
    if kind.short_sides and args.frame_root:
        extracted = report.read_settings(args.frame_root).get('short_side')
        short_side = args.short_side or (extracted if extracted in kind.short_sides else kind.short_sides[0])
        if extracted not in (None, short_side):
            warn(f'{args.frame_root}: extracted with --short_side {extracted}, not {short_side}')
        default = f'{args.dataset}_{short_side}'
    elif kind.folder_name:
        default = os.path.basename(os.path.abspath(args.videos or args.frame_root))
    return args.name or default


def index_frames(frame_root, jobs):
    """-> {folder: Video} of every frame folder with frames. Counts only those that no report has."""
    counts = {layout.folder_of(row['video']): int(row['frames'])
              for row in report.read_reports(frame_root).values() if row['status'] != 'failed'}
    folders = find_frame_folders(frame_root)
    if not folders:
        raise UserError(f'{frame_root}: no frame folder in it' + (other_pictures(frame_root) or
                        '; run process_data/extract_frames.py first'))
    counts.update(count_usable(frame_root, [folder for folder in folders if folder not in counts], jobs))
    return {folder: Video(folder, counts[folder]) for folder in folders if counts.get(folder)}


def index_videos(video_root, jobs):
    """-> {folder: Video} of every usable video file; `folder` is the path without its extension, by which split files
    name it."""
    names = find_videos(video_root)
    if not names:
        raise UserError(f'{video_root}: no video in it; check --videos')
    videos = {}
    for name, n_frames in count_usable(video_root, names, jobs).items():
        first = videos.setdefault(layout.folder_of(name), Video(name, n_frames))
        if first.path != name:
            warn(f'{os.path.join(video_root, name)}: {first.path} has the same name, left out')
    return videos


def count_usable(root, names, jobs):
    """{name: number of frames} of the usable videos; names some of the others."""
    counts, unusable, rates = count_all(root, names, jobs)
    for name, reason in list(unusable.items())[:LISTED_MISSING]:
        warn(f'{os.path.join(root, name)}: {reason}, left out')
    if len(unusable) > LISTED_MISSING:
        warn(f'{len(unusable)} videos in all cannot be used and are left out')
    if spread := spread_of_rates(rates):
        warn(spread)
    return counts


if __name__ == '__main__':
    run_cli(main, parse_args())
