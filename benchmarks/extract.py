"""Frame extraction against the plain way, per core, and its scaling over cores, on generated videos.

    python -m benchmarks.extract [--json FILE]

The plain way decodes with OpenCV, resizes with cv2.resize and writes with cv2.imwrite at the same JPEG quality. It is
timed with OpenCV's default bilinear filter, and with its area filter, which does not alias when frames shrink to a
third or less. Ours halves by 2×2 means and finishes bilinearly, as free of aliasing as the area filter. "Per core" is
per second of processor time over all threads, so waiting and other programs don't count. The ways alternate and their
medians are compared.

Where the time goes, in ms per frame of one core of an AMD EPYC, on a file system in memory:

                          decode   to BGR   resize (bilinear, area)   encode   file
    320×240, kept          0.07     0.04     0     (0.003, 0.003)      0.13     0.04
    340×256 to 199×150     0.09     0.04     0.05  (0.05,  0.33)       0.06     0.04
    1280×720 to 267×150    0.92     0.39     0.35  (0.06,  2.1)        0.08     0.04

- Creating a file takes 0.3 ms and more on a busy ext4 disk, for small frames more than everything else, in both ways.
  --packed saves that.
- The area filter is the one large cost that can be avoided at equal quality. Frames of the right size are not resized.
- Reusing a frame's buffer saves OpenCV an allocation and its page faults per frame.
- Decoder and OpenCV threads gain nothing per core, nor does encoding in a second thread.
- simplejpeg encodes as fast as cv2.imencode (both are libjpeg-turbo). PyAV could pass YUV planes to it without two
  colour conversions: 0.37, 0.31 and 1.4 ms in total instead of 0.34, 0.37 and 1.9, not enough for two more
  dependencies. OpenCV itself only returns the Y plane (CAP_PROP_CONVERT_RGB=0).
"""
import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import cv2
import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
from process_data import extract_frames, layout  # noqa: E402
from process_data.extract_one_video import extract_video  # noqa: E402
from utils.cli import Parser, cpu_cores, positive_int  # noqa: E402
from utils.video.frames import frame_name  # noqa: E402

# name: width, height, codec, extension, short side of the frames
KINDS = {'ucf101': (320, 240, 'XVID', '.avi', 240), 'kinetics': (340, 256, 'mp4v', '.mp4', 150),
         'kinetics_hd': (1280, 720, 'mp4v', '.mp4', 150), 'full_hd': (1920, 1080, 'mp4v', '.mp4', 240)}
WAYS = ('plain bilinear', 'plain area', 'ours', 'ours packed')
PAIRS = ('ours/bilinear', 'ours packed/bilinear', 'ours/area', 'ours packed/area')
QUALITY = 80


def parse_args(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--videos', default=8, type=int, help='videos of each kind (default: %(default)s)')
    parser.add_argument('--frames', default=100, type=int, help='frames per video (default: %(default)s)')
    parser.add_argument('--repeats', default=5, type=int, help='alternating runs of each way (default: %(default)s)')
    parser.add_argument('--jobs', default=cpu_cores(), type=positive_int,
                        help='processes for the scaling (default: the cores this process may use)')
    parser.add_argument('--folder', help='where to write, such as /dev/shm (default: the temporary folder)')
    parser.add_argument('--json', help='file to write the figures to (default: none)')
    parser.add_argument('--one', nargs=3, metavar=('WAY', 'KIND', 'FOLDER'), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(args):
    if args.one:
        print(json.dumps(run_one(*args.one)))
        return
    if args.folder and not os.path.isdir(args.folder):
        sys.exit(f'error: --folder {args.folder}: no such folder')
    results = {}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for kind in KINDS:
            make_videos(os.path.join(folder, kind), kind, args.videos, args.frames)
        print('frames per second of processor time, and ratios')
        print(f'{"":12}' + ''.join(f'{way:>16}' for way in WAYS) + ''.join(f'{pair:>24}' for pair in PAIRS))
        for kind in KINDS:
            rates = {way: [] for way in WAYS}
            for _ in range(args.repeats):
                for way in WAYS:
                    rates[way].append(run_apart(way, kind, folder))
            median = {way: statistics.median(rates[way]) for way in WAYS}
            ratios = {pair: median[pair.split('/')[0]] / median['plain ' + pair.split('/')[1]] for pair in PAIRS}
            results[kind] = {'frames_per_core_second': median, 'ratios': ratios}
            print(f'{kind:12}' + ''.join(f'{median[way]:16.0f}' for way in WAYS)
                  + ''.join(f'{ratios[pair]:24.2f}' for pair in PAIRS))
        results['scaling'] = measure_scaling(folder, args.jobs, args.repeats)
        print(f'\nfrom 1 to {args.jobs} processes: {results["scaling"]:.2f} of the ideal (by the clock: '
              'other programs on the machine count)')
    if args.json:
        with open(args.json, 'w') as file:
            json.dump(results, file, indent=1)


def run_apart(way, kind, folder):
    """Frames per second of processor time of one way, measured in a new process."""
    done = subprocess.run([sys.executable, os.path.abspath(__file__), '--one', way, kind, folder], check=True,
                          capture_output=True, text=True)
    return json.loads(done.stdout)


def run_one(way, kind, folder):
    source, out = os.path.join(folder, kind), tempfile.mkdtemp(dir=folder)
    videos = sorted(os.listdir(source))
    short_side = KINDS[kind][4]
    start, frames = processor_seconds(), 0
    for name in videos:
        path, target = os.path.join(source, name), os.path.join(out, layout.folder_of(name))
        if way.startswith('ours'):
            frames += int(extract_video(**make_task(path, target, short_side, way == 'ours packed'))['frames'])
        else:
            frames += plain_way(path, target, short_side, cv2.INTER_AREA if way == 'plain area' else cv2.INTER_LINEAR)
    rate = frames / (processor_seconds() - start)
    shutil.rmtree(out)
    return rate


def processor_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def make_task(path, target, short_side, packed):
    return dict(name=os.path.basename(path), source=path, target=target, work=target + '.work', packed=packed,
                settings=dict(short_side=short_side, upscale=False, quality=QUALITY))


def plain_way(path, target, short_side, interpolation):
    """The straightforward loop. Returns the number of frames."""
    os.makedirs(target)
    capture, number = cv2.VideoCapture(path), 0
    while True:
        more, frame = capture.read()
        if not more:
            return number
        number += 1
        scale = short_side / min(frame.shape[:2])
        size = round(frame.shape[1] * scale), round(frame.shape[0] * scale)
        frame = cv2.resize(frame, size, interpolation=interpolation)
        cv2.imwrite(os.path.join(target, frame_name(number)), frame, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def measure_scaling(folder, jobs, repeats):
    """Speedup of `jobs` processes over one, divided by `jobs`; the work grows with the processes."""
    def seconds(jobs):
        out = tempfile.mkdtemp(dir=folder)
        tasks = []
        for round_ in range(jobs):
            for kind, (_, _, _, _, short_side) in KINDS.items():
                for name in sorted(os.listdir(os.path.join(folder, kind))):
                    task = make_task(os.path.join(folder, kind, name),
                                     os.path.join(out, f'{round_}_{kind}_{layout.folder_of(name)}'), short_side, False)
                    tasks.append(dict(task, name=f'{round_}/{kind}/{name}'))
        start = time.perf_counter()
        list(extract_frames.run_tasks(tasks, jobs))
        spent = time.perf_counter() - start
        shutil.rmtree(out)
        return spent

    seconds(jobs)                               # starts the workers
    one, many = zip(*[(seconds(1), seconds(jobs)) for _ in range(repeats)])
    return statistics.median(one) / statistics.median(many)


def make_videos(folder, kind, n_videos, n_frames):
    """Generates textures moving under a slow zoom, about as hard to encode as real video (10 kB at 320×240)."""
    width, height, codec, extension, _ = KINDS[kind]
    os.makedirs(folder)
    for i in range(n_videos):
        rng = np.random.default_rng(i)
        picture = sum(cv2.resize(rng.uniform(0, 255, (side, side, 3)).astype(np.float32), (width, height),
                                 interpolation=cv2.INTER_CUBIC) * share
                      for side, share in ((4, 0.5), (16, 0.3), (64, 0.15), (200, 0.05)))
        picture = np.clip(picture, 0, 255).astype(np.uint8)
        writer = cv2.VideoWriter(os.path.join(folder, f'{i}{extension}'), cv2.VideoWriter_fourcc(*codec), 25,
                                 (width, height))
        for number in range(n_frames):
            zoom = 1.2 + 0.2 * np.sin(number / 20)
            moved = np.float32([[zoom, 0, -number * 0.3 - 20], [0, zoom, -10 * np.sin(number / 9) - 20]])
            writer.write(cv2.warpAffine(picture, moved, (width, height), borderMode=cv2.BORDER_REFLECT))
        writer.release()


if __name__ == '__main__':
    main(parse_args())
