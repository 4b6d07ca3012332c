"""A random split into training and test videos: the same for the same seed, by class, in whole groups. No torch."""
import os

import numpy as np

from utils.cli import UserError, warn
from utils.data.lists import class_name

TEST_SHARE = 0.25  # of the videos of each class, where nothing else is asked for


def random_split(group, test_share=TEST_SHARE, seed=0, class_of=class_name):
    """Puts about `test_share` of the videos of each class into the test list, in whole groups
    -> ({name of the list: [folder, …]}, [class name, …]).

    group: {folder: name of its group, '' for its own}; their order doesn't matter. class_of: folder -> name of its
    class. If no video has a class folder, all form one unnamed class; if only some have one, the others are left out.
    Each class keeps a group for training. UserError: no video is left for testing.
    """
    rng = np.random.default_rng(seed)
    labelled = [folder for folder in sorted(group) if class_of(folder)]
    if labelled and len(labelled) < len(group):
        unlabelled = sorted(set(group) - set(labelled))
        warn(f'videos in no class folder: {len(unlabelled)} (first {unlabelled[0]}); left out of the lists: move them '
             'into class folders')
    by_class, classes_of = {}, {}
    for folder in labelled or sorted(group):
        key = ('group', group[folder]) if group[folder] else ('video', os.path.basename(folder), folder)
        by_class.setdefault(class_of(folder), {}).setdefault(key, []).append(folder)
        classes_of.setdefault(key, set()).add(class_of(folder))
    is_test, kept = {}, {name: len(groups) for name, groups in by_class.items()}  # groups of a class not for testing
    for name, groups in sorted(by_class.items()):
        count, keys = sum(map(len, groups.values())), sorted(groups)
        tested = sum(len(groups[key]) for key in keys if is_test.get(key))
        if name and len(groups) == 1:
            warn(f'class {name} has ' + ('one video' if count == 1 else f'{count} videos in one group') +
                 ' only: used for training, not for testing')
        order = [keys[i] for i in rng.permutation(len(keys))]
        for key in order:
            if key in is_test:  # a group with videos of an earlier class, too
                continue
            # The last group of each class is always for training; the first is always for testing, if there are two.
            is_test[key] = (key != order[-1] and all(kept[each] > 1 for each in classes_of[key])
                            and (not tested or tested + len(groups[key]) / 2 <= test_share * count))
            tested += is_test[key] * len(groups[key])
            for each in classes_of[key]:
                kept[each] -= is_test[key]
    lists = {'train_split01': [], 'test_split01': []}
    for groups in by_class.values():
        for key, folders in groups.items():
            lists['test_split01' if is_test[key] else 'train_split01'] += folders
    class_names = sorted(filter(None, by_class))
    if not lists['test_split01']:
        raise UserError('test_split01: no video belongs to it; '
                        + ('some class must have' if class_names else 'there must be') + ' two videos'
                        + ('' if len(classes_of) == len(labelled or group) else ' in different groups')
                        + ', one for training and one for testing')
    return {name: sorted(folders) for name, folders in lists.items()}, class_names
