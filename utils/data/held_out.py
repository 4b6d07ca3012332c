"""Which videos of a training list are held out: for validation, or fold by fold to choose a hyperparameter."""
import os
import re

import numpy as np

from utils.cli import UserError
from utils.data.classes import numbered
from utils.data.seen import name_of_video


class NothingHeldOut(UserError):
    """A training list of which no video can be held out for validation."""


def hold_out(videos, fraction, seed):
    """Splits a training list into (train, validation), two sorted index arrays; the same for the same seed.

    Whole groups are held out (see utils.data.lists). Of each class with several groups `fraction` of the groups are
    held out, one at least, and one at least stays: those of the same numbers in all classes of UCF101, as in its test
    splits. (Where a group has the same appearance in several classes, it would tell which class it is not.)
    NothingHeldOut: nothing can be."""
    group_index, classes_of, order = groups_in_order(videos, seed)
    stay = np.bincount([c for classes in classes_of for c in classes]).tolist()  # groups of each class
    wanted = [min(max(1, round(fraction * count)), count - 1) for count in stay]
    held_group = np.zeros(len(classes_of), bool)
    for group in order:
        classes = classes_of[group]
        if any(wanted[c] > 0 for c in classes) and all(stay[c] > 1 for c in classes):
            held_group[group] = True
            for c in classes:
                wanted[c] -= 1
                stay[c] -= 1
    held = held_group[group_index]
    if not held.any():
        reason = ('no class has more than one video' if len(classes_of) == len(videos) else
                  'the videos of each class are all of one group (gNN in UCF101, the film in HMDB51, or the column '
                  'group of the list), which stays together')
        raise NothingHeldOut(f'nothing can be held out of {len(videos)} videos for validation, as {reason}: list more '
                             'videos, or validate with --val_on test')
    return np.flatnonzero(~held), np.flatnonzero(held)


def fold_of(videos, count, seed):
    """int64 [R]: which of up to `count` folds a video is in. Groups are whole, and spread evenly for each class.

    There are as many folds as some class has groups, if these are fewer."""
    group_index, classes_of, order = groups_in_order(videos, seed)
    sizes = np.bincount([c for classes in classes_of for c in classes])
    there = np.zeros((len(sizes), min(count, sizes.max())), np.int64)  # groups of each class in each fold
    fold = np.zeros(len(classes_of), np.int64)
    for group in order:
        fold[group] = there[classes_of[group]].sum(axis=0).argmin()
        there[classes_of[group], fold[group]] += 1
    return fold[group_index]


def groups_in_order(videos, seed):
    """(group of each video int64 [R], [classes of each group], groups in a random order).

    Of several labels of a video the first counts. Videos without labels and class folders are one class, that of the
    folder they share. The order is one of numbers gNN or names, so that it is the same in all classes. Neither that of
    the list nor the form of the videos matters."""
    class_of, _ = numbered(names[0] for names in videos.classes())
    group_of = videos.groups()
    key_of = {group: (name_of_video(path) if group == path else (group,), group)  # a video that is its own group
              for group, path in zip(group_of, videos.paths())}
    groups = sorted(key_of, key=key_of.get)
    number_of = {group: number for number, group in enumerate(groups)}
    group_index = np.array([number_of[group] for group in group_of], np.int64)
    classes_of = [[] for _ in groups]
    for group, c in dict.fromkeys(zip(group_index.tolist(), class_of.tolist())):
        classes_of[group].append(c)
    name_of_group, names = numbered(re.sub(r'^v_.+_g(?=\d+$)', '', os.path.basename(group)) for group in groups)
    return group_index, classes_of, np.argsort(np.random.default_rng(seed).random(len(names))[name_of_group],
                                               kind='stable').tolist()
