"""Subsets of a labelled training list, for learning from few labels: class-balanced, nested, fixed by the seed.

>>> label_subset(['a', 'b', 'c', 'd', 'e', 'f'], [0, 0, 0, 1, 1, 1], per_class=2).tolist()
[0, 2, 3, 4]
"""
from collections.abc import Sequence

import numpy as np

from utils.data.seen import name_of_video
from utils.random_streams import stream


def label_subset(paths: Sequence[str], label: Sequence[int], fraction: float | None = None,
                 per_class: int | None = None, seed: int = 0) -> np.ndarray:
    """Chooses `fraction` of the videos of each class (at least one), or `per_class` of them: sorted rows, int64.

    Neither the order of the list nor the form of the videos matters, and smaller subsets are part of larger ones of the
    same seed.

    paths: R str, distinct. label: int64 [R]."""
    label = np.asarray(label)
    chosen = []
    for c in np.unique(label):
        rows = sorted(np.flatnonzero(label == c), key=lambda row: (name_of_video(paths[row]), paths[row]))
        count = per_class if fraction is None else max(1, round(fraction * len(rows)))
        chosen.extend(stream('label_subset', seed, c).permutation(rows)[:count])
    return np.sort(chosen)
