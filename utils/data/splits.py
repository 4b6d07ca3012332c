"""Which videos a run trains on, validates on and tests on."""
import contextlib
import functools
import os

import numpy as np

from utils.cli import UserError, cpu_cores, warn
from utils.data.classes import read_class_list
from utils.data.groups import group_of
from utils.data.held_out import hold_out
from utils.data.lists import VideoList, check_on_disk, class_name, csv_file, spread_rows
from utils.data.random_split import random_split
from utils.parallel import distributed
from utils.video.files import find_videos
from utils.video.frame_rate import spread_of_rates
from utils.video.sources import count_all, frame_rate

LISTED_UNUSABLE = 10


class TooShort(UserError):
    """Videos of which none is as long as a clip; `longest` is the length of the longest, in frames."""

    def __init__(self, message, longest):
        super().__init__(message)
        self.longest = longest


def read_split(folder, split, subset, frame_root=None, by_class=False):
    """The videos of one csv ('train' or 'test') of a data set's `list_folder`. Without any csv in it the training list
    is all video files below it; or, by_class, both lists are those of `split_by_class`.

    UserError: missing or malformed."""
    if by_class and not has_lists(folder):
        videos = split_by_class(folder, split)[0][subset]
        print(f'{len(videos)} {subset} videos below {folder}, a random split of each class folder')
        return videos
    if subset == 'train' and not has_lists(folder):
        return videos_below(folder)
    path = csv_file(folder, split, subset)
    videos = VideoList.read_csv(path, frame_root)
    print(f'{len(videos)} videos in {path}')
    return videos


def has_lists(folder):
    return any(name.endswith('.csv') for name in os.listdir(folder))


def class_names_of(folder):
    """Names of the classes of a data set's `list_folder`, by label: those of its classInd.txt, or without any csv in it
    its class folders. UserError: the videos have no labels."""
    return read_class_list(folder) if has_lists(folder) else split_by_class(folder)[1]


def has_labels(folder):
    """Whether `class_names_of` a data set's `list_folder` knows any, without a look at the videos."""
    if has_lists(folder):
        return os.path.isfile(os.path.join(folder, 'classInd.txt'))
    return len(class_folders(videos_below(folder), folder)) > 1


def class_folders(videos, folder):
    """Names of the class folders that hold the videos below `folder`."""
    return set(filter(None, (class_name(os.path.relpath(path, folder)) for path in videos.paths())))


def split_by_class(folder, split=1):
    """({'train', 'test': VideoList}, names of the classes) of a folder of class folders: the split that `write_csv.py
    --dataset folder` writes by default. UserError: there are no class folders, or another split is asked for."""
    if split != 1:
        raise UserError(f'{folder} has no lists, and as a folder of videos only --split 1: leave the flag out')
    videos, rows = videos_below(folder), {}
    for row, path in enumerate(videos.paths()):
        rows.setdefault(os.path.splitext(os.path.relpath(path, folder))[0], row)
    if len(class_folders(videos, folder)) < 2:
        raise UserError(f'{folder}: its videos are in no class folders, and so have no labels: move them to {folder}/'
                        '{class}/, or write lists with the labels of a csv file: python process_data/write_csv.py '
                        f'--dataset csv --videos {folder} --annotations {{labels.csv}}')
    lists, class_names = random_split({name: group_of(name) for name in rows})
    return {part: videos.select([rows[name] for name in lists[f'{part}_split01']])
            for part in ('train', 'test')}, class_names


@functools.lru_cache(maxsize=1)
def videos_below(folder):
    """A VideoList of all usable video files below a folder, sorted. The first process counts their frames, every time
    anew, and names those that can't be used. Once in a process. UserError: there is none, or none can be used."""
    names = counts = None
    if distributed.is_main():
        names = find_videos(folder)
        counts, unusable, _ = count_all(folder, names, cpu_cores()) if names else ({}, {}, [])
        for name, reason in list(unusable.items())[:LISTED_UNUSABLE]:
            warn(f'{os.path.join(folder, name)}: {reason}, left out')
        if names:
            print(f'{len(counts)} of {len(names)} video files below {folder} can be used')
    distributed.wait_for_main()
    names, counts = distributed.from_main((names, counts))
    if not names:
        raise UserError(f'{folder} has neither lists nor video files: give a folder of videos, or write lists to it '
                        'with process_data/write_csv.py')
    if not counts:
        raise UserError(f'{folder}: none of its {len(names)} video files can be used')
    return VideoList.from_rows([os.path.join(os.path.abspath(folder), name) for name in counts], list(counts.values()))


@functools.lru_cache(maxsize=1)
def at_frame_rate(videos, fps):
    """A VideoList of the same files with `fps` frames a second, taken by time; the first process counts them. A file
    that can't be read keeps its count, and is found broken when it is read. fps 0: the videos as they are, with a
    warning where the rates of files differ. Once for the same VideoList. UserError: a video is extracted frames."""
    if not fps:
        if distributed.is_main() and (spread := spread_of_rates(frame_rate(videos.path(row))
                                                                for row in spread_rows(videos))):
            warn(spread)
        return videos
    counts = extracted = None
    if distributed.is_main():
        paths = videos.paths()
        extracted = next((path for path in paths if os.path.isdir(path) or os.path.isfile(path + '.zip')), None)
        if not extracted:
            counted, *_ = count_all('', paths, cpu_cores(), fps)
            counts = [counted.get(path, count) for path, count in zip(paths, videos.n_frames.tolist())]
    distributed.wait_for_main()
    extracted, counts = distributed.from_main((extracted, counts))
    if extracted:
        raise UserError(f'--fps {fps:g} takes frames of video files, but {extracted} is extracted frames: give --fps '
                        f'{fps:g} to process_data/extract_frames.py, and --fps 0 here')
    return VideoList(videos.encoded, np.array(counts, np.int32), videos.root, videos.label, videos.group, fps)


def train_and_validation(folder, split, frame_root, val_on, val_fraction, seed, train=None, by_class=False):
    """(training, validation) videos of a data set's `list_folder`. val_on 'train' holds out `val_fraction` of the
    training list, by group where the names tell groups; 'test' validates on the test list, as the published code did.
    train: the videos to take for the training list (None: all of it). by_class: see read_split.
    """
    train = read_split(folder, split, 'train', frame_root, by_class) if train is None else train
    if val_on == 'test':
        return train, read_split(folder, split, 'test', frame_root, by_class)
    if val_fraction == 0:
        raise UserError('--val_fraction 0 leaves nothing to validate on: give more, or --val_on test')
    kept, held = hold_out(train, val_fraction, seed)
    return train.select(kept), train.select(held)


def listed_paths(folder, split, frame_root, *parts):
    """Paths of the VideoLists `parts` of a training list, and of the test list of their split if it can be read; of a
    folder of videos without lists, all."""
    if not has_lists(folder):
        return videos_below(folder).paths()
    paths = sum((part.paths() for part in parts), [])
    with contextlib.suppress(UserError):
        paths += VideoList.read_csv(csv_file(folder, split, 'test'), frame_root).paths()
    return paths


def fits(videos, clip_frames):
    """Mask [R] of the videos with at least `clip_frames` frames; one of exactly that length fits."""
    return videos.n_frames >= clip_frames


def usable(videos, clip_frames, short_videos, purpose):
    """The videos as the loaders will use them, spot-checked on disk. Says how many are shorter than a clip.

    short_videos: 'drop' leaves those out, 'pad' keeps them. TooShort: none is left. UserError: one isn't on
    the disk."""
    long, drop = fits(videos, clip_frames), short_videos == 'drop'
    if drop and not long.any():
        longest = int(np.max(videos.n_frames, initial=0))
        raise TooShort(f'none of the {len(videos)} videos for {purpose} has the {clip_frames} frames of a clip (the '
                       f'longest has {longest}): lower --num_seq, --seq_len or --ds, or give --short_videos pad',
                       longest)
    if not long.all():
        print(f'{purpose}: {np.count_nonzero(~long)} of {len(videos)} videos are shorter than a clip of {clip_frames} '
              'frames and ' + ('are left out (--short_videos pad keeps them)' if drop else
                               'repeat their last frame (--short_videos drop leaves them out)'))
    if drop:
        videos = videos.select(long)
    check_on_disk(videos)
    return videos
