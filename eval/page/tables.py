"""The tables of a report, from the data frames that eval.page.sources reads."""
import json
from pathlib import Path

import numpy as np
import pandas as pd

from eval.classify.outputs import confusion_figure, confusion_matrix
from eval.networks.weights import split_weights
from eval.page.svg import inline_svg
from eval.protocols.anticipation import GAINS, gain_table, value_table
from eval.protocols.results import key_of, short_names
from utils.run.read_log import duration

MAX_PAIRS = 12        # confused pairs with their frames
MAX_CELLS = 24        # classes of a confusion matrix with numbers; larger ones are a picture
MAX_LISTED = 10_000   # videos
WRONG_FRAMES, OTHER_FRAMES = 4, 2


# ---- training

def run_rows(training):
    """A dict of facts for each run; values that its log doesn't have are None."""
    return [run_row(run) for run in training]


def run_row(run):
    flags, log = run.flags, run.log
    of_kind = {kind: log[log.kind == kind] if 'kind' in log else log for kind in ('train', 'val')}
    train, val = of_kind['train'], of_kind['val']
    whole = val[val.skipped.isna() | (val.skipped == 0)] if 'skipped' in val else val  # others are not chosen
    best = whole.loc[whole.top1.idxmax()] if 'top1' in whole and whole.top1.notna().any() else None
    clip = f'{flags.get("num_seq", "?")}×{flags.get("seq_len", "?")}, ds {flags.get("ds", "?")}'
    clip += f', {flags["pred_step"]} predicted' if 'pred_step' in flags else ''
    epochs = int(last(log, 'epochs') or 0) or flags.get('epochs', '?')  # a resumed run may have more than it began with
    return {'name': run.name, 'path': str(run.path),
            'task': {'dpc-rnn': 'pretraining', 'lc': 'classification'}.get(flags.get('model'), '–'),
            'data': flags.get('dataset', '–'), 'net': flags.get('net', '–'), 'img_dim': flags.get('img_dim', '–'),
            'clip': clip, 'pretrain': Path(flags['pretrain']).name if flags.get('pretrain') else 'nothing',
            'epochs': f'{int(last(log, "epoch") or 0)} of {epochs}',
            'best': None if best is None else float(best.top1),
            'best_epoch': None if best is None else int(best.epoch),
            'loss': last(val, 'loss'), 'clips_per_s': median(train, 'clips_per_s'),
            'data_wait': median(train, 'data_wait'), 'memory_gb': last(train, 'memory_gb'),
            'time': duration(trained_seconds(log)), 'state': run.state,
            'revision': flags.get('git_revision', 'unknown')}


def last(table, column):
    values = table[column].dropna() if column in table else []
    return float(values.iloc[-1]) if len(values) else None


def median(table, column):
    values = table[column].dropna() if column in table else []
    return float(values.median()) if len(values) else None


def trained_seconds(log):
    """Seconds from each start to the last line before the next."""
    if not {'time', 'kind'} <= set(log):
        return 0
    part = (log.kind == 'start').cumsum()
    spans = log.groupby(part).time.agg(lambda times: times.max() - times.min())
    return float(spans.sum())


def flags_of_runs(runs):
    """{names, different, same}: [(flag, [value of each run]), …] of the flags that differ and of those that don't."""
    table = pd.DataFrame({i: {name: json.dumps(value, ensure_ascii=False) for name, value in run.flags.items()}
                          for i, run in enumerate(runs)}, dtype=object).fillna('–')
    differs = table.nunique(axis=1) > 1

    def rows(part):
        return [(flag, [value.strip('"') for value in values]) for flag, *values in part.itertuples()]

    return {'names': [run.name for run in runs], 'different': rows(table[differs]), 'same': rows(table[~differs])}


# ---- which numbers may be compared

def mark_incomparable(rows, key_of):
    """Sorts rows of results by `key_of` and then by their `hash`, in the order given, and gives each a `mark`: whether
    another row of its key has another hash, so that the two may not be compared. (Earlier files have no hash.)"""
    order = list(dict.fromkeys(map(key_of, rows)))
    hashes = {key: list(dict.fromkeys(row['hash'] for row in rows if key_of(row) == key)) for key in order}
    return sorted(({**row, 'mark': len(hashes[key_of(row)]) > 1} for row in rows),
                  key=lambda row: (order.index(key_of(row)), hashes[key_of(row)].index(row['hash'])))


# ---- tests

def test_rows(tests):
    """The rows of the tables of all test_log.md, with the `test`; those that may be compared stand together."""
    rows = [{'hash': None, **row, 'test': test} for test in tests for row in test.table]
    return mark_incomparable(rows, lambda row: row['protocol'])


def per_class(tests):
    """{names, rows, mark}: of each class its name and for each test {videos, right, accuracy, taken_for, share}, None
    where the test has no video of it. Classes in alphabetical order. mark: whether the tests have several hashes,
    which are behind their names then."""
    tables = [class_table(test.predictions) for test in tests]
    classes = sorted(set().union(*(table.index for table in tables)))
    rows = [{'name': name, 'tests': [table.loc[name].to_dict() if name in table.index else None for table in tables]}
            for name in classes]
    hashes = [test.table[0].get('hash') if test.table else None for test in tests]
    mark = len(set(hashes)) > 1
    names = [f'{test.name} ({shown or "no hash"})' if mark else test.name for test, shown in zip(tests, hashes)]
    return {'names': names, 'rows': rows, 'mark': mark}


def class_table(predictions):
    """Indexed by class: videos, right, accuracy, and the class that its videos are most often taken for, with how many
    of them (None and 0 if all are right)."""
    right = predictions.label == predictions.prediction
    table = right.groupby(predictions.label).agg(videos='size', right='sum')
    table = table.assign(accuracy=table.right / table.videos)
    wrong = predictions[~right].groupby(['label', 'prediction']).size().rename('count').reset_index()
    most = wrong.sort_values(['count', 'prediction'], ascending=[False, True]).drop_duplicates('label')
    table = table.join(most.set_index('label').rename(columns={'prediction': 'taken_for', 'count': 'taken'}))
    return table.assign(taken_for=table.taken_for.astype(object).where(table.taken_for.notna(), None),
                        taken=table.taken.fillna(0).astype(int))


def confusion_of(predictions, name):
    """{names, matrix [C][C], shares [C][C], svg}: videos by true class (rows) and predicted one. svg: a picture of it
    where there are many classes, else None. None without videos. name: of the test."""
    if predictions.empty:
        return None
    names = sorted(set(predictions.label) | set(predictions.prediction))
    codes = {name: i for i, name in enumerate(names)}
    matrix = confusion_matrix(predictions.label.map(codes).to_numpy(), predictions.prediction.map(codes).to_numpy(),
                              len(names))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    svg = None if len(names) <= MAX_CELLS else inline_svg(
        confusion_figure(matrix, names), f'Confusion matrix of {name}',
        f'Confusion matrix of {len(names)} classes; the tables on this page have its largest entries')
    return {'names': names, 'matrix': matrix.tolist(), 'shares': shares.tolist(), 'svg': svg}


def confused_pairs(predictions, pictures):
    """[{label, prediction, videos, share, wrong, other}, …], the most frequent mistakes first; share: of the class's
    videos. wrong, other: data URIs of strips of frames, of such videos and of videos of the other class; None where the
    frames are not there."""
    counts = predictions.groupby('label').size()
    wrong = predictions[predictions.label != predictions.prediction]
    pairs = wrong.groupby(['label', 'prediction']).size().rename('videos').reset_index()
    pairs = pairs.assign(share=pairs.videos / pairs.label.map(counts))
    pairs = pairs.sort_values(['videos', 'share', 'label', 'prediction'], ascending=[False, False, True, True])
    found = []
    for pair in pairs.head(MAX_PAIRS).to_dict('records'):
        mistaken = wrong[(wrong.label == pair['label']) & (wrong.prediction == pair['prediction'])]
        others = predictions[predictions.label == pair['prediction']]
        found.append({**pair, 'wrong': pictures.strip(paths_in(mistaken, WRONG_FRAMES)),
                      'other': pictures.strip(paths_in(others, OTHER_FRAMES))})
    return found


def paths_in(videos, count):
    return videos.sort_values('probability', ascending=False, kind='stable').path.head(count).tolist()


def video_rows(predictions):
    """{videos, unlisted}: mistakes first, the surest first; and how many more there are."""
    table = predictions.assign(right=predictions.label == predictions.prediction,
                               name=predictions.path.map(lambda path: '/'.join(path.split('/')[-2:])))
    table = table.sort_values(['right', 'probability'], ascending=[True, False], kind='stable')
    return {'videos': table.head(MAX_LISTED).to_dict('records'), 'unlisted': max(0, len(table) - MAX_LISTED)}


# ---- frozen features

def frozen_rows(frozen):
    """The rows of all results.json, with `source` (name of the folder) and `shown` (a short name of the weights)."""
    rows = []
    for each in frozen:
        shown = shown_names(each)
        rows += [{'deviation': None, 'by_group': None, 'hash': None, **row, 'source': each.name,
                  'shown': shown[row['weights']],
                  'random': split_weights(row['weights'])[1] is None}
                 for row in records_of(each)]
    return mark_incomparable(rows, key_of)  # random weights beside the others


def anticipation_tables(frozen):
    """[{source, hashes, tables}, …] of the results of eval/anticipate.py. tables: [(heading, header, body), …]."""
    found = []
    for each in frozen:
        rows, names = records_of(each), shown_names(each)
        tables = [('Top-1 by the part observed', *value_table(rows, names))]
        if each.gains:
            tables.append((GAINS, *gain_table(each.gains, names)))
        hashes = dict.fromkeys(row.get('hash') or '–' for row in rows)
        found.append({'source': each, 'hashes': [*hashes], 'tables': tables})
    return found


def records_of(each):
    return each.rows.astype(object).where(each.rows.notna(), None).to_dict('records')


def shown_names(each):
    """{weights: a short name}"""
    weights = list(dict.fromkeys(each.rows.weights))
    return dict(zip(weights, short_names(weights)))
