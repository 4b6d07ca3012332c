"""k nearest neighbours: the training videos most similar to a test video vote for its class, weighted by similarity."""
import torch

from eval.metrics.multi_label import is_right
from eval.protocols.protocol import Outcome, choose
from utils.knn_vote import nearest, vote, vote_for_several

KS = (1, 5, 10, 20)


def knn(task):
    """One Outcome; k is chosen on held-out training groups."""
    ks = [k for k in KS if k <= len(task.train)]
    k = choose(task, ks, ks[-1], predict)
    right = is_right(predict(task, k), task.test_label)
    return [Outcome('knn', 'all labels', 'top1', right[None].astype(float), [f'k {k}'])]


def predict(task, k):
    """Predicted labels [Q] of the test videos. Cosines are those of the vectors as they are."""
    cosine, rows = nearest(torch.from_numpy(task.test), torch.from_numpy(task.train), min(k, len(task.train)))
    label = torch.from_numpy(task.train_label)
    if label.ndim == 2:
        return vote_for_several(cosine, label[rows]).numpy()
    return vote(cosine, label[rows], int(label.max()) + 1).numpy()
