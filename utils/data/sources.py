"""Frames of a video by number, whatever a list names: a frame folder, a packed one (`path` + .zip) or a video file."""
import os

import cv2

from utils.data import frames
from utils.data.frames import MAX_PIXELS, FrameError, decode, frame_name, read_jpegs
from utils.data.video import VideoError, VideoFile

SHORT_SIDE = 240  # px, of the frames of a video file: what extract_frames.py shrinks to by default
PATIENCE = 30     # s of decoding without a wanted frame; less than the default of --timeout, which ends a run


def read_pictures(path, numbers, reduction_of=None):
    """Yields frames of the video `path`, RGB uint8 [H, W, 3], all of one size.

    numbers:       frame numbers, ascending and distinct, from 1
    reduction_of:  (height, width) of the frames -> 1, 2 or 4, the factor by which they can be smaller; called once
                   (None: full size)
    A video file is opened here and closed when the generator ends. FrameError: a frame or the whole video is missing or
    broken, or its size differs from the first; a video file has fewer frames, or is decoded too slowly."""
    source = _read_film if os.path.isfile(path) else _read_folder
    yield from source(path, numbers, reduction_of or (lambda height, width: 1))


def has_frame(path, number):
    """Whether the video `path` has frame `number`. FrameError: it is a video file that can't be read."""
    if not os.path.isfile(path):
        return frames.has_frame(path, number)
    try:
        with VideoFile(path, patience=PATIENCE) as video:
            return number <= video.n_frames
    except VideoError as error:
        raise FrameError(f'{path}: {error}') from None


def _read_folder(path, numbers, reduction_of):
    factor = shape = None
    for jpeg, number in zip(read_jpegs(path, numbers), numbers):
        frame = _decode(jpeg, path, number, factor or 1)
        if factor is None:
            factor = reduction_of(*frame.shape[:2])
            if factor > 1:
                frame = _decode(jpeg, path, number, factor)
            shape = frame.shape
        if frame.shape != shape:
            raise FrameError(f'{path}/{frame_name(number)}: its size differs from the frames before it')
        yield frame


def _decode(jpeg, path, number, factor):
    frame = decode(jpeg, factor)
    if frame is None:
        raise FrameError(f'{path}/{frame_name(number)}: not a whole JPEG of at most {MAX_PIXELS} pixels')
    return frame


def _read_film(path, numbers, reduction_of):
    factor = None
    try:
        with VideoFile(path, short_side=SHORT_SIDE, patience=PATIENCE) as video:
            for frame in video.frames(numbers):
                height, width = frame.shape[:2]
                factor = factor or reduction_of(height, width)
                yield frame if factor == 1 else _reduced(frame, factor)
    except VideoError as error:
        raise FrameError(f'{path}: {error}') from None


def _reduced(frame, factor):
    """Means of factor × factor pixels, as a JPEG decoder reduces; last row and column are repeated to fill theirs."""
    height, width = frame.shape[:2]
    whole = cv2.copyMakeBorder(frame, 0, -height % factor, 0, -width % factor, cv2.BORDER_REPLICATE)
    return cv2.resize(whole, (whole.shape[1] // factor, whole.shape[0] // factor), interpolation=cv2.INTER_AREA)
