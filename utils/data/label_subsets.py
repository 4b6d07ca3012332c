"""Subsets of a labelled training list, for learning from few labels: class-balanced, nested, fixed by the seed."""
import numpy as np


def label_subset(paths, label, fraction=None, per_class=None, seed=0):
    """Chooses `fraction` of the videos of each class (at least one), or `per_class` of them: sorted rows, int64.

    The order of the list doesn't matter, and smaller subsets are part of larger ones of the same seed.

    paths: R str, distinct. label: int64 [R]."""
    paths, label = np.asarray(paths, dtype=object), np.asarray(label)
    chosen = []
    for c in np.unique(label):
        rows = np.flatnonzero(label == c)
        rows = rows[np.argsort(paths[rows])]
        count = per_class if fraction is None else max(1, round(fraction * len(rows)))
        chosen.extend(np.random.default_rng((seed, c)).permutation(rows)[:count])
    return np.sort(chosen)
