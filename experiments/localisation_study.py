"""Which action when? A linear classifier per time step, on what eval/features.py --every wrote for videos whose motion
changes midway.

    python experiments/localisation_study.py --events {events.csv} {rows of the network} {rows of random weights} …

events.csv is that of experiments/data/make_events.py. A row is labelled by what happens in the middle of its window.
The classifier is the linear probe of eval/frozen.py, trained on the rows of every other video, with a weight decay
chosen by cross-validation over these videos, and tested on the rows of the others.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import utils.packages

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from eval.extract.over_time import read_about
from eval.metrics.intervals import bootstrap
from eval.protocols.linear_probe import chosen_probe, quick_fits
from eval.protocols.protocol import Task
from experiments.event_files import files_of_videos, read_events
from utils.cli import Parser, run_cli

COLUMNS = 'video', 'kind', 'seconds', 'before', 'after'  # of --events
DRAWN = 8   # videos of a picture
NEAR = 0.5  # s, of the change: rows so near are also counted apart


def parse_args(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument('out', nargs='+', metavar='FOLDER', help='--out of eval/features.py --every for the videos')
    parser.add_argument('--events', required=True, metavar='FILE',
                        help=f'csv with columns {", ".join(COLUMNS)}; the rows of kind motion are used')
    parser.add_argument('--picture', metavar='FILE',
                        help=f'.png of {DRAWN} test videos: what the classifier says over time')
    return parser.parse_args(argv)


def main(args):
    events = read_events(args.events, COLUMNS)
    events = events[events.kind == 'motion']
    drawn = {}  # folder: table of the first test videos, with what is said of each row
    for folder in map(Path, args.out):
        table, rows = read_rows(folder, events)
        test = (table.number % 2 == 1).to_numpy()
        video = table.video.to_numpy(str)
        task = Task(rows[~test], table.label[~test].to_numpy(), video[~test],
                    rows[test], table.label[test].to_numpy(), video[test], video[~test], video[test])
        with quick_fits():
            classifier, decay, folds = chosen_probe(task)
        said = classifier.predict(task.test)
        right = said == task.test_label
        near = (table.distance[test] < NEAR).to_numpy()
        print(f'{folder}: {len(task.train)} rows of {len(set(task.train_group))} videos to train on, {len(right)} of '
              f'{len(set(task.test_group))} to test on; {decay}, {folds} folds')
        for name, part in ('all', near | ~near), (f'within {NEAR} s of the change', near), ('others', ~near):
            print(f'  {name:27} {accuracy_text(right[part], task.test_group[part])}')
        drawn[folder.name] = table[test].assign(said=said).query(f'number < {2 * DRAWN}')
    if args.picture:
        draw(args.picture, drawn, sorted({*events.before, *events.after}))


def read_rows(folder, events):
    """(a table of all rows: number of the video, video, name and label of what happens, middle of the window and its
    distance to the change, s; the rows float32 [R, D])."""
    about = {file: read_about(file.with_suffix('')) for file in sorted(folder.glob('*.json'))}
    files = files_of_videos(events.video.unique(), [(each['video'], file) for file, each in about.items() if each],
                            folder, 'eval/features.py')
    parts, rows = [], []
    for number, event in enumerate(events.itertuples()):
        _, file = files[event.video]
        rows.append(np.load(file.with_suffix('.npy')))
        middle = np.array(about[file]['seconds'])
        parts.append(pd.DataFrame({'number': number, 'video': event.video,
                                   'name': np.where(middle < event.seconds, event.before, event.after),
                                   'middle': middle, 'distance': np.abs(middle - event.seconds)}))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(label=pd.factorize(table.name, sort=True)[0]), np.concatenate(rows)


def accuracy_text(right, group):
    """bool [Q] -> the share that is right, and its 95% interval over groups str [Q]."""
    low, high = bootstrap(lambda times: times @ right / times.sum(), group)
    interval = f' [{low:.1%}, {high:.1%}]' if low is not None else ' (too few videos for an interval)'
    return f'{right.mean():.1%}{interval}'


def draw(path, tables, names):
    """A picture of the test videos, one below the other: what happens, and what the rows of each folder say.

    tables: {folder: table of `read_rows` with a column said}. names: of the labels, in their order."""
    first = next(iter(tables.values()))
    bars = {'what happens': first.assign(said=first.label), **tables}
    figure = Figure((9, 1 + 0.25 * first.number.nunique() * len(bars)), dpi=100, layout='constrained')
    axes, colours, height, ticks = figure.subplots(), matplotlib.colormaps['tab10'].colors, 0, {}
    for number in first.number.unique():
        for title, table in bars.items():
            own = table[table.number == number]
            step = own.middle.diff().median()
            axes.barh([height] * len(own), step, left=own.middle - step / 2, height=0.9,
                      color=[colours[label] for label in own.said])
            ticks[height] = title
            height += 1
        height += 1
    axes.set_yticks([*ticks], ticks.values(), fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel='seconds (middle of the window)')
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend([Patch(color=colour) for colour in colours[:len(names)]], names, loc='upper left',
                bbox_to_anchor=(1, 1), frameon=False)
    figure.savefig(path)


if __name__ == '__main__':
    run_cli(main, parse_args())
