"""Linear probe: logistic regression on standardised features, with all labels and with few.

>>> from eval.protocols.protocol import Task
>>> vectors, label, path = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1]), np.array(['a', 'b', 'c', 'd'])
>>> predict(Task(vectors, label, path, vectors, label, path), decay=1e-2)
array([0, 0, 1, 1])
"""
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from eval.metrics.average_precision import mean_average_precision
from eval.metrics.multi_label import is_right
from eval.protocols.protocol import Outcome, Task, choose
from utils.data.label_subsets import label_subset

DECAYS = tuple(10. ** power for power in range(1, -6, -1))  # weight decay; the strongest first, which wins ties
DEFAULT_DECAY = 1e-2  # where nothing can be held out to choose it
FRACTIONS, PER_CLASS = (0.1, 0.2, 0.5), (5, 20)  # subsets of the labels
SEEDS = range(3)  # of the subsets


def subsets(task: Task) -> dict[str, list[np.ndarray]]:
    """{setting: [rows int64 of the training videos, one for each seed]}; all labels need one only. Where videos have
    several labels there are no subsets, as they could not be of the same size in every class."""
    if task.multi_label:
        return {'all labels': [np.arange(len(task.train))]}
    sizes = [(f'{fraction:.0%} of labels', {'fraction': fraction}) for fraction in FRACTIONS]
    sizes += [(f'{count} per class', {'per_class': count}) for count in PER_CLASS]
    return {'all labels': [np.arange(len(task.train))],
            **{setting: [label_subset(task.train_path, task.train_label, **size, seed=seed) for seed in SEEDS]
               for setting, size in sizes}}


def probe(task: Task) -> list[Outcome]:
    """An Outcome for each setting of `subsets`; the weight decay is chosen on held-out groups of the same subset. Where
    videos have several labels, mean average precision and top-1 of one-vs-rest."""
    if task.multi_label:
        decay = choose(task, DECAYS, DEFAULT_DECAY, one_vs_rest, mean_average_precision_of_all)
        logits, chosen = one_vs_rest(task, decay), [f'decay {decay:g}']
        right = is_right(logits.argmax(axis=1), task.test_label)
        return [Outcome('probe', 'all labels', 'mAP', logits[None], chosen, task.test_label),
                Outcome('probe', 'all labels', 'top1', right[None].astype(float), chosen)]
    outcomes = []
    for setting, seeds in subsets(task).items():
        hits, chosen = [], []
        for rows in seeds:
            part = task.part(rows)
            decay = choose(part, DECAYS, DEFAULT_DECAY, predict)
            hits.append(predict(part, decay) == task.test_label)
            chosen.append(f'decay {decay:g}')
        outcomes.append(Outcome('probe', setting, 'top1', np.array(hits, float), chosen))
    return outcomes


def predict(task: Task, decay: float) -> np.ndarray:
    """Predicted labels [Q] of the test videos, after training with this decay on all training videos of the task."""
    return classifier(task, decay).fit(task.train, task.train_label).predict(task.test)


def classifier(task: Task, decay: float) -> Pipeline:
    strength = 1 / (decay * len(task.train))  # scikit-learn weighs the summed loss by C against |w|²/2
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))


def one_vs_rest(task: Task, decay: float) -> np.ndarray:
    """Logits [Q, C] of the test videos by a classifier for each class; -inf of a class that no training video has, inf
    of one that all have."""
    logits = np.full((len(task.test), task.train_label.shape[1]), -np.inf)
    logits[:, task.train_label.all(axis=0)] = np.inf
    for c in np.flatnonzero(task.train_label.any(axis=0) & ~task.train_label.all(axis=0)):
        model = classifier(task, decay).fit(task.train, task.train_label[:, c])
        logits[:, c] = model.decision_function(task.test)
    return logits


def mean_average_precision_of_all(logits: np.ndarray, label: np.ndarray) -> float:
    return mean_average_precision(logits, label)(np.arange(len(logits)))
