"""k nearest neighbours: the training videos most similar to a test video vote for its class, weighted by similarity.

The vote and its temperature are in utils/knn_vote.py.

>>> import numpy as np
>>> from eval.protocols.protocol import Task
>>> vectors, label, path = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1]), np.array(['a', 'b', 'c', 'd'])
>>> predict(Task(vectors, label, path, vectors, label, path), [1])
[array([0, 0, 1, 1])]
"""
from collections.abc import Sequence

import numpy as np
import torch

from eval.metrics.multi_label import is_right
from eval.protocols.protocol import Outcome, Task, choose
from utils.knn_vote import nearest, vote, vote_for_several

KS = (20, 10, 5, 1)  # the smoothest vote first, which wins ties


def knn(task: Task) -> list[Outcome]:
    """One Outcome; k is chosen by cross-validation over training groups."""
    ks = [k for k in KS if k <= len(task.train)]
    k, folds = choose(task, ks, ks[0], predict)
    right = is_right(predict(task, [k])[0], task.test_label)
    return [Outcome('knn', 'all labels', 'top1', right[None].astype(float), task.test_group, [f'k {k}'], [folds])]


def predict(task: Task, ks: Sequence[int]) -> list[np.ndarray]:
    """For each k the predicted labels [Q] of the test videos. Cosines are those of the vectors as they are."""
    most = min(max(ks), len(task.train))
    cosine, rows = nearest(torch.from_numpy(task.test), torch.from_numpy(task.train), most)
    label = torch.from_numpy(task.train_label)
    of_neighbours = label[rows]
    if task.multi_label:
        return [vote_for_several(cosine[:, :k], of_neighbours[:, :k]).numpy() for k in ks]
    return [vote(cosine[:, :k], of_neighbours[:, :k], int(label.max()) + 1).numpy() for k in ks]
