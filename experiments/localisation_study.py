"""Which action when? A linear classifier per time step, on what eval/features.py --every wrote for videos whose motion
changes midway.

    python experiments/localisation_study.py --events {events.csv} {rows of the network} {rows of random weights} …

events.csv is that of experiments/data/make_events.py. A row is labelled by what happens in the middle of its window.
The classifier is the linear probe of eval/frozen.py, trained on the rows of every other video, with a weight decay
chosen by cross-validation over these videos, and tested on the rows of the others.
"""
import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import utils.packages

import numpy as np
import pandas as pd

from eval.metrics.intervals import bootstrap
from eval.protocols.linear_probe import DECAYS, DEFAULT_DECAY, predict
from eval.protocols.protocol import Task, choose
from utils.cli import Parser, UserError, run_cli

COLUMNS = 'video', 'kind', 'seconds', 'before', 'after'  # of --events
NEAR = 0.5  # s, of the change: rows so near are also counted apart


def parse_args(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument('out', nargs='+', metavar='FOLDER', help='--out of eval/features.py --every for the videos')
    parser.add_argument('--events', required=True, metavar='FILE',
                        help=f'csv with columns {", ".join(COLUMNS)}; the rows of kind motion are used')
    return parser.parse_args(argv)


def main(args):
    events = pd.read_csv(args.events)
    if lacking := set(COLUMNS) - set(events):
        raise UserError(f'--events {args.events}: it has no columns {", ".join(sorted(lacking))}')
    events = events[events.kind == 'motion']
    for folder in map(Path, args.out):
        table, rows = read_rows(folder, events)
        test = (table.number % 2 == 1).to_numpy()
        video = table.video.to_numpy(str)
        task = Task(rows[~test], table.label[~test].to_numpy(), video[~test],
                    rows[test], table.label[test].to_numpy(), video[test], video[~test], video[test])
        decay, folds = choose(task, DECAYS, DEFAULT_DECAY, predict)
        right = predict(task, [decay])[0] == task.test_label
        near = (table.distance[test] < NEAR).to_numpy()
        print(f'{folder}: {len(task.train)} rows of {len(set(task.train_group))} videos to train on, {len(right)} of '
              f'{len(set(task.test_group))} to test on; decay {decay:g}, {folds} folds')
        for name, part in ('all', near | ~near), (f'within {NEAR} s of the change', near), ('others', ~near):
            print(f'  {name:27} {accuracy_text(right[part], task.test_group[part])}')


def read_rows(folder, events):
    """(a table of all rows: number of the video, video, label, distance to the change, s; the rows float32 [R, D])."""
    parts, rows = [], []
    for number, event in enumerate(events.itertuples()):
        path = folder / f'{Path(event.video).stem}.npy'
        if not path.is_file():
            raise UserError(f'{path} is not there: give all videos of the events to eval/features.py')
        rows.append(np.load(path))
        middle = np.array(json.loads(path.with_suffix('.json').read_text())['seconds'])
        parts.append(pd.DataFrame({'number': number, 'video': event.video,
                                   'name': np.where(middle < event.seconds, event.before, event.after),
                                   'distance': np.abs(middle - event.seconds)}))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(label=pd.factorize(table.name, sort=True)[0]), np.concatenate(rows)


def accuracy_text(right, group):
    """bool [Q] -> the share that is right, and its 95% interval over groups str [Q]."""
    low, high = bootstrap(lambda times: times @ right / times.sum(), group)
    interval = f' [{low:.1%}, {high:.1%}]' if low is not None else ' (too few videos for an interval)'
    return f'{right.mean():.1%}{interval}'


if __name__ == '__main__':
    run_cli(main, parse_args())
