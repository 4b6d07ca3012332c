"""What make_demo.py and make_puppets.py share: their flags and the files of a data set.

    {video_root}/{Class}/v_{Class}_g01_c01.avi                               labelled, in UCF101's layout
    {split_root}/classInd.txt  trainlist01.txt  testlist01.txt  ... 03
    {unlabelled_root}/v_00001.avi                                            unlabelled: one flat folder

Each file is written whole. A run that was stopped and started again with the same flags makes what is missing.
"""
import argparse
import json
import os
from typing import NamedTuple

import cv2
import numpy as np
from joblib import delayed

from process_data import layout
from process_data.worker_processes import add_jobs_argument, in_processes, progress_bar
from utils.cli import Parser, UserError, positive_int, whole_number

CLIPS_PER_GROUP = 2
SPLITS = 3
FPS = 25
SETTINGS = '.made_with.json'     # hidden: not a file that the extraction would count as skipped
FORMER_NAMES = {'looks': 'appearances'}     # in the settings of videos that earlier versions made


class Video(NamedTuple):
    """group: videos of a group share their scene, in every class; each unlabelled video is a group of its own."""
    path: str
    class_name: str
    group: int
    clip: int


# ---- Flags

def make_parser(description, dataset, videos_per_class, unlabelled, size, frames):
    """Parser with the flags of every maker; the numbers are their defaults."""
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--video_root', default=layout.synthetic_folder(dataset, 'videos'),
                        help='folder for the labelled videos (default: %(default)s)')
    parser.add_argument('--split_root', default=layout.synthetic_folder(dataset, 'splits'),
                        help='folder for the split files and classInd.txt (default: %(default)s)')
    parser.add_argument('--unlabelled_root', default=layout.synthetic_folder(f'{dataset}_unlabelled', 'videos'),
                        help='folder for the unlabelled videos (default: %(default)s)')
    parser.add_argument('--videos_per_class', default=videos_per_class, type=positive_int,
                        help='labelled videos per class, a quarter of them in each test split (default: %(default)s)')
    parser.add_argument('--unlabelled', default=unlabelled, type=whole_number,
                        help='number of unlabelled videos; they show every class equally often (default: '
                             f'{unlabelled or "ten times the labelled ones"}; 0 makes none)')
    parser.add_argument('--size', default=size, type=positive_int,
                        help='side of the square frames, px (default: %(default)s)')
    parser.add_argument('--frames', default=frames, type=positive_int, help='frames per video (default: %(default)s)')
    parser.add_argument('--seed', default=0, type=whole_number,
                        help='the same seed gives the same bytes (default: %(default)s)')
    add_jobs_argument(parser)
    return parser


def parse(parser, argv, n_classes):
    """Parses the flags and checks those of every maker."""
    args = parser.parse_args(argv)
    if args.videos_per_class < 4 * CLIPS_PER_GROUP:
        parser.error(f'--videos_per_class must be at least {4 * CLIPS_PER_GROUP}')
    if args.size < 16:
        parser.error('--size must be at least 16')
    if args.unlabelled is None:
        args.unlabelled = 10 * n_classes * args.videos_per_class
    return args


# ---- The data set

def make(args, class_names, render):
    """Makes the videos that do not exist yet, and the split files.

    render(args, video) -> iterable of frames uint8 [size, size, 3], BGR. It takes all randomness from the seed and the
    video, so that the number of processes changes nothing.
    """
    labelled, unlabelled = labelled_videos(class_names, args.videos_per_class), []
    if args.unlabelled:
        unlabelled = unlabelled_videos(class_names, args.unlabelled, args.seed,
                                       first_group=1 + max(video.group for video in labelled))
    # Frames that were extracted from other videos of the same names would stay as they are: never replace a video.
    settings = {name: value for name, value in vars(args).items()
                if not name.endswith('_root') and name not in ('jobs', 'unlabelled')}
    tasks = []
    for root, videos in ((args.video_root, labelled), (args.unlabelled_root, unlabelled)):
        if videos:
            open_folder(root, settings if videos is labelled else {**settings, 'unlabelled': args.unlabelled})
        tasks += [delayed(make_video)(os.path.join(root, video.path), render, args, video) for video in videos
                  if not os.path.exists(os.path.join(root, video.path))]
    for _ in progress_bar(in_processes(tasks, n_jobs=args.jobs, return_as='generator_unordered'), total=len(tasks)):
        pass
    write_splits(args.split_root, labelled, class_names)
    print(f'{len(labelled)} videos of {len(class_names)} classes in {args.video_root}, split files in '
          f'{args.split_root}')
    if unlabelled:
        print(f'{len(unlabelled)} unlabelled videos in {args.unlabelled_root}')


def labelled_videos(class_names, videos_per_class):
    videos = []
    for name in class_names:
        for i in range(videos_per_class):
            group, clip = 1 + i // CLIPS_PER_GROUP, 1 + i % CLIPS_PER_GROUP
            videos.append(Video(f'{name}/v_{name}_g{group:02d}_c{clip:02d}.avi', name, group, clip))
    return videos


def unlabelled_videos(class_names, count, seed, first_group):
    """Their names tell nothing: the classes are shuffled."""
    order = np.random.default_rng(seed).permutation(np.arange(count) % len(class_names))
    return [Video(f'v_{i + 1:05d}.avi', class_names[order[i]], first_group + i, 0) for i in range(count)]


def open_folder(root, settings):
    """Makes a folder for videos, or checks that those in it were made with the same settings."""
    path = os.path.join(root, SETTINGS)
    try:
        os.makedirs(root, exist_ok=True)
        with open(path) as file:
            same = {FORMER_NAMES.get(name, name): value for name, value in json.load(file).items()} == settings
    except FileNotFoundError:
        same = not os.listdir(root)
    except (AttributeError, ValueError):
        same = False
    except OSError as error:
        raise UserError(f'{root}: cannot make or read this folder ({error.strerror}); choose another') from error
    if not same:
        raise UserError(f'{root}: has videos that other flags made; remove it and the frames extracted from it, or '
                        'choose other folders')
    with layout.write_whole(path) as file:
        json.dump(settings, file)


def make_video(path, render, args, video):
    cv2.setNumThreads(1)
    folder, name = os.path.split(path)
    part = os.path.join(folder, '.part_' + name)    # hidden: not a video until it is whole
    try:
        os.makedirs(folder, exist_ok=True)
        write_video(part, render(args, video))
        os.replace(part, path)
    except OSError as error:
        raise UserError(f'{path}: cannot write it ({error.strerror}); free space or choose another folder') from error


def write_video(path, frames):
    """Motion JPEG in .avi: the only encoder that every build of OpenCV has."""
    writer = None
    for frame in frames:
        if writer is None:
            height, width = frame.shape[:2]
            writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*'MJPG'), FPS, (width, height))
            if not writer.isOpened():
                raise UserError(f'{path}: OpenCV cannot write it; is the folder writable and the disk not full?')
        writer.write(frame)
    writer.release()


def write_splits(split_root, videos, class_names):
    """UCF101's split files: the test videos of split k are the k-th quarter of the groups."""
    write_lines(split_root, 'classInd.txt', [f'{i} {name}' for i, name in enumerate(class_names, 1)])
    n_groups = max(video.group for video in videos)
    for split in range(1, SPLITS + 1):
        test_groups = range(1 + (split - 1) * n_groups // 4, 1 + split * n_groups // 4)
        write_lines(split_root, f'trainlist{split:02d}.txt',
                    [f'{video.path} {class_names.index(video.class_name) + 1}' for video in videos
                     if video.group not in test_groups])
        write_lines(split_root, f'testlist{split:02d}.txt',
                    [video.path for video in videos if video.group in test_groups])


def write_lines(folder, name, lines):
    with layout.write_whole(os.path.join(folder, name)) as file:
        file.writelines(line + '\n' for line in lines)
