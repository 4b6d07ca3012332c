"""Prints a table of the runs and tests under a folder: progress, accuracy, and whether it is alive.

    python utils/run/status.py LOG_DIR --sort best
    python utils/run/status.py LOG_DIR --columns epoch val copy_last top1_shuffled
"""
import contextlib
import csv
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import utils.packages

from utils.cli import Parser, UserError, run_cli
from utils.cli import number as number_type
from utils.run.read_log import duration, read_records, state

SHORTEST_NAME, LONGEST_STATE = 16, 24
# In the table and the csv: name, how a value is shown. A run's log may lack any of them.
COLUMNS = {
    'run': str,
    'epoch': lambda done: f'{done[0]:.4g}/{done[1]}',
    'loss': '{:.3f}'.format,
    'top1': '{:.3f}'.format,
    'val': '{:.3f}'.format,
    'best': '{:.3f}'.format,
    'test': '{:.3f}'.format,
    'knn': '{:.3f}'.format,
    'clips/s': '{:.1f}'.format,
    'GB': '{:.1f}'.format,
    'ETA': duration,
    'quiet': duration,
    'state': str,
}
SMALLEST_FIRST = {'run', 'loss', 'ETA', 'quiet', 'state'}


def parse_args(argv=None):
    parser = Parser(description=__doc__.split('\n')[0])
    parser.add_argument('log_dir', help='folder to look for runs in, at any depth: a --log_dir or a log_{prefix} in it')
    parser.add_argument('--columns', default=[*COLUMNS], nargs='+', metavar='NAME',
                        help=f'what to show: any of {", ".join(COLUMNS)}, or statistics of the latest validation by '
                             'their name in log.jsonl, such as copy_last (default: the former)')
    parser.add_argument('--sort', default='run', metavar='COLUMN',
                        help='any of the same; the best or furthest run first (default run)')
    parser.add_argument('--csv', action='store_true', help='print a csv with whole names and seconds instead')
    parser.add_argument('--watch', type=number_type(float, lambda value: 0 < value < 1e6, 'a number of seconds'),
                        metavar='SECONDS', help='print the table again, this often, until Ctrl-C')
    return parser.parse_args(argv)


def main(args):
    with contextlib.suppress(KeyboardInterrupt):
        show(args)
        while args.watch:
            time.sleep(args.watch)
            print('\033[2J\033[H' if sys.stdout.isatty() else '', end='')
            show(args)


def show(args):
    found = [sorted(Path(args.log_dir).rglob(name)) for name in ('log.jsonl', 'test_log.md')]
    if not any(found):
        raise UserError(f'no log.jsonl or test_log.md under {args.log_dir}: give the --log_dir of some runs')
    rows = [describe_one(log, args.log_dir) for describe_one, logs in zip((describe, describe_test), found)
            for log in logs]
    known = {*COLUMNS, *(name for row in rows for name in row)}
    for name in [args.sort, *args.columns]:
        if name not in known:
            raise UserError(f'no run has {name!r}; there are {", ".join(sorted(known))}')
    rows.sort(key=lambda row: row['run'])
    having = [row for row in rows if is_known(row.get(args.sort))]
    having.sort(key=lambda row: row[args.sort], reverse=args.sort not in SMALLEST_FIRST)
    rows = having + [row for row in rows if not is_known(row.get(args.sort))]
    if args.csv:
        write_csv(rows, args.columns)
    else:
        print('\n'.join(table_lines(rows, args.columns)), flush=True)


def is_known(value):
    """Neither missing nor NaN."""
    return value is not None and value == value


def write_csv(rows, names):
    """To the screen; `epoch` counts finished ones, followed by how many there will be."""
    writer = csv.writer(sys.stdout, lineterminator='\n')
    writer.writerow([*names, 'epochs'])
    for row in rows:
        epoch, epochs = row.get('epoch') or ('', '')
        writer.writerow([*({**row, 'epoch': epoch}.get(name) for name in names), epochs])


def table_lines(rows, names):
    """The rows as lines, with their names first; columns without any value are left out. Below them, how to resume the
    runs that were killed."""
    names = ['run', *(name for name in names if name != 'run' and any(row.get(name) is not None for row in rows))]
    cells = [{name: '-' if row.get(name) is None else COLUMNS.get(name, '{:.3g}'.format)(row[name]) for name in names}
             for row in rows]
    advice = [f'{row["run"]}: {row["state"].split("; ", 1)[1]}' for row in rows if '; resume with' in row['state']]
    for cell in cells:
        if 'state' in cell:
            cell['state'] = shortened(cell['state'].split('; resume with')[0], LONGEST_STATE)
    widths = {name: max(len(name), *(len(cell[name]) for cell in cells)) for name in names}
    width = shutil.get_terminal_size((sys.maxsize, 24)).columns  # whole names where there is no terminal
    widths['run'] = max(SHORTEST_NAME, min(widths['run'], width - sum(widths[name] + 2 for name in names[1:])))
    for cell in cells:
        cell['run'] = shortened(cell['run'], widths['run'])
    return ['  '.join(cell[name].ljust(widths[name]) for name in names).rstrip()
            for cell in [{name: name for name in names}, *cells]] + advice


def shortened(text, length):
    """Without its middle if it is longer than `length`."""
    if len(text) <= length:
        return text
    half = (length - 1) // 2
    return f'{text[:half]}…{text[len(text) - (length - 1 - half):]}'


def describe(log, log_dir):
    """{column: value} of one run, None for what its log doesn't have, and {statistic: value} of the latest validation;
    ETA and quiet in seconds."""
    records = read_records(log)
    newest = next((record for record in reversed(records) if record['kind'] in ('step', 'train')), {})
    validated = [record for record in records if record['kind'] == 'val']
    tested = [record['top1'] for record in validated if 'top1' in record]
    statistics = {name: value for name, value in (validated or [{}])[-1].items() if isinstance(value, (int, float))}
    return {**statistics, 'run': str(log.parent.relative_to(log_dir)), 'epoch': epochs_of(newest),
            'loss': newest.get('loss'), 'top1': newest.get('top1'), 'val': tested[-1] if tested else None,
            'best': max((record['top1'] for record in validated if 'top1' in record and not record.get('skipped')),
                        default=None), 'knn': latest(records, 'knn'), 'clips/s': newest.get('clips_per_s'),
            'GB': newest.get('memory_gb'), 'ETA': eta(records), 'quiet': int(time.time() - log.stat().st_mtime),
            'state': state(records, log)}


def describe_test(log, log_dir):
    """{column: value} of the folder of a test; top-1 over all videos, None where they have several labels."""
    right = []
    with contextlib.suppress(FileNotFoundError), open(log.with_name('predictions.csv'), newline='',
                                                      encoding='utf-8', errors='replace') as file:
        right = [row.get('label') == row.get('prediction') for row in csv.DictReader(file)]
    return {'run': str(log.parent.relative_to(log_dir)), 'test': sum(right) / len(right) if right else None,
            'quiet': int(time.time() - log.stat().st_mtime), 'state': 'tested'}


def epochs_of(record):
    """(epochs done, epochs in all) at a record; None where it doesn't say."""
    if 'epoch' not in record:
        return None
    done = record['step'] / record['steps'] if 'step' in record else 1
    return round(record['epoch'] - 1 + done, 2), record['epochs']


def latest(records, name):
    """The last value of a statistic that is not in every record."""
    return next((record[name] for record in reversed(records) if name in record), None)


def eta(records):
    """Seconds to the last epoch at the pace of the latest steps; None when it can't be told or the run has ended."""
    begun = max((i for i, record in enumerate(records) if record['kind'] == 'start'), default=0)  # or was resumed
    steps = [record for record in records[begun:] if record['kind'] == 'step']
    if len(steps) < 2 or records[-1]['kind'] == 'end':
        return None
    first, last = steps[max(0, len(steps) - 20)], steps[-1]
    if last['iteration'] <= first['iteration'] or last['time'] <= first['time']:
        return None
    left = (last['epochs'] - last['epoch']) * last['steps'] + last['steps'] - last['step']
    return round(left * (last['time'] - first['time']) / (last['iteration'] - first['iteration']))


if __name__ == '__main__':
    run_cli(main, parse_args())
