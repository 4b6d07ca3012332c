"""Class names and labels, from a data set's classInd.txt."""
import os
import re

import numpy as np

from utils.cli import UserError
from utils.data.lists import brief, class_name, lines_of, numbered

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


def labels_of(videos, class_names):
    """Label of each video, int64 [R]: the place of its class in `class_names`, where a space equals an underscore.
    UserError: a class that isn't listed."""
    label = {_spaced(name): i for i, name in enumerate(class_names)}
    codes, found = numbered(map(class_name, videos.paths()))
    for code, name in enumerate(found):
        if _spaced(name) not in label:
            raise UserError(f'{videos.path(int(np.argmax(codes == code)))}: its class {brief(name)} is not in '
                            'classInd.txt; write csv and class list together with process_data/write_csv.py')
    return np.array([label[_spaced(name)] for name in found], np.int64)[codes]
