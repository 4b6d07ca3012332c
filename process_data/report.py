"""The report of an extraction: {frame_root}/extract_report.csv with a row per video; a share has its own, …_2of8.csv.

While a run goes on it is its journal: rows are appended as videos finish, so that nothing known is lost with a killed
run. At the end it is written anew, in the order of the names.
"""
import csv
import glob
import json
import os

from process_data import layout
from process_data.errors import UserError

COLUMNS = ('video', 'frames', 'announced', 'width', 'height', 'fps', 'seconds', 'status', 'reason')
STATUSES = ('ok', 'partial', 'failed')      # partial: fewer frames can be decoded than the file announces


def make_row(video, status, reason='', frames=0, announced=0, width='', height='', fps=0.0):
    """A row; `video` is relative to the video root, `seconds` is how long it plays. All values are strings."""
    return dict(video=video, frames=str(frames), announced=str(announced), width=str(width), height=str(height),
                fps=f'{fps:g}', seconds=f'{frames / fps:.3f}' if fps else '', status=status, reason=reason)


def report_path(frame_root, share):
    """`share` is '2of8'; '1of1' is the whole."""
    return os.path.join(frame_root, 'extract_report.csv' if share == '1of1' else f'extract_report_{share}.csv')


def read_reports(frame_root):
    """Rows of all reports of a frame root as {video: row}; where two name a video, the newer report counts."""
    rows = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(frame_root), 'extract_report*.csv')), key=os.path.getmtime):
        rows.update(read_report(path))
    return rows


def read_report(path):
    """Rows of one report as {video: row}; none where there is no report yet."""
    try:
        with open(path, newline='', encoding='utf-8', errors='surrogateescape') as file:
            # A run that was killed may leave half a last row.
            return {row['video']: row for row in csv.DictReader(file)
                    if row.get('status') in STATUSES and row['reason'] is not None}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror}); mend or remove it and run again') from error


def read_settings(frame_root):
    """{'short_side': px, …} as extract_frames.py wrote it beside the reports; {} where it didn't."""
    path = os.path.join(frame_root, 'extract_settings.json')
    try:
        with open(path, encoding='utf-8') as file:
            return dict(json.load(file))
    except FileNotFoundError:
        return {}
    except (OSError, TypeError, ValueError):
        raise UserError(f'{path}: not readable; remove it and run again') from None


def write_report(path, rows):
    def write(file):
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows[video] for video in sorted(rows))
    layout.write_whole(path, write, newline='')


class Appender:
    """Adds rows to a written report, each on disk as soon as it is appended."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        self.file = open(self.path, 'a', newline='', encoding='utf-8', errors='surrogateescape')
        self.writer = csv.DictWriter(self.file, COLUMNS)
        return self

    def append(self, row):
        try:
            self.writer.writerow(row)
            self.file.flush()
        except OSError as error:
            raise UserError(f'{self.path}: cannot be written ({error.strerror}); '
                            'mend that and run the same command again to go on from here') from error

    def __exit__(self, *_):
        self.file.close()
