"""The interface of protocols on frozen features: a Task goes in, Outcomes come out; how a hyperparameter is chosen."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from joblib import Parallel, delayed

from eval.extract.vectors import Features
from eval.metrics.multi_label import classes_in, is_right
from utils.cli import UserError
from utils.data.held_out import fold_of
from utils.data.lists import VideoList

FOLDS = 5  # of the training groups, at most, on which hyperparameters are chosen


@dataclass
class Task:
    """Feature vectors float32 [R, D], labels int64 [R] and paths str [R] of training videos, and of Q test videos.

    Sorted by path, so that the order of the lists doesn't matter. Several labels are bool [R, C]. Groups are str [R],
    see utils.data.lists; None: as the paths tell.

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
    train_group: np.ndarray | None = None
    test_group: np.ndarray | None = None

    def __post_init__(self):
        if self.train_group is None:
            self.train_group, self.test_group = groups_of(self.train_path), groups_of(self.test_path)

    @property
    def multi_label(self) -> bool:
        """Whether a video may have several labels."""
        return self.train_label.ndim == 2

    def part(self, rows: Sequence[int]) -> 'Task':
        """The same with fewer training videos."""
        return replace(self, train=self.train[rows], train_label=self.train_label[rows],
                       train_path=self.train_path[rows], train_group=self.train_group[rows])

    def folds(self, count: int = FOLDS) -> 'list[Task]':
        """Up to `count` tasks whose tests are together the training videos, each once: a cross-validation over groups.

        Fewer where no class has so many groups, or a fold leaves less than two classes; none for one group a class."""
        first = self.train_label.argmax(axis=1) if self.multi_label else self.train_label
        videos = VideoList.from_rows(self.train_path.tolist(), np.ones(len(self.train_path)), label=map(str, first),
                                     group=self.train_group)
        fold = fold_of(videos, count, seed=0)
        tasks = [replace(self.part(fold != number), test=self.train[fold == number],
                         test_label=self.train_label[fold == number], test_path=self.train_path[fold == number],
                         test_group=self.train_group[fold == number]) for number in np.unique(fold)]
        return [task for task in tasks if len(tasks) > 1 and len(classes_in(task.train_label)) > 1]


def groups_of(paths: np.ndarray, group_of: dict[str, str] | None = None) -> np.ndarray:
    """str [R] of R paths. group_of: {path: group}; None: as the paths tell."""
    if group_of is None:
        return np.array(VideoList.from_rows(paths.tolist(), np.ones(len(paths))).groups())
    return np.array([group_of[path] for path in paths.tolist()])


@dataclass
class Outcome:
    """A number that a protocol measured. hits: float [S, Q], 1 where test video q was right in repetition s.

    group:  str [Q] of the test videos
    chosen: the hyperparameter chosen in each repetition, if the protocol has one; folds: in how many folds, 0 for none
    label:  of a mean average precision only: bool [Q, C], the labels; hits are then logits [S, Q, C]

    >>> right, group = np.array([[1., 0, 1, 1]]), np.array(['a', 'a', 'b', 'c'])
    >>> Outcome('knn', 'all labels', 'top1', right, group, chosen=['k 5']).hits.mean().item()
    0.75
    """
    protocol: str
    setting: str
    metric: str
    hits: np.ndarray
    group: np.ndarray
    chosen: list[str] = field(default_factory=list)
    folds: list[int] = field(default_factory=list)
    label: np.ndarray | None = None


def make_task(features: Features, feature: str, group_of: dict[str, str] | None = None) -> Task:
    """The Task of one kind of vector, 'context' or 'block'. group_of: {path: group}; None: as the paths tell.

    UserError: too few videos or classes."""
    order = np.argsort(features.path)
    train, test = (order[features.part[order] == part] for part in ('train', 'test'))
    if len(test) == 0:
        raise UserError('there is no test video to evaluate the features on: the data set needs a test list')
    if len(classes_in(features.label[train])) < 2:
        raise UserError(f'the {len(train)} training videos have fewer than two classes: nothing can be told apart')
    vectors = getattr(features, feature)
    return Task(*(array[rows] for rows in (train, test) for array in (vectors, features.label, features.path)),
                *(groups_of(features.path[rows], group_of) for rows in (train, test)))


def accuracy(prediction: np.ndarray, label: np.ndarray) -> float:
    return np.mean(is_right(prediction, label))


def choose(task: Task, candidates: Sequence, default, predict: Callable, quality: Callable = accuracy, jobs: int = 1):
    """(the best of `candidates` in a cross-validation over the training groups, how many folds it had); `default` where
    there can be none. Candidates are given from the strongest regularisation to the weakest: the first of equals wins.

    predict: (task, candidates) -> for each, predicted labels [Q] of its test videos, or another input of `quality`.
    jobs: folds at a time, in threads."""
    folds = task.folds()
    if not folds:
        return default, 0
    predictions = Parallel(jobs, prefer='threads')(delayed(predict)(fold, candidates) for fold in folds)
    found = [[quality(each, fold.test_label) for each in of_fold] for fold, of_fold in zip(folds, predictions)]
    return candidates[first_best(found, [len(fold.test) for fold in folds])], len(folds)


def first_best(found: Sequence[Sequence[float]], sizes: Sequence[int]) -> int:
    """The first of equally good candidates. found: quality of each in each fold. sizes: videos of each fold."""
    mean = np.average(found, axis=0, weights=sizes)
    return int(np.argmax(mean > mean.max() - 1e-9))  # up to rounding


def merged(repetitions: Sequence[Sequence[Outcome]]) -> list[Outcome]:
    """Several evaluations by the same protocols, [[Outcome, …], …], as one, whose Outcomes have their repetitions.

    >>> group = np.array(['a', 'b'])
    >>> one, other = (Outcome('knn', 'all labels', 'top1', np.array([hits]), group) for hits in ([1., 0], [1., 1]))
    >>> merged([[one], [other]])[0].hits.tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    return [replace(each[0], hits=np.concatenate([one.hits for one in each]),
                    chosen=sum((one.chosen for one in each), []), folds=sum((one.folds for one in each), []))
            for each in zip(*repetitions)]
