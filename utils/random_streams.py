"""Independent streams of random numbers from one seed, each for one purpose. No torch.

numpy pads a key with zeros, so (seed, epoch) and (seed, epoch, 0) alone would be the same stream.
"""
import numpy as np

PURPOSES = ('clip', 'order', 'step', 'bn_statistics', 'view', 'label_subset', 'attentive_batches', 'shown_clips',
            'bank')


def stream(purpose: str, *key: int) -> np.random.Generator:
    """The stream of one of PURPOSES and a key of whole numbers, the seed first.

    >>> stream('order', 0, 1).integers(1000) == stream('clip', 0, 1).integers(1000)
    np.False_
    """
    return np.random.default_rng(sequence(purpose, *key))


def sequence(purpose: str, *key: int) -> np.random.SeedSequence:
    """The same as a SeedSequence, for other generators."""
    return np.random.SeedSequence(key, spawn_key=(PURPOSES.index(purpose),))
