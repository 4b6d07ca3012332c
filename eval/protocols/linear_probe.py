"""Linear probe: logistic regression on standardised features, with all labels and with few.

>>> from eval.protocols.protocol import Task
>>> vectors, label, path = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1]), np.array(['a', 'b', 'c', 'd'])
>>> predict(Task(vectors, label, path, vectors, label, path), [1e-2])
[array([0, 0, 1, 1])]
"""
import contextlib
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from eval.metrics.average_precision import mean_average_precision
from eval.metrics.multi_label import is_right
from eval.protocols.protocol import Outcome, Task, choose
from utils.cli import cpu_cores
from utils.data.label_subsets import label_subset

DECAYS = tuple(10. ** power for power in range(1, -6, -1))  # weight decay; the strongest first, which wins ties
DEFAULT_DECAY = 1e-2  # where nothing can be held out to choose it
FRACTIONS, PER_CLASS = (0.1, 0.2, 0.5), (5, 20)  # subsets of the labels
SEEDS = range(3)  # of the subsets


def subsets(task: Task) -> dict[str, list[np.ndarray]]:
    """{setting: [rows int64 of the training videos, one for each seed]}; all labels need one only. Subsets that would
    have all labels are left out, those equal to one before, and 20 per class where half of the classes have no more
    than 20 videos. Where videos have several labels there are no subsets, as they could not be of the same size in
    every class."""
    everything = {'all labels': [np.arange(len(task.train))]}
    if task.multi_label:
        return everything
    sizes = [(f'{fraction:.0%} of labels', {'fraction': fraction}) for fraction in FRACTIONS]
    of_class = np.bincount(task.train_label)
    usual = np.median(of_class[of_class > 0])
    sizes += [(f'{count} per class', {'per_class': count}) for count in PER_CLASS if count < usual]
    found = {}
    for setting, size in sizes:
        rows = [label_subset(task.train_path, task.train_label, **size, seed=seed) for seed in SEEDS]
        if len(rows[0]) < len(task.train) and not any(np.array_equal(rows, other) for other in found.values()):
            found[setting] = rows
    return everything | found


def probe(task: Task) -> list[Outcome]:
    """An Outcome for each setting of `subsets`; the weight decay is chosen by cross-validation over groups of the same
    subset. Where videos have several labels, mean average precision and top-1 of one-vs-rest."""
    with quick_fits():
        return (probe_of_several_labels if task.multi_label else probe_of_subsets)(task)


@contextlib.contextmanager
def quick_fits() -> Iterator[None]:
    """Folds run in threads, each with one thread of its own: matrices this small are slower with several."""
    with warnings.catch_warnings(), threadpool_limits(1, user_api='blas'):
        warnings.simplefilter('ignore')  # scikit-learn's, of rare classes and fits that are not quite converged
        yield


def chosen_probe(task: Task) -> tuple[Pipeline, str, int]:
    """(the classifier of vectors that is trained on all training videos, its decay as text, in how many folds that was
    chosen)."""
    decay, folds = choose(task, DECAYS, DEFAULT_DECAY, predict, jobs=cpu_cores())
    scaler = StandardScaler().fit(task.train)
    model, = path(scaler.transform(task.train), task.train_label, [decay])
    return make_pipeline(scaler, model), f'decay {decay:g}', folds


def probe_of_several_labels(task: Task) -> list[Outcome]:
    decay, folds = choose(task, DECAYS, DEFAULT_DECAY, one_vs_rest, mean_average_precision_of_all, cpu_cores())
    logits, = one_vs_rest(task, [decay])
    right = is_right(logits.argmax(axis=1), task.test_label)
    chosen = [f'decay {decay:g}'], [folds]
    return [Outcome('probe', 'all labels', 'mAP', logits[None], task.test_group, *chosen, task.test_label),
            Outcome('probe', 'all labels', 'top1', right[None].astype(float), task.test_group, *chosen)]


def probe_of_subsets(task: Task) -> list[Outcome]:
    outcomes = []
    for setting, seeds in subsets(task).items():
        hits, decays, folds = [], [], []
        for part in map(task.part, seeds):
            classifier, decay, count = chosen_probe(part)
            hits.append(classifier.predict(part.test) == task.test_label)
            decays.append(decay)
            folds.append(count)
        outcomes.append(Outcome('probe', setting, 'top1', np.array(hits, float), task.test_group, decays, folds))
    return outcomes


def predict(task: Task, decays: Sequence[float]) -> list[np.ndarray]:
    """For each decay the predicted labels [Q] of the test videos, after training on all training videos of the task."""
    scaler = StandardScaler().fit(task.train)
    train, test = scaler.transform(task.train), scaler.transform(task.test)
    return [model.predict(test) for model in path(train, task.train_label, decays)]


def path(train: np.ndarray, label: np.ndarray, decays: Sequence[float]) -> Iterator[LogisticRegression]:
    """The classifier of each decay, each started from the one before, which saves a third of the steps."""
    model = LogisticRegression(max_iter=2000, warm_start=True)
    for decay in decays:
        model.C = 1 / (decay * len(train))  # scikit-learn weighs the summed loss by C against |w|²/2
        yield model.fit(train, label)


def one_vs_rest(task: Task, decays: Sequence[float]) -> list[np.ndarray]:
    """For each decay the logits [Q, C] of the test videos by a classifier for each class; -inf of a class that no
    training video has, inf of one that all have."""
    scaler = StandardScaler().fit(task.train)
    train, test = scaler.transform(task.train), scaler.transform(task.test)
    logits = np.full((len(decays), len(test), task.train_label.shape[1]), -np.inf)
    logits[:, :, task.train_label.all(axis=0)] = np.inf
    for c in np.flatnonzero(task.train_label.any(axis=0) & ~task.train_label.all(axis=0)):
        logits[:, :, c] = [model.decision_function(test) for model in path(train, task.train_label[:, c], decays)]
    return list(logits)


def mean_average_precision_of_all(logits: np.ndarray, label: np.ndarray) -> float:
    return mean_average_precision(logits, label)(np.ones(len(logits), int))
