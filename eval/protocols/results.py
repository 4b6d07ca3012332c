"""Rows of results, and the files that every frozen evaluation writes: results.json, results.md, differences.json and
hits.npz."""
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from eval.metrics.average_precision import mean_average_precision
from eval.metrics.intervals import FEWEST_GROUPS, MOST_VALUES, bootstrap, bootstrap_means, by_group, in_braces
from eval.networks.weights import short_name
from eval.protocols.protocol import Outcome
from utils.text import ENCODING, distinct

TITLES = {'anticipation': 'Recognition before the end'}  # of results.md, by the protocol of its rows


def row_of(weights: str, feature: str, outcome: Outcome, sha256: Sequence[str] = ()) -> dict:
    """One row of results.json for an Outcome. Values are from 0 to 1. sha256: of each file that it is of.

    value is the mean over repetitions and test videos (of a mean average precision, over repetitions), and deviation
    the standard deviation over repetitions (None for a single one). low, high, groups and by_group are those of
    `estimate_of`. folds: of the cross-validation that chose the hyperparameter, the fewest of all repetitions."""
    everything = np.ones(outcome.hits.shape[1], int)
    repetitions = [statistic_of(replace(outcome, hits=hits[None]))(everything) for hits in outcome.hits]
    return {'weights': weights, 'sha256': [*sha256], 'feature': feature, **named(outcome), **estimate_of(outcome),
            'videos': outcome.hits.shape[1],
            'deviation': float(np.std(repetitions, ddof=1)) if len(repetitions) > 1 else None,
            'chosen': ', '.join(outcome.chosen) or None, 'folds': min(outcome.folds, default=None)}


def each_once(hashes: Iterable[Sequence[str]]) -> list[str]:
    """The `sha256` of a row that is the mean of several."""
    return list(dict.fromkeys(itertools.chain(*hashes)))


def difference_rows(outcomes: dict[tuple[str, str], Sequence[Outcome]], pairs: Sequence[tuple[str, str]]) -> list[dict]:
    """A row of differences.json for each number of two kinds of weights: the value of one minus that of the other, on
    the same test videos, with its interval. (Whether two intervals overlap says less: their videos are the same.)

    outcomes: of each (weights, feature). pairs: (weights, weights to compare them with)."""
    return [{'weights': weights, 'than': than, 'feature': feature, **named(one), **estimate_of(one, minus=other)}
            for weights, than in pairs for (name, feature), found in outcomes.items() if name == weights
            for one, other in zip(found, outcomes.get((than, feature), []))]


def named(outcome: Outcome) -> dict:
    return {'protocol': outcome.protocol, 'setting': outcome.setting, 'metric': outcome.metric}


def estimate_of(outcome: Outcome, minus: Outcome | None = None) -> dict:
    """{value, low, high, groups, by_group} of an Outcome, or of its difference from another on the same test videos.

    [low, high] is the 95% interval over groups of test videos; for too few they are None, by_group {name: value}."""
    statistic = statistic_of(outcome, minus)
    if outcome.label is None:
        of_video = outcome.hits.mean(axis=0) - (0 if minus is None else minus.hits.mean(axis=0))
        (low, high), = bootstrap_means(of_video[:, None], outcome.group)  # the same, all resamples at once
    else:
        low, high = bootstrap(statistic, outcome.group)
    return {'value': float(statistic(np.ones(len(outcome.group), int))), 'low': low, 'high': high,
            'groups': len(np.unique(outcome.group)), 'by_group': by_group(statistic, outcome.group)}


def statistic_of(outcome: Outcome, minus: Outcome | None = None) -> Callable:
    """The mean over repetitions as a statistic of eval.metrics.intervals; `minus` that of another Outcome."""
    if minus is not None:
        one, other = statistic_of(outcome), statistic_of(minus)
        return lambda times: one(times) - other(times)
    if outcome.label is None:
        of_video = outcome.hits.mean(axis=0)
        return lambda times: times @ of_video / times.sum()
    measures = [mean_average_precision(score, outcome.label) for score in outcome.hits]
    return lambda times: np.mean([measure(times) for measure in measures])


def interval_fact(group: np.ndarray) -> str:
    """What a table says of its intervals. group: str [Q] of the test videos."""
    names = np.unique(group).tolist()
    if MOST_VALUES < len(names) < FEWEST_GROUPS:
        return (f'{{low … high}}: the lowest and the highest value of the {len(names)} groups of test videos, too few '
                'for an interval; results.json has all')
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


def table_lines(rows: Sequence[dict], names: Callable | None = None) -> list[str]:
    """The rows as lines of a Markdown table: one column for each kind of weights. Rows of another hash are other lines.
    names: what weights are called, a function of a list of them (default short_names).

    >>> outcome = Outcome('knn', 'all labels', 'top1', np.ones((1, 10)), group=np.arange(10))
    >>> few = Outcome('knn', '5 per class', 'top1', np.array([[1., 0, 1, 1]]), group=np.array(['a', 'a', 'b', 'b']))
    >>> print('\\n'.join(table_lines([row_of('random', 'context', outcome), row_of('random', 'context', few)])))
    | feature | protocol | labels      | metric | random                |
    |---------|----------|-------------|--------|-----------------------|
    | context | knn      | all labels  | top1   | 100.0% [100.0, 100.0] |
    | context | knn      | 5 per class | top1   | 75.0% {50.0, 100.0}   |
    """
    hashed = any(row.get('hash') for row in rows)

    def key_and_hash(row):
        return (*key_of(row), row.get('hash') or '–') if hashed else key_of(row)

    columns = list(dict.fromkeys(row['weights'] for row in rows))
    keys = list(dict.fromkeys(map(key_and_hash, rows)))
    cells = {(key_and_hash(row), row['weights']): cell_of(row) for row in rows}
    setting = 'labels' if any('label' in row['setting'] for row in rows) else 'setting'
    header = ['feature', 'protocol', setting, 'metric', *(['hash'] if hashed else []),
              *(names or short_names)(columns)]
    body = [[*key, *(cells.get((key, column), '–') for column in columns)] for key in keys]
    return markdown(header, body)


def markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table whose columns are aligned."""
    widths = [max(map(len, column)) for column in zip(header, *body)]
    lines = ['| ' + ' | '.join(map(str.ljust, line, widths)) + ' |' for line in (header, *body)]
    return [lines[0], '|' + '|'.join('-' * (width + 2) for width in widths) + '|', *lines[1:]]


def key_of(row: dict) -> tuple[str, str, str, str]:
    return row['feature'], row['protocol'], row['setting'], row['metric']


def cell_of(row: dict) -> str:
    deviation = f' ±{row["deviation"]:.1%}' if row.get('deviation') is not None else ''
    return f'{row["value"]:.1%}{deviation} {interval_text(row)}'


def interval_text(row: dict) -> str:
    """'[low, high]' in %, or of too few groups the values of all."""
    if row['low'] is None:
        return in_braces([100 * value for value in row['by_group'].values()], '{:.1f}')
    return f'[{100 * row["low"]:.1f}, {100 * row["high"]:.1f}]'


def short_names(weights: Sequence[str]) -> list[str]:
    """Distinct names for --weights: `short_name`, numbered where several are alike.

    >>> short_names(['a/epoch9.pth.tar', 'b/epoch9.pth.tar', 'random'])
    ['epoch9', 'epoch9-2', 'random']
    """
    return distinct(map(short_name, weights), '-')


def difference_lines(differences: Sequence[dict]) -> list[str]:
    """A Markdown table of difference_rows, with a heading; none without rows."""
    if not differences:
        return []
    weights = list(dict.fromkeys(name for row in differences for name in (row['weights'], row['than'])))
    shown = dict(zip(weights, short_names(weights)))
    rows = [{**row, 'weights': f'{shown[row["weights"]]} − {shown[row["than"]]}'} for row in differences]
    return ['', '## Differences, on the same test videos', '', *table_lines(rows, names=list)]


def write_results(folder: Path, rows: Sequence[dict], facts: Sequence[str], differences: Sequence[dict] = (),
                  verdict: str = '', tables: Sequence[str] | None = None) -> Sequence[str]:
    """Writes results.json, differences.json and results.md, which begins with the verdict; returns the lines of its
    tables. facts: lines on weights, data and settings. tables: lines to take instead of the usual ones."""
    for name, content in (('results.json', rows), ('differences.json', with_hashes(differences, rows))):
        with open(folder / name, 'w', **ENCODING) as file:
            json.dump(content, file, indent=1)
    tables = tables or [*table_lines(rows), *difference_lines(differences)]
    title = TITLES.get(rows[0]['protocol'], 'Frozen features')
    begin = [f'## {title}', '', *([f'**{verdict}**', ''] if verdict else [])]
    with open(folder / 'results.md', 'w', **ENCODING) as file:
        file.write('\n'.join([*begin, *(f'- {fact}' for fact in facts), '', *tables]) + '\n')
    return tables


def with_hashes(differences: Sequence[dict], rows: Sequence[dict]) -> list[dict]:
    """The rows of differences.json with the hash of both of their numbers, None where these have two."""
    hashes = {(row['weights'], *key_of(row)): row.get('hash') for row in rows}
    both = [{hashes.get((row[name], *key_of(row))) for name in ('weights', 'than')} for row in differences]
    return [{**row, 'hash': each.pop() if len(each) == 1 else None} for row, each in zip(differences, both)]


def write_hits(path: Path, outcomes: Sequence[Outcome], videos: Sequence[str], group: np.ndarray) -> None:
    """Writes an .npz with path and group of the Q test videos, and hits [rows of results.json, Q]: how often a video
    was right, the mean over repetitions; NaN for a mean average precision, or where not all videos could be read."""
    hits = np.full((len(outcomes), len(videos)), np.nan, np.float32)
    for row, outcome in zip(hits, outcomes):
        if outcome.label is None and outcome.hits.shape[1] == len(videos):
            row[:] = outcome.hits.mean(axis=0)
    np.savez_compressed(path, path=np.array(videos), group=group, hits=hits)
