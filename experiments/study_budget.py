"""Lengths of everything in a study, from the time it is given and the speed that was measured."""
import numpy as np

CHECKPOINTS = 6       # at which features are evaluated, at most
OVERHEAD = 1 / 3      # part of the time for starting scripts and evaluating: with less time, fewer checkpoints
MAX_FINETUNING = 60   # epochs with all labels


def checkpoints(epochs, count):
    """Epochs at which features are evaluated, evenly spaced in their logarithm: 100, 6 -> [1, 3, 6, 16, 40, 100]"""
    return sorted({round(epoch) for epoch in np.geomspace(1, epochs, count)})


def equal_cost(epochs, flags, num_seq):
    """Epochs of a variant that take as long as `epochs` of the default: fewer with more clips a video, or longer ones.

    flags: of dpc/main.py, where they differ from the default. num_seq: of the default."""
    cost = flags.get('clips_per_video', 1) * flags.get('num_seq', num_seq) / num_seq
    return max(1, round(epochs / cost))


def finetuning_epochs(seconds, videos, labels, clips_per_second, save):
    """{setting: epochs} so that every training takes so many seconds, if they are enough for an epoch.

    videos: of the training list. labels: {setting: part of them}. save: seconds of saving after each epoch."""
    return {setting: fit(min(seconds / (part * videos / clips_per_second + save), MAX_FINETUNING / part))
            for setting, part in labels.items()}


def overhead(count, costs):
    """Seconds around the training itself: starting it and evaluating the features, `count` times.

    costs: seconds of an 'epoch' of one seed, of the 'start' of a script, and of an 'evaluation'; number of 'seeds'."""
    return count * (costs['seeds'] * costs['start'] + costs['evaluation'])


def count_of_checkpoints(seconds, costs, curves):
    """As many as their overhead allows, at least two. curves: variants that are evaluated at each of them."""
    affordable = (count for count in range(CHECKPOINTS, 2, -1) if overhead(count * curves, costs) <= OVERHEAD * seconds)
    return next(affordable, 2)


def pretraining_epochs(seconds, costs, curves, others, count, before=0, unit=1):
    """Epochs of the default that fit into the time, a multiple of `unit`; the first above `before` if none fits.

    curves: variants that have done `before` epochs and are evaluated `count` times. others: those evaluated once."""
    training = seconds - overhead(count * curves + others, costs)
    every_epoch = costs['seeds'] * costs['epoch']
    epochs = fit((training / every_epoch + before * curves) / (curves + others))
    return max(epochs // unit, before // unit + 1) * unit


def fit(number):
    """A whole number of epochs, at least one."""
    return max(1, int(number))
