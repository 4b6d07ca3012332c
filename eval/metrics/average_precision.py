"""Average precision of classes where videos have several labels."""
import numpy as np


def average_precision(score, positive):
    """A function: how often each of V videos counts, int [V] -> average precision of each class, float64 [C].

    score: [V, C]. positive: bool [V, C]. That of a class is the mean, over its videos, of the precision among all
    videos with at least their score (not interpolated); NaN without any. A video that counts twice is no second hit at
    its own rank: that would put bootstrap intervals above the value."""
    order = np.argsort(-score, axis=0, kind='stable')
    score, positive = (np.take_along_axis(array, order, axis=0) for array in (score, positive))
    rank = np.arange(len(score))[:, None]
    is_last = np.append(score[1:] != score[:-1], np.ones((1, score.shape[1]), bool), axis=0)  # of equal scores
    last = np.minimum.accumulate(np.where(is_last, rank, len(score))[::-1], axis=0)[::-1]

    def average(times):
        count = times[order]                                # [V, C], in the order of scores
        found = count * positive
        above, right = (np.take_along_axis(np.cumsum(each, axis=0), last, axis=0) for each in (count, found))
        copies = np.maximum(count - 1, 0)                   # must not raise the precision at their own video's rank
        precision = (right - copies) / np.maximum(above - copies, 1)
        with np.errstate(invalid='ignore'):
            return (found * precision).sum(axis=0) / found.sum(axis=0)

    return average


def mean_average_precision(score, positive):
    """A function: how often each of V videos counts, int [V] -> mean over the classes that they have."""
    average = average_precision(score, positive)
    return lambda times: float(np.nanmean(average(times)))
