"""Prints a table of the runs under a folder: progress, accuracy, and whether it is alive.

    python -m utils.run.status LOG_DIR
"""
import argparse
import contextlib
import json
import os
import re
import socket
import sys
import time
from pathlib import Path

SILENT_SECONDS = 600  # a run on another machine that logged nothing for so long is taken for dead
COLUMNS = ('run', 'place', 'loss', 'top1', 'val top1', 'knn', 'clips/s', 'ETA', 'last sign', 'state')


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('log_dir', help='folder to look for runs in, at any depth: a --log_dir or a log_{prefix} in it')
    return parser.parse_args(argv)


def main(args):
    logs = sorted(Path(args.log_dir).rglob('log.jsonl'))
    if not logs:
        print(f'error: no log.jsonl under {args.log_dir}: give the --log_dir of some runs', file=sys.stderr)
        sys.exit(2)
    rows = [describe(log, args.log_dir) for log in logs]
    widths = [max(len(row[i]) for row in [COLUMNS, *rows]) for i in range(len(COLUMNS))]
    for row in [COLUMNS, *rows]:
        print('  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def describe(log, log_dir):
    """The cells of one run's row, in the order of COLUMNS."""
    records = read_records(log)
    last = {record['kind']: record for record in records}
    newest = next((record for record in reversed(records) if record['kind'] in ('step', 'train')), {})
    place = ' '.join(f'{name} {newest[name]}/{newest[name + "s"]}' for name in ('epoch', 'step') if name in newest)
    return (str(log.parent.relative_to(log_dir)), place or '-', number(newest.get('loss')), number(newest.get('top1')),
            number((last.get('val') or {}).get('top1')), number(latest(records, 'knn')),
            number(newest.get('clips_per_s'), 1), eta(records), f'{duration(time.time() - log.stat().st_mtime)} ago',
            state(records, log))


def read_records(log):
    """The lines of a log.jsonl; one that was cut short by a kill, or is of something else, is left out."""
    records = []
    for line in log.read_text(errors='replace').splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    return [record for record in records if isinstance(record, dict) and 'kind' in record]


def latest(records, name):
    """The last value of a statistic that is not in every record."""
    return next((record[name] for record in reversed(records) if name in record), None)


def state(records, log):
    """How the run ended, or whether it still runs: known for sure on its own machine only."""
    if records and records[-1]['kind'] == 'end':
        return records[-1]['how']
    start = next((record for record in reversed(records) if record['kind'] == 'start'), None)
    if start and start['host'] == socket.gethostname():
        return 'running' if is_alive(start['pid']) else f'killed{resume_advice(log.parent)}'
    return 'running' if time.time() - log.stat().st_mtime < SILENT_SECONDS else 'silent; killed?'


def resume_advice(folder):
    """'; resume with --resume …' from the newest checkpoint by name: last.pth.tar goes when its epoch is saved."""
    epochs = {int(match[1]): match[0] for match in (re.fullmatch(r'epoch(\d+)\.pth\.tar', path.name)
                                                    for path in (folder / 'model').glob('epoch*')) if match}
    name = 'last.pth.tar' if (folder / 'model' / 'last.pth.tar').exists() else epochs.get(max(epochs, default=None))
    return f'; resume with --resume {folder / "model" / name}' if name else ''


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def eta(records):
    """Time to the last epoch at the pace of the latest steps; '-' when it can't be told or the run has ended."""
    steps = [record for record in records if record['kind'] == 'step']
    if len(steps) < 2 or records[-1]['kind'] == 'end':
        return '-'
    first, last = steps[max(0, len(steps) - 20)], steps[-1]
    if last['iteration'] <= first['iteration'] or last['time'] <= first['time']:
        return '-'
    left = (last['epochs'] - last['epoch']) * last['steps'] + last['steps'] - last['step']
    return duration(left * (last['time'] - first['time']) / (last['iteration'] - first['iteration']))


def duration(seconds):
    """'45s', '12m', '3h20m' or '2d4h'"""
    seconds = int(seconds)
    if seconds < 60:
        return f'{seconds}s'
    if seconds < 3600:
        return f'{seconds // 60}m'
    if seconds < 86400:
        return f'{seconds // 3600}h{seconds % 3600 // 60:02d}m'
    return f'{seconds // 86400}d{seconds % 86400 // 3600}h'


def number(value, digits=3):
    return '-' if value is None else f'{value:.{digits}f}'


if __name__ == '__main__':
    main(parse_args())
