"""Reads the split files of UCF101 and HMDB51: one video a line. See process_data.dataset_kinds for what is returned."""
import os
import re

from process_data import layout
from utils.cli import UserError, warn
from utils.data.classes import read_class_list
from utils.video.files import entries_of


def ucf101_lists(given):
    """trainlist01.txt with lines `Class/v_Class_g01_c01.avi 1`, testlist01.txt without the label; classInd.txt."""
    lists, root = {}, given.split_root
    for path, split in numbered_files(root, r'(?:train|test)list(\d+)\.txt', 'trainlist01.txt, testlist01.txt'):
        name = os.path.basename(path)
        subset, other = ('train', 'test') if name.startswith('train') else ('test', 'train')
        partner = os.path.join(root, name.replace(subset, other, 1))
        if not os.path.exists(partner):
            raise UserError(f'{partner}: missing, but {name} exists; a split needs both: add this one or remove the '
                            'other')
        folders = lists[f'{subset}_split{split:02d}'] = []
        for number, line in numbered_lines(path):
            # The folder names the class, so a missing label does no harm.
            match = re.fullmatch(r'([^/]+/.+\.\w+)(?:\s+\d+)?', line)
            if not match:
                raise UserError(f'{path}:{number}: not a line `Class/video.avi label`: {line!r}; correct the file')
            folders.append(layout.folder_of(match[1]))
    if os.path.exists(os.path.join(root, 'classInd.txt')):
        return lists, read_class_list(root), {}
    return lists, sorted({folder.split('/')[0] for folders in lists.values() for folder in folders}), {}


def hmdb51_lists(given):
    """{class}_test_split1.txt with lines `video.avi 1`: 1 is training, 2 test, 0 unused."""
    lists, class_names = {}, set()
    for path, split in numbered_files(given.split_root, r'.+_test_split(\d+)\.txt', '{class}_test_split1.txt'):
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
    return lists, sorted(class_names), {}


def numbered_files(split_root, pattern, such_as):
    """[(path, number), …] of the files whose names match the pattern; its one group is the number.

    such_as: names that match, for the error message
    """
    names = sorted(entry.name for entry in entries_of(split_root))
    matches = [(name, re.fullmatch(pattern, name)) for name in names]
    found = [(os.path.join(split_root, name), int(match[1])) for name, match in matches if match]
    if not found:
        raise UserError(f'{split_root}: no split file in it, such as {such_as}, …; check --split_root')
    return found


def numbered_lines(path, flag='--split_root'):
    """[(number, line), …] of the lines that aren't blank, at least one; line ends, LF or CRLF, are removed.

    flag: that named the file, for messages"""
    try:
        with open(path, encoding='utf-8-sig', errors='surrogateescape') as file:
            lines = [(number, line.strip()) for number, line in enumerate(file, 1) if line.strip()]
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror}); check {flag}') from error
    if not lines:
        raise UserError(f'{path}: empty; unpack the files again')
    return lines
