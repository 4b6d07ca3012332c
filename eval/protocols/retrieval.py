"""Retrieval: how often a test video has a training video of its class among its nearest neighbours (R@k); of several
labels, one that they share."""
import torch

from eval.metrics.multi_label import share_a_label
from eval.protocols.protocol import Outcome
from utils.knn_vote import nearest

KS = (1, 5, 10, 20, 50)


def neighbours_of_test(task, k):
    """The k nearest training videos of each test video, rows int64 [Q, k], nearest first.

    By cosine similarity, after the mean of its own set was subtracted from each."""
    test, train = (torch.from_numpy(vectors).double() for vectors in (task.test, task.train))
    _, rows = nearest(test - test.mean(dim=0), train - train.mean(dim=0), k)
    return rows.numpy()


def retrieval(task):
    """An Outcome for each R@k with k up to the number of training videos."""
    ks = [k for k in KS if k <= len(task.train)]
    same = share_a_label(task.test_label, task.train_label[neighbours_of_test(task, max(ks))])  # [Q, k]
    return [Outcome('retrieval', 'all labels', f'R@{k}', same[:, :k].any(axis=1)[None].astype(float)) for k in ks]
