"""95% intervals over test videos, by the percentile bootstrap."""
import numpy as np

RESAMPLES = 2000
LEVELS = 0.025, 0.975


def bootstrap(statistic, count, seed=0):
    """(low, high) of a statistic of `count` videos when the videos are drawn again with replacement.

    statistic: rows int64 [count], the videos drawn -> float."""
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(count, size=count)) for _ in range(RESAMPLES)]
    low, high = np.quantile(values, LEVELS)
    return float(low), float(high)
