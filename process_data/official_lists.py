"""Reads the annotations of Something-Something V2, Diving48 V2 and Jester as they are published: a file for each list,
and one with the names of the classes. See process_data.dataset_kinds for what is returned.

Videos are found by their names, in whatever folder they are stored; an annotation file belongs to the list that its own
name says.
"""
import json
import os
import re

from process_data.annotations import distinct_names, label_names
from process_data.split_files import numbered_lines
from utils.cli import UserError, warn
from utils.data.text_files import brief

SUBSETS = 'train', 'val', 'test'  # by what the name of an annotation file contains
AS_PUBLISHED = 'give the files as they are published'


def ssv2_lists(given):
    """labels.json, {class: id}, and lists of {"id", "template"}; [brackets] in a template mark what the class doesn't
    name: `Putting [something] on [something]` is the class `Putting something on something`."""
    ids = read_json(given.labels)
    if not (isinstance(ids, dict) and all(re.fullmatch('[0-9]{1,9}', str(number)) for number in ids.values())
            and len(set(map(int, ids.values()))) == len(ids) > 0):
        raise UserError(f'{given.labels}: not the labels.json of Something-Something, {{class: id}}; {AS_PUBLISHED}')
    names = class_list(sorted(ids, key=lambda name: int(ids[name])), given.labels)

    def read(path):
        for where, entry in entries(path, id=(str, int), template=str):
            name = re.sub(r'[\[\]]', '', entry['template']).strip()
            if name not in ids:
                raise UserError(f'{where}: {given.labels} lacks the class {brief(name)}; give both of one version')
            yield str(entry['id']), name

    lists, labels = lists_of(given, read)
    return lists, names, labels


def diving48_lists(given):
    """Diving48_vocab.json, a list of words for each class, and Diving48_V2_train.json and Diving48_V2_test.json, lists
    of {"vid_name", "label"}. A group is the video on YouTube that clips are from: the id in their names."""
    vocabulary = read_json(given.labels)
    if not (isinstance(vocabulary, list) and vocabulary and all(map(is_words, vocabulary))):
        raise UserError(f'{given.labels}: not the vocabulary of Diving48, a list of words for each class; '
                        f'{AS_PUBLISHED}')
    names = class_list([' '.join(filter(None, words)) for words in vocabulary], given.labels)

    def read(path):
        if 'v2' not in os.path.basename(path).lower():
            warn(f'{path}: its name does not say V2; the first labels of Diving48 had errors and were replaced')
        for where, entry in entries(path, vid_name=str, label=int):
            if not 0 <= entry['label'] < len(names):
                raise UserError(f'{where}: label {entry["label"]}, but {given.labels} has {len(names)} classes; give '
                                'both of one version')
            yield entry['vid_name'], names[entry['label']]

    lists, labels = lists_of(given, read)
    return lists, names, labels, {folder: os.path.basename(folder).rpartition('_')[0] for folder in labels}


def is_words(value):
    return isinstance(value, list) and len(value) > 0 and all(isinstance(word, str) for word in value)


def jester_lists(given):
    """Classes a line, and lists of lines `id;class`; no file has a header."""
    names = class_list([line for _, line in numbered_lines(given.labels, '--labels')], given.labels)
    known = set(names)

    def read(path):
        for number, line in numbered_lines(path, '--annotations'):
            where = f'{path}:{number}'
            name, separator, label = (part.strip() for part in line.partition(';'))
            if not (name and separator and label):
                raise UserError(f'{where}: expected `id;class`, got {brief(line)}; {AS_PUBLISHED}, and leave out the '
                                'test list, which has no labels')
            if label not in known:
                raise UserError(f'{where}: {given.labels} lacks the class {brief(label)}; give both of one version')
            yield name, label

    lists, labels = lists_of(given, read)
    return lists, names, labels


# ---- what the three share

def lists_of(given, read):
    """({name of the list: [folder, …]}, {folder: class}) of the annotation files.

    read: path of an annotation file -> pairs of the name of a video and its class. A video that isn't there has its
    name for a folder."""
    listed = {}
    for path in given.annotations:
        listed.setdefault(f'{subset_of_file(path)}_split', []).extend(read(path))
    if len(listed) < 2 or 'train_split' not in listed:
        raise UserError(f'{", ".join(given.annotations)}: a training and a validation or test list are needed; give '
                        'both files to --annotations')
    there = sorted(given.index())
    folders = {os.path.basename(folder): folder for folder in reversed(there)}  # by the name of the video
    if same := [folder for folder in there if folder != folders[os.path.basename(folder)]]:
        warn(f'{same[0]}: {folders[os.path.basename(same[0])]} has the same name ({len(same)} such videos): left out')
    labels = {folders.get(name, name): label for pairs in listed.values() for name, label in pairs}
    return {name: [folders.get(video, video) for video, _ in pairs] for name, pairs in listed.items()}, labels


def subset_of_file(path):
    """'train', 'val' or 'test', as the name of an annotation file says."""
    found = [subset for subset in SUBSETS if subset in os.path.basename(path).lower()]
    if len(found) != 1:
        raise UserError(f'{path}: its name must say which list it is, by one of {", ".join(SUBSETS)}; rename it')
    return found[0]


def class_list(names, path):
    """The names of the classes, checked. UserError: one is no name, or two are the same."""
    for name in names:
        if len(label_names(name, path)) > 1:
            raise UserError(f'{path}: {brief(name)} is no name of a class; {AS_PUBLISHED}')
    if len(set(names)) < len(names):
        raise UserError(f'{path}: names a class twice; {AS_PUBLISHED}')
    distinct_names(dict.fromkeys(names, path))
    return names


def read_json(path):
    try:
        with open(path, encoding='utf-8-sig') as file:
            return json.load(file)
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror}); name the json files with --annotations and '
                        '--labels') from error
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path}: not a json file, or cut short ({error}); {AS_PUBLISHED}') from error


def entries(path, **kinds):
    """Yields (where, dict) of each entry of a json list. kinds: {key: type} that all of them have.
    UserError: no list, an empty one, an entry of another form."""
    listed = read_json(path)
    if not isinstance(listed, list) or not listed:
        raise UserError(f'{path}: not a list of videos; {AS_PUBLISHED}')
    for number, entry in enumerate(listed, 1):
        where = f'{path}, entry {number}'
        if not isinstance(entry, dict):
            raise UserError(f'{where}: not an object with {" and ".join(kinds)}; {AS_PUBLISHED}')
        for key, kind in kinds.items():
            if not isinstance(entry.get(key), kind):
                raise UserError(f'{where}: lacks {key!r}, so it is of another data set or the unlabelled test list; '
                                'give the training and validation (or test) lists that have labels')
        yield where, entry
