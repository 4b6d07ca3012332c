"""Packs the JPEGs of every video into one uncompressed zip, bytes untouched: one file per video in place of hundreds.

    python process_data/pack_frames.py --frame_root frames/ucf101 [--packed_root packed/ucf101] [--remove_loose]

{frame folder}/image_00001.jpg … becomes {frame folder}.zip with the same names in it. Beside the frames the csv rows
stay as they are: the loaders take a frame folder where there is one and its zip otherwise. Any unzip turns it back.

Like an extraction it can be stopped and started again: a zip is whole or absent, and a loose folder is removed only
after its zip has been read back and compared.
"""
import argparse
import os
import shutil
import sys
import zipfile

from joblib import delayed
from tqdm import tqdm

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
from process_data import layout  # noqa: E402
from process_data.errors import ArgumentParser, UserError, in_processes, run_cli  # noqa: E402

PART, GONE = '.part-', '.gone-'         # a zip in the making, a loose folder in removal


def parse_args(argv=None):
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--frame_root', required=True, help='folder with the loose frames')
    parser.add_argument('--packed_root', help='folder for the zips (default: the frame root, beside the frame folders)')
    parser.add_argument('--remove_loose', action='store_true',
                        help='remove each loose frame folder after its zip was compared with it (default: off)')
    parser.add_argument('--jobs', default=layout.cores(), type=layout.positive_int,
                        help='processes (default: the cores this process may use)')
    args = parser.parse_args(argv)
    args.packed_root = args.packed_root or args.frame_root
    return args


def main(args):
    layout.require_folder(args.frame_root, '--frame_root')
    sweep(args.frame_root)
    folders = [folder for folder in layout.find_frame_folders(args.frame_root)
               if os.path.isdir(os.path.join(args.frame_root, folder))]
    if not folders:
        packed = layout.find_frame_folders(args.packed_root) if os.path.isdir(args.packed_root) else []
        if not packed:
            raise UserError(f'{args.frame_root}: no loose frame folder in it and no zip in {args.packed_root}; check '
                            '--frame_root')
        print(f'all {len(packed)} packed under {args.packed_root}, no loose frame folder is left')
        return
    tasks = (delayed(pack)(os.path.join(args.frame_root, folder), os.path.join(args.packed_root, folder + '.zip'),
                           args.remove_loose) for folder in folders)
    results = in_processes(tasks, n_jobs=args.jobs, return_as='generator_unordered')
    files = size = 0
    for n_frames, n_bytes in tqdm(results, total=len(folders), unit='video',
                                  mininterval=0.5 if sys.stderr.isatty() else 30):
        files, size = files + n_frames, size + n_bytes
    print(f'{files} frames in {len(folders)} zips of {size / 1e6:.1f} MB in all under {args.packed_root}')
    if not os.path.samefile(args.packed_root, args.frame_root):
        copy_reports(args.frame_root, args.packed_root)
        if args.remove_loose:
            print('lists with absolute paths lead nowhere now: write them again with process_data/write_csv.py '
                  f'--frame_root {args.packed_root}')


def sweep(frame_root):
    """Removes the rest of the loose folders whose removal a kill cut short: their zips had been compared."""
    try:
        for path in [entry.path for _, entry, _ in layout.scan(frame_root) if entry.name.startswith(GONE)]:
            shutil.rmtree(path)
    except OSError as error:
        raise UserError(f'{error.filename}: cannot be removed ({error.strerror}); mend that and run again') from error


def pack(loose, packed, remove_loose):
    """-> (number of frames, bytes of the zip)."""
    names = layout.frame_names(loose)
    try:
        if not os.path.exists(packed):
            os.makedirs(os.path.dirname(packed), exist_ok=True)
            part = short_name(PART, packed)
            with layout.Packer(part) as packer, layout.open_frames(loose) as read:
                for name in names:
                    packer.add(name, read(name))
            os.replace(part, packed)
        if remove_loose:
            compare(loose, packed, names)
            # Renamed first: nobody may take what a kill leaves of it for the frames of the video.
            gone = short_name(GONE, loose)
            os.rename(loose, gone)
            shutil.rmtree(gone)
        return len(names), os.path.getsize(packed)
    except OSError as error:
        raise UserError(f'{packed}: cannot be written ({error.strerror}); mend that and run the same command again'
                        ) from error


def short_name(prefix, path):
    """A hidden name beside `path`, of a length that every file system takes."""
    return os.path.join(os.path.dirname(path), f'{prefix}{layout.stable_hash(os.path.basename(path)):016x}')


def compare(loose, packed, names):
    """Makes sure that the zip is on disk and holds every frame of the folder. It may hold more: removals get killed."""
    try:
        with open(packed, 'rb') as file, zipfile.ZipFile(file) as zipped, layout.open_frames(loose) as read:
            os.fsync(file.fileno())
            same = set(names) <= set(zipped.namelist()) and all(zipped.read(name) == read(name) for name in names)
    except zipfile.BadZipFile:
        same = False
    if not same:
        raise UserError(f'{packed}: differs from {loose}; look at both, remove the wrong one and run again')


def copy_reports(frame_root, packed_root):
    """The frame counts and settings go along, so that write_csv.py need not count again."""
    try:
        for name in os.listdir(frame_root):
            if name.startswith('extract_') and name.endswith(('.csv', '.json')):
                shutil.copyfile(os.path.join(frame_root, name), os.path.join(packed_root, name))
    except OSError as error:
        raise UserError(f'{packed_root}: the reports cannot be copied there ({error.strerror}); mend that and copy '
                        f'{frame_root}/extract_* there') from error


if __name__ == '__main__':
    run_cli(main, parse_args())
