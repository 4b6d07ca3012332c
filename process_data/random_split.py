"""A random split into training and test videos: the same for the same seed, by class, in whole groups."""
import os
import re

import numpy as np

from process_data.layout import class_of
from utils.cli import UserError, warn


def random_lists(given):
    """The lists of a folder of videos, see process_data.dataset_kinds."""
    return *random_split(given.index(), given.test_share, given.group_regex, given.seed), {}


def random_split(folders, test_share, group_regex, seed, class_of=class_of):
    """Puts about `test_share` of the videos of each class into the test list, in whole groups
    -> ({name of the list: [folder, …]}, [class name, …]).

    The order of `folders` doesn't matter. class_of: folder -> name of its class. If no video has a class folder, all
    form one unnamed class; if only some have one, the others are left out. UserError: no video is left for testing.
    """
    rng = np.random.default_rng(seed)
    labelled = [folder for folder in sorted(folders) if class_of(folder)]
    if labelled and len(labelled) < len(folders):
        unlabelled = sorted(set(folders) - set(labelled))
        warn(f'videos in no class folder: {len(unlabelled)} (first {unlabelled[0]}); left out of the lists: move them '
             'into class folders')
    by_class = {}
    for folder in labelled or sorted(folders):
        group = group_of(os.path.basename(folder), group_regex)
        by_class.setdefault(class_of(folder), {}).setdefault(group, []).append(folder)
    train, test = [], []
    for class_name, groups in sorted(by_class.items()):
        count, tested = sum(map(len, groups.values())), 0
        order = [groups[name] for name in rng.permutation(sorted(groups))]
        if class_name and len(order) == 1:
            warn(f'class {class_name} has ' + ('one video' if count == 1 else f'{count} videos in one group') +
                 ' only: used for training, not for testing')
        for i, group in enumerate(order):
            # The last group is always for training; the first is always for testing, if there are two.
            is_test = i < len(order) - 1 and (i == 0 or tested + len(group) / 2 <= test_share * count)
            tested += is_test * len(group)
            (test if is_test else train).extend(group)
    class_names = sorted(filter(None, by_class))
    if not test:
        raise UserError('test_split01: no video belongs to it; '
                        + ('some class must have' if class_names else 'there must be') + ' two videos'
                        + (' in different groups of --group_regex' if group_regex else '')
                        + ', one for training and one for testing')
    return {'train_split01': sorted(train), 'test_split01': sorted(test)}, class_names


def group_of(name, group_regex):
    """A video that doesn't match is a group of its own."""
    match = re.search(group_regex, name) if group_regex else None
    return 'group ' + match[match.lastindex and 1 or 0] if match else 'video ' + name
