"""Spatial augmentation: one crop box and one flip for all frames of a clip (colour is in utils/data/colour.py); and the
views of a whole video in a test."""
from functools import lru_cache, partial
from typing import Callable, NamedTuple

import cv2
import numpy as np

SQUARE = 224  # px, side of random and centre crops, as published
AREA = (0.5, 1.0)  # part of the frame covered by a random resized crop
ASPECT = (3 / 4, 4 / 3)  # its width / height
SPARE = 1.3  # times the px of the output: frames decoded smaller are sharper than Pillow's filter makes them


class Box(NamedTuple):
    """A rectangle in a frame, px.

    >>> box_at(240, 320, down=0.5, right=1)
    Box(top=8, left=96, height=224, width=224)
    """
    top: int
    left: int
    height: int
    width: int


def pretraining_crop(dataset: str) -> str:
    """Crop of the pretraining recipe: 'square' for UCF101 and HMDB51 (frames of short side 240), 'resized' for Kinetics
    and all others. Fine-tuning always uses 'resized'; validation and test use 'centre'."""
    return 'square' if dataset in ('ucf101', 'hmdb51') else 'resized'


def draw_box(rng: np.random.Generator, height: int, width: int, crop: str) -> Box:
    """Draws the box of a clip whose frames have height × width px.

    crop: 'square'  224×224 anywhere (for smaller frames, a square of the short side)
          'resized' half to all of the area, aspect 3:4 to 4:3
          'centre'  224×224 in the middle (for smaller frames, a square of the short side); does not use `rng`"""
    if crop == 'resized':
        return _draw_resized(rng, height, width)
    if crop == 'centre':
        return box_at(height, width, down=0.5, right=0.5)
    side = min(SQUARE, height, width)
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


# ---- views of a test

class View(NamedTuple):
    """Which part of every frame of a video is seen."""
    box_of: Callable[[int, int], Box]  # of the height and width of the frames
    mirrored: bool = False             # the box is cut out of the mirrored frame: a mirrored video has the same views


def random_view(rng: np.random.Generator, flip: float) -> View:
    """A View drawn as fine-tuning augments: a random resized crop, mirrored with probability `flip`."""
    return View(partial(draw_box, rng, crop='resized'), mirrored=rng.random() < flip)


def box_at(height: int, width: int, down: float, right: float) -> Box:
    """The square of the centre crop at another position: `down` and `right` are 0 for the top and left edge, 1 for the
    bottom and right one."""
    side = min(SQUARE, height, width)
    return Box(int((height - side) * down), int((width - side) * right), side, side)


def box_along(height: int, width: int, position: float) -> Box:
    """The same square, at `position` (0 to 1) along the longer side and in the middle of the shorter one."""
    return box_at(height, width, position, 0.5) if height > width else box_at(height, width, 0.5, position)


CENTRE = [partial(box_at, down=0.5, right=0.5)]
THREE = [partial(box_along, position=position) for position in (0, 0.5, 1)]
CORNERS = [partial(box_at, down=down, right=right) for down in (0, 1) for right in (0, 1)]
# --crops: the views of every frame
VIEWS = {
    1: [View(box) for box in CENTRE],
    3: [View(box) for box in THREE],
    5: [View(box) for box in CORNERS + CENTRE],
    10: [View(box, mirrored) for mirrored in (False, True) for box in CORNERS + CENTRE],
}


def views_of(crops: int = 1, flip: bool = False) -> list[View]:
    """The V views of `--crops`; `flip` adds the mirror image of each.

    >>> len(views_of(crops=5, flip=True))
    10
    """
    return VIEWS[crops] + ([View(view.box_of, True) for view in VIEWS[crops]] if flip else [])


# ---- cropping

def reduction(box, img_dim):
    """Factor (1, 2 or 4) by which frames can be decoded smaller, so that the box keeps at least SPARE × img_dim px."""
    return next(factor for factor in (4, 2, 1) if factor == 1 or min(box.height, box.width) >= SPARE * factor * img_dim)


@lru_cache(maxsize=1000)
def antialiasing(scale):
    """The filter to apply along one dimension before sampling it `scale` times more sparsely; [1] if not more.

    >>> antialiasing(0.9).tolist(), antialiasing(2).tolist()
    ([1.0], [0.25, 0.5, 0.25])
    """
    side = min(scale - 1, 1) / 4
    return np.array([side, 1 - 2 * side, side] if side > 0 else [1], np.float32)


def cut(frame, box, flip, out):
    """Crops and resizes one frame [H, W, 3] into `out` [img_dim, img_dim, 3], mirrored left to right if `flip`.

    Antialiased, as Pillow's bilinear filter is, on which the published weights were trained, to two grey levels in the
    mean where the scale is 1.5 to 2.3 beyond `reduction`, as at 128, 112 and 64 px; at others up to 4."""
    crop = frame[box.top:box.top + box.height, box.left:box.left + box.width]
    down, across = antialiasing(box.height / out.shape[0]), antialiasing(box.width / out.shape[1])
    if len(down) > 1 or len(across) > 1:
        crop = cv2.sepFilter2D(crop, -1, across, down, borderType=cv2.BORDER_REPLICATE)
    cv2.resize(crop, out.shape[1::-1], dst=out, interpolation=cv2.INTER_LINEAR)
    if flip:
        cv2.flip(out, 1, dst=out)
