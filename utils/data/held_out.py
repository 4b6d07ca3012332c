"""Which videos of a training list are held out for validation."""
import os
import re

import numpy as np

from utils.cli import UserError
from utils.data.classes import numbered

UCF101_NAME = re.compile(r'v_.+_g(\d+)_c\d+(\.\w+)?')  # v_{class}_g{group}_c{clip}, of a file with its extension


class NothingHeldOut(UserError):
    """A training list of which no video can be held out for validation."""


def hold_out(videos, fraction, seed):
    """Splits a training list into (train, validation), two sorted index arrays; the same for the same seed.

    In UCF101 (and what is named like it) the clips of a group come from one video, so whole groups are held out;
    elsewhere a video is its own group. Of each class with several groups `fraction` of the groups are held out, one
    at least, and one at least stays: those of the same names in all classes, as in UCF101's test splits. (Where a group
    has the same appearance in several classes, it would tell which class it is not.) Of several labels of a video the
    first counts. Videos without labels and class folders are one class, that of the folder they share. NothingHeldOut:
    nothing can be."""
    paths = videos.paths()
    class_of, _ = numbered(names[0] for names in videos.classes())
    group_index, groups = numbered(map(group_of, paths))
    class_of_group = np.zeros(len(groups), np.int64)
    class_of_group[group_index] = class_of

    # Within each class the groups in a random order of their names (gNN in UCF101): the first `count` are held out.
    name_of_group, names = numbered(re.sub(r'v_.+_g(?=\d+$)', '', os.path.basename(group)) for group in groups)
    order = np.lexsort((np.random.default_rng(seed).random(len(names))[name_of_group], class_of_group))
    sizes = np.bincount(class_of_group)
    count = np.minimum(np.maximum(1, np.rint(fraction * sizes)), sizes - 1)
    position = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    held_group = np.zeros(len(groups), bool)
    held_group[order] = position < np.repeat(count, sizes)
    held = held_group[group_index]
    if not held.any():
        reason = ('no class has more than one video' if len(groups) == len(videos) else
                  'the videos of each class are all of one group (gNN in their names), clips of one recording that '
                  'stay together')
        raise NothingHeldOut(f'nothing can be held out of {len(videos)} videos for validation, as {reason}: list more '
                             'videos, or validate with --val_on test')
    return np.flatnonzero(~held), np.flatnonzero(held)


def group_of(path):
    """What a video shares with others of the same recording: its path up to gNN in UCF101, else all of it."""
    match = UCF101_NAME.fullmatch(path, path.rfind('/') + 1)
    return path[:match.end(1)] if match else path
