"""Rows of results, and the files that every frozen evaluation writes: results.json and results.md."""
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eval.metrics.average_precision import mean_average_precision
from eval.metrics.intervals import FEWEST_GROUPS, bootstrap, bootstrap_means, by_group
from eval.networks.torchvision_models import split_weights
from eval.protocols.protocol import Outcome
from utils.text import ENCODING


def row_of(weights: str, feature: str, outcome: Outcome) -> dict:
    """One row of results.json for an Outcome. Values are from 0 to 1.

    value is the mean over repetitions and test videos (of a mean average precision, over repetitions), [low, high] its
    95% interval over groups of test videos, and deviation the standard deviation over repetitions (None for a single
    one). For too few groups low and high are None, and by_group is {name: value}. folds: those of the cross-validation
    that chose the hyperparameter, the fewest of all repetitions."""
    videos = outcome.hits.shape[1]
    if outcome.label is None:
        of_video = outcome.hits.mean(axis=0)
        (low, high), = bootstrap_means(of_video[:, None], outcome.group)
        groups = by_group(lambda times: times @ of_video / times.sum(), outcome.group)
        value, repetitions = of_video.mean(), outcome.hits.mean(axis=1)
    else:
        measures = [mean_average_precision(score, outcome.label) for score in outcome.hits]
        repetitions = np.array([measure(np.ones(videos, int)) for measure in measures])

        def mean(times):
            return np.mean([measure(times) for measure in measures])

        low, high = bootstrap(mean, outcome.group)
        groups = by_group(mean, outcome.group)
        value = repetitions.mean()
    deviation = float(repetitions.std(ddof=1)) if len(repetitions) > 1 else None
    return {'weights': weights, 'feature': feature, 'protocol': outcome.protocol, 'setting': outcome.setting,
            'metric': outcome.metric, 'value': float(value), 'low': low, 'high': high,
            'videos': videos, 'groups': len(np.unique(outcome.group)), 'by_group': groups, 'deviation': deviation,
            'chosen': ', '.join(outcome.chosen) or None, 'folds': min(outcome.folds, default=None)}


def interval_fact(group: np.ndarray) -> str:
    """What a table says of its intervals. group: str [Q] of the test videos."""
    names = np.unique(group).tolist()
    if len(names) < FEWEST_GROUPS:
        return (f'{{…}}: the values of the {len(names)} groups of test videos ({", ".join(names)}), too few for an '
                'interval, from the lowest to the highest; results.json says which is whose')
    return f'[low, high]: 95% interval over {len(names)} groups of test videos (bootstrap)'


def choice_facts(rows: Sequence[dict]) -> list[str]:
    """A line on the folds in which hyperparameters were chosen, if there are any."""
    folds = sorted({row['folds'] for row in rows if row['folds'] is not None})
    if not folds:
        return []
    counts = f'{folds[0]} to {folds[-1]}' if len(folds) > 1 else str(folds[0])
    return [f'hyperparameters: chosen by cross-validation over groups of training videos, {counts} folds (0: the '
            'default is taken)']


def table_lines(rows: Sequence[dict]) -> list[str]:
    """The rows as lines of a Markdown table: one column for each kind of weights.

    >>> outcome = Outcome('knn', 'all labels', 'top1', np.ones((1, 10)), group=np.arange(10))
    >>> few = Outcome('knn', '5 per class', 'top1', np.array([[1., 0, 1, 1]]), group=np.array(['a', 'a', 'b', 'b']))
    >>> print('\\n'.join(table_lines([row_of('random', 'context', outcome), row_of('random', 'context', few)])))
    | feature | protocol | labels      | metric | random                |
    |---------|----------|-------------|--------|-----------------------|
    | context | knn      | all labels  | top1   | 100.0% [100.0, 100.0] |
    | context | knn      | 5 per class | top1   | 75.0% {50.0, 100.0}   |
    """
    columns = list(dict.fromkeys(row['weights'] for row in rows))
    keys = list(dict.fromkeys(key_of(row) for row in rows))
    cells = {(key_of(row), row['weights']): cell_of(row) for row in rows}
    header = ['feature', 'protocol', 'labels', 'metric', *short_names(columns)]
    body = [[*key, *(cells.get((key, column), '–') for column in columns)] for key in keys]
    widths = [max(map(len, column)) for column in zip(header, *body)]
    lines = ['| ' + ' | '.join(map(str.ljust, line, widths)) + ' |' for line in (header, *body)]
    return [lines[0], '|' + '|'.join('-' * (width + 2) for width in widths) + '|', *lines[1:]]


def key_of(row: dict) -> tuple[str, str, str, str]:
    return row['feature'], row['protocol'], row['setting'], row['metric']


def cell_of(row: dict) -> str:
    deviation = f' ±{row["deviation"]:.1%}' if row['deviation'] is not None else ''
    return f'{row["value"]:.1%}{deviation} {interval_text(row)}'


def interval_text(row: dict) -> str:
    """'[low, high]' in %, or of too few groups the values of all."""
    if row['low'] is None:
        return '{' + ', '.join(f'{100 * value:.1f}' for value in sorted(row['by_group'].values())) + '}'
    return f'[{100 * row["low"]:.1f}, {100 * row["high"]:.1f}]'


def short_names(weights: Sequence[str]) -> list[str]:
    """Distinct names for --weights: those of the files, numbered where several are alike; behind the name of a
    third-party model, if they are of one.

    >>> short_names(['a/epoch9.pth.tar', 'b/epoch9.pth.tar', 'random'])
    ['epoch9', 'epoch9-2', 'random']
    """
    names = []
    for each in weights:
        net, file = split_weights(each)
        name = Path(file or each).name.removesuffix('.pth.tar')
        name = f'{net}={name}' if net and file else name
        candidates = itertools.chain([name], (f'{name}-{number}' for number in itertools.count(2)))
        names.append(next(candidate for candidate in candidates if candidate not in names))
    return names


def write_results(folder: Path, rows: Sequence[dict], facts: Sequence[str]) -> None:
    """Writes results.json and results.md. facts: lines on weights, data and settings."""
    with open(folder / 'results.json', 'w', **ENCODING) as file:
        json.dump(rows, file, indent=1)
    text = ['## Frozen features', '', *(f'- {fact}' for fact in facts), '', *table_lines(rows)]
    with open(folder / 'results.md', 'w', **ENCODING) as file:
        file.write('\n'.join(text) + '\n')
