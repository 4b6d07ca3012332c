"""Does surprise mark what happens? ROC AUC of what eval/surprise.py wrote, at events against the rest of each video.

    python experiments/surprise_study.py --events {events.csv} {out of the network} {out of random weights}

The event's block is the first whose middle is at or after the event. The rest are the blocks of the same video whose
window, seen blocks included, has no event of any kind in it. The AUC of a video is the probability that the event's
block has a higher value than one of the rest; 0.5 is chance.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import utils.packages

import numpy as np
import pandas as pd

from eval.metrics.intervals import FEWEST_GROUPS, bootstrap, by_group
from eval.page.sources import read_json
from experiments.event_files import files_of_videos, read_events
from utils.cli import Parser, UserError, run_cli
from utils.data.groups import group_of

# of a table that eval/surprise.py wrote
CURVES = {'bits': lambda table: table.bits, 'copy_bits': lambda table: table.copy_bits,
          'frame_difference': lambda table: table.frame_difference,
          'change of frame_difference': lambda table: table.frame_difference.diff().abs()}


def parse_args(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument('out', nargs='+', metavar='FOLDER', help='--out of eval/surprise.py for the videos')
    parser.add_argument('--events', required=True, metavar='FILE',
                        help='csv with columns video (its path, or as much of the end of it as tells it from the '
                             'others), seconds, and perhaps kind and group: a row for each event. Where group is '
                             'empty a video is its own; without the column names tell, as in lists')
    return parser.parse_args(argv)


def main(args):
    events = read_events(args.events, ('video', 'seconds'))
    events = events.assign(kind=events.get('kind', 'event'))
    for folder in map(Path, args.out):
        for kind in events.kind.unique():
            values, group = auc_of_videos(folder, events, kind)
            print(f'{folder}, {kind}: {len(values)} videos')
            for curve in CURVES:
                print(f'  {curve:27} {auc_text(values[curve].to_numpy(), group)}')


def auc_of_videos(folder, events, kind):
    """(AUC of each curve at the events of a kind, a DataFrame [V]; group str [V]) of the videos with such events and
    with blocks without any event."""
    files = files_of_videos(events.video.unique(), tables_in(folder), folder, 'eval/surprise.py')
    rows, group = [], []
    for video, own in events.groupby('video', sort=False):
        path, file = files[video]
        table = pd.read_csv(file)
        curves = pd.DataFrame({name: curve(table) for name, curve in CURVES.items()})
        known = curves.notna().all(axis=1).to_numpy()  # the first block of a video has no change
        at_event, rest = (part & known for part in parts_of(table, own.seconds[own.kind == kind].to_numpy(),
                                                            own.seconds.to_numpy()))
        if at_event.any() and rest.any():
            rows.append({name: auc(curves[name][at_event], curves[name][rest]) for name in CURVES})
            group.append((own.group.iloc[0] if 'group' in own else group_of(path)) or video)
    if not rows:
        raise UserError(f'{folder}: no video has both an event of the kind {kind} and blocks without any event')
    return pd.DataFrame(rows), np.array(group)


def tables_in(folder):
    """[(path of a video, its csv), …] of eval/surprise.py in a folder. Equal names are numbered there, so the name of a
    csv alone doesn't tell the video. UserError: there are none."""
    if not (folder / 'surprise.json').is_file():
        raise UserError(f'{folder} has no surprise.json: give the --out folder of eval/surprise.py')
    return [(each['video'], folder / Path(each['csv']).name)
            for each in read_json(folder / 'surprise.json', dict)['videos']]


def parts_of(table, seconds, all_seconds):
    """Masks [T] of the rows of a csv of eval/surprise.py: the blocks of the events at `seconds`, and those whose window
    has none of the events at `all_seconds`. Blocks predicted from fewer blocks than most are in neither."""
    start, settled = table.start.to_numpy(), (table.seen == table.seen.max()).to_numpy()
    # row k is block k + 1, which is predicted from blocks k + 1 - seen … k
    first = np.arange(len(table)) - table.seen.to_numpy()
    window = np.where(first >= 0, start[first], 0)
    inside = ((window[:, None] <= all_seconds) & (all_seconds <= table.end.to_numpy()[:, None])).any(axis=1)
    at_event = np.zeros(len(table), bool)
    at_event[np.minimum(np.searchsorted(table.seconds, seconds), len(table) - 1)] = True
    return at_event & settled & inside, settled & ~inside


def auc(positive, negative):
    """The probability that a value of `positive` is above one of `negative`, a tie counting half."""
    difference = np.subtract.outer(np.asarray(positive), np.asarray(negative))
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def auc_text(values, group):
    """Mean of some AUC [V] and its 95% interval over groups, or the mean of each group where they are too few."""
    low, high = bootstrap(lambda times: times @ values / times.sum(), group)
    if low is None:
        means = by_group(lambda times: times @ values / times.sum(), group)
        each = ', '.join(f'{name} {value:.3f}' for name, value in means.items())
        return f'{values.mean():.3f} ({each}; fewer than {FEWEST_GROUPS} groups)'
    return f'{values.mean():.3f} [{low:.3f}, {high:.3f}]'


if __name__ == '__main__':
    run_cli(main, parse_args())
