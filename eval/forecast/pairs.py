"""Pairs of videos, an ordinary and an odd one: how often the odd one surprises more."""
import csv
import os
from typing import NamedTuple

import numpy as np

from eval.extract.inputs import is_there
from eval.metrics.intervals import FEWEST_GROUPS, bootstrap, by_group
from utils.cli import UserError
from utils.data.groups import group_of
from utils.data.text_files import lines_of
from utils.text import counted

COLUMNS = 'path_a', 'path_b'
REASONS = 3   # why pairs are left out, that are printed


class Pair(NamedTuple):
    """line: in the csv. ordinary, odd: paths. group: what belongs together in the intervals."""
    line: int
    ordinary: str
    odd: str
    group: str


def read_pairs(path):
    """[Pair] of a csv with rows path_a,path_b[,group] and perhaps that header; without groups, or where it is empty,
    the names tell them, as everywhere. A path that is not there is taken relative to the folder of the csv, if it is
    there. UserError: no such file, another form, no pair."""
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
            paths = [found_from(os.path.dirname(path), cell) for cell in cells[:2]]
            pairs.append(Pair(line, *paths, named or group_of(cells[0]) or cells[0]))
    if not pairs:
        raise UserError(f'--pairs {path}: no pair in it; give rows path_a,path_b')
    return pairs


def found_from(folder, path):
    """`path`, or where only that is there, the one relative to `folder`."""
    return path if is_there(path) or not is_there(os.path.join(folder, path)) else os.path.join(folder, path)


def compare_pairs(pairs, measures, errors, fail):
    """How often the odd video of a pair has the higher value: {pairs, given, left_out: [{line, why}], groups, accuracy:
    {measure: {curve: {value, low, high, by_group}}}}, over the `pairs` whose videos were both scored.

    measures: {path: what `Course.measures` gives}. errors: {path: why it was not scored}. fail: gets (where, error) of
    a pair of the same file."""
    usable, left_out = [], []
    for pair in pairs:
        lacking = [path for path in (pair.ordinary, pair.odd) if path not in measures]
        if os.path.realpath(pair.ordinary) == os.path.realpath(pair.odd):
            fail(f'pair {pair.line}', f'twice the same file, {pair.odd}: left out')
            left_out.append({'line': pair.line, 'why': 'twice the same file'})
        elif lacking:
            left_out.append({'line': pair.line, 'why': f'{lacking[0]}: {errors.get(lacking[0], "not scored")}'})
        else:
            usable.append(pair)
    group = np.array([pair.group for pair in usable])
    accuracy = {}
    for measure, curves in measures[usable[0].odd].items() if usable else ():
        accuracy[measure] = {}
        for curve in curves:
            ordinary, odd = (np.array([measures[path][measure][curve] for path in paths])
                             for paths in zip(*((pair.ordinary, pair.odd) for pair in usable)))
            accuracy[measure][curve] = accuracy_of(ordinary, odd, group)
    return {'pairs': len(usable), 'given': len(pairs), 'left_out': left_out, 'groups': len(np.unique(group)),
            'accuracy': accuracy}


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
    return [headline(found),
            *(f'{measure} of its blocks: ' + ', '.join(f'{name} {cell_of(each)}' for name, each in curves.items())
              for measure, curves in found['accuracy'].items()),
            *lines_of_left_out(found['left_out'])]


def headline(found):
    """What was compared and how to read the numbers, for the screen and the report."""
    compared = f'{found["pairs"]} of the {counted(found["given"], "pair")} could be compared'
    if not found['pairs']:
        return compared
    groups = counted(found['groups'], 'group')
    spread = f'[95% interval over the {groups}]'
    if found['groups'] < FEWEST_GROUPS:
        spread = f'{{lowest to highest of the {groups}; an interval takes {FEWEST_GROUPS}}}'
    return f'{compared}. In how many of them the odd video has the higher value {spread}:'


def lines_of_left_out(left_out):
    """Why the first few pairs were not compared."""
    lines = [f'pair of line {each["line"]} left out: {each["why"]}' for each in left_out[:REASONS]]
    return lines if len(left_out) <= REASONS else [*lines, f'and {len(left_out) - REASONS} more']


def cell_of(accuracy):
    if accuracy['by_group'] is None:
        return f'{accuracy["value"]:.1%} [{accuracy["low"]:.1%}, {accuracy["high"]:.1%}]'
    groups = accuracy['by_group'].values()
    return f'{accuracy["value"]:.1%} {{{min(groups):.1%} to {max(groups):.1%}}}'
