"""`--split all`: one evaluation for each split of the data set, and the mean over them."""
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from eval.metrics.intervals import bootstrap, by_group
from eval.metrics.protocol_hash import mean_hash
from eval.networks.seen import check_own_split
from eval.networks.settings import SPLITS, check_own_lists
from eval.networks.weights import split_weights
from eval.protocols.common import compared, start_frozen_evaluation
from eval.protocols.protocol import Outcome
from eval.protocols.results import (
    choice_facts,
    each_once,
    interval_fact,
    key_of,
    named,
    statistic_of,
    write_results,
)
from eval.protocols.verdict import verdict
from utils.cli import UserError
from utils.data.lists import csv_file, list_folder
from utils.text import printable


def start_all(args: Namespace) -> list[tuple]:
    """[(flags, *result of start_frozen_evaluation)] of each of `evaluations_of`: what is wrong with any comes first."""
    started = [(one, *start_frozen_evaluation(one)) for one in evaluations_of(args)]
    check_own_lists(args.dataset, [csv_file(list_folder(one.csv_root, one.dataset, one.img_dim), one.split, 'test')
                                   for one, *_ in started])
    if len({tuple(one.weights) for one, *_ in started}) > 1:
        for one, checkpoints, *_ in started:
            for name, checkpoint in checkpoints.items():
                check_own_split(name, checkpoint, one.dataset, one.split)
    return started


def evaluations_of(args: Namespace) -> list[Namespace]:
    """The flags of each split's evaluation: one, or with --split all three, each with its weights and a folder of its
    own. UserError: another number of files than splits."""
    if args.split != 'all':
        return [args]
    files = [name for name in args.weights if split_weights(name)[1]]
    if len(files) not in (0, 1, len(SPLITS)) or args.mean:
        raise UserError('--split all evaluates weights of each of the splits 1, 2 and 3: give --weights three files in '
                        f'this order, or one for all of them, not {len(files)}' + ', and no --mean' * args.mean)
    left_out = [set() if len(files) < 2 else {*files} - {file} for file in files] or [set()]
    return [Namespace(**{**vars(args), 'split': split, 'out': str(Path(args.out, f'split{split}')),
                         'weights': [name for name in args.weights if name not in left_out[i % len(left_out)]]})
            for i, split in enumerate(SPLITS)]


def write_mean(args: Namespace, started: Sequence[tuple],
               splits: Sequence[Sequence[tuple[dict, Outcome]]]) -> list[dict]:
    """Writes and prints the mean over splits, under the name of the first file; returns its rows. started: of
    `start_all`.

    splits: (row, Outcome) of each number, for each split. A number that one of them lacks has no mean."""
    files = [name for name in args.weights if split_weights(name)[1]]

    def number_of(row):
        return files[0] if row['weights'] in files else row['weights'], *key_of(row)

    found = [{number_of(row): (row, outcome) for row, outcome in each} for each in splits]
    triples = {number: list(zip(*(each[number] for each in found)))  # (rows, outcomes)
               for number in found[0] if all(number in each for each in found)}
    rows = [mean_row(*triple) for triple in triples.values()]
    differences = [mean_difference(than, *triple, triples[(than, *number[1:])][1])
                   for name, than in compared(args) for number, triple in triples.items()
                   if number[0] == name and (than, *number[1:]) in triples]
    facts = [f'data: {args.dataset}, mean of splits 1, 2 and 3, whose folders have tables of their own; ±: standard '
             'deviation over splits',
             *(f'split {one.split}: {line}' for one, *_, seen in started
               for line in (f'weights {", ".join(one.weights)}', *seen)),
             *choice_facts(rows), interval_fact(group_of_all(next(iter(triples.values()))[1]))]
    sentence = verdict(rows, differences)
    tables = write_results(Path(args.out), rows, facts, differences, sentence)
    print('\n'.join(['', *map(printable, facts), '', *map(printable, tables)]))
    print(f'written to {args.out}: results.json, results.md, differences.json')
    if sentence:
        print(f'\n{printable(sentence)}')
    return rows


def mean_row(rows: Sequence[dict], outcomes: Sequence[Outcome]) -> dict:
    """The row of the mean of a number over splits."""
    return {**rows[0], **mean_estimate(list(map(statistic_of, outcomes)), outcomes),
            'sha256': each_once(row['sha256'] for row in rows), 'videos': sum(row['videos'] for row in rows),
            'deviation': float(np.std([row['value'] for row in rows], ddof=1)),
            'chosen': '; '.join(filter(None, (row['chosen'] for row in rows))) or None,
            'folds': min((row['folds'] for row in rows if row['folds'] is not None), default=None),
            'hash': mean_hash([row['hash'] for row in rows])}


def mean_difference(than: str, rows: Sequence[dict], outcomes: Sequence[Outcome], others: Sequence[Outcome]) -> dict:
    """The row of differences.json for the mean over splits. others: the Outcomes of the weights `than`."""
    return {'weights': rows[0]['weights'], 'than': than, 'feature': rows[0]['feature'], **named(outcomes[0]),
            **mean_estimate(list(map(statistic_of, outcomes, others)), outcomes)}


def mean_estimate(statistics: Sequence[Callable], outcomes: Sequence[Outcome]) -> dict:
    """`estimate_of` for the mean of statistics over splits. Of a group that several splits test on, a resample has all
    that they have of it."""
    ends = np.cumsum([outcome.hits.shape[1] for outcome in outcomes])[:-1]

    def mean(times):
        return np.mean([statistic(part) for statistic, part in zip(statistics, np.split(times, ends)) if part.any()])

    group = group_of_all(outcomes)
    low, high = bootstrap(mean, group)
    return {'value': float(mean(np.ones(len(group), int))), 'low': low, 'high': high, 'groups': len(np.unique(group)),
            'by_group': by_group(mean, group)}


def group_of_all(outcomes: Sequence[Outcome]) -> np.ndarray:
    return np.concatenate([outcome.group for outcome in outcomes])
