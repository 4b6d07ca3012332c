"""The report of an extraction, one row per video: {frame_root}/extract_report.csv, for shard 2/8 …_2of8.csv.

During a run the report is a journal: each finished video appends a row, so a killed run loses nothing. At the end it is
rewritten in order of the names.
"""
import csv
import glob
import json
import os

from process_data import layout
from utils.cli import UserError

COLUMNS = ('video', 'frames', 'announced', 'width', 'height', 'fps', 'seconds', 'status', 'reason')
STATUSES = ('ok', 'partial', 'failed')      # partial: frames are missing or damaged


def make_row(video, status, reason='', frames=0, announced=0, width='', height='', fps=0.0):
    """A row, all values strings; `video` is relative to the video root, `seconds` is the playing time."""
    return dict(video=video, frames=str(frames), announced=str(announced), width=str(width), height=str(height),
                fps=f'{fps:g}', seconds=f'{frames / fps:.3f}' if fps else '', status=status, reason=reason)


def report_path(frame_root, shard):
    """`shard` is '2of8'; '1of1' means all videos."""
    return os.path.join(frame_root, 'extract_report.csv' if shard == '1of1' else f'extract_report_{shard}.csv')


def read_reports(frame_root):
    """Rows of all reports of a frame root as {video: row}; if two reports name a video, the newer one counts."""
    rows = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(frame_root), 'extract_report*.csv')), key=os.path.getmtime):
        rows.update(read_report(path))
    return rows


def read_report(path):
    """Rows of one report as {video: row}; {} if there is no report yet."""
    try:
        with open(path, newline='', encoding='utf-8', errors='surrogateescape') as file:
            # A killed run may leave an incomplete last row.
            return {row['video']: row for row in csv.DictReader(file)
                    if row.get('status') in STATUSES and row['reason'] is not None and row['frames'].isdecimal()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror}); fix or remove it and run again') from error
    except csv.Error as error:
        raise UserError(f'{path}: not a report ({error}); remove it and run again') from error


def write_report(path, rows):
    """Writes {video: row}."""
    with layout.write_whole(path, newline='') as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows[video] for video in sorted(rows))


def append_row(path, row):
    """Appends a row to a written report; it is in the file when this returns."""
    try:
        with open(path, 'a', newline='', encoding='utf-8', errors='surrogateescape') as file:
            csv.DictWriter(file, COLUMNS).writerow(row)
    except OSError as error:
        raise UserError(f'{path}: cannot be written ({error.strerror}); '
                        'fix that and run the same command again to resume') from error


def read_settings(frame_root):
    """{'short_side': px, …} as written by extract_frames.py; {} if there is no such file."""
    path = os.path.join(frame_root, 'extract_settings.json')
    try:
        with open(path, encoding='utf-8') as file:
            return dict(json.load(file))
    except FileNotFoundError:
        return {}
    except (OSError, TypeError, ValueError):
        raise UserError(f'{path}: not readable; remove it and run again') from None
