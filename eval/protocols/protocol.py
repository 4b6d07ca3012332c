"""The interface of protocols on frozen features: a Task goes in, Outcomes come out; how a hyperparameter is chosen."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from eval.extract.vectors import Features
from eval.metrics.multi_label import classes_in, is_right
from utils.cli import UserError
from utils.data.held_out import hold_out
from utils.data.lists import VideoList

HELD_OUT = 0.2  # part of the training groups on which hyperparameters are chosen


@dataclass
class Task:
    """Feature vectors float32 [R, D], labels int64 [R] and paths str [R] of training videos, and of Q test videos.

    Sorted by path, so that the order of the lists doesn't matter. Several labels are bool [R, C].

    >>> vectors, label, path = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1]), np.array(['a', 'b', 'c', 'd'])
    >>> task = Task(vectors, label, path, vectors, label, path)
    >>> task.part([0, 2]).train_path.tolist()
    ['a', 'c']
    """
    train: np.ndarray
    train_label: np.ndarray
    train_path: np.ndarray
    test: np.ndarray
    test_label: np.ndarray
    test_path: np.ndarray

    @property
    def multi_label(self) -> bool:
        """Whether a video may have several labels."""
        return self.train_label.ndim == 2

    def part(self, rows: Sequence[int]) -> 'Task':
        """The same with fewer training videos."""
        return replace(self, train=self.train[rows], train_label=self.train_label[rows],
                       train_path=self.train_path[rows])

    def held_out(self, fraction: float = HELD_OUT) -> 'Task | None':
        """The task whose test is a held-out part of the training videos, by groups; None if nothing can be held out."""
        first = self.train_label.argmax(axis=1) if self.multi_label else self.train_label
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

    chosen: the hyperparameter chosen in each repetition, if the protocol has one.
    label:  of a mean average precision only: bool [Q, C], the labels; hits are then logits [S, Q, C]

    >>> Outcome('knn', 'all labels', 'top1', hits=np.array([[1., 0, 1, 1]]), chosen=['k 5']).hits.mean().item()
    0.75
    """
    protocol: str
    setting: str
    metric: str
    hits: np.ndarray
    chosen: list[str] = field(default_factory=list)
    label: np.ndarray | None = None


def make_task(features: Features, feature: str) -> Task:
    """The Task of one kind of vector, 'context' or 'block'. UserError: too few videos or classes."""
    order = np.argsort(features.path)
    train, test = (order[features.part[order] == part] for part in ('train', 'test'))
    if len(test) == 0:
        raise UserError('there is no test video to evaluate the features on: the data set needs a test list')
    if len(classes_in(features.label[train])) < 2:
        raise UserError(f'the {len(train)} training videos have fewer than two classes: nothing can be told apart')
    vectors = getattr(features, feature)
    return Task(*(array[rows] for rows in (train, test) for array in (vectors, features.label, features.path)))


def accuracy(prediction: np.ndarray, label: np.ndarray) -> float:
    return np.mean(is_right(prediction, label))


def choose(task: Task, candidates: Sequence, default, predict: Callable, quality: Callable = accuracy):
    """The best of `candidates` on held-out training groups, the first of equals; `default` if nothing can be held out.

    predict: (task, candidate) -> predicted labels [Q] of its test videos, or another input of `quality`."""
    held = task.held_out()
    if held is None or len(classes_in(held.train_label)) < 2:
        return default
    return candidates[int(np.argmax([quality(predict(held, candidate), held.test_label) for candidate in candidates]))]


def merged(repetitions: Sequence[Sequence[Outcome]]) -> list[Outcome]:
    """Several evaluations by the same protocols, [[Outcome, …], …], as one, whose Outcomes have their repetitions.

    >>> one, other = (Outcome('knn', 'all labels', 'top1', np.array([hits])) for hits in ([1., 0], [1., 1]))
    >>> merged([[one], [other]])[0].hits.tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    return [replace(each[0], hits=np.concatenate([one.hits for one in each]),
                    chosen=sum((one.chosen for one in each), [])) for each in zip(*repetitions)]
