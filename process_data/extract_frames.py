"""Turns a folder of videos into folders of JPEG frames.

    python process_data/extract_frames.py --dataset ucf101 --video_root UCF-101 --frame_root frames/ucf101

{video_root}/…/{class}/{video}.avi becomes {frame_root}/…/{class}/{video}/image_00001.jpg and on.

A video is extracted beside its place and renamed into it, so that a frame folder is whole or absent: stop a run at any
moment and start it again. Finished videos are skipped, and broken ones too, until --retry_failed.
"""
import argparse
import fcntl
import json
import os
import re
import shutil
import sys
import tempfile
import time
from concurrent.futures.process import BrokenProcessPool

from joblib import delayed
from tqdm import tqdm

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
from process_data import layout, report  # noqa: E402
from process_data.errors import ArgumentParser, UserError, in_processes, run_cli  # noqa: E402
from process_data.one_video import extract_video  # noqa: E402

SHORT_SIDE = {'k400': 150}
DEFAULT_SHORT_SIDE = 240
WORK_FOLDER = '.extracting'
LISTED_PER_STATUS = 20
IDLE_SECONDS = 20


def parse_args(argv=None):
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--dataset', required=True, choices=layout.DATASETS,
                        help='sets the default short side; folder is any tree of {class}/{video}')
    parser.add_argument('--video_root', help='folder with the videos (default: for demo, where make_demo.py puts them)')
    parser.add_argument('--frame_root', help='folder for the frames (default: for demo, process_data/data/demo_frames)')
    parser.add_argument('--short_side', type=int,
                        help='short side of the frames, px (default: 240, for k400 150; 0 keeps the size)')
    parser.add_argument('--upscale', action='store_true', help='enlarge smaller videos too (default: off)')
    parser.add_argument('--quality', default=80, type=int, help='JPEG quality, 1 to 100 (default: %(default)s)')
    parser.add_argument('--packed', action='store_true',
                        help='write one zip per video, as pack_frames.py does, and no loose frames (default: off)')
    parser.add_argument('--jobs', default=layout.cores(), type=layout.positive_int,
                        help='processes, of one thread each (default: the cores this process may use)')
    parser.add_argument('--shard', default='1/1', type=share_of, metavar='I/N',
                        help='do the I-th of N shares, for N machines (default: 1/1, all)')
    parser.add_argument('--retry_failed', action='store_true', help='try again what failed before (default: off)')
    parser.add_argument('--allow_failures', action='store_true',
                        help='exit with status 0 even when videos failed (default: off, status 1)')
    args = parser.parse_args(argv)
    if args.dataset == 'demo':
        args.video_root = args.video_root or layout.DEMO_VIDEOS
        args.frame_root = args.frame_root or layout.DEMO_FRAMES
    if not args.video_root or not args.frame_root:
        parser.error('--video_root and --frame_root are needed')
    if args.short_side is None:
        args.short_side = SHORT_SIDE.get(args.dataset, DEFAULT_SHORT_SIDE)
    if args.short_side < 0 or not 1 <= args.quality <= 100:
        parser.error('--short_side is 0 or more, --quality 1 to 100')
    return args


def share_of(text):
    """'2/8' -> (2, 8)."""
    match = re.fullmatch(r'(\d+)/(\d+)', text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f'{text!r} is not a share I/N with I from 1 to N, such as 2/8')
    return int(match[1]), int(match[2])


def main(args):
    layout.require_folder(args.video_root, '--video_root')
    videos = [name for name in find_videos(args.video_root, args.frame_root) if in_shard(name, args.shard)]
    share = '{}of{}'.format(*args.shard)
    settings = {'short_side': args.short_side, 'upscale': args.upscale, 'quality': args.quality}
    try:
        os.makedirs(os.path.join(args.frame_root, WORK_FOLDER), exist_ok=True)
        lock = take_share(args.frame_root, share)
        sweep(args.frame_root, share)
        work_root = tempfile.mkdtemp(prefix=share + '-', dir=os.path.join(args.frame_root, WORK_FOLDER))
    except OSError as error:
        raise UserError(f'{args.frame_root}: cannot write there ({error.strerror}); choose another --frame_root'
                        ) from error
    try:
        keep_settings(args.frame_root, settings, work_root)
        rows = extract_all(args, videos, share, work_root, settings)
    finally:
        shutil.rmtree(work_root, ignore_errors=True)
        lock.close()
    return conclude(rows, report.report_path(args.frame_root, share), args.allow_failures)


# ---- What there is to do

def find_videos(video_root, frame_root):
    """Sorted paths of the videos, relative to video_root, and of folders named like one that hold no video."""
    found, passed_over = [], 0
    frames = os.path.realpath(frame_root)

    def is_open(path):
        return not (os.path.basename(path).startswith('.') or os.path.realpath(path) == frames
                    or layout.leads_back(path))

    def unreadable(error):
        raise UserError(f'{error.filename}: cannot be listed ({error.strerror}); mend that and run again')

    for folder, subfolders, files in os.walk(video_root, onerror=unreadable, followlinks=True):
        subfolders[:] = [name for name in subfolders if is_open(os.path.join(folder, name))]
        files = [name for name in files if not name.startswith('.')]
        found += [os.path.join(folder, name) for name in files if layout.is_video(name)]
        passed_over += sum(not layout.is_video(name) for name in files)
        if layout.is_video(folder) and not any(map(layout.is_video, files)):
            found.append(folder)
    if not found:
        raise UserError(f'{video_root}: no video in it; --video_root needs {{class}}/{{video}} with one of '
                        + ' '.join(sorted(layout.VIDEO_EXTENSIONS)))
    if passed_over:
        print(f"{passed_over} files without a video's extension passed over")
    found = sorted(os.path.relpath(path, video_root) for path in found)
    if not any('/' in name for name in found):
        raise UserError(f'{video_root}: its videos lie in no class folder, and a video has the class of its folder; '
                        'arrange them as {class}/{video}')
    return found


def in_shard(name, shard):
    """Every machine must find the same shares, also while videos still arrive: by the name alone."""
    share, shares = shard
    return layout.stable_hash(name) % shares == share - 1


def finished_folders(frame_root, folders):
    """Those of the given frame folders that exist, loose or packed; each parent is listed once."""
    listed = {}
    for parent in {os.path.dirname(folder) for folder in folders}:
        try:
            listed[parent] = set(os.listdir(os.path.join(frame_root, parent)))
        except FileNotFoundError:
            listed[parent] = set()
        except OSError as error:
            raise UserError(f'{error.filename}: cannot be listed ({error.strerror}); mend that or choose another '
                            '--frame_root') from error
    return {folder for folder in folders
            if not listed[os.path.dirname(folder)].isdisjoint({os.path.basename(folder),
                                                               os.path.basename(folder) + '.zip'})}


# ---- The frame root: one run per share, leftovers, settings

def take_share(frame_root, share):
    """-> the open lock file of the share. The system frees the lock when this process ends, however it ends."""
    lock = open(os.path.join(frame_root, WORK_FOLDER, share + '.lock'), 'w')
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f'{frame_root}: another run is extracting share {share} into it; wait for it or stop it')
    return lock


def sweep(frame_root, share):
    """Removes what an earlier run of this share left in the work folder when it was killed."""
    work_folder = os.path.join(frame_root, WORK_FOLDER)
    for name in os.listdir(work_folder):
        if name.startswith(share + '-'):
            # Renamed first: a worker that outlived its run can then no longer move a half-removed folder into place.
            os.rename(os.path.join(work_folder, name), os.path.join(work_folder, 'gone-' + name))
    for name in os.listdir(work_folder):
        if name.startswith('gone-' + share + '-'):
            shutil.rmtree(os.path.join(work_folder, name))


def keep_settings(frame_root, settings, work_root):
    """A frame root holds frames of one size and quality: refuses to go on with others."""
    path = os.path.join(frame_root, 'extract_settings.json')
    before = report.read_settings(frame_root)
    if before and before != settings:
        raise UserError(f'{path}: these frames were made with {before}, not {settings}; '
                        'use the same flags or another --frame_root')
    if not before:
        # By way of this run's own folder: the runs of a job array all come here at the same moment.
        part = os.path.join(work_root, 'extract_settings.json')
        try:
            with open(part, 'w') as file:
                json.dump(settings, file)
            os.replace(part, path)
        except OSError as error:
            raise UserError(f'{path}: cannot write it ({error.strerror}); mend that and run again') from error


# ---- Doing it

def extract_all(args, videos, share, work_root, settings):
    """Extracts what is not finished; -> {video: row of the report} for every video of the share."""
    known = report.read_reports(args.frame_root)
    finished = finished_folders(args.frame_root, {layout.folder_of(name) for name in videos})
    rows, tasks, claimed = {}, [], {}
    for name in videos:
        folder = layout.folder_of(name)
        status = known[name]['status'] if name in known else None
        if claimed.setdefault(folder, name) != name:
            rows[name] = report.make_row(name, 'failed', f'{claimed[folder]} has the same frame folder: rename one')
        elif folder in finished and status in ('ok', 'partial'):
            rows[name] = known[name]
        elif status == 'failed' and not args.retry_failed and folder not in finished:
            rows[name] = known[name]
        else:
            tasks.append(dict(name=name, source=os.path.join(args.video_root, name), settings=settings,
                              target=os.path.join(args.frame_root, folder), packed=args.packed,
                              work=os.path.join(work_root, f'{layout.stable_hash(name):016x}')))
    skipped = sum(row is known.get(name) for name, row in rows.items())
    report_path = report.report_path(args.frame_root, share)
    # Videos of another --video_root, train beside val for instance, stay in the report.
    before = report.read_report(report_path)
    report.write_report(report_path, {**before, **rows})
    print(f'{len(videos)} videos: {skipped} done before, {len(tasks)} to do with {args.jobs} processes')
    start, frames = time.monotonic(), 0
    with report.Appender(report_path) as appender, \
            tqdm(total=len(tasks), unit='video', disable=not tasks,
                 mininterval=0.5 if sys.stderr.isatty() else 30) as bar:
        for row in run_tasks(tasks, args.jobs):
            rows[row['video']] = row
            appender.append(row)
            frames += int(row['frames'])
            bar.set_postfix_str(f'{frames / (time.monotonic() - start):.0f} frames/s', refresh=False)
            bar.update()
    report.write_report(report_path, {**before, **rows})
    return rows


def run_tasks(tasks, jobs):
    """Yields the row of each task as it finishes, in any order, from `jobs` processes.

    A worker that dies (a crash in the decoder, the system short of memory) takes all workers with it: the videos that
    were being worked on then run again one by one, and the one that kills its worker again has failed.
    """
    waiting = {task['name']: task for task in tasks}
    fruitless = 0
    while waiting:
        before = len(waiting)
        try:
            for row in run_parallel(list(waiting.values()), jobs):
                del waiting[row['video']]
                yield row
        except BrokenProcessPool:
            for task in [task for task in waiting.values() if os.path.exists(task['work'])]:
                del waiting[task['name']]
                shutil.rmtree(task['work'])
                yield run_alone(task)
            fruitless = fruitless + 1 if len(waiting) == before else 0
            if fruitless == 3:
                raise UserError('the worker processes die at once; is there enough memory for this many --jobs?')


def run_parallel(tasks, jobs):
    """Yields the rows of the tasks; the workers of a run that was killed end by themselves after IDLE_SECONDS."""
    return in_processes((delayed(extract_video)(**task) for task in tasks), n_jobs=jobs, batch_size=1,
                        return_as='generator_unordered', idle_worker_timeout=IDLE_SECONDS)


def run_alone(task):
    try:
        # Two processes for one task: with one, joblib would run it, and crash, in this process.
        return next(run_parallel([task], 2))
    except BrokenProcessPool:
        return report.make_row(task['name'], 'failed', 'the decoder crashed or ran out of memory')


def conclude(rows, report_path, allow_failures):
    """Says how it went; -> exit status."""
    by_status = {status: [row for row in rows.values() if row['status'] == status]
                 for status in ('ok', 'partial', 'failed')}
    failed, partial = by_status['failed'], by_status['partial']
    for status in ('partial', 'failed'):
        for row in by_status[status][:LISTED_PER_STATUS]:
            print(f'{status}: {row["video"]}: {row["reason"]}', file=sys.stderr)
        if len(by_status[status]) > LISTED_PER_STATUS:
            print(f'{status}: {len(by_status[status]) - LISTED_PER_STATUS} more, see the report', file=sys.stderr)
    print(f'{len(by_status["ok"])} videos whole, {len(partial)} partial, {len(failed)} failed; '
          f'{sum(int(row["frames"]) for row in rows.values())} frames decoded of '
          f'{sum(int(row["announced"]) for row in rows.values())} announced; report: {report_path}')
    return 1 if failed and not allow_failures else 0


if __name__ == '__main__':
    run_cli(main, parse_args())
