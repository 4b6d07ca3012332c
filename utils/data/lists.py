"""The csv lists of videos: rows `path,n_frames[,label[,group]]` without a header; `path` is a folder of frames
`…/{class}/{video}` or a video file `…/{class}/{video}.mp4`. `label` is a class name, or several separated by ';';
without it, or where it is empty, the class is the name of the folder. Videos of one `group` belong together; where it
is empty a video is its own group, and without the column names tell (utils/data/groups.py)."""
import csv
import os
import re
from pathlib import Path
from typing import Optional, Sequence

import numpy as np

from utils.cli import UserError
from utils.data.classes import CONTROL, SEPARATOR, is_label, names_in
from utils.data.groups import group_of
from utils.data.text_files import ENCODING, brief, lines_of
from utils.video.sources import has_frame, refuse_failure

KINETICS_NAME = re.compile(r'(k|kinetics)[-_]?(400|600|700)([-_].*)?')

MAX_PATH = 4096        # bytes, what Linux opens; every path of a list takes as much memory as the longest
MAX_FRAMES = 10 ** 7   # of a video: 92 hours at 30 frames a second


class VideoList:
    """R videos, each a frame folder or video file, a number of frames and maybe labels.

    encoded:   bytes [R] (NumPy's dtype S), the paths in UTF-8. Not a list of str: worker processes made by fork share
               an array, while reading a Python object writes its reference count and so copies its page
    n_frames:  int32 [R]
    root:      folder that relative paths start from, or None where all are absolute
    label:     bytes [R], the third column of the csv; None where it has two
    group:     bytes [R], what a video shares with others of the same recording; empty: it is its own group
    fps:       frames a second that are taken of video files, by time, and that n_frames counts (None: every frame); see
               `at_frame_rate` in utils.data.splits

    >>> videos = VideoList.from_rows(['/frames/run/v1', '/frames/jump/v2'], [200, 31])
    >>> len(videos), videos.path(1), videos.classes()
    (2, '/frames/jump/v2', [('run',), ('jump',)])
    >>> videos.select(videos.n_frames > 100).paths()
    ['/frames/run/v1']
    """

    def __init__(self, encoded: np.ndarray, n_frames: np.ndarray, root: Optional[str] = None,
                 label: Optional[np.ndarray] = None, group: Optional[np.ndarray] = None, fps: Optional[float] = None):
        self.encoded, self.n_frames, self.root, self.label, self.fps = encoded, n_frames, root, label, fps
        self.group = np.zeros(len(n_frames), 'S1') if group is None else group

    @classmethod
    def from_rows(cls, paths: Sequence[str], n_frames: Sequence[int], root: Optional[str] = None,
                  label: Optional[Sequence[str]] = None, group: Optional[Sequence[str]] = None) -> 'VideoList':
        """Packs paths, as many frame counts and maybe as many labels and groups. group None: as the names tell."""
        paths = [path.rstrip('/') for path in paths]
        if group is None:
            group = map(group_of, paths)
        return cls(packed(paths), np.asarray(n_frames, np.int32), root, None if label is None else packed(label),
                   packed(group))

    @classmethod
    def read_csv(cls, path: str, frame_root: Optional[str] = None) -> 'VideoList':
        """Reads a csv of `path,n_frames[,label[,group]]` rows; relative paths start from `frame_root`.

        UserError: no such file, an empty file, a row that doesn't parse, a relative path without `frame_root`."""
        paths, n_frames, label, group = _read_rows(path)
        relative = next((row for row in paths if not row.startswith('/')), None)
        if frame_root is None and relative is not None:
            raise UserError(f'{path}: path {brief(relative)} is relative; say where it starts from with --frame_root')
        return cls.from_rows(paths, n_frames, frame_root, label, group)

    def __len__(self) -> int:
        return len(self.n_frames)

    def path(self, i: int) -> str:
        """Frame folder or file of video i."""
        return self._from_root(self.encoded[i])

    def paths(self) -> list[str]:
        """All frame folders or files."""
        return list(map(self._from_root, self.encoded.tolist()))

    def _from_root(self, encoded):
        return os.path.join(self.root or '', encoded.decode(**ENCODING))

    def class_name(self, i: int) -> str:
        """Class of video i, several with ';' between them: its label, else the name of the folder around it."""
        return class_name(self.path(i)) if self.label is None else self.label[i].decode(**ENCODING)

    def classes(self) -> list[tuple[str, ...]]:
        """Classes of every video, the first label first."""
        if self.label is None:
            return [(class_name(path),) for path in self.paths()]
        return [names_in(label.decode(**ENCODING)) for label in self.label.tolist()]

    def has_several_labels(self) -> bool:
        """Whether some video has more than one label."""
        return self.label is not None and any(SEPARATOR.encode() in label for label in self.label.tolist())

    def groups(self) -> list[str]:
        """The group of every video; of one that is its own group, its path."""
        return [group.decode(**ENCODING) or self.path(i) for i, group in enumerate(self.group.tolist())]

    def select(self, rows: np.ndarray) -> 'VideoList':
        """The videos of an index array or a boolean mask [R], in that order."""
        return VideoList(self.encoded[rows], self.n_frames[rows], self.root,
                         None if self.label is None else self.label[rows], self.group[rows], self.fps)


def packed(texts):
    """bytes [R] of R str."""
    return np.array([text.encode(**ENCODING) for text in texts], dtype='S')


def class_name(path):
    end = max(path.rfind('/'), 0)
    return path[path.rfind('/', 0, end) + 1:end]


# ---- reading lists

def _read_rows(path):
    """The columns of a csv: (list of str, list of int, list of str or None, list of str or None). UserError: no such
    file, an empty one, a row of other form."""
    if not os.path.isfile(path):
        raise UserError(f'{path}: no such file; process_data/write_csv.py writes it')
    rows, columns = [], None
    with open(path, newline='', encoding='utf-8-sig', errors='surrogateescape') as file:
        reader = csv.reader(lines_of(file, path))
        try:
            for cells in filter(None, reader):
                row = parse_row(cells)
                columns = columns or len(cells)
                if len(cells) != columns:
                    raise ValueError(f'{len(cells)} columns, but {columns} in the rows before: give all rows a '
                                     f'{"group" if max(len(cells), columns) == 4 else "label"}, or none')
                if rows and (row[2] is None) != (rows[0][2] is None):
                    raise ValueError('give all rows a label, or none')
                rows.append(row)
        except ValueError as error:
            raise UserError(f'{path}:{reader.line_num}: {error}') from None
        except csv.Error as error:
            raise UserError(f'{path}:{reader.line_num}: not a row of a csv ({error}); is a quote never closed?'
                            ) from None
    if not rows:
        raise UserError(f'{path}: empty; write it again with process_data/write_csv.py')
    return [None if column[0] is None else list(column) for column in zip(*rows)]


def parse_row(cells):
    """(path, number of frames, label or None, group or None) of the cells of a row. ValueError: what is wrong with it.

    >>> parse_row(['/frames/run/v1', '200']), parse_row(['/frames/run/v1', '200', '', 'ann'])
    (('/frames/run/v1', 200, None, None), ('/frames/run/v1', 200, None, 'ann'))
    """
    count = cells[1].strip() if len(cells) in (2, 3, 4) else ''
    if not (re.fullmatch('[0-9]{1,9}', count) and 0 < int(count) <= MAX_FRAMES and cells[0]):
        raise ValueError(f'expected "path,n_frames[,label[,group]]", with n_frames from 1 to {MAX_FRAMES}, got '
                         f'{brief(",".join(cells))}')
    path, _, label, group = *cells, *[None] * (4 - len(cells))
    name = path.rstrip('/').rpartition('/')[2]
    if name in ('', '.', '..') or CONTROL.search(path) or len(path.encode(**ENCODING)) > MAX_PATH:
        raise ValueError(f'{brief(path)} is no path of a video; write the csv again with process_data/write_csv.py')
    if group is not None:
        label = label or None
        check_group(group)
    if label is not None and not is_label(label):
        raise ValueError(f'{brief(label)} is no label: give the name of a class, or several with {SEPARATOR!r} '
                         'between them')
    return path, int(count), label, group


def check_group(name):
    """ValueError: it is no name of a group."""
    if CONTROL.search(name) or len(name.splitlines()) > 1 or len(name.encode(**ENCODING)) > MAX_PATH:
        raise ValueError(f'{brief(name)} is no name of a group: give a short text in one line, or an empty one')


# ---- the folder of a data set's lists

def is_kinetics(dataset):
    """Whether `--dataset` names Kinetics: k400, k400_150, kinetics400_256, k600, …, or a path that ends so."""
    return KINETICS_NAME.fullmatch(os.path.basename(os.path.normpath(dataset)).lower()) is not None


def list_folder(csv_root, dataset, img_dim):
    """The folder of a data set's csv lists and class list, or a folder of videos.

    dataset: ucf101, hmdb51, demo, k400, the name of any folder under `csv_root`, or a path. k400, k600 and k700 have a
             folder for each size of frames: k400_150 or kinetics400 with a short side of 150 px, k400_256 or
             kinetics400_256 for an `img_dim` above 140
    UserError: no such folder."""
    names = [dataset]
    if dataset in ('k400', 'k600', 'k700'):
        long = f'kinetics{dataset[1:]}'
        names = [f'{dataset}_256', f'{long}_256', dataset] if img_dim > 140 else [f'{dataset}_150', long, dataset]
    folders = [os.path.join(csv_root, name) for name in names] + [dataset]
    found = next(filter(os.path.isdir, folders), None)
    if found is None:
        if os.path.isfile(dataset):
            raise UserError(f'--dataset {dataset} is a file: give the folder it is in')
        if os.sep in dataset:
            raise UserError(f'--dataset {dataset}: no such folder')
        raise UserError(f'--dataset {dataset}: no such folder of videos here, and {folders[0]}: no such data set '
                        f'(there are: {datasets_in(csv_root)}); process_data/write_csv.py writes one')
    return found


def datasets_in(csv_root):
    """Names of the data sets that have lists, for messages."""
    return ', '.join(sorted({path.parent.name for path in Path(csv_root).glob('*/*_split*.csv')})) or 'none'


def csv_file(folder, split, subset):
    """Path of one csv in a data set's `list_folder`.

    split:   1, 2 or 3; Kinetics and lists with one split only have no number in the file name
    subset:  'train' or 'test'
    A missing file is left to VideoList.read_csv."""
    numbered = os.path.join(folder, f'{subset}_split{split:02d}.csv')
    plain = [os.path.join(folder, f'{subset}_split.csv')]
    if subset == 'test':
        plain.append(os.path.join(folder, 'val_split.csv'))
    return next((file for file in [numbered, *plain] if os.path.isfile(file)), numbered)


# ---- the videos on disk

def spread_rows(videos, sample=64):
    """int [K]: up to `sample` rows, evenly spread."""
    return np.unique(np.linspace(0, len(videos) - 1, min(sample, len(videos))).astype(int))


def check_on_disk(videos, sample=64):
    """Looks at up to `sample` evenly spread videos: is each there, with its last listed frame?
    UserError otherwise. A full check is process_data/check_frames.py's work."""
    for row in spread_rows(videos, sample):
        path, last = videos.path(row), int(videos.n_frames[row])
        if not os.path.isdir(path) and not os.path.isfile(path) and not os.path.isfile(path + '.zip'):
            refuse_failure(path)
            raise UserError(f'{path}: no such frame folder (nor {os.path.basename(path)}.zip) or video file; extract '
                            'the frames, or write the csv again with process_data/write_csv.py')
        if not has_frame(path, last, videos.fps):
            raise UserError(f'{path}: the csv lists {last} frames, but the last is not there; '
                            'process_data/check_frames.py finds such videos and writes a repaired csv')
