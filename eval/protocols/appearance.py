"""Appearance baselines: the probe on the pixels of one frame and on colour histograms, without any network."""
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from eval.extract.vectors import Features
from eval.protocols.linear_probe import probe
from eval.protocols.protocol import Outcome, make_task
from utils.cli import UserError
from utils.data.clips import read_frames
from utils.data.crops import draw_box
from utils.run.log import progress_bar, warn
from utils.video.frames import FrameError

FRAMES = 5  # of a video, evenly spaced; the third is the middle one
SIDE = 24   # px, of the frames: their centre crop, made small
BINS = 8    # of each colour channel
PROTOCOLS = {'frame': 'one frame', 'colour': 'colour histogram'}  # by feature


def appearance(features: Features, n_frames: dict[str, int],
               group_of: dict[str, str] | None = None, fps: float | None = None) -> dict[str, list[Outcome]]:
    """{feature 'frame' or 'colour': Outcomes of the probe on it}, over the videos of `features` (Features).

    n_frames, group_of: {path: frames of the video, or its group; see make_task}. fps: of the VideoList. A video of
    which one of these frames cannot be read is left out."""
    vectors, rows = [], []
    for row, path in enumerate(progress_bar(features.path, 'appearance')):
        try:
            vectors.append(vectors_of(few_frames(path, n_frames[path], fps)))
            rows.append(row)
        except FrameError as error:
            warn(f'appearance: skipped a video: {error}')
    if not rows:
        raise UserError(f'appearance: none of the {len(features.path)} videos can be read')
    frame, colour = (np.array(each, np.float32) for each in zip(*vectors))
    read = SimpleNamespace(frame=frame, colour=colour, path=features.path[rows], label=features.label[rows],
                           part=features.part[rows])
    return {feature: [replace(outcome, protocol=protocol) for outcome in probe(make_task(read, feature, group_of))]
            for feature, protocol in PROTOCOLS.items()}


def few_frames(path: str, n_frames: int, fps: float | None = None) -> np.ndarray:
    """uint8 [FRAMES, SIDE, SIDE, 3] of the video `path`: the middle frames of as many equal parts."""
    numbers = 1 + n_frames * (2 * np.arange(FRAMES) + 1) // (2 * FRAMES)
    frames = np.empty((FRAMES, SIDE, SIDE, 3), np.uint8)
    read_frames(path, numbers, lambda h, w: draw_box(None, h, w, 'centre'), False, frames,
                progress=SimpleNamespace(value=0), fps=fps)
    return frames


def vectors_of(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(pixels of the middle frame [SIDE · SIDE · 3], parts of all pixels in each bin of each channel [3 · BINS]).

    >>> pixels, histogram = vectors_of(np.zeros((FRAMES, SIDE, SIDE, 3), np.uint8))
    >>> pixels.shape, histogram[:3]
    ((1728,), array([1., 0., 0.]))
    """
    bins = frames.reshape(-1, 3).astype(int) * BINS // 256
    histogram = np.stack([np.bincount(channel, minlength=BINS) for channel in bins.T])
    return frames[FRAMES // 2].ravel() / 255, histogram.ravel() / len(bins)
