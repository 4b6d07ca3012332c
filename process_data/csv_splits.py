"""Train and test videos of any labelled data set, from csv files with the columns path,label or path,label,split."""
import csv
import os

from process_data import layout
from process_data.splits import random_split
from utils.cli import UserError
from utils.data.files import is_video
from utils.data.labels import SEPARATOR, is_label, names_in

COLUMNS = ['path', 'label', 'split']
SUBSETS = {'train': 'train', 'training': 'train', 'val': 'val', 'valid': 'val', 'validate': 'val', 'validation': 'val',
           'test': 'test', 'testing': 'test'}


def csv_splits(annotations, root, frames, test_share, group_regex, seed):
    """-> ({name of the list: [folder, …]}, [class name, …], {folder: label}).

    Paths are relative to `root`, with or without a video's extension. A label is the name of a class, or several
    separated by ';'. Rows of split val are for testing. Without the column split, some of the videos of each class are;
    of several labels, the first counts there. frames: the folders that are there.
    UserError: a file that isn't of this form, a video or a class twice, videos for both val and test."""
    rows, header = {}, None  # by folder: (where it is written, label, split)
    for path in annotations:
        columns, found = read_annotations(path)
        if header not in (None, columns):
            raise UserError(f'{path}: has the columns {",".join(columns)}, but {annotations[0]} has '
                            f'{",".join(header)}; give all files the same')
        header = columns
        for where, row in found:
            folder = folder_of(row['path'], root, frames, where)
            if folder in rows:
                raise UserError(f'{where}: {row["path"]!r} is in {rows[folder][0]} already; give a video one row, '
                                f'several labels separated by {SEPARATOR!r}')
            rows[folder] = where, label_of(row['label'], where), row.get('split')
    if not rows:
        raise UserError(f'{annotations[0]}: names no video; write a row for each')
    labels = {folder: SEPARATOR.join(names) for folder, (_, names, _) in rows.items()}
    class_names = distinct_names({name: where for where, names, _ in reversed(rows.values()) for name in names})
    if 'split' in header:
        return lists_of(rows), class_names, labels
    first = {folder: names[0] for folder, (_, names, _) in rows.items()}
    lists, _ = random_split(rows, test_share, group_regex, seed, class_of=first.get)
    return lists, class_names, labels


def read_annotations(path):
    """([column, …], [(file:line, row as a dict), …]) of one csv file."""
    try:
        with open(path, newline='', encoding='utf-8-sig', errors='surrogateescape') as file:
            reader = csv.reader(file, strict=True)
            columns = [name.strip() for name in next(reader, [])]
            if sorted(columns) not in (sorted(COLUMNS[:2]), sorted(COLUMNS)):
                raise UserError(f'{path}: its first line must name the columns path,label or path,label,split, not '
                                f'{",".join(columns)!r}')
            rows = []
            for cells in filter(None, reader):
                if len(cells) != len(columns):
                    raise UserError(f'{path}:{reader.line_num}: {len(cells)} columns, not {len(columns)}; put names '
                                    'with a comma in quotes')
                rows.append((f'{path}:{reader.line_num}', dict(zip(columns, cells))))
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror}); name csv files with --annotations') from error
    except csv.Error as error:
        raise UserError(f'{path}: not a csv file ({error}); name csv files with --annotations') from error
    return columns, rows


def folder_of(path, root, frames, where):
    """The folder that a row means: one of `frames`, or for a missing video what its folder would be."""
    inside = os.path.normpath(os.path.relpath(path.strip(), root) if os.path.isabs(path.strip()) else path.strip())
    if inside in ('', os.curdir) or inside.split(os.sep)[0] == os.pardir:
        raise UserError(f'{where}: {path!r} is no video below {root}; give paths relative to this folder')
    return layout.folder_of(inside) if inside not in frames and is_video(inside) else inside


def label_of(text, where):
    """The names in a label, in their order."""
    names = names_in(text)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f'{where}: not in UTF-8; convert the file, from Latin-1 with iconv -f latin1 -t utf8') from None
    if not is_label(text):
        raise UserError(f'{where}: {text!r} is no label; give the name of a class in one line, or several separated '
                        f'by {SEPARATOR!r} (which no name may have in it)')
    if len(set(names)) < len(names):
        raise UserError(f'{where}: {text!r} has a label twice; remove one')
    return names


def distinct_names(where):
    """The sorted class names {name: where it is written}. UserError: two differ by spaces and underscores only."""
    plain = {}
    for name in sorted(where):
        other = plain.setdefault(name.replace('_', ' '), name)
        if other != name:
            raise UserError(f'{where[name]}: {name!r} is the same class as {other!r} in {where[other]}, as a '
                            'space equals an underscore; write it in one way')
    return sorted(where)


def lists_of(rows):
    """The lists that the column split says."""
    folders = {'train': [], 'val': [], 'test': []}
    for folder, (where, _, split) in rows.items():
        subset = SUBSETS.get(split.strip().lower())
        if subset is None:
            raise UserError(f'{where}: {split!r} is no split; write train, val or test')
        folders[subset].append(folder)
    tested = folders['val'] or folders['test']
    if not (folders['train'] and tested):
        lacking = 'test (or val)' if folders['train'] else 'train'
        raise UserError(f'{next(iter(rows.values()))[0]} and so on: no row has the split {lacking}; add some, or '
                        'remove the column split for a random one')
    if folders['val'] and folders['test']:
        raise UserError(f'{rows[folders["val"][0]][0]}: there are videos for val and for test, but one test list; '
                        'leave out the rows of one (training holds out its own videos for validation)')
    return {'train_split01': folders['train'], 'test_split01': tested}
