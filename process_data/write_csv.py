"""Writes the csv lists and the class list that training reads, from frame folders and a data set's split files.

    python process_data/write_csv.py --dataset ucf101 --frame_root frames/ucf101 --split_root ucfTrainTestlist

{csv_root}/{name}/train_split01.csv and test_split01.csv, 02, 03 (UCF101, HMDB51, demo; folder: 01 only),
train_split.csv and val_split.csv (Kinetics), with rows `path,n_frames`, and classInd.txt. A class has the name of the
folder around its frame folders.
"""
import argparse
import csv
import os
import re
import sys
import zipfile

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
from process_data import layout, report  # noqa: E402
from process_data.errors import ArgumentParser, UserError, run_cli  # noqa: E402

CLASSES = {'ucf101': 101, 'hmdb51': 51, 'k400': 400}
SHORT_SIDES = (150, 256)         # of Kinetics frames, px
LISTED_MISSING = 10


def parse_args(argv=None):
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--dataset', required=True, choices=layout.DATASETS, help='how the split files look')
    parser.add_argument('--frame_root', help='folder with the frames (default: for demo, '
                                             'process_data/data/demo_frames)')
    parser.add_argument('--split_root', help='ucf101, hmdb51: folder with the split files (default: for demo, '
                                             'process_data/data/demo_splits)')
    parser.add_argument('--annotations', nargs='+', metavar='CSV',
                        help='k400: the official csv files with label,youtube_id,time_start,time_end,split')
    parser.add_argument('--csv_root', default=layout.DATA_ROOT,
                        help='the lists go to a folder in it (default: %(default)s)')
    parser.add_argument('--name', help='name of that folder, for --dataset of the training (default: the data set; for '
                                       'k400 with the short side: k400_150; for folder: the name of the frame root)')
    parser.add_argument('--short_side', type=int, choices=SHORT_SIDES,
                        help='k400: the short side that was extracted, px (default: what the extraction noted in the '
                             'frame root, else 150)')
    parser.add_argument('--relative', action='store_true',
                        help='paths relative to the frame root, to be given to the training as --frame_root (default: '
                             'off, absolute)')
    parser.add_argument('--test_share', default=0.25, type=float,
                        help='folder: share of the videos of each class to test on, 0 to 1 (default: %(default)s)')
    parser.add_argument('--group_regex', help='folder: videos whose names match with the same first group (or whole '
                                              'match) stay on the same side (default: none, split by video)')
    parser.add_argument('--seed', default=0, type=layout.whole_number(0),
                        help='folder: seed of the random split (default: %(default)s)')
    parser.add_argument('--jobs', default=layout.cores(), type=layout.positive_int,
                        help='threads that count frames not in the report (default: the cores this process may use)')
    args = parser.parse_args(argv)
    if args.dataset == 'demo':
        args.frame_root = args.frame_root or layout.DEMO_FRAMES
        args.split_root = args.split_root or layout.DEMO_SPLITS
    if not args.frame_root:
        parser.error('--frame_root is needed')
    if args.dataset in ('ucf101', 'hmdb51') and not args.split_root:
        parser.error(f'--split_root is needed for {args.dataset}')
    if args.dataset == 'k400' and not args.annotations:
        parser.error('--annotations is needed for k400')
    if not 0 < args.test_share < 1:
        parser.error('--test_share lies between 0 and 1')
    if args.name is not None and (args.name in ('', os.curdir, os.pardir) or '/' in args.name):
        parser.error(f'--name is the name of a folder in --csv_root, not a path: {args.name!r}')
    try:
        re.compile(args.group_regex or '')
    except re.error as error:
        parser.error(f'--group_regex: {error}')
    return args


def main(args):
    layout.require_folder(args.frame_root, '--frame_root')
    if args.split_root:
        layout.require_folder(args.split_root, '--split_root')
    frames = index_frames(args.frame_root, args.jobs)
    if args.dataset == 'hmdb51':
        lists, class_names = hmdb51_splits(args.split_root)
    elif args.dataset == 'k400':
        lists, class_names = k400_splits(args.annotations, frames)
    elif args.dataset == 'folder':
        lists, class_names = random_split(frames, args.test_share, args.group_regex, args.seed)
    else:
        lists, class_names = ucf101_splits(args.split_root)

    expected = CLASSES.get(args.dataset, len(class_names))
    if len(class_names) != expected:
        warn(f'{len(class_names)} classes, not {expected}')
    out = os.path.join(args.csv_root, list_name(args))
    root = '' if args.relative else os.path.abspath(args.frame_root)
    found = {name: [folder for folder in folders if folder in frames] for name, folders in lists.items()}
    for name, folders in lists.items():
        if not folders:
            raise UserError(f'{name}: no video belongs to it; ' + (
                'some class must have two videos or groups, one to train and one to test on'
                if args.dataset == 'folder' else 'check the split files'))
        if not found[name]:
            raise UserError(f'{args.frame_root}: no frame folder of the {len(folders)} videos of {name}; extract them '
                            'first, or check --frame_root')
    for name, folders in lists.items():
        path = os.path.join(out, name + '.csv')
        layout.write_whole(path, lambda file: csv.writer(file, lineterminator='\n').writerows(
            (os.path.join(root, folder), frames[folder]) for folder in found[name]), newline='')
        missing = [folder for folder in folders if folder not in frames]
        print(f'{path}: {len(found[name])} videos, {len(missing)} missing')
        for folder in missing[:LISTED_MISSING]:
            print(f'  missing: {folder}')
    separator = ',' if args.dataset == 'k400' else ' '
    path = os.path.join(out, 'classInd.txt')
    layout.write_whole(path, lambda file: file.writelines(f'{i}{separator}{name}\n'
                                                          for i, name in enumerate(class_names, 1)))
    print(f'{path}: {len(class_names)} classes')


def list_name(args):
    if args.dataset == 'k400':
        extracted = report.read_settings(args.frame_root).get('short_side')
        short_side = args.short_side or (extracted if extracted in SHORT_SIDES else SHORT_SIDES[0])
        if extracted not in (None, short_side):
            warn(f'{args.frame_root}: extracted with --short_side {extracted}, not {short_side}')
        default = f'k400_{short_side}'
    elif args.dataset == 'folder':
        default = os.path.basename(os.path.abspath(args.frame_root))
    else:
        default = args.dataset
    return args.name or default


def warn(message):
    print(f'warning: {message}', file=sys.stderr)


# ---- The frames there are

def index_frames(frame_root, jobs):
    """-> {folder: number of frames} of every frame folder on disk with frames in it.

    Counted only where the reports don't say.
    """
    counts = {layout.folder_of(row['video']): int(row['frames'])
              for row in report.read_reports(frame_root).values() if row['status'] != 'failed'}
    folders = layout.find_frame_folders(frame_root)
    if not folders:
        raise UserError(f'{frame_root}: no frame folder in it; run process_data/extract_frames.py first')
    unknown = [folder for folder in folders if folder not in counts]
    # Threads: listing a folder waits for the disk, not for Python.
    counted = Parallel(n_jobs=jobs, prefer='threads')(
        delayed(count_frames)(os.path.join(frame_root, folder))
        for folder in tqdm(unknown, desc='counting', unit='video', disable=not unknown))
    counts.update(zip(unknown, counted))
    for folder in [folder for folder in folders if not counts[folder]][:LISTED_MISSING]:
        warn(f'{os.path.join(frame_root, folder)}: no frames in it or its zip, left out')
    return {folder: counts[folder] for folder in folders if counts[folder]}


def count_frames(path):
    """0 where the zip is broken."""
    try:
        return len(layout.frame_names(path))
    except zipfile.BadZipFile:
        return 0
    except OSError as error:
        raise UserError(f'{error.filename}: cannot be read ({error.strerror}); mend that and run again') from error


# ---- One function per kind of data set: -> ({name of the list: [folder, ...]}, [class name, ...])

def ucf101_splits(split_root):
    """trainlist01.txt `Class/v_Class_g01_c01.avi 1`, testlist01.txt the same without label, 02, 03; classInd.txt."""
    lists = {}
    for path, split in numbered_files(split_root, r'(?:train|test)list(\d+)\.txt', 'trainlist01.txt, testlist01.txt'):
        name = os.path.basename(path)
        subset, other = ('train', 'test') if name.startswith('train') else ('test', 'train')
        beside = os.path.join(split_root, name.replace(subset, other, 1))
        if not os.path.exists(beside):
            raise UserError(f'{beside}: missing, but {name} is there; a split needs both: add the one or move the '
                            'other away')
        folders = []
        for number, line in numbered_lines(path):
            # The folder tells the class, so that a missing label does no harm.
            match = re.fullmatch(r'([^/]+/.+\.\w+)(?:\s+\d+)?', line)
            if not match:
                raise UserError(f'{path}:{number}: not a line `Class/video.avi label`: {line!r}; mend the file')
            folders.append(layout.folder_of(match[1]))
        lists[f'{subset}_split{split:02d}'] = folders
    class_file = os.path.join(split_root, 'classInd.txt')
    if os.path.exists(class_file):
        entries = [(number, line.split(maxsplit=1)) for number, line in numbered_lines(class_file)]
        for number, entry in entries:
            if len(entry) != 2 or not entry[0].isdigit():
                raise UserError(f'{class_file}:{number}: not a line `id name`; mend the file')
        return lists, [name for _, (_, name) in sorted(entries, key=lambda entry: int(entry[1][0]))]
    return lists, sorted({folder.split('/')[0] for folders in lists.values() for folder in folders})


def hmdb51_splits(split_root):
    """{class}_test_split1.txt with lines `video.avi 1`: 1 trains, 2 tests, 0 is left out."""
    lists, class_names = {}, set()
    for path, split in numbered_files(split_root, r'.+_test_split(\d+)\.txt', '{class}_test_split1.txt'):
        class_name = re.fullmatch(r'(.+)_test_split\d+\.txt', os.path.basename(path))[1]
        class_names.add(class_name)
        subsets = {'1': lists.setdefault(f'train_split{split:02d}', []),
                   '2': lists.setdefault(f'test_split{split:02d}', []), '0': []}
        for number, line in numbered_lines(path):
            match = re.fullmatch(r'(.+\.\w+)\s+([012])', line)
            if not match:
                warn(f'{path}:{number}: not a line `video.avi 0|1|2`, left out: {line!r}')
                continue
            subsets[match[2]].append(f'{class_name}/{layout.folder_of(match[1])}')
    return lists, sorted(class_names)


def k400_splits(annotations, frames):
    """The official csv; frame folders are …/{label}/{id}_{start:06d}_{end:06d} or …/{label}/{id}, spaces or _."""
    on_disk = {(plain(class_of(folder)), os.path.basename(folder)): folder for folder in frames}
    by_name = {os.path.basename(folder): folder for folder in frames}
    lists, class_names, misplaced = {}, {}, []
    for path in annotations:
        for number, row in read_annotations(path):
            subset = {'train': 'train', 'val': 'val', 'validate': 'val', 'validation': 'val'}.get(row['split'])
            if subset is None:
                continue
            label = plain(row['label'])
            names = [row['youtube_id']]
            try:
                names.insert(0, '{}_{:06d}_{:06d}'.format(row['youtube_id'], int(float(row['time_start'])),
                                                          int(float(row['time_end']))))
            except (OverflowError, ValueError):
                raise UserError(f'{path}:{number}: time_start and time_end are not numbers; mend the file') from None
            folder = next((on_disk[label, name] for name in names if (label, name) in on_disk), None)
            lists.setdefault(f'{subset}_split', []).append(folder or f'{row["label"]}/{names[0]}')
            class_names.setdefault(label, set())
            if folder:
                class_names[label].add(class_of(folder))
            else:
                misplaced += [(by_name[name], row['label']) for name in names if name in by_name]
    if not lists:
        raise UserError(f'{annotations[0]}: no row whose split is train or validate')
    for folder, label in misplaced[:1]:
        warn(f'found {folder}, but not in a class folder {label}, and {len(misplaced)} such videos in all; a video has '
             'the class of its folder')
    for spellings in class_names.values():
        if len(spellings) > 1:
            raise UserError('one class has folders of different names: ' + ', '.join(sorted(spellings))
                            + '; rename them alike')
    return lists, [min(class_names[label], default=label) for label in sorted(class_names)]


def read_annotations(path):
    """Yields (line number, row) of an official Kinetics csv."""
    columns = ['label', 'youtube_id', 'time_start', 'time_end', 'split']
    try:
        with open(path, newline='', encoding='utf-8-sig', errors='surrogateescape') as file:
            reader = csv.DictReader(file)
            if not set(columns) <= set(reader.fieldnames or ()):
                raise UserError(f'{path}: its first line must name the columns ' + ','.join(columns))
            for row in reader:
                if None in row.values():
                    warn(f'{path}:{reader.line_num}: too few columns, left out')
                    continue
                yield reader.line_num, row
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror}); name the official csv files with --annotations'
                        ) from error
    except csv.Error as error:
        raise UserError(f'{path}: no csv file ({error}); name the official csv files with --annotations') from error


def random_split(frames, test_share, group_regex, seed):
    """Of each class about `test_share` of the videos to test on, in whole groups; `frames` may come in any order."""
    rng = np.random.default_rng(seed)
    by_class = {}
    for folder in sorted(frames):
        if '/' not in folder:
            raise UserError(f'{folder}: a frame folder without a class folder around it; arrange them as class/video')
        group = group_of(os.path.basename(folder), group_regex)
        by_class.setdefault(class_of(folder), {}).setdefault(group, []).append(folder)
    lists = {'train_split01': [], 'test_split01': []}
    for class_name, groups in sorted(by_class.items()):
        wanted = test_share * sum(map(len, groups.values()))
        test = []
        order = [groups[name] for name in rng.permutation(sorted(groups))]
        if len(order) == 1:
            warn(f'class {class_name} has one video or group only: all of it trains, none of it tests')
        for i, folders in enumerate(order):
            # The last group always trains; the first always tests, if there are two.
            is_test = i < len(order) - 1 and (i == 0 or len(test) + len(folders) / 2 <= wanted)
            if is_test:
                test += folders
            else:
                lists['train_split01'] += folders
        lists['test_split01'] += test
    return {name: sorted(folders) for name, folders in lists.items()}, sorted(by_class)


def group_of(name, group_regex):
    """A video that doesn't match is a group of its own."""
    match = re.search(group_regex, name) if group_regex else None
    return 'group ' + match[match.lastindex and 1 or 0] if match else 'video ' + name


def class_of(folder):
    return os.path.basename(os.path.dirname(folder))


def plain(label):
    return label.strip().replace(' ', '_')


def numbered_files(split_root, pattern, such_as):
    """[(path, number), ...] of the files whose names match, the pattern's one group being a number.

    `such_as` are names that match, for the user.
    """
    names = sorted(entry.name for entry in layout.entries_of(split_root))
    matches = [(name, re.fullmatch(pattern, name)) for name in names]
    found = [(os.path.join(split_root, name), int(match[1])) for name, match in matches if match]
    if not found:
        raise UserError(f'{split_root}: no split file in it, such as {such_as}, …; check --split_root')
    return found


def numbered_lines(path):
    """(number, line) of the lines that are not blank, one at least, without the line's end, be it LF or CRLF."""
    try:
        with open(path, encoding='utf-8-sig', errors='surrogateescape') as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror}); check --split_root') from error
    if not any(lines):
        raise UserError(f'{path}: empty; unpack the split files again')
    return [(number, line) for number, line in enumerate(lines, 1) if line]


if __name__ == '__main__':
    run_cli(main, parse_args())
