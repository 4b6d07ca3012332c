"""95% intervals over groups of test videos, by the percentile bootstrap.

Videos of one group (see utils.data.groups) are no independent samples: drawing videos would give intervals that are far
too narrow, so whole groups are drawn. Of few groups an interval would still be too narrow; there the value of each
group says how much they differ.

A statistic is a function: how often each of V videos counts, int [V] -> float."""
import numpy as np

RESAMPLES = 2000
AT_ONCE = 100  # resamples, which bounds the memory
LEVELS = 0.025, 0.975
FEWEST_GROUPS = 10  # of an interval
MOST_VALUES = 5     # of groups that are shown one by one


def bootstrap(statistic, group):
    """(low, high) of a statistic when the groups, str [V], are drawn again with replacement; (None, None) for too few.

    >>> right, group = np.array([1, 0] * 20), np.arange(40) // 2  # groups of two videos, each half right
    >>> bootstrap(lambda times: times @ right / times.sum(), group)
    (0.5, 0.5)
    """
    names, group_of = np.unique(group, return_inverse=True)
    if len(names) < FEWEST_GROUPS:
        return None, None
    return interval_of(np.array([statistic(times[group_of]) for part in drawn(len(names)) for times in part]))


def bootstrap_means(values, group):
    """[(low, high), …] of the mean of each column of values [V, K]; as `bootstrap`, all columns at once."""
    names, group_of = np.unique(group, return_inverse=True)
    if len(names) < FEWEST_GROUPS:
        return [(None, None)] * values.shape[1]
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, group_of, values)
    sizes = np.bincount(group_of)
    means = np.concatenate([times @ sums / (times @ sizes)[:, None] for times in drawn(len(names))])
    return [interval_of(column) for column in means.T]


def by_group(statistic, group):
    """{name: statistic of the videos of a group, as plain numbers} where there are too few groups for an interval, else
    None."""
    names = np.unique(group).tolist()
    if len(names) >= FEWEST_GROUPS:
        return None
    return {name: np.asarray(statistic((group == name).astype(int))).tolist() for name in names}


def in_braces(values, form):
    """The values of a few groups in order; of more than MOST_VALUES the lowest and the highest.

    >>> in_braces([75, 60.1], '{:.1f}'), in_braces(range(9), '{:.0f}')
    ('{60.1, 75.0}', '{0 … 8}')
    """
    shown = list(map(form.format, sorted(values)))
    return '{' + (', '.join(shown) if len(shown) <= MOST_VALUES else f'{shown[0]} … {shown[-1]}') + '}'


def drawn(count):
    """Yields int64 [AT_ONCE or fewer, G], RESAMPLES in all: how often each of G = `count` groups is drawn."""
    rng = np.random.default_rng(0)
    for start in range(0, RESAMPLES, AT_ONCE):
        resamples = min(AT_ONCE, RESAMPLES - start)
        rows = rng.integers(count, size=(resamples, count)) + count * np.arange(resamples)[:, None]
        yield np.bincount(rows.ravel(), minlength=rows.size).reshape(rows.shape)


def interval_of(values):
    low, high = np.quantile(values, LEVELS)
    return float(low), float(high)
