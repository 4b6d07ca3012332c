"""Intervals over groups: their coverage in a simulation, loops that give the same, and what must not matter."""
import numpy as np
import pytest

from eval.classify.scores import VideoScores, summarise
from eval.metrics import intervals
from eval.metrics.average_precision import mean_average_precision
from eval.metrics.intervals import FEWEST_GROUPS, MOST_VALUES, bootstrap, bootstrap_means, by_group
from eval.protocols.protocol import Outcome
from eval.protocols.results import interval_fact, row_of, table_lines


def mean_of(values):
    return lambda times: times @ values / times.sum()


def simulated(groups, size, correlation, trials, accuracy=0.6, seed=0):
    """(hits bool [groups · size, trials], group of each): clips of a group are right together, with this correlation."""
    rng = np.random.default_rng(seed)
    a, b = (share * (1 / correlation - 1) for share in (accuracy, 1 - accuracy))
    chance = np.repeat(rng.beta(a, b, size=(groups, trials)), size, axis=0)
    return rng.random(chance.shape) < chance, np.repeat(np.arange(groups), size)


def coverage(hits, group, truth=0.6):
    return np.mean([low <= truth <= high for low, high in bootstrap_means(hits.astype(float), group)])


def test_95_of_100_intervals_cover_the_truth():
    """Seven clips of each of 150 recordings, as alike as clips of UCF101: over groups the interval keeps its promise,
    over videos, as it was drawn, it doesn't. Where videos are independent both do."""
    hits, group = simulated(150, 7, correlation=0.5, trials=400)
    assert coverage(hits, group) == pytest.approx(0.94, abs=0.025)
    assert coverage(hits, np.arange(len(group))) < 0.8
    independent, _ = simulated(150 * 7, 1, correlation=0.5, trials=400)
    assert coverage(independent, group) == pytest.approx(0.94, abs=0.025)


def obvious_interval(statistic, group, seed=0):
    """One resample at a time; a statistic of rows."""
    rng, names, values = np.random.default_rng(seed), sorted(set(group.tolist())), []
    for _ in range(intervals.RESAMPLES):
        drawn = [names[i] for i in rng.integers(len(names), size=len(names))]
        values.append(statistic(np.concatenate([np.flatnonzero(group == name) for name in drawn])))
    return tuple(np.quantile(values, [0.025, 0.975]))


def test_intervals_equal_a_loop():
    """Of a mean, one column or many, and of any statistic."""
    rng = np.random.default_rng(0)
    group, values = rng.integers(12, size=50), rng.random((50, 3))
    slow = [obvious_interval(lambda rows, column=column: column[rows].mean(), group) for column in values.T]
    assert np.array(bootstrap_means(values, group)) == pytest.approx(np.array(slow))
    assert bootstrap(mean_of(values[:, 1]), group) == pytest.approx(slow[1])
    assert (bootstrap(lambda times: np.median(np.repeat(values[:, 0], times)), group)
            == pytest.approx(obvious_interval(lambda rows: np.median(values[rows, 0]), group)))


def test_what_changes_no_interval():
    """The order of the videos; names of groups that sort alike; a copy of every video in its own group; another
    column. (Over videos a copy of each would narrow the interval by √2.)"""
    rng = np.random.default_rng(0)
    group, values = rng.integers(20, size=80), rng.random((80, 2))
    found = bootstrap_means(values, group)
    order = rng.permutation(80)
    copies = np.tile(np.arange(80), 2)
    for other in (bootstrap_means(values[order], group[order]),
                  bootstrap_means(values, np.char.add('person ', np.char.zfill(group.astype(str), 2))),
                  bootstrap_means(values[copies], group[copies]),
                  bootstrap_means(values[:, :1], group) + bootstrap_means(values[:, 1:], group)):
        assert np.array(other) == pytest.approx(np.array(found))
    low, high = bootstrap_means(values[:, :1], np.arange(80))[0]
    narrow = bootstrap_means(values[copies, :1], np.arange(160))[0]
    assert (high - low) / (narrow[1] - narrow[0]) == pytest.approx(np.sqrt(2), rel=0.1)


def test_a_mean_average_precision_by_group():
    """Adding a class that nobody has, or the order, changes nothing; groups are drawn whole."""
    rng = np.random.default_rng(0)
    score, positive, group = rng.random((60, 4)), rng.random((60, 4)) < 0.3, rng.integers(15, size=60)
    found = bootstrap(mean_average_precision(score, positive), group)
    more = mean_average_precision(np.c_[score, rng.random(60)], np.c_[positive, np.zeros(60, bool)])
    order = rng.permutation(60)
    assert bootstrap(more, group) == pytest.approx(found)
    assert bootstrap(mean_average_precision(score[order], positive[order]), group[order]) == pytest.approx(found)
    assert bootstrap(mean_average_precision(score, positive), np.arange(60)) != pytest.approx(found)


def test_a_class_that_nobody_has_changes_no_summary():
    rng = np.random.default_rng(0)
    probability, label, group = rng.dirichlet(np.ones(7), 40), rng.integers(7, size=40), rng.integers(12, size=40)
    more = np.insert(probability, 3, 0, axis=1)
    one, other = (summarise(VideoScores(np.arange(40), scores, classes, np.ones(40)), group)
                  for scores, classes in ((probability, label), (more, label + (label >= 3))))
    for name in ('top1', 'top5', 'mean_class'):
        assert one[name] == pytest.approx(other[name]) and one['interval'][name] == pytest.approx(other['interval'][name])


# ---- few groups

@pytest.mark.parametrize('count', [1, 3, FEWEST_GROUPS - 1, FEWEST_GROUPS])
def test_below_ten_groups_there_is_no_interval(count):
    """The row has nulls and the value of each group, which stand in the table; a line names the groups."""
    rng = np.random.default_rng(0)
    group = np.array([f'p{i % count}' for i in range(30)])
    outcome = Outcome('knn', 'all labels', 'top1', rng.integers(2, size=(2, 30)).astype(float), group)
    row, values = row_of('random', 'context', outcome), outcome.hits.mean(axis=0)
    assert row['groups'] == count and row['videos'] == 30
    if count == FEWEST_GROUPS:
        assert row['low'] < row['value'] < row['high'] and row['by_group'] is None
        assert interval_fact(group) == '[low, high]: 95% interval over 10 groups of test videos (bootstrap)'
        return
    assert (row['low'], row['high']) == (None, None)
    assert bootstrap_means(values[:, None], group) == [(None, None)]
    assert bootstrap(mean_of(values), group) == (None, None)
    assert row['by_group'] == by_group(mean_of(values), group) == pytest.approx(
        {name: values[group == name].mean() for name in group})
    shown = [f'{100 * value:.1f}' for value in sorted(row['by_group'].values())]
    if count > MOST_VALUES:
        assert f'{{{shown[0]} … {shown[-1]}}} |' in table_lines([row])[2]
        assert f'the lowest and the highest value of the {count} groups' in interval_fact(group)
    else:
        assert f'{{{", ".join(shown)}}} |' in table_lines([row])[2] and ', '.join(sorted(set(group))) in interval_fact(group)
