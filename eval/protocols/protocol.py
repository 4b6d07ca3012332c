"""What a protocol on frozen features gets, and what it returns."""
from dataclasses import dataclass, field, replace

import numpy as np

from eval.metrics.multi_label import classes_in, is_right
from utils.cli import UserError
from utils.data.held_out import hold_out
from utils.data.lists import VideoList

HELD_OUT = 0.2  # part of the training groups on which hyperparameters are chosen


@dataclass
class Task:
    """Feature vectors float32 [R, D], labels int64 [R] and paths str [R] of training videos, and of Q test videos.

    Sorted by path, so that the order of the lists doesn't matter. Several labels are bool [R, C]."""
    train: np.ndarray
    train_label: np.ndarray
    train_path: np.ndarray
    test: np.ndarray
    test_label: np.ndarray
    test_path: np.ndarray

    def part(self, rows):
        """The same with fewer training videos."""
        return replace(self, train=self.train[rows], train_label=self.train_label[rows],
                       train_path=self.train_path[rows])

    def held_out(self, fraction=HELD_OUT):
        """The task whose test is a held-out part of the training videos, by groups; None if nothing can be held out."""
        first = self.train_label.argmax(axis=1) if self.train_label.ndim == 2 else self.train_label
        videos = VideoList.from_rows(self.train_path.tolist(), np.ones(len(self.train_path)), label=map(str, first))
        try:
            fit, held = hold_out(videos, fraction, seed=0)
        except UserError:
            return None
        return replace(self.part(fit), test=self.train[held], test_label=self.train_label[held],
                       test_path=self.train_path[held])


@dataclass
class Outcome:
    """A number that a protocol measured. hits: float [S, Q], 1 where test video q was right in repetition s.

    chosen: the hyperparameter chosen in each repetition, if there is one.
    label:  of a mean average precision only: bool [Q, C], the labels; hits then are scores [S, Q, C]"""
    protocol: str
    setting: str
    metric: str
    hits: np.ndarray
    chosen: list = field(default_factory=list)
    label: np.ndarray | None = None


def make_task(features, feature):
    """The Task of one kind of vector, 'context' or 'block', of Features. UserError: too few videos or classes."""
    order = np.argsort(features.path)
    train, test = (order[features.part[order] == part] for part in ('train', 'test'))
    if len(test) == 0:
        raise UserError('there is no test video to judge the features on: the data set needs a test list')
    if len(classes_in(features.label[train])) < 2:
        raise UserError(f'the {len(train)} training videos have fewer than two classes: nothing can be told apart')
    vectors = getattr(features, feature)
    return Task(*(array[rows] for rows in (train, test) for array in (vectors, features.label, features.path)))


def accuracy(prediction, label):
    return np.mean(is_right(prediction, label))


def choose(task, candidates, default, predict, quality=accuracy):
    """The best of `candidates` on held-out training groups, the first of equals; `default` if nothing can be held out.

    predict: (task, candidate) -> predicted labels [Q] of its test videos, or what `quality` takes with their labels."""
    held = task.held_out()
    if held is None or len(classes_in(held.train_label)) < 2:
        return default
    return candidates[int(np.argmax([quality(predict(held, candidate), held.test_label) for candidate in candidates]))]
