"""Names of classes: in the label of a video, and in the class list classInd.txt. No torch."""
import os
import re

import numpy as np

from utils.cli import UserError
from utils.data.text_files import brief, lines_of

MAX_CLASSES = 10 ** 4
SEPARATOR = ';'                                # between the classes of a video
CONTROL = re.compile(r'[\x00-\x08\x0a-\x1f]')  # all but the tab; line breaks would split messages


def class_key(name):
    """The same for all spellings of a class: a space equals an underscore, as Kinetics comes with either.

    >>> class_key('air drumming') == class_key('air_drumming')
    True
    """
    return name.strip().replace(' ', '_')


def names_in(label):
    """The class names in a label, in their order, as a tuple.

    >>> names_in('run; jump')
    ('run', 'jump')
    """
    return tuple(name.strip() for name in label.split(SEPARATOR))


def is_label(text):
    """Whether a text is a label: none of its names is empty, and it is one line."""
    return all(names_in(text)) and text.splitlines() == [text] and not CONTROL.search(text)


def read_class_list(folder):
    """Class names in the order of their ids, so that label = position, from `classInd.txt` in a folder of lists.

    Its lines are "id name" (UCF101, HMDB51) or "id,name" (Kinetics). UserError: no such file, a line of another form,
    an id or a name twice, too many classes."""
    path = os.path.join(folder, 'classInd.txt')
    names, lines = {}, {}  # by id; line number of each id (int) and class key (str)
    try:
        with open(path, encoding='utf-8-sig') as file:
            for number, line in enumerate(map(str.strip, lines_of(file, path)), start=1):
                match = re.fullmatch(r'([0-9]{1,9})[ ,\t]\s*(.+)', line)
                if line and not match:
                    raise UserError(f'{path}:{number}: expected "id name" or "id,name", got {brief(line)}')
                if line:
                    names[int(match[1])] = match[2]
                    for what, text, key in (('id', str(int(match[1])), int(match[1])),
                                            ('class', match[2], class_key(match[2]))):
                        if lines.setdefault(key, number) != number:
                            raise UserError(f'{path}:{number}: the {what} {brief(text)} is on line {lines[key]} '
                                            'already; every class has one line, with an id of its own')
                if len(names) > MAX_CLASSES:
                    raise UserError(f'{path}: names more than {MAX_CLASSES} classes; is it a list of videos?')
    except FileNotFoundError:
        raise UserError(f'{path}: no such file: these videos have no labels, and serve pretraining only. Lists with '
                        'labels are written by process_data/write_csv.py --dataset folder --videos FOLDER (classes '
                        'are folders) or --dataset csv (labels in a file)') from None
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror})') from None
    except UnicodeDecodeError:
        raise UserError(f'{path}: not in UTF-8; convert it, from Latin-1 with iconv -f latin1 -t utf8') from None
    if not names:
        raise UserError(f'{path}: names no class; write it again with process_data/write_csv.py')
    return [names[i] for i in sorted(names)]


def labels_of(videos, class_names, multi_label=False):
    """Label of each video of a VideoList, int64 [R]: the position of its class in `class_names`.

    multi_label: bool [R, C] instead, true for all labels of a video.
    UserError: a class that isn't listed; several labels of a video without `multi_label`."""
    label = {class_key(name): i for i, name in enumerate(class_names)}
    codes, found = numbered(videos.classes())
    for code, names in enumerate(found):
        unknown = [name for name in names if class_key(name) not in label]
        if unknown or len(names) > 1 and not multi_label:
            path = videos.path(int(np.argmax(codes == code)))
            if unknown:
                raise UserError(f'{path}: its class {brief(unknown[0])} is not in classInd.txt; write csv and class '
                                'list together with process_data/write_csv.py')
            raise UserError(f'{path} has several labels, {brief("; ".join(names))}: here a video can have one only')
    positions = [[label[class_key(name)] for name in names] for names in found]
    if not multi_label:
        return np.array([position for position, in positions], np.int64)[codes]
    table = np.zeros((len(found), len(class_names)), bool)
    for row, position in zip(table, positions):
        row[position] = True
    return table[codes]


def numbered(values):
    """Numbers equal values alike, from 0 in order of appearance -> (int64 [R], list of the distinct values).

    >>> numbered('abca')
    (array([0, 1, 2, 0]), ['a', 'b', 'c'])
    """
    numbers = {}
    codes = np.fromiter((numbers.setdefault(value, len(numbers)) for value in values), np.int64)
    return codes, list(numbers)
