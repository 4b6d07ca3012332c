"""Reads annotations, csv files whose first line names the columns: Kinetics' own, and those of any labelled videos.
See process_data.dataset_kinds for what is returned."""
import csv
import os

from process_data.layout import class_of, folder_of
from utils.cli import UserError, warn
from utils.data.classes import SEPARATOR, class_key, is_label, names_in
from utils.data.groups import group_of
from utils.data.lists import check_group
from utils.data.random_split import random_split
from utils.video.files import is_video

KINETICS_COLUMNS = ('label', 'youtube_id', 'time_start', 'time_end', 'split')
SUBSETS = {'train': 'train', 'training': 'train', 'val': 'val', 'valid': 'val', 'validate': 'val', 'validation': 'val',
           'test': 'test', 'testing': 'test'}  # of a column `split`


def read_annotations(paths, required, optional=None):
    """[(file:line, {column: text}), …] of csv files.

    optional: columns that may be there, too, in all files or none; None: any.
    UserError: other columns, a file that can't be read, a row of another length, no row."""
    rows, first = [], None
    for path in paths:
        try:
            with open(path, newline='', encoding='utf-8-sig', errors='surrogateescape') as file:
                reader = csv.reader(file, strict=True)
                columns = [name.strip() for name in next(reader, [])]
                known = columns if optional is None else [*required, *optional]
                if not set(required) <= set(columns) <= set(known) or len(set(columns)) < len(columns):
                    raise UserError(f'{path}: its first line must name the columns {",".join(required)}'
                                    + (f', and maybe {" and ".join(optional)}' if optional else '')
                                    + f', not {",".join(columns)!r}')
                first = first or columns
                if optional and set(columns) != set(first):
                    raise UserError(f'{path}: has the columns {",".join(columns)}, but {paths[0]} has '
                                    f'{",".join(first)}; give all files the same')
                for cells in filter(None, reader):
                    if len(cells) != len(columns):
                        raise UserError(f'{path}:{reader.line_num}: {len(cells)} columns, not {len(columns)}; put '
                                        'names with a comma in quotes')
                    rows.append((f'{path}:{reader.line_num}', dict(zip(columns, cells))))
        except OSError as error:
            raise UserError(f'{path}: cannot be read ({error.strerror}); name csv files with --annotations') from error
        except csv.Error as error:
            raise UserError(f'{path}: not a csv file ({error}); name csv files with --annotations') from error
    if not rows:
        raise UserError(f'{paths[0]}: names no video; write a row for each')
    return rows


def subset_of(split):
    return SUBSETS.get(split.strip().lower())


# ---- Kinetics

def kinetics_lists(given):
    """The official csv files. Frame folders are …/{label}/{id}_{start:06d}_{end:06d} or …/{label}/{id}."""
    rows = read_annotations(given.annotations, KINETICS_COLUMNS)
    on_disk = {(class_key(class_of(folder)), os.path.basename(folder)): folder for folder in given.index()}
    by_name = {os.path.basename(folder): folder for folder in given.index()}
    lists, class_names, misplaced = {}, {}, []
    for where, row in rows:
        subset, label = subset_of(row['split']), class_key(row['label'])
        if subset not in ('train', 'val'):
            continue
        try:
            start, end = int(float(row['time_start'])), int(float(row['time_end']))
        except (OverflowError, ValueError):
            raise UserError(f'{where}: time_start and time_end are not numbers; correct the file') from None
        names = [f'{row["youtube_id"]}_{start:06d}_{end:06d}', row['youtube_id']]
        folder = next((on_disk[label, name] for name in names if (label, name) in on_disk), None)
        lists.setdefault(f'{subset}_split', []).append(folder or f'{row["label"]}/{names[0]}')
        class_names.setdefault(label, set())
        if folder:
            class_names[label].add(class_of(folder))
        else:
            misplaced += [(by_name[name], row['label']) for name in names if name in by_name]
    if not lists:
        raise UserError(f'{given.annotations[0]}: no row whose split is train or validate')
    for folder, label in misplaced[:1]:
        warn(f'found {folder}, but not in a class folder {label} ({len(misplaced)} such videos): left out; move it '
             'into the folder of its class')
    for spellings in class_names.values():
        if len(spellings) > 1:
            raise UserError('one class has folders of different names: ' + ', '.join(sorted(spellings))
                            + '; give them the same name')
    return lists, [min(class_names[label], default=label) for label in sorted(class_names)], {}


# ---- any labelled videos

def csv_lists(given):
    """Files with the columns path,label, and maybe split and group.

    Paths are relative to the root, with or without a video's extension. A label is the name of a class, or several
    separated by ';'. Rows of split val are for testing. Without the column split, some of the videos of each class are;
    of several labels, the first counts there. Videos of one group stay in the same list; an empty group is that of the
    video's name.
    UserError: a file that isn't of this form, a video or a class twice, videos for both val and test."""
    annotated = read_annotations(given.annotations, ('path', 'label'), ('split', 'group'))
    there, rows = given.index(), {}  # rows by folder: (where it is written, names in the label, split)
    groups = {}
    for where, row in annotated:
        folder = annotated_folder(row['path'], given.root, there, where)
        if folder in rows:
            raise UserError(f'{where}: {row["path"]!r} is in {rows[folder][0]} already; give a video one row, '
                            f'several labels separated by {SEPARATOR!r}')
        rows[folder] = where, label_names(row['label'], where), row.get('split')
        groups[folder] = group_name(row.get('group', ''), where)
    labels = {folder: SEPARATOR.join(names) for folder, (_, names, _) in rows.items()}
    class_names = distinct_names({name: where for where, names, _ in reversed(rows.values()) for name in names})
    if 'split' in annotated[0][1]:
        return split_column_lists(rows), class_names, labels, groups
    first = {folder: names[0] for folder, (_, names, _) in rows.items()}
    lists, _ = random_split({folder: groups[folder] or group_of(folder, given.group_regex) for folder in rows},
                            given.test_share, given.seed, class_of=first.get)
    return lists, class_names, labels, groups


def annotated_folder(path, root, there, where):
    """The folder that a row means: one that is there, or for a missing video what its folder would be."""
    inside = os.path.normpath(os.path.relpath(path.strip(), root) if os.path.isabs(path.strip()) else path.strip())
    if inside in ('', os.curdir) or inside.split(os.sep)[0] == os.pardir:
        raise UserError(f'{where}: {path!r} is no video below {root}; give paths relative to this folder')
    return folder_of(inside) if inside not in there and is_video(inside) else inside


def group_name(text, where):
    """The name in a column `group`."""
    try:
        check_group(text.strip())
    except ValueError as error:
        raise UserError(f'{where}: {error}') from None
    return text.strip()


def label_names(text, where):
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
    """The sorted class names {name: where it is written}. UserError: two are spellings of one class."""
    spelling = {}
    for name in sorted(where):
        other = spelling.setdefault(class_key(name), name)
        if other != name:
            raise UserError(f'{where[name]}: {name!r} is the same class as {other!r} in {where[other]}, as a '
                            'space equals an underscore; write it in one way')
    return sorted(where)


def split_column_lists(rows):
    """The lists that the column split says."""
    folders = {'train': [], 'val': [], 'test': []}
    for folder, (where, _, split) in rows.items():
        if subset_of(split) is None:
            raise UserError(f'{where}: {split!r} is no split; write train, val or test')
        folders[subset_of(split)].append(folder)
    tested = folders['val'] or folders['test']
    if not (folders['train'] and tested):
        lacking = 'test (or val)' if folders['train'] else 'train'
        raise UserError(f'{next(iter(rows.values()))[0]} and so on: no row has the split {lacking}; add some, or '
                        'remove the column split for a random one')
    if folders['val'] and folders['test']:
        raise UserError(f'{rows[folders["val"][0]][0]}: there are videos for val and for test, but one test list; '
                        'leave out the rows of one (training holds out its own videos for validation)')
    return {'train_split01': folders['train'], 'test_split01': tested}
