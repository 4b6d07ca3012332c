"""k nearest neighbours: the training videos most similar to a test video vote for its class, weighted by similarity.

The vote and its temperature are in utils/knn_vote.py.

>>> import numpy as np
>>> from eval.protocols.protocol import Task
>>> vectors, label, path = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1]), np.array(['a', 'b', 'c', 'd'])
>>> predict(Task(vectors, label, path, vectors, label, path), k=1)
array([0, 0, 1, 1])
"""
import numpy as np
import torch

from eval.metrics.multi_label import is_right
from eval.protocols.protocol import Outcome, Task, choose
from utils.knn_vote import nearest, vote, vote_for_several

KS = (1, 5, 10, 20)


def knn(task: Task) -> list[Outcome]:
    """One Outcome; k is chosen on held-out training groups."""
    ks = [k for k in KS if k <= len(task.train)]
    k = choose(task, ks, ks[-1], predict)
    right = is_right(predict(task, k), task.test_label)
    return [Outcome('knn', 'all labels', 'top1', right[None].astype(float), [f'k {k}'])]


def predict(task: Task, k: int) -> np.ndarray:
    """Predicted labels [Q] of the test videos. Cosines are those of the vectors as they are."""
    cosine, rows = nearest(torch.from_numpy(task.test), torch.from_numpy(task.train), min(k, len(task.train)))
    label = torch.from_numpy(task.train_label)
    if task.multi_label:
        return vote_for_several(cosine, label[rows]).numpy()
    return vote(cosine, label[rows], int(label.max()) + 1).numpy()
