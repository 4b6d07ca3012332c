"""Draws asset/puppets.jpg: a video of each pair of the puppets data set (experiments/data/make_puppets.py), in rows."""
import argparse
import os
import sys

import cv2
import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
from experiments.data import (
    make_puppets,  # noqa: E402
    puppets,  # noqa: E402
    synthetic,  # noqa: E402
)

SHOWN = ('OpenArms', 'Moonwalk', 'BendDown', 'StandUp', 'CircleForward')
COLUMNS, STEP = 10, 4       # pictures in a row, and frames from one to the next
GAP = 1                     # white edge of a picture, px


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--output', default=os.path.join(ROOT, 'asset', 'puppets.jpg'),
                        help='picture to write (default asset/puppets.jpg of this repository)')
    return parser.parse_args(argv)


def main(args):
    settings = make_puppets.parse_args(['--frames', str(COLUMNS * STEP)])
    rows = []
    for group, name in enumerate(SHOWN, 1):
        frames = list(puppets.render(settings, synthetic.Video('', name, group, 1)))[::STEP]
        rows.append(np.hstack([cv2.copyMakeBorder(frame, *[GAP] * 4, cv2.BORDER_CONSTANT, value=(255, 255, 255))
                               for frame in frames]))
    if not cv2.imwrite(args.output, np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 92]):
        sys.exit(f'error: {args.output}: cannot be written; choose another --output')


if __name__ == '__main__':
    main(parse_args())
