"""Turns a folder of videos into folders of JPEG frames.

    python process_data/extract_frames.py --dataset ucf101 --video_root UCF-101 --frame_root frames/ucf101

{video_root}/…/{class}/{video}.avi becomes {frame_root}/…/{class}/{video}/image_00001.jpg, ….
With --dataset folder, unlabelled videos for pretraining may be stored without class folders.

Each video is extracted into a work folder and then renamed, so a frame folder is complete or absent: stop a run at any
time and start it again. Finished videos are skipped, and so are failed ones unless --retry_failed is given.
"""
import argparse
import os
import re
import shutil
import sys
import time
from concurrent.futures.process import BrokenProcessPool

from joblib import delayed

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import utils.packages

from process_data import extract_report as report
from process_data import layout
from process_data.dataset_kinds import KINDS
from process_data.extract_one_video import extract_video
from process_data.extract_workspace import open_workspace
from process_data.worker_processes import add_jobs_argument, in_processes, progress_bar
from utils.cli import Parser, UserError, number, positive, run_cli, warn, whole_number
from utils.next_step import command, say_next
from utils.video.files import VIDEO_EXTENSIONS, find_videos
from utils.video.frame_rate import spread_of_rates
from utils.video.sources import SHORT_SIDE

LISTED_PER_STATUS = 20
IDLE_SECONDS = 20

jpeg_quality = number(int, lambda value: 1 <= value <= 100, 'a whole number from 1 to 100')


def parse_args(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--dataset', required=True, choices=KINDS,
                        help='sets the default short side; folder means any tree of {class}/{video}, or a folder of '
                             'unlabelled videos')
    parser.add_argument('--video_root', help='folder with the videos (default: for demo and puppets, labelled or not, '
                                             'the output of make_demo.py and make_puppets.py)')
    parser.add_argument('--frame_root', help='folder for the frames (default: for demo and puppets, '
                                             'process_data/data/{dataset}_frames)')
    parser.add_argument('--short_side', type=whole_number,
                        help='short side of the frames, px (default: 240, for k400 150; 0 keeps the size)')
    parser.add_argument('--upscale', action='store_true', help='also enlarge smaller videos (default: off)')
    parser.add_argument('--quality', default=80, type=jpeg_quality,
                        help='JPEG quality, 1 to 100 (default: %(default)s)')
    parser.add_argument('--packed', action='store_true',
                        help='write one zip per video, like pack_frames.py, and no loose frames (default: off)')
    parser.add_argument('--fps', type=positive,
                        help='frames a second, taken by time: for videos whose rates differ (default: every frame '
                             'once)')
    add_jobs_argument(parser)
    parser.add_argument('--shard', default='1/1', type=shard_of, metavar='I/N',
                        help='extract only the I-th of N shards, for N machines (default: 1/1, all)')
    parser.add_argument('--retry_failed', action='store_true', help='retry videos that failed before (default: off)')
    parser.add_argument('--allow_failures', action='store_true',
                        help='exit with status 0 even if videos failed (default: off, status 1)')
    args = parser.parse_args(argv)
    kind = KINDS[args.dataset]
    if kind.own_folders:
        args.video_root = args.video_root or layout.synthetic_folder(args.dataset, 'videos')
        args.frame_root = args.frame_root or layout.synthetic_folder(args.dataset, 'frames')
    if not args.video_root or not args.frame_root:
        parser.error('--video_root and --frame_root are needed')
    if args.short_side is None:
        args.short_side = kind.short_sides[0] if kind.short_sides else SHORT_SIDE
    return args


def shard_of(text):
    """'2/8' -> (2, 8)."""
    match = re.fullmatch(r'(\d+)/(\d+)', text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f'{text!r}: give a shard I/N with I from 1 to N, such as 2/8')
    return int(match[1]), int(match[2])


def main(args):
    layout.require_folder(args.video_root, '--video_root')
    videos = find_videos(args.video_root, args.frame_root)
    if not videos:
        raise UserError(f'{args.video_root}: no video in it; --video_root needs {{class}}/{{video}} with one of '
                        + ' '.join(sorted(VIDEO_EXTENSIONS)))
    kind = KINDS[args.dataset]
    if kind.class_folders or not kind.needs:  # else annotations have the labels, wherever the videos are stored
        report_unlabelled(videos, args.video_root, kind.class_folders)
    videos = [name for name in videos if in_shard(name, args.shard)]
    shard = '{}of{}'.format(*args.shard)
    settings = {'short_side': args.short_side, 'upscale': args.upscale, 'quality': args.quality,
                **({'fps': args.fps} if args.fps else {})}
    with open_workspace(args.frame_root, shard, settings) as work_folder:
        rows = extract_all(args, videos, shard, work_folder, settings)
    status = conclude(rows, report.report_path(args.frame_root, shard), args.allow_failures)
    if status == 0:
        say_next(command('process_data/write_csv.py', dataset=args.dataset, frame_root=args.frame_root,
                         **kind.asked_for()))
    return status


# ---- What to extract

def report_unlabelled(videos, video_root, class_folders):
    """Says which videos have no class folder: none may be needed (not `class_folders`), or a few were misplaced."""
    unlabelled = [name for name in videos if '/' not in name]
    if len(unlabelled) < len(videos):
        if unlabelled:
            warn(f'videos in no class folder: {len(unlabelled)} (first {os.path.join(video_root, unlabelled[0])}); '
                 'they are extracted, but write_csv.py leaves them out of the lists: move them into class folders')
    elif not class_folders:
        print('no class folders: the videos are for pretraining only, unless a csv file has their labels')
    else:
        raise UserError(f'{video_root}: no class folder in it; arrange the videos as {{class}}/{{video}}, or give '
                        '--dataset folder for unlabelled videos')


def in_shard(name, shard):
    """Depends on the name alone, so all machines agree even while videos are still being added."""
    index, shards = shard
    return layout.stable_hash(name) % shards == index - 1


def finished_folders(frame_root, folders):
    """The given frame folders that exist, loose or packed. Lists each parent folder once."""
    listed = {}
    for parent in {os.path.dirname(folder) for folder in folders}:
        try:
            listed[parent] = set(os.listdir(os.path.join(frame_root, parent)))
        except FileNotFoundError:
            listed[parent] = set()
        except OSError as error:
            raise UserError(f'{error.filename}: cannot be listed ({error.strerror}); fix that or choose another '
                            '--frame_root') from error
    return {folder for folder in folders
            if not listed[os.path.dirname(folder)].isdisjoint({os.path.basename(folder),
                                                               os.path.basename(folder) + '.zip'})}


# ---- Extraction

def extract_all(args, videos, shard, work_folder, settings):
    """Extracts what is not finished; -> {video: row of the report} for every video of the shard."""
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
                              work=os.path.join(work_folder, f'{layout.stable_hash(name):016x}')))
    skipped = sum(row is known.get(name) for name, row in rows.items())
    path = report.report_path(args.frame_root, shard)
    # Videos of another --video_root (training and validation, for example) stay in the report.
    before = report.read_report(path)
    report.write_report(path, {**before, **rows})
    print(f'{len(videos)} videos: {skipped} done before, {len(tasks)} to do with {args.jobs} processes')
    start, frames = time.monotonic(), 0
    with progress_bar(total=len(tasks)) as bar:
        for row in run_tasks(tasks, args.jobs):
            rows[row['video']] = row
            report.append_row(path, row)
            frames += int(row['frames'])
            bar.set_postfix_str(f'{frames / (time.monotonic() - start):.0f} frames/s', refresh=False)
            bar.update()
    report.write_report(path, {**before, **rows})
    return rows


def run_tasks(tasks, jobs):
    """Yields the row of each task as it finishes, in any order, from `jobs` processes.

    When a worker dies (a crash in the decoder, no memory), all workers are lost. The videos in progress are then
    retried one by one, and a video that kills its worker again has failed.
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
                raise UserError('the worker processes die as soon as they start; is there enough memory for this many '
                                '--jobs?') from None


def run_parallel(tasks, jobs):
    """Yields the rows of the tasks. Idle workers end after IDLE_SECONDS, those of a killed run included."""
    return in_processes((delayed(extract_video)(**task) for task in tasks), n_jobs=jobs, batch_size=1,
                        return_as='generator_unordered', idle_worker_timeout=IDLE_SECONDS)


def run_alone(task):
    try:
        # n_jobs=2 for one task: with n_jobs=1 joblib would run it, and crash, in this process.
        return next(run_parallel([task], 2))
    except BrokenProcessPool:
        return report.make_row(task['name'], 'failed', 'the decoder crashed or ran out of memory')


def conclude(rows, path, allow_failures):
    """Prints the outcome; -> exit status."""
    by_status = {status: [row for row in rows.values() if row['status'] == status] for status in report.STATUSES}
    for status in ('partial', 'failed'):
        for row in by_status[status][:LISTED_PER_STATUS]:
            print(f'{status}: {row["video"]}: {row["reason"]}', file=sys.stderr)
        if len(by_status[status]) > LISTED_PER_STATUS:
            print(f'{status}: {len(by_status[status]) - LISTED_PER_STATUS} more, see the report', file=sys.stderr)
    for row in [row for row in by_status['ok'] if row['reason']][:LISTED_PER_STATUS]:
        warn(f'{row["video"]}: {row["reason"]}')
    spread = spread_of_rates(float(row['fps'] or 0) for row in rows.values())
    if spread:
        warn(spread)
    ok, partial, failed = (len(by_status[status]) for status in report.STATUSES)
    print(f'{ok} videos complete, {partial} partial, {failed} failed; '
          f'{sum(int(row["frames"]) for row in rows.values())} frames decoded of '
          f'{sum(int(row["announced"]) for row in rows.values())} announced; report: {path}')
    return 1 if failed and not allow_failures else 0


if __name__ == '__main__':
    run_cli(main, parse_args())
