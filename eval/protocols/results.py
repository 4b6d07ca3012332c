"""Rows of results, and the files that every frozen evaluation writes: results.json and results.md."""
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eval.metrics.average_precision import mean_average_precision
from eval.metrics.intervals import bootstrap
from eval.networks.torchvision_models import split_weights
from eval.protocols.protocol import Outcome
from utils.text import ENCODING


def row_of(weights: str, feature: str, outcome: Outcome) -> dict:
    """One row of results.json for an Outcome. Values are from 0 to 1.

    value is the mean over repetitions and test videos (of a mean average precision, over repetitions), [low, high] its
    95% interval over test videos, and deviation the standard deviation over repetitions (None for a single one)."""
    videos = outcome.hits.shape[1]
    if outcome.label is None:
        of_video = outcome.hits.mean(axis=0)
        low, high = bootstrap(lambda rows: of_video[rows].mean(), videos)
        value, repetitions = of_video.mean(), outcome.hits.mean(axis=1)
    else:
        measures = [mean_average_precision(score, outcome.label) for score in outcome.hits]
        repetitions = np.array([measure(np.arange(videos)) for measure in measures])
        low, high = bootstrap(lambda rows: np.mean([measure(rows) for measure in measures]), videos)
        value = repetitions.mean()
    deviation = float(repetitions.std(ddof=1)) if len(repetitions) > 1 else None
    return {'weights': weights, 'feature': feature, 'protocol': outcome.protocol, 'setting': outcome.setting,
            'metric': outcome.metric, 'value': float(value), 'low': low, 'high': high,
            'videos': videos, 'deviation': deviation, 'chosen': ', '.join(outcome.chosen) or None}


def table_lines(rows: Sequence[dict]) -> list[str]:
    """The rows as lines of a Markdown table: one column for each kind of weights.

    >>> outcome = Outcome('knn', 'all labels', 'top1', hits=np.array([[1., 1, 1, 1]]))
    >>> print('\\n'.join(table_lines([row_of('random', 'context', outcome)])))
    | feature | protocol | labels     | metric | random                |
    |---------|----------|------------|--------|-----------------------|
    | context | knn      | all labels | top1   | 100.0% [100.0, 100.0] |
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
    return f'{row["value"]:.1%}{deviation} [{100 * row["low"]:.1f}, {100 * row["high"]:.1f}]'


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
