"""Which videos a network was trained on: its checkpoint stores short hashes of their names.

A training is a dict {'model', 'dataset', 'split', 'train_list'}; 'lc' is the model of those that used labels. Its
`train_list`, {'depth': int, 'videos': int64 [R]}, has a sorted hash of each video trained on. Those held out for
validation are not among them: no gradient has seen them.

>>> from utils.data.lists import VideoList
>>> trained = VideoList.from_rows(['/old/frames/run/v1', '/old/frames/run/v2'], [90, 90])
>>> training = {'model': 'lc', 'train_list': train_list(trained, trained.paths())}
>>> seen_by([training], VideoList.from_rows(['/new/run/v2.avi', '/new/run/v3.avi'], [90, 90]), labels=True).tolist()
[True, False]
"""
import hashlib

import numpy as np
import torch

from utils.data.classes import class_key
from utils.data.text_files import ENCODING
from utils.video.files import is_video

CLASSIFIER = 'lc'


def name_of_video(path: str) -> tuple[str, ...]:
    """Parts of a path, without the ending of a packed or video file: the same for every form of a video. Folders are
    spelled as `class_key` spells classes."""
    path = path.rstrip('/').removesuffix('.zip')
    *folders, name = (part for part in (path[:path.rfind('.')] if is_video(path) else path).split('/') if part)
    return *map(class_key, folders), name


def tails(paths, depth):
    """The last `depth` parts of each name, a list of str."""
    return ['/'.join(name_of_video(path)[-depth:]) for path in paths]


def depth_for(paths):
    """How many of the last parts of their paths name the videos: class folder and name, which stay when the frames
    move, or as many as tell all videos apart. Videos numbered anew in every folder, as {person}/{class}/{take}, need
    more. If all are in one folder the name is enough: their folder says nothing of them, and may be called otherwise
    where they have moved to."""
    names = set(map(name_of_video, paths))
    depth = 2 if len({name[:-1] for name in names}) > 1 else 1
    while len({name[-depth:] for name in names}) < len(names):
        depth += 1
    return depth


def hashes(paths, depth):
    """int64 [R], the first 8 bytes of a SHA-256 of each tail."""
    digests = [hashlib.sha256(tail.encode(**ENCODING)).digest()[:8] for tail in tails(paths, depth)]
    return np.frombuffer(b''.join(digests), dtype='>i8').astype(np.int64)


def train_list(trained, listed):
    """What a checkpoint stores of the VideoList `trained`. listed: paths of the whole training and test list."""
    depth = depth_for(listed)
    return {'depth': depth, 'videos': torch.from_numpy(np.unique(hashes(trained.paths(), depth)))}


def trainings_of(checkpoint):
    """All trainings that led to a checkpoint, its own first; [] for a file that stores none."""
    settings = checkpoint.get('settings', {})
    own = [settings] if 'train_list' in settings else []
    return own + settings.get('started_from', [])


def seen_by(trainings, videos, labels=None):
    """Mask [R] of the `videos` that were trained on: with labels or without, or None: either."""
    paths, seen = videos.paths(), np.zeros(len(videos), bool)
    for training in trainings:
        if labels in (None, training['model'] == CLASSIFIER):
            stored = training['train_list']
            seen |= np.isin(hashes(paths, stored['depth']), stored['videos'].numpy())
    return seen


def record_of(training):
    """Only what makes a training, of settings that hold more."""
    return {name: training[name] for name in ('model', 'dataset', 'split', 'train_list')}


def is_training(value):
    """Whether a dict read from a file is a training as described above."""
    stored = value.get('train_list') if isinstance(value, dict) else None
    return (isinstance(stored, dict) and isinstance(value.get('model'), str) and isinstance(value.get('dataset'), str)
            and type(value.get('split')) is int and value['split'] > 0
            and type(stored.get('depth')) is int and stored['depth'] > 0
            and torch.is_tensor(stored.get('videos')) and stored['videos'].dtype == torch.int64
            and stored['videos'].layout is torch.strided and stored['videos'].dim() == 1
            and stored['videos'].device.type == 'cpu')
