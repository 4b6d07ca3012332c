"""95% intervals over test videos, by the percentile bootstrap."""
import numpy as np

RESAMPLES = 2000
LEVELS = 0.025, 0.975


def bootstrap(statistic, count):
    """(low, high) of a statistic of `count` videos when the videos are drawn again with replacement.

    statistic: rows int64 [count], the videos drawn -> float."""
    return interval_of(draws(statistic, count))


def bootstrap_means(values):
    """[(low, high), …] of the mean of each column of values [V, K] of V videos."""
    return [bootstrap(lambda rows, column=column: column[rows].mean(), len(column)) for column in values.T]


def draws(statistic, count, seed=0):
    """float64 [RESAMPLES]: the statistic of so many samples."""
    rng = np.random.default_rng(seed)
    return np.array([statistic(rng.integers(count, size=count)) for _ in range(RESAMPLES)])


def interval_of(values):
    """(low, high) of such samples."""
    low, high = np.quantile(values, LEVELS)
    return float(low), float(high)
