"""Where a clip is cut out of its video: one box and one flip for all its frames (colour is in utils/data/colour.py)."""
from typing import NamedTuple

import cv2
import numpy as np

SQUARE = 224  # px; the published side of random and centre crops
AREA = (0.5, 1.0)  # share of the frame that a random resized crop covers
ASPECT = (3 / 4, 4 / 3)  # its width : height


class Box(NamedTuple):
    """A rectangle of a frame, in px."""
    top: int
    left: int
    height: int
    width: int


def pretraining_crop(dataset):
    """The crop of the pretraining recipe: 'square' for UCF101 and HMDB51, whose frames have short side 240;
    'resized' for Kinetics and all others. Fine-tuning always has 'resized', validation and test 'centre'."""
    return 'square' if dataset in ('ucf101', 'hmdb51') else 'resized'


def draw_box(rng, height, width, crop):
    """Draws the box of a clip in frames of height × width px.

    crop: 'square'  224×224 anywhere (a square of the short side where frames are smaller)
          'resized' half to all of the area, aspect 3:4 to 4:3
          'centre'  224×224 in the middle (the short side where frames are smaller); draws nothing from `rng`"""
    if crop == 'resized':
        return _draw_resized(rng, height, width)
    side = min(SQUARE, height, width)
    if crop == 'centre':
        return Box((height - side) // 2, (width - side) // 2, side, side)
    return Box(int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1)), side, side)


def _draw_resized(rng, height, width):
    for _ in range(10):
        area = height * width * rng.uniform(*AREA)
        aspect = np.exp(rng.uniform(*np.log(ASPECT)))
        w, h = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if w <= width and h <= height:
            return Box(int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w)
    # A frame much wider or higher than the box: as much of its middle as the aspect allows, as torchvision does.
    w = min(width, round(height * ASPECT[1]))
    h = min(height, round(width / ASPECT[0]))
    return Box((height - h) // 2, (width - w) // 2, h, w)


def reduction(box, img_dim):
    """The factor, 1, 2 or 4, by which frames may be decoded smaller: the box stays at least img_dim × img_dim."""
    return next(factor for factor in (4, 2, 1) if factor == 1 or min(box.height, box.width) >= factor * img_dim)


def cut(frame, box, flip, out):
    """Crops and resizes one frame [H, W, 3] into `out` [img_dim, img_dim, 3], mirrored left to right where `flip`.

    Bilinear: `reduction` keeps the scale below 2, where no pixel of the crop is skipped."""
    crop = frame[box.top:box.top + box.height, box.left:box.left + box.width]
    cv2.resize(crop, out.shape[1::-1], dst=out, interpolation=cv2.INTER_LINEAR)
    if flip:
        cv2.flip(out, 1, dst=out)
