"""Videos with several labels: their loss, probabilities and what counts as right.

Labels are int64 [R] where each video has one, and bool [R, C] where videos may have several."""
import numpy as np
import torch.nn.functional as F

from utils.cli import UserError


def is_multi_label(videos, checkpoint, origin):
    """Whether the classifier of a checkpoint ({} for random weights) is tested on `videos` as one of several labels.

    UserError: the videos have several labels, but it was trained on one."""
    several = videos.has_several_labels()
    trained = checkpoint.get('settings', {}).get('multi_label', False) if checkpoint else several
    if several and not trained:
        raise UserError(f'{origin} was trained on videos with one label each, but some of the test list have '
                        'several: test a classifier that was trained on such a list')
    return trained


# ---- training

def classification_loss(logits, label):
    """logits [B, C], label int64 [B] or bool [B, C] -> (loss, {'top1', 'top5'}: mean over the batch).

    Cross-entropy for one label; binary cross-entropy, the mean over classes, for several. top1 and top5: whether a
    label is the best, or among the best five."""
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices
    if label.ndim == 1:
        loss, right = F.cross_entropy(logits, label), best == label.unsqueeze(1)
    else:
        loss = F.binary_cross_entropy_with_logits(logits.float(), label.float())
        right = label.gather(1, best)
    return loss, {'top1': right[:, 0].float().mean(), 'top5': right.any(dim=1).float().mean()}


def probabilities(logits, multi_label):
    """logits [K, C] -> softmax, or where videos may have several labels a sigmoid for each class."""
    return logits.sigmoid() if multi_label else logits.softmax(dim=1)


# ---- what is right

def is_right(prediction, label):
    """bool [Q]: whether the predicted class int64 [Q] is a label of the video."""
    return prediction == label if label.ndim == 1 else label[np.arange(len(label)), prediction]


def share_a_label(label, others):
    """bool [Q, K]: whether each of K others, int64 [Q, K] or bool [Q, K, C], has a label of the video."""
    return others == label[:, None] if label.ndim == 1 else (others & label[:, None]).any(axis=2)


def classes_in(label):
    """The classes, int64 and sorted, that some video has."""
    return np.unique(label) if label.ndim == 1 else np.flatnonzero(label.any(axis=0))
