"""Eight motions of a textured sprite over a static textured background; no single frame tells which.

Position (the frame wraps around at its edges), orientation and log size of the sprite are uniformly distributed at all
times in every class, so only the change from frame to frame reveals the class.
"""
import functools
import math

import cv2
import numpy as np

from experiments.data.painting import blend, texture

# One motion per class: direction of travel (x, y; y points down), turning direction, growth direction.
MOTIONS = {
    'MoveRight': dict(travel=(1, 0)),
    'MoveLeft': dict(travel=(-1, 0)),
    'MoveUp': dict(travel=(0, -1)),
    'MoveDown': dict(travel=(0, 1)),
    'TurnClockwise': dict(turn=1),
    'TurnCounterclockwise': dict(turn=-1),
    'Grow': dict(grow=1),
    'Shrink': dict(grow=-1),
}
SPRITE = 64                  # side of the square image of a sprite, px
RADIUS = (0.18, 0.42)        # smallest and largest sprite radius, as a share of the frame's side
REACH = 1.13                 # no outline reaches further, in radii
TRAVEL = (0.012, 0.028)      # share of the frame's side per frame
TURN = (3.0, 8.0)            # degrees per frame
GROW = (0.025, 0.05)         # share of the range of log sizes per frame; wraps around at the end of the range


def render(args, video):
    """Yields the frames uint8 [size, size, 3] of one video: the motion of its class from a random start.

    Every class draws all random numbers, whether it uses them or not, so that all classes share one distribution.
    """
    background, sprite = make_appearance(args.seed, video.group % args.appearances, args.size)
    motion, size, time = MOTIONS[video.class_name], args.size, np.arange(args.frames)
    rng = np.random.default_rng([args.seed, video.group, video.clip, list(MOTIONS).index(video.class_name)])
    start, angle, phase = rng.uniform(0, size, 2), rng.uniform(0, 360), rng.uniform()
    travel, turn, grow = rng.uniform(*TRAVEL) * size, rng.uniform(*TURN), rng.uniform(*GROW)
    direction = np.array(motion.get('travel', (0, 0)))
    x, y = (start[:, None] + direction[:, None] * travel * time) % size
    angles = angle + motion.get('turn', 0) * turn * time
    phases = (phase + motion.get('grow', 0) * grow * time) % 1
    radii = size * RADIUS[0] * (RADIUS[1] / RADIUS[0]) ** phases
    for i in time:
        yield draw(background, sprite, x[i], y[i], angles[i], radii[i])


@functools.lru_cache(maxsize=32)
def make_appearance(seed, number, size):
    """-> background [size, size, 3] and sprite [SPRITE, SPRITE, 4] (BGR and coverage), both uint8.

    The background is dark and the sprite bright in every channel: pretraining shows single channels as grey frames."""
    rng = np.random.default_rng([seed, number])
    background = texture(rng, size, wavelength=size / 8, contrast=40) // 2
    paint = 127 + texture(rng, SPRITE, wavelength=SPRITE / 3, contrast=128) // 2
    # An irregular star-shaped outline, so that rotation is visible.
    y, x = (np.mgrid[:SPRITE, :SPRITE] + 0.5 - SPRITE / 2) * (2 / SPRITE)
    angle, distance = np.arctan2(y, x), np.hypot(x, y)
    outline = 0.72 + sum(rng.uniform(0.03, 0.1) * np.cos(k * (angle - rng.uniform(0, 2 * np.pi))) for k in (1, 2, 3, 5))
    coverage = np.clip((outline - distance) * SPRITE / 4, 0, 1) * 255
    return background, np.dstack([paint, coverage]).astype(np.uint8)


def draw(background, sprite, x, y, angle, radius):
    """One frame uint8 [size, size, 3]: the sprite at (x, y) px, rotated clockwise by `angle` degrees."""
    size = len(background)
    half = min(size // 2, math.ceil(REACH * radius) + 1)
    whole_x, whole_y = int(x), int(y)
    affine = cv2.getRotationMatrix2D((SPRITE / 2, SPRITE / 2), -angle, 2 * radius / SPRITE)
    affine[:, 2] += np.array([half + x - whole_x, half + y - whole_y]) - SPRITE / 2
    placed = cv2.warpAffine(sprite, affine, (2 * half, 2 * half), flags=cv2.INTER_LINEAR)
    # Only the square around the sprite changes. Roll it to the corner and back, so that edges wrap around.
    frame = np.roll(background, (half - whole_y, half - whole_x), axis=(0, 1))
    square = frame[:2 * half, :2 * half]
    square[:] = blend(square, placed[..., :3], placed[..., 3:])
    return np.roll(frame, (whole_y - half, whole_x - half), axis=(0, 1))
