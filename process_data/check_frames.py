"""Checks csv lists against the frames or video files on disk, prints a table of the findings; can write repaired lists.

    python process_data/check_frames.py --dataset ucf101 [--decode all] [--repair]

Exit status 0 if all is well, 1 if something was found.
"""
import argparse
import csv
import errno
import glob
import hashlib
import os
import re
import sys

import cv2
from joblib import delayed

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import utils.packages

from process_data import layout
from process_data.worker_processes import add_jobs_argument, in_processes, progress_bar
from utils.cli import Parser, UserError, run_cli
from utils.data.lists import datasets_in, parse_row
from utils.next_step import command, same_command, say_next
from utils.video.frames import BAD_ZIP, DiskError, FrameError, count_in, decode, frame_name, frame_names, open_frames
from utils.video.reader import VideoError, VideoFile

FINDINGS = ('bad row', 'missing folder', 'fewer frames than listed', 'more frames than listed', 'unreadable frames',
            'listed twice', 'in train and test')
LISTED_PER_FINDING = 5


def parse_args(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    lists = parser.add_mutually_exclusive_group(required=True)
    lists.add_argument('--dataset', help='check all lists of this folder in --csv_root: ucf101, k400_150, demo, …')
    lists.add_argument('--csv', nargs='+', metavar='FILE',
                       help='lists to check; give the train and test list of a split to find videos in both')
    parser.add_argument('--csv_root', default=layout.DATA_ROOT,
                        help='folder that contains --dataset (default: %(default)s)')
    parser.add_argument('--frame_root', default='', help='folder that relative paths start from (default: none)')
    parser.add_argument('--decode', default='ends', choices=('none', 'ends', 'all'),
                        help='frames of each video to decode (default: ends, the first and last; none turns it off)')
    parser.add_argument('--repair', action='store_true',
                        help='write FILE.repaired.csv, a replacement for FILE.csv without missing, unreadable and '
                             'duplicate videos and with the frame counts of the disk; a video in train and test stays '
                             'in test (default: off)')
    add_jobs_argument(parser)
    return parser.parse_args(argv)


def main(args):
    if args.frame_root:
        layout.require_folder(args.frame_root, '--frame_root')
    lists = {path: read_rows(path, args.frame_root) for path in args.csv or find_lists(args.csv_root, args.dataset)}
    folders = sorted({row['path'] for rows in lists.values() for row in rows if row['path']})
    tasks = (delayed(inspect_frames)(os.path.join(args.frame_root, folder), args.decode) for folder in folders)
    states = in_processes(tasks, n_jobs=args.jobs, return_as='generator')
    on_disk = dict(zip(folders, list(progress_bar(states, total=len(folders)))))
    for path, rows in lists.items():
        find_faults(rows, on_disk, test_videos_of(path, lists, on_disk))
    print_table(lists)
    if args.repair:
        for path, rows in lists.items():
            if not any(row['keep'] for row in rows):
                raise UserError(f'{path}: none of its rows can be kept, so nothing is repaired; check --frame_root')
        for path, rows in lists.items():
            repaired = re.sub(r'\.csv$', '', path) + '.repaired.csv'
            kept = [(row['path'], row['n_frames'], *row['label']) for row in rows if row['keep']]
            layout.write_rows(repaired, kept)
            print(f'{repaired}: {len(kept)} of {len(rows)} rows')
    found = any(row['findings'] for rows in lists.values() for row in rows)
    if found and not args.repair:
        say_next(same_command(repair=True))
    elif not found and args.dataset:
        own_root = None if args.csv_root == layout.DATA_ROOT else args.csv_root
        say_next(command('dpc/main.py', dataset=args.dataset, csv_root=own_root, frame_root=args.frame_root or None))
    return 1 if found else 0


def find_lists(csv_root, dataset):
    folder = os.path.join(csv_root, dataset)
    found = sorted(path for path in glob.glob(os.path.join(glob.escape(folder), '*.csv'))
                   if not path.endswith('.repaired.csv'))
    if not found:
        raise UserError(f'{folder}: no csv list in it; write them with process_data/write_csv.py, or name an '
                        f'existing data set: {datasets_in(csv_root)}')
    return found


def read_rows(path, frame_root):
    """Rows as dicts: path ('' if the row doesn't parse), n_frames, label (the cells after it), line, text, findings,
    details of findings."""
    try:
        with open(path, newline='', encoding='utf-8', errors='surrogateescape') as file:
            rows = [row_of(line, fields) for line, fields in enumerate(csv.reader(file), 1) if fields]
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror}); write it with process_data/write_csv.py'
                        ) from error
    except csv.Error as error:
        raise UserError(f'{path}: not a csv list ({error}); write it again with process_data/write_csv.py'
                        ) from error
    if not rows:
        raise UserError(f'{path}: empty; write it again with process_data/write_csv.py')
    if not any(row['path'] for row in rows):
        raise UserError(f'{path}: not a csv list, none of its rows is `path,n_frames`; write it again with '
                        'process_data/write_csv.py')
    for row in rows:
        if row['path'] and not frame_root and not os.path.isabs(row['path']):
            raise UserError(f'{path}:{row["line"]}: {row["path"]} is relative; say where it starts from with '
                            '--frame_root')
    return rows


def row_of(line, fields):
    try:
        path, n_frames, *_ = parse_row(fields)
    except ValueError:
        path, n_frames = '', 0
    return dict(line=line, text=','.join(fields), findings=[], details={}, path=path, n_frames=n_frames,
                label=fields[2:])


def inspect_frames(path, which):
    """-> (number of usable frames, names of unreadable frames, digest of the content); (None, [], None) if missing.

    Training reads frames 1 … n_frames, so frames count up to the first gap in their numbers. The digest covers the
    number of frames and the first and last one. It is None where these are not read, not readable or the same image
    (all black, for example), since they then don't identify the video.
    """
    cv2.setNumThreads(1)
    if os.path.isfile(path):
        return inspect_file(path, which)
    try:
        present = set(frame_names(path))
    except BAD_ZIP:
        return 0, [os.path.basename(path) + '.zip'], None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            return None, [], None
        raise UserError(f'{error.filename}: cannot be read ({error.strerror}); fix that and run again') from error
    n_frames = count_in(present)
    unreadable, ends = [], []
    with open_frames(path) as read:
        for number in numbers_to_decode(n_frames, which):
            try:
                jpeg = read(frame_name(number))
            except DiskError:
                raise
            except FrameError:
                jpeg = b''
            if not is_readable(jpeg):
                unreadable.append(frame_name(number))
            if number in (1, n_frames):
                ends.append(jpeg)
    return n_frames, unreadable, None if unreadable else digest_of(n_frames, ends)


def inspect_file(path, which):
    """The same of a video file."""
    n_frames, ends = 0, []
    try:
        with VideoFile(path) as video:
            n_frames = video.n_frames
            numbers = numbers_to_decode(n_frames, which)
            for number, frame in zip(numbers, video.frames(numbers)):
                if number in (1, n_frames):
                    ends.append(frame.tobytes())
    except VideoError as error:
        return n_frames, [f'{os.path.basename(path)}: {error}'], None
    return n_frames, [], digest_of(n_frames, ends)


def numbers_to_decode(n_frames, which):
    ends = sorted({min(1, n_frames), n_frames} - {0})
    return {'none': [], 'ends': ends, 'all': range(1, n_frames + 1)}[which]


def digest_of(n_frames, ends):
    return hashlib.sha1(b'%d ' % n_frames + b''.join(ends)).digest() if len(set(ends)) == 2 else None


def is_readable(jpeg):
    try:
        return decode(jpeg) is not None
    except (FrameError, cv2.error):     # a size that no video has
        return False


def test_videos_of(path, lists, on_disk):
    """Videos of the test or validation list of the same split as the train list `path`.

    -> {normalised path of a video, or digest of its content: its path}
    """
    name = os.path.basename(path)
    tested = {}
    for other, rows in lists.items():
        if (name.startswith('train') and os.path.dirname(other) == os.path.dirname(path)
                and os.path.basename(other) in (name.replace('train', 'test', 1), name.replace('train', 'val', 1))):
            for row in filter(lambda row: row['path'], rows):
                tested[os.path.normpath(row['path'])] = tested[on_disk[row['path']][2]] = row['path']
    tested.pop(None, None)                      # videos without a digest
    return tested


def find_faults(rows, on_disk, tested):
    """Adds to each row its findings, whether a repaired list keeps it, and the frame count on disk."""
    seen = set()
    for row in rows:
        n_frames, unreadable, digest = on_disk.get(row['path'], (None, [], None))
        path = os.path.normpath(row['path'])
        twin = tested.get(path) or tested.get(digest)
        if not row['path']:
            row['findings'] = ['bad row']
        elif n_frames is None:
            row['findings'] = ['missing folder']
        else:
            row['findings'] = [finding for finding, found in (
                ('fewer frames than listed', n_frames < row['n_frames']),
                ('more frames than listed', n_frames > row['n_frames']),
                ('unreadable frames', unreadable),
                ('listed twice', path in seen),
                ('in train and test', twin)) if found]
            row['n_frames'] = n_frames
            if unreadable:
                row['details']['unreadable frames'] = f'first {unreadable[0]}'
            if twin and twin != row['path']:
                row['details']['in train and test'] = f'the same as {twin}'
        row['keep'] = bool(n_frames) and not {'unreadable frames', 'listed twice', 'in train and test'
                                              } & set(row['findings'])
        seen.add(path)


def print_table(lists):
    width = max(map(len, lists))
    print(f'{"list":{width}}  {"rows":>8}  ' + '  '.join(FINDINGS))
    for path, rows in lists.items():
        counts = [sum(finding in row['findings'] for row in rows) for finding in FINDINGS]
        print(f'{path:{width}}  {len(rows):>8}  '
              + '  '.join(f'{count:>{len(finding)}}' for count, finding in zip(counts, FINDINGS)))
    for path, rows in lists.items():
        for finding in FINDINGS:
            for row in [row for row in rows if finding in row['findings']][:LISTED_PER_FINDING]:
                detail = f' ({row["details"][finding]})' if finding in row['details'] else ''
                print(f'{path}:{row["line"]}: {finding}: {row["text"]}{detail}')


if __name__ == '__main__':
    run_cli(main, parse_args())
