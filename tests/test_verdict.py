"""The sentence of a frozen evaluation, against counts of its own files' rows; the subsets that it may name."""
import re
from dataclasses import replace

import numpy as np

from eval.protocols.linear_probe import subsets
from eval.protocols.protocol import Outcome, Task
from eval.protocols.results import difference_rows, row_of
from eval.protocols.verdict import verdict


def rows_of(rng, groups, settings, names=('/a/one.pth.tar', 'random')):
    """(rows, differences) of some weights that are right by chance, with a skill of their own in each setting."""
    group = np.repeat([f'g{i}' for i in range(groups)], 2)
    outcomes = {(name, 'block'): [Outcome('probe', setting, 'top1', (rng.random((1, len(group))) < rng.random()) * 1.,
                                          group) for setting in settings] for name in names}
    pairs = [(name, 'random') for name in names[:-1]]
    return [row_of(*key, each) for key, found in outcomes.items() for each in found], difference_rows(outcomes, pairs)


def test_the_sentence_counts_what_the_files_say():
    rng, settings = np.random.default_rng(0), ['all labels', '10% of labels', '50% of labels']
    kinds = set()
    for _ in range(30):
        rows, differences = rows_of(rng, 12, settings)
        better, worse = ([each for each in differences if sign * each[end] > 0] for sign, end in ((1, 'low'), (-1, 'high')))
        said = verdict(rows, differences)
        for found, verb in ((better, 'beats'), (worse, 'is worse than')):
            counted = re.search(rf'{verb} random weights in (\d+) of 3 rows(?:, most in|:) probe on block, (.*?) \((\d+)% '
                                r'against (\d+)%\)', said)
            assert bool(counted) == bool(found)
            if found:
                most = max(found, key=lambda row: abs(row['value']))
                values = [next(row['value'] for row in rows if (row['weights'], row['setting']) ==
                               (name, most['setting'])) for name in ('/a/one.pth.tar', 'random')]
                assert counted.groups() == (str(len(found)), most['setting'], *(f'{100 * value:.0f}' for value in values))
        assert bool(better or worse) != ('no difference' in said)
        kinds.add((bool(better), bool(worse)))
    assert len(kinds) == 4


def test_whole_videos_count_once_in_anticipation():
    """Nothing is predicted of them, so all features have one number. Elsewhere equal numbers of two features are two."""
    group = np.array([f'g{i}' for i in range(12)])
    right, wrong = (Outcome('anticipation', '100% observed', 'top1', np.full((1, 12), value), group) for value in (1., 0.))
    outcomes = {(name, feature): [outcome] for name, outcome in (('a.pth.tar', right), ('random', wrong))
                for feature in ('context', 'context, repeated', 'context, own probe')}
    rows = [row_of(*key, each) for key, found in outcomes.items() for each in found]
    said = verdict(rows, difference_rows(outcomes, [('a.pth.tar', 'random')]))
    assert said.startswith('pretrained beats random weights in 1 of 1 rows: anticipation on context, 100% observed')
    outcomes = {(name, feature): [replace(outcome, protocol='knn', setting='all labels')] for (name, _), (outcome,)
                in outcomes.items() for feature in ('context', 'block')}
    rows = [row_of(*key, each) for key, found in outcomes.items() for each in found]
    assert ' in 2 of 2 rows' in verdict(rows, difference_rows(outcomes, [('a.pth.tar', 'random')]))


def test_few_groups_several_files_and_none():
    rng = np.random.default_rng(0)
    assert verdict(*rows_of(rng, 4, ['all labels'])) == (
        '4 groups of test videos are too few to say whether pretrained beats random weights')
    said = verdict(*rows_of(rng, 12, ['all labels'], ('/a/one.pth.tar', '/b/two.pth.tar', 'random')))
    assert re.search(r'\bone\b.*; .*\btwo\b', said) and 'pretrained' not in said
    assert verdict(rows_of(rng, 12, ['all labels'])[0], []) == ''


def test_appearance():
    """That of one frame is said to solve the set, to be as good, or not to."""
    group = np.arange(12)

    def rows(alone, trained):
        return [row_of('none', 'frame', Outcome('one frame', 'all labels', 'top1', alone[None], group)),
                row_of('a.pth.tar', 'block', Outcome('knn', 'all labels', 'top1', trained[None], group))]

    ones, half = np.ones(12), np.arange(12) % 2.
    assert verdict(rows(ones, half), []) == 'appearance alone solves this set (one frame: 100%)'
    assert verdict(rows(half, half), []) == 'appearance alone is as good (one frame: 50%): this set shows nothing of motion'
    assert verdict(rows(half, ones), []) == 'appearance alone does not solve this set (one frame: 50%)'


def test_no_row_promises_more_videos_than_classes_have():
    label = np.array([*[0] * 25, *[1] * 7, *[2] * 7, *[3] * 7])
    path = np.array([f'/v/{label}_{i}' for i, label in enumerate(label)])
    found = subsets(Task(np.zeros((46, 2)), label, path, np.zeros((1, 2)), label[:1], path[:1]))
    assert '5 per class' in found and '20 per class' not in found and '50% of labels' in found
