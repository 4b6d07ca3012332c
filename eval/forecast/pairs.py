"""Pairs of videos, an ordinary and an odd one: how often the odd one surprises more."""
import csv
import os
from typing import NamedTuple

import numpy as np

from eval.metrics.intervals import FEWEST_GROUPS, bootstrap, by_group
from utils.cli import UserError
from utils.data.groups import group_of
from utils.data.text_files import lines_of

COLUMNS = 'path_a', 'path_b'


class Pair(NamedTuple):
    """line: in the csv. ordinary, odd: paths. group: what belongs together in the intervals."""
    line: int
    ordinary: str
    odd: str
    group: str


def read_pairs(path):
    """[Pair] of a csv with rows path_a,path_b[,group] and perhaps that header; without groups, or where it is empty,
    the names tell them, as everywhere. UserError: no such file, another form, no pair."""
    if not os.path.isfile(path):
        raise UserError(f'--pairs {path}: no such file; give a csv with rows path_a,path_b')
    pairs = []
    with open(path, newline='', encoding='utf-8-sig', errors='surrogateescape') as file:
        for line, cells in enumerate(csv.reader(lines_of(file, path)), 1):
            if not cells or tuple(cells[:2]) == COLUMNS:
                continue
            if len(cells) not in (2, 3) or not all(cells[:2]):
                raise UserError(f'{path}:{line}: expected path_a,path_b[,group], the ordinary video and the odd one')
            named = cells[2] if len(cells) == 3 else ''
            pairs.append(Pair(line, *cells[:2], named or group_of(cells[0]) or cells[0]))
    if not pairs:
        raise UserError(f'--pairs {path}: no pair in it; give rows path_a,path_b')
    return pairs


def compare_pairs(pairs, measures, fail):
    """How often the odd video of a pair has the higher value: {pairs, groups, accuracy: {measure: {curve: {value, low,
    high, by_group}}}}, over the pairs whose videos were both scored.

    measures: {path: what `Course.measures` gives}. fail: gets (where, error) of a pair of the same file."""
    usable = []
    for pair in pairs:
        if os.path.realpath(pair.ordinary) == os.path.realpath(pair.odd):
            fail(f'pair {pair.line}', f'twice the same file, {pair.odd}: left out')
        elif pair.ordinary in measures and pair.odd in measures:
            usable.append(pair)
    group = np.array([pair.group for pair in usable])
    accuracy = {}
    for measure, curves in measures[usable[0].odd].items() if usable else ():
        accuracy[measure] = {}
        for curve in curves:
            ordinary, odd = (np.array([measures[path][measure][curve] for path in paths])
                             for paths in zip(*((pair.ordinary, pair.odd) for pair in usable)))
            accuracy[measure][curve] = accuracy_of(ordinary, odd, group)
    return {'pairs': len(usable), 'groups': len(np.unique(group)), 'accuracy': accuracy}


def accuracy_of(ordinary, odd, group):
    """The share of pairs with odd > ordinary, float [V] each, a tie counting half: {value, low, high, by_group}, see
    eval.metrics.intervals. group: str [V]."""
    share = (odd > ordinary) + 0.5 * (odd == ordinary)

    def mean(times):
        return float(times @ share / times.sum())

    low, high = bootstrap(mean, group)
    return {'value': float(share.mean()), 'low': low, 'high': high, 'by_group': by_group(mean, group)}


def lines_of_pairs(found):
    """What is printed of `compare_pairs`."""
    if not found['pairs']:
        return ['no pair could be compared']
    few = found['groups'] < FEWEST_GROUPS
    return [f'{found["pairs"]} pairs in {found["groups"]} groups; how often the odd video has the higher value '
            + ('{of the worst to the best of the groups, too few for an interval}' if few else
               '[95% interval over groups]'),
            *(f'{measure} of its blocks: ' + ', '.join(f'{name} {cell_of(each)}' for name, each in curves.items())
              for measure, curves in found['accuracy'].items())]


def cell_of(accuracy):
    if accuracy['by_group'] is None:
        return f'{accuracy["value"]:.1%} [{accuracy["low"]:.1%}, {accuracy["high"]:.1%}]'
    groups = accuracy['by_group'].values()
    return f'{accuracy["value"]:.1%} {{{min(groups):.1%} to {max(groups):.1%}}}'
