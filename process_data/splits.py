"""Train and test videos of each kind of data set: -> ({name of the list: [folder, …]}, [class name, …])."""
import csv
import os
import re

import numpy as np

from process_data import layout
from process_data.layout import class_of
from utils.cli import UserError, warn


def ucf101_splits(split_root):
    """trainlist01.txt with lines `Class/v_Class_g01_c01.avi 1`, testlist01.txt without the label; classInd.txt."""
    lists = {}
    for path, split in numbered_files(split_root, r'(?:train|test)list(\d+)\.txt', 'trainlist01.txt, testlist01.txt'):
        name = os.path.basename(path)
        subset, other = ('train', 'test') if name.startswith('train') else ('test', 'train')
        partner = os.path.join(split_root, name.replace(subset, other, 1))
        if not os.path.exists(partner):
            raise UserError(f'{partner}: missing, but {name} exists; a split needs both: add this one or remove the '
                            'other')
        folders = []
        for number, line in numbered_lines(path):
            # The folder names the class, so a missing label does no harm.
            match = re.fullmatch(r'([^/]+/.+\.\w+)(?:\s+\d+)?', line)
            if not match:
                raise UserError(f'{path}:{number}: not a line `Class/video.avi label`: {line!r}; correct the file')
            folders.append(layout.folder_of(match[1]))
        lists[f'{subset}_split{split:02d}'] = folders
    class_file = os.path.join(split_root, 'classInd.txt')
    if os.path.exists(class_file):
        names = {}
        for number, line in numbered_lines(class_file):
            match = re.fullmatch(r'(\d{1,9})\s+(.+)', line)
            if not match:
                raise UserError(f'{class_file}:{number}: not a line `id name`; correct the file')
            if int(match[1]) in names or match[2] in names.values():
                raise UserError(f'{class_file}:{number}: this id or name appears twice: {line!r}; correct the file')
            names[int(match[1])] = match[2]
        return lists, [names[i] for i in sorted(names)]
    return lists, sorted({folder.split('/')[0] for folders in lists.values() for folder in folders})


def hmdb51_splits(split_root):
    """{class}_test_split1.txt with lines `video.avi 1`: 1 is training, 2 test, 0 unused."""
    lists, class_names = {}, set()
    for path, split in numbered_files(split_root, r'.+_test_split(\d+)\.txt', '{class}_test_split1.txt'):
        class_name = re.fullmatch(r'(.+)_test_split\d+\.txt', os.path.basename(path))[1]
        class_names.add(class_name)
        subsets = {'1': lists.setdefault(f'train_split{split:02d}', []),
                   '2': lists.setdefault(f'test_split{split:02d}', []), '0': []}
        for number, line in numbered_lines(path):
            match = re.fullmatch(r'(.+\.\w+)\s+([012])', line)
            if not match:
                warn(f'{path}:{number}: not a line `video.avi 0|1|2`, left out: {line!r}')
                continue
            subsets[match[2]].append(f'{class_name}/{layout.folder_of(match[1])}')
    return lists, sorted(class_names)


def k400_splits(annotations, frames):
    """The official csv files. Frame folders are …/{label}/{id}_{start:06d}_{end:06d} or …/{label}/{id}; in labels a
    space equals an underscore."""
    on_disk = {(plain(class_of(folder)), os.path.basename(folder)): folder for folder in frames}
    by_name = {os.path.basename(folder): folder for folder in frames}
    lists, class_names, misplaced = {}, {}, []
    for path in annotations:
        for number, row in read_annotations(path):
            subset = {'train': 'train', 'val': 'val', 'validate': 'val', 'validation': 'val'}.get(row['split'])
            if subset is None:
                continue
            label = plain(row['label'])
            names = [row['youtube_id']]
            try:
                names.insert(0, '{}_{:06d}_{:06d}'.format(row['youtube_id'], int(float(row['time_start'])),
                                                          int(float(row['time_end']))))
            except (OverflowError, ValueError):
                raise UserError(f'{path}:{number}: time_start and time_end are not numbers; correct the file') from None
            folder = next((on_disk[label, name] for name in names if (label, name) in on_disk), None)
            lists.setdefault(f'{subset}_split', []).append(folder or f'{row["label"]}/{names[0]}')
            class_names.setdefault(label, set())
            if folder:
                class_names[label].add(class_of(folder))
            else:
                misplaced += [(by_name[name], row['label']) for name in names if name in by_name]
    if not lists:
        raise UserError(f'{annotations[0]}: no row whose split is train or validate')
    for folder, label in misplaced[:1]:
        warn(f'found {folder}, but not in a class folder {label} ({len(misplaced)} such videos): left out; move it '
             'into the folder of its class')
    for spellings in class_names.values():
        if len(spellings) > 1:
            raise UserError('one class has folders of different names: ' + ', '.join(sorted(spellings))
                            + '; give them the same name')
    return lists, [min(class_names[label], default=label) for label in sorted(class_names)]


def read_annotations(path):
    """Yields (line number, row) of an official Kinetics csv."""
    columns = ['label', 'youtube_id', 'time_start', 'time_end', 'split']
    try:
        with open(path, newline='', encoding='utf-8-sig', errors='surrogateescape') as file:
            reader = csv.DictReader(file)
            if not set(columns) <= set(reader.fieldnames or ()):
                raise UserError(f'{path}: its first line must name the columns ' + ','.join(columns))
            for row in reader:
                if None in row.values():
                    warn(f'{path}:{reader.line_num}: too few columns, left out')
                    continue
                yield reader.line_num, row
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror}); name the official csv files with --annotations'
                        ) from error
    except csv.Error as error:
        raise UserError(f'{path}: not a csv file ({error}); name the official csv files with --annotations') from error


def random_split(frames, test_share, group_regex, seed, class_of=class_of):
    """Puts about `test_share` of the videos of each class into the test list, in whole groups.

    The order of `frames` doesn't matter. class_of: folder -> name of its class. If no video has a class folder, all
    form one unnamed class; if only some have one, the others are left out.
    """
    rng = np.random.default_rng(seed)
    labelled = [folder for folder in sorted(frames) if class_of(folder)]
    if labelled and len(labelled) < len(frames):
        unlabelled = sorted(set(frames) - set(labelled))
        warn(f'videos in no class folder: {len(unlabelled)} (first {unlabelled[0]}); left out of the lists: move them '
             'into class folders')
    by_class = {}
    for folder in labelled or sorted(frames):
        group = group_of(os.path.basename(folder), group_regex)
        by_class.setdefault(class_of(folder), {}).setdefault(group, []).append(folder)
    lists = {'train_split01': [], 'test_split01': []}
    for class_name, groups in sorted(by_class.items()):
        count = sum(map(len, groups.values()))
        order = [groups[name] for name in rng.permutation(sorted(groups))]
        if class_name and len(order) == 1:
            warn(f'class {class_name} has ' + ('one video' if count == 1 else f'{count} videos in one group') +
                 ' only: used for training, not for testing')
        test = []
        for i, folders in enumerate(order):
            # The last group is always for training; the first is always for testing, if there are two.
            is_test = i < len(order) - 1 and (i == 0 or len(test) + len(folders) / 2 <= test_share * count)
            if is_test:
                test += folders
            else:
                lists['train_split01'] += folders
        lists['test_split01'] += test
    return {name: sorted(folders) for name, folders in lists.items()}, sorted(filter(None, by_class))


def needs_two_videos(class_names, group_regex):
    """What random_split lacks if its test list is empty."""
    return (('some class must have' if class_names else 'there must be') + ' two videos'
            + (' in different groups of --group_regex' if group_regex else '')
            + ', one for training and one for testing')


def group_of(name, group_regex):
    """A video that doesn't match is a group of its own."""
    match = re.search(group_regex, name) if group_regex else None
    return 'group ' + match[match.lastindex and 1 or 0] if match else 'video ' + name


def plain(label):
    return label.strip().replace(' ', '_')


def numbered_files(split_root, pattern, such_as):
    """[(path, number), …] of the files whose names match the pattern; its one group is the number.

    such_as: names that match, for the error message
    """
    names = sorted(entry.name for entry in layout.entries_of(split_root))
    matches = [(name, re.fullmatch(pattern, name)) for name in names]
    found = [(os.path.join(split_root, name), int(match[1])) for name, match in matches if match]
    if not found:
        raise UserError(f'{split_root}: no split file in it, such as {such_as}, …; check --split_root')
    return found


def numbered_lines(path):
    """[(number, line), …] of the lines that aren't blank, at least one; line ends, LF or CRLF, are removed."""
    try:
        with open(path, encoding='utf-8-sig', errors='surrogateescape') as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror}); check --split_root') from error
    if not any(lines):
        raise UserError(f'{path}: empty; unpack the split files again')
    return [(number, line) for number, line in enumerate(lines, 1) if line]
