"""Retrieval metrics: R@k, the fraction of test videos with a same-class training video among their k nearest.

Where videos have several labels, one that both have. Another metric of retrieval is another Outcome of `retrieval`.

>>> import numpy as np
>>> from eval.protocols.protocol import Task
>>> vectors, label, path = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1]), np.array(['a', 'b', 'c', 'd'])
>>> [(each.metric, each.hits.mean().item()) for each in retrieval(Task(vectors, label, path, vectors, label, path))]
[('R@1', 1.0)]
"""
import numpy as np
import torch

from eval.metrics.multi_label import share_a_label
from eval.protocols.protocol import Outcome, Task
from utils.knn_vote import nearest

KS = (1, 5, 10, 20, 50)


def neighbours_of_test(task: Task, k: int) -> np.ndarray:
    """The k nearest training videos of each test video, rows int64 [Q, k], nearest first.

    By cosine similarity, after the mean of the training videos was subtracted from all: that of the test videos would
    make the neighbours of one depend on which others are asked for. (CoCLR's code subtracts from each set its own.)"""
    test, train = (torch.from_numpy(vectors).double() for vectors in (task.test, task.train))
    _, rows = nearest(test - train.mean(dim=0), train - train.mean(dim=0), k)
    return rows.numpy()


def retrieval(task: Task) -> list[Outcome]:
    """An Outcome for each R@k with k up to the number of training videos."""
    ks = [k for k in KS if k <= len(task.train)]
    same = share_a_label(task.test_label, task.train_label[neighbours_of_test(task, max(ks))])  # [Q, k]
    return [Outcome('retrieval', 'all labels', f'R@{k}', same[:, :k].any(axis=1)[None].astype(float), task.test_group)
            for k in ks]
