"""Makes videos in which one thing changes at a known time, to see whether a network is surprised by it.

    {out}/motion_001.avi …         the sprite of the demo changes how it moves
    {out}/brightness_001.avi …     it moves on, and the background gets darker or brighter
    {out}/events.csv               video, kind, seconds: when, and before, after: how the sprite moves

The scene is that of make_demo.py with the same --seed and --size.
"""
import argparse
import csv
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
from joblib import delayed

from experiments.data import events
from experiments.data.synthetic import FPS, write_video
from process_data import layout
from process_data.worker_processes import add_jobs_argument, in_processes, progress_bar
from utils.cli import Parser, make_folder, positive_int, run_cli, whole_number


def parse_args(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default=layout.synthetic_folder('events', 'videos'),
                        help='folder for the videos and events.csv (default: %(default)s)')
    parser.add_argument('--videos', default=200, type=positive_int, help='of each kind (default: %(default)s)')
    parser.add_argument('--size', default=80, type=positive_int, help='side of the frames, px (default: %(default)s)')
    parser.add_argument('--frames', default=160, type=positive_int, help='frames per video (default: %(default)s)')
    parser.add_argument('--seed', default=0, type=whole_number, help='the same seed gives the same bytes (default 0)')
    add_jobs_argument(parser)
    return parser.parse_args(argv)


def main(args):
    make_folder(args.out, '--out')
    rows = [(f'{kind}_{number + 1:03d}.avi', kind, number) for kind in events.KINDS for number in range(args.videos)]
    tasks = [delayed(make)(os.path.join(args.out, name), (args.seed, kind, number, args.frames, args.size))
             for name, kind, number in rows]
    for _ in progress_bar(in_processes(tasks, n_jobs=args.jobs, return_as='generator_unordered'), total=len(tasks)):
        pass
    with layout.write_whole(os.path.join(args.out, 'events.csv')) as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['video', 'kind', 'seconds', 'before', 'after'])
        for name, kind, number in rows:
            event = events.draw_event(args.seed, kind, number, args.frames)
            writer.writerow([name, kind, f'{event["frame"] / FPS:.2f}', event['before'], event['after']])
    print(f'{args.videos} videos of each of {" and ".join(events.KINDS)} in {args.out}, their times in events.csv')


def make(path, about):
    write_video(path, events.render(*about))


if __name__ == '__main__':
    run_cli(main, parse_args())
