"""Spatial augmentation: one crop box and one flip for all frames of a clip (colour is in utils/data/colour.py)."""
from typing import NamedTuple

import cv2
import numpy as np

SQUARE = 224  # px, side of random and centre crops, as published
AREA = (0.5, 1.0)  # part of the frame covered by a random resized crop
ASPECT = (3 / 4, 4 / 3)  # its width / height


class Box(NamedTuple):
    """A rectangle in a frame, px."""
    top: int
    left: int
    height: int
    width: int


def pretraining_crop(dataset):
    """Crop of the pretraining recipe: 'square' for UCF101 and HMDB51 (frames of short side 240), 'resized' for Kinetics
    and all others. Fine-tuning always uses 'resized'; validation and test use 'centre'."""
    return 'square' if dataset in ('ucf101', 'hmdb51') else 'resized'


def draw_box(rng, height, width, crop):
    """Draws the box of a clip whose frames have height × width px.

    crop: 'square'  224×224 anywhere (for smaller frames, a square of the short side)
          'resized' half to all of the area, aspect 3:4 to 4:3
          'centre'  224×224 in the middle (for smaller frames, a square of the short side); does not use `rng`"""
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
    # No draw fits a very wide or very high frame: take the largest allowed box in its middle, as torchvision does.
    w = min(width, round(height * ASPECT[1]))
    h = min(height, round(width / ASPECT[0]))
    return Box((height - h) // 2, (width - w) // 2, h, w)


def reduction(box, img_dim):
    """Factor (1, 2 or 4) by which frames can be decoded smaller, so that the box keeps at least img_dim × img_dim."""
    return next(factor for factor in (4, 2, 1) if factor == 1 or min(box.height, box.width) >= factor * img_dim)


def cut(frame, box, flip, out):
    """Crops and resizes one frame [H, W, 3] into `out` [img_dim, img_dim, 3], mirrored left to right if `flip`.

    Bilinear: `reduction` keeps the scale below 2, at which no pixel of the crop is skipped."""
    crop = frame[box.top:box.top + box.height, box.left:box.left + box.width]
    cv2.resize(crop, out.shape[1::-1], dst=out, interpolation=cv2.INTER_LINEAR)
    if flip:
        cv2.flip(out, 1, dst=out)
