"""The csv lists of videos: rows `path,n_frames` without a header; `path` is a folder of frames `…/{class}/{video}`.

A list of 240,000 videos is held as three numpy arrays, so worker processes made by fork share it without copying
(a list of str would be copied page by page, as reading a Python object writes its reference count).
"""
import csv
import os
import re
from pathlib import Path

import numpy as np

from utils.cli import UserError
from utils.data.frames import has_frame

# File names are bytes on disk; 'surrogateescape' brings those that aren't valid UTF-8 through unharmed.
ENCODING = {'encoding': 'utf-8', 'errors': 'surrogateescape'}
CSV_ENCODING = {**ENCODING, 'encoding': 'utf-8-sig'}
UCF101_NAME = re.compile(r'v_.+_g(\d+)_c\d+')  # v_{class}_g{group}_c{clip}


class VideoList:
    """R videos, each a frame folder and a number of frames.

    text:      uint8 [L], the UTF-8 bytes of all paths one after the other
    spans:     int64 [R, 2], first and one-past-last byte of each row's path in `text`
    n_frames:  int32 [R]
    root:      folder that relative paths start from, or None where all are absolute
    """

    def __init__(self, text, spans, n_frames, root=None):
        self.text, self.spans, self.n_frames, self.root = text, spans, n_frames, root

    @classmethod
    def from_rows(cls, paths, n_frames, root=None):
        """Packs a list of str and as many frame counts."""
        encoded = [path.rstrip('/').encode(**ENCODING) for path in paths]
        ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        starts = np.concatenate([[0], ends])[:-1]
        text = np.frombuffer(b''.join(encoded), np.uint8)
        return cls(text, np.stack([starts, ends], axis=1), np.asarray(n_frames, np.int32), root)

    @classmethod
    def read_csv(cls, path, frame_root=None):
        """Reads a csv of `path,n_frames` rows; relative paths start from `frame_root`.

        UserError: no such file, an empty file, a row that doesn't parse, a relative path without `frame_root`."""
        paths, n_frames = _read_rows(path)
        if frame_root is None:
            relative = next((row for row in paths if not row.startswith('/')), None)
            if relative is not None:
                raise UserError(f'{path}: path {relative!r} is relative; say where it starts from with --frame_root')
        return cls.from_rows(paths, n_frames, frame_root)

    def __len__(self):
        return len(self.n_frames)

    def path(self, i):
        """Frame folder of video i, as str."""
        start, end = self.spans[i]
        return self._from_root(self.text[start:end].tobytes().decode(**ENCODING))

    def paths(self):
        """All frame folders, as a list of str."""
        text = self.text.tobytes()
        # Two plain lists: a list for every row would keep Python's garbage collector busy for longer than the decoding.
        starts, ends = self.spans.T.tolist()
        return [self._from_root(text[start:end].decode(**ENCODING)) for start, end in zip(starts, ends)]

    def _from_root(self, path):
        return path if self.root is None else os.path.join(self.root, path)

    def class_name(self, i):
        """Class of video i: the name of the folder that its frame folder lies in."""
        return _class_name(self.path(i))

    def select(self, rows):
        """The videos of an index array or a boolean mask [R], in that order; the text is shared, not copied."""
        return VideoList(self.text, self.spans[rows], self.n_frames[rows], self.root)


def _class_name(path):
    end = max(path.rfind('/'), 0)
    return path[path.rfind('/', 0, end) + 1:end]


def _read_rows(path):
    """Both columns of a csv: (list of str, list of int). UserError: no such file, an empty one, a row of other form."""
    if not os.path.isfile(path):
        raise UserError(f'{path}: no such file; process_data/write_csv.py writes it')
    paths, n_frames, row = [], [], []
    with open(path, newline='', **CSV_ENCODING) as file:
        reader = csv.reader(file)
        try:
            for row in filter(None, reader):
                folder, count = row
                n_frames.append(int(count))
                paths.append(folder)
                if not folder or not 0 < n_frames[-1] < 2 ** 31:
                    raise ValueError
        except (ValueError, csv.Error):
            got = ','.join(row)
            raise UserError(f'{path}:{reader.line_num}: expected "path,n_frames" with n_frames above 0, got {got!r}'
                            ) from None
    if not paths:
        raise UserError(f'{path}: empty; write it again with process_data/write_csv.py')
    return paths, n_frames


def csv_file(csv_root, dataset, split, subset, img_dim):
    """Path of a data set's csv.

    dataset: ucf101, hmdb51, demo, k400 or the name of any folder under `csv_root`; k400 has a folder for each
             size of frames: short side 150 px, or 256 px for an `img_dim` above 140
    split:   1, 2 or 3; Kinetics and lists with one split only have no number in the file name
    subset:  'train' or 'test'
    UserError: no such folder. A missing file is left to VideoList.read_csv."""
    folder = dataset
    if dataset == 'k400':
        sized = 'k400_256' if img_dim > 140 else 'k400_150'
        folder = sized if os.path.isdir(os.path.join(csv_root, sized)) else 'k400'
    root = os.path.join(csv_root, folder)
    if not os.path.isdir(root):
        there = sorted({path.parent.name for path in Path(csv_root).glob('*/*_split*.csv')})
        wanted = sized if dataset == 'k400' else dataset
        raise UserError(f'{os.path.join(csv_root, wanted)}: no such data set (there are: {", ".join(there) or "none"})'
                        '; process_data/write_csv.py writes one')
    numbered = os.path.join(root, f'{subset}_split{split:02d}.csv')
    plain = [os.path.join(root, f'{subset}_split.csv')]
    if subset == 'test':
        plain.append(os.path.join(root, 'val_split.csv'))
    return next((file for file in [numbered, *plain] if os.path.isfile(file)), numbered)


def read_class_list(csv_root_folder):
    """Class names in the order of their ids, so that label = position, from `classInd.txt` in a data set's csv folder.

    Its lines are "id name" (UCF101, HMDB51) or "id,name" (Kinetics). UserError: no such file, a line that isn't."""
    path = os.path.join(csv_root_folder, 'classInd.txt')
    if not os.path.isfile(path):
        raise UserError(f'{path}: no such file; process_data/write_csv.py writes it beside the csv files')
    names = {}
    with open(path, **ENCODING) as file:
        for number, line in enumerate(map(str.strip, file), start=1):
            match = re.fullmatch(r'(\d+)[ ,\t]\s*(.+)', line)
            if line and not match:
                raise UserError(f'{path}:{number}: expected "id name" or "id,name", got {line!r}')
            if line:
                names[int(match[1])] = match[2]
    if not names:
        raise UserError(f'{path}: names no class; write it again with process_data/write_csv.py')
    return [names[i] for i in sorted(names)]


def labels_of(videos, class_names):
    """Label of each video, int64 [R]: the place of its class in `class_names`, where a space equals an underscore
    (Kinetics comes with either in its folders). UserError: a class that isn't listed."""
    label = {name.replace('_', ' '): i for i, name in enumerate(class_names)}
    codes, found = _numbered(map(_class_name, videos.paths()))
    for code, name in enumerate(found):
        if name.replace('_', ' ') not in label:
            raise UserError(f'{videos.path(int(np.argmax(codes == code)))}: its class {name!r} is not in classInd.txt; '
                            'write csv and class list together with process_data/write_csv.py')
    return np.array([label[name.replace('_', ' ')] for name in found])[codes]


def _numbered(values):
    """Numbers equal values alike, from 0 in order of appearance -> (int64 [R], list of the distinct values)."""
    numbers = {}
    codes = np.fromiter((numbers.setdefault(value, len(numbers)) for value in values), np.int64)
    return codes, list(numbers)


def fits(videos, clip_frames):
    """Mask [R] of the videos with at least `clip_frames` frames; one of exactly that length fits."""
    return videos.n_frames >= clip_frames


def hold_out(videos, fraction, seed):
    """Splits a training list into (train, validation), two sorted index arrays; the same for the same seed.

    In UCF101 (and what is named like it) the clips of a group come from one video, so whole groups are held out;
    elsewhere a video is its own group. Of each class with several groups `fraction` of the groups are held out, one
    at least, and one at least stays: those of the same names in all classes, as in UCF101's test splits. (Where a group
    looks alike in several classes, its looks would tell which class it is not.) UserError: nothing can be held out."""
    paths = videos.paths()
    class_of, _ = _numbered(map(_class_name, paths))
    group_of, groups = _numbered(map(_group, paths))
    class_of_group = np.zeros(len(groups), np.int64)
    class_of_group[group_of] = class_of

    # Within each class the groups in a random order of their names: the first `count` are held out.
    name_of_group, names = _numbered(group[group.rfind('/') + 1:] for group in groups)
    order = np.lexsort((np.random.default_rng(seed).random(len(names))[name_of_group], class_of_group))
    sizes = np.bincount(class_of_group)
    count = np.minimum(np.maximum(1, np.rint(fraction * sizes)), sizes - 1)
    place = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    held_group = np.zeros(len(groups), bool)
    held_group[order] = place < np.repeat(count, sizes)
    held = held_group[group_of]
    if not held.any():
        raise UserError('no class has more than one video (or group of videos), so none can be held out for '
                        'validation: list more videos, or validate with --val_on test')
    return np.flatnonzero(~held), np.flatnonzero(held)


def _group(path):
    match = UCF101_NAME.fullmatch(path, path.rfind('/') + 1)
    return f'{path[:match.start()]}{match[1]}' if match else path


def check_on_disk(videos, sample=64):
    """Looks at up to `sample` evenly spread videos: is each there, loose or packed, with its last listed frame?
    UserError otherwise. A full check is process_data/check_frames.py's work."""
    for row in np.unique(np.linspace(0, len(videos) - 1, min(sample, len(videos))).astype(int)):
        path, last = videos.path(row), int(videos.n_frames[row])
        if not os.path.isdir(path) and not os.path.isfile(path + '.zip'):
            raise UserError(f'{path}: no such frame folder (nor {os.path.basename(path)}.zip); extract the frames, or '
                            'write the csv again with process_data/write_csv.py')
        if not has_frame(path, last):
            raise UserError(f'{path}: the csv lists {last} frames, but the last is not there; '
                            'process_data/check_frames.py finds such videos and writes a repaired csv')
