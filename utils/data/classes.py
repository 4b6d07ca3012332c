"""Class names and labels, from a data set's classInd.txt."""
import os
import re

import numpy as np

from utils.cli import UserError
from utils.data.lists import brief, lines_of, numbered

MAX_CLASSES = 10 ** 4


def read_class_list(folder):
    """Class names in the order of their ids, so that label = position, from `classInd.txt` in a data set's csv folder.

    Its lines are "id name" (UCF101, HMDB51) or "id,name" (Kinetics). UserError: no such file, a line of another form,
    an id or a name twice, too many classes."""
    path = os.path.join(folder, 'classInd.txt')
    if not os.path.isfile(path):
        raise UserError(f'{path}: no such file; process_data/write_csv.py writes it beside the csv files '
                        '(unlabelled videos have none: they serve pretraining only)')
    names, lines = {}, {}  # by id; line number of each id (int) and name (str)
    with open(path, encoding='utf-8-sig') as file:
        try:
            for number, line in enumerate(map(str.strip, lines_of(file, path)), start=1):
                match = re.fullmatch(r'([0-9]{1,9})[ ,\t]\s*(.+)', line)
                if line and not match:
                    raise UserError(f'{path}:{number}: expected "id name" or "id,name", got {brief(line)}')
                if line:
                    names[int(match[1])] = match[2]
                    for key in (int(match[1]), _spaced(match[2])):
                        if lines.setdefault(key, number) != number:
                            what = 'id' if isinstance(key, int) else 'class'
                            raise UserError(f'{path}:{number}: the {what} {brief(str(key))} is on line {lines[key]} '
                                            'already; every class has one line, with an id of its own')
                if len(names) > MAX_CLASSES:
                    raise UserError(f'{path}: names more than {MAX_CLASSES} classes; is it a list of videos?')
        except UnicodeDecodeError:
            raise UserError(f'{path}: not in UTF-8; convert it, from Latin-1 with iconv -f latin1 -t utf8') from None
    if not names:
        raise UserError(f'{path}: names no class; write it again with process_data/write_csv.py')
    return [names[i] for i in sorted(names)]


def _spaced(name):
    """Kinetics comes with spaces or underscores in its folders: a class is the same with either."""
    return name.replace('_', ' ')


def labels_of(videos, class_names, multi_label=False):
    """Label of each video, int64 [R]: the place of its class in `class_names`, where a space equals an underscore.

    multi_label: bool [R, C] instead, true for all labels of a video.
    UserError: a class that isn't listed; several labels of a video without `multi_label`."""
    label = {_spaced(name): i for i, name in enumerate(class_names)}
    codes, found = numbered(videos.classes())
    for code, names in enumerate(found):
        unknown = [name for name in names if _spaced(name) not in label]
        if unknown or len(names) > 1 and not multi_label:
            path = videos.path(int(np.argmax(codes == code)))
            if unknown:
                raise UserError(f'{path}: its class {brief(unknown[0])} is not in classInd.txt; write csv and class '
                                'list together with process_data/write_csv.py')
            raise UserError(f'{path} has several labels, {brief("; ".join(names))}: here a video can have one only')
    places = [[label[_spaced(name)] for name in names] for names in found]
    if not multi_label:
        return np.array([place for place, in places], np.int64)[codes]
    table = np.zeros((len(found), len(class_names)), bool)
    for row, place in zip(table, places):
        row[place] = True
    return table[codes]
