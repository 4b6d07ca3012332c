"""Packs the JPEGs of each video into one uncompressed zip, bytes unchanged: one file per video instead of hundreds.

    python process_data/pack_frames.py --frame_root frames/ucf101 [--packed_root packed/ucf101] [--remove_loose]

{frame folder}/image_00001.jpg, … become {frame folder}.zip with the same names in it. The csv rows stay valid:
training reads a frame folder if there is one, and its zip otherwise. `unzip` restores the frames.

Like an extraction it can be stopped and started again: a zip is complete or absent, and a loose folder is removed only
after its zip has been read back and compared.
"""
import argparse
import os
import shutil
import sys
import zipfile

from joblib import delayed

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import utils.packages

from process_data import layout
from process_data.worker_processes import add_jobs_argument, in_processes, progress_bar
from utils.cli import Parser, UserError, run_cli
from utils.next_step import same_command, say_next
from utils.video.files import find_frame_folders, walk
from utils.video.frames import BAD_ZIP, DiskError, FrameError, frame_names, has_frames, open_frames

PART, GONE = '.part-', '.gone-'         # prefixes: an incomplete zip, a loose folder being removed


def parse_args(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--frame_root', required=True, help='folder with the loose frames')
    parser.add_argument('--packed_root', help='folder for the zips (default: --frame_root, next to the frame folders)')
    parser.add_argument('--remove_loose', action='store_true',
                        help='remove each loose frame folder after comparing it with its zip (default: off)')
    add_jobs_argument(parser)
    args = parser.parse_args(argv)
    args.packed_root = args.packed_root or args.frame_root
    return args


def main(args):
    layout.require_folder(args.frame_root, '--frame_root')
    sweep(args.frame_root)
    folders = [folder for folder in find_frame_folders(args.frame_root)
               if os.path.isdir(os.path.join(args.frame_root, folder))]
    if not folders:
        packed = find_frame_folders(args.packed_root) if os.path.isdir(args.packed_root) else []
        if not packed:
            raise UserError(f'{args.frame_root}: no loose frame folder in it and no zip in {args.packed_root}; check '
                            '--frame_root')
        print(f'all {len(packed)} packed in {args.packed_root}, no loose frame folder is left')
        return
    tasks = (delayed(pack)(os.path.join(args.frame_root, folder), os.path.join(args.packed_root, folder + '.zip'),
                           args.remove_loose) for folder in folders)
    results = in_processes(tasks, n_jobs=args.jobs, return_as='generator_unordered')
    files = size = 0
    for n_frames, n_bytes in progress_bar(results, total=len(folders)):
        files, size = files + n_frames, size + n_bytes
    print(f'{files} frames in {len(folders)} zips, {size / 1e6:.1f} MB in total, in {args.packed_root}')
    if not os.path.samefile(args.packed_root, args.frame_root):
        copy_reports(args.frame_root, args.packed_root)
        if args.remove_loose:
            print('lists with absolute paths are now invalid: remove them and write them again with '
                  f'process_data/write_csv.py --frame_root {args.packed_root}')
    if not args.remove_loose:
        say_next(same_command(remove_loose=True))


def sweep(frame_root):
    """Removes what a killed run left of loose folders it was removing: their zips had been compared."""
    try:
        for _, entry, _ in list(walk(frame_root, has_frames, hidden=True)):
            if entry.name.startswith(GONE):
                shutil.rmtree(entry.path)
    except OSError as error:
        raise UserError(f'{error.filename}: cannot be removed ({error.strerror}); fix that and run again') from error


def pack(loose, packed, remove_loose):
    """-> (number of frames, bytes of the zip)."""
    try:
        names = frame_names(loose)
        if not os.path.exists(packed):
            os.makedirs(os.path.dirname(packed), exist_ok=True)
            part = short_name(PART, packed)
            with layout.open_packer(part) as add, open_frames(loose) as read:
                for name in names:
                    add(name, read(name))
            os.replace(part, packed)
        if remove_loose:
            compare(loose, packed, names)
            # Rename first, so that what a killed run leaves of it is never taken for the frames of the video.
            gone = short_name(GONE, loose)
            os.rename(loose, gone)
            shutil.rmtree(gone)
        return len(names), os.path.getsize(packed)
    except OSError as error:
        raise UserError(f'{error.filename or packed}: {error.strerror}; fix that and run the same command again'
                        ) from error


def short_name(prefix, path):
    """A hidden name next to `path`, short enough for every file system."""
    return os.path.join(os.path.dirname(path), f'{prefix}{layout.stable_hash(os.path.basename(path)):016x}')


def compare(loose, packed, names):
    """Checks that the zip is on disk and has every frame of the folder. It may have more, after a killed removal."""
    try:
        with open(packed, 'rb') as file, zipfile.ZipFile(file) as zipped, open_frames(loose) as read:
            os.fsync(file.fileno())
            same = set(names) <= set(zipped.namelist()) and all(zipped.read(name) == read(name) for name in names)
    except DiskError:
        raise
    except (FrameError, *BAD_ZIP):
        same = False
    if not same:
        raise UserError(f'{packed}: differs from {loose}; look at both, remove the wrong one and run again')


def copy_reports(frame_root, packed_root):
    """Copies the frame counts and settings, so that write_csv.py need not count again."""
    try:
        for name in os.listdir(frame_root):
            if name.startswith('extract_') and name.endswith(('.csv', '.json')):
                shutil.copyfile(os.path.join(frame_root, name), os.path.join(packed_root, name))
    except OSError as error:
        raise UserError(f'{packed_root}: the reports cannot be copied there ({error.strerror}); fix that and copy '
                        f'{frame_root}/extract_* there') from error


if __name__ == '__main__':
    run_cli(main, parse_args())
