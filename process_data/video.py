"""Decoding one video with OpenCV, frame by frame, on one thread."""
import math
import os
import stat

import cv2


class VideoError(Exception):
    """A video that cannot be used; the message is the reason."""


def quiet_decoder():
    """One thread and no chatter on the screen, in this process. Before the first video is opened."""
    os.environ['OPENCV_FFMPEG_LOGLEVEL'] = '-8'
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    cv2.setNumThreads(1)


def open_video(path):
    """-> (capture, announced number of frames or 0, frames per second or 0.0). Raises VideoError with the reason."""
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):
            raise VideoError('not a file')
        with open(path, 'rb'):
            pass
        path.encode()
    except OSError as error:
        raise VideoError(error.strerror) from error
    except UnicodeEncodeError as error:
        raise VideoError('its name is not valid UTF-8: rename it') from error
    if info.st_size == 0:
        raise VideoError('empty file')
    # FFmpeg's own reader only: OpenCV's others would take a name like %03d for a pattern.
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise VideoError('no video in it that the decoder knows; the file may be cut short')
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    announced = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    fps = capture.get(cv2.CAP_PROP_FPS)
    return capture, int(max(announced, 0)), round(fps, 3) if math.isfinite(fps) and fps > 0 else 0.0


def decoded_frames(capture):
    """Yields each frame in turn, BGR uint8 [H, W, 3], upright, as it was coded: none doubled or dropped to fit a rate.

    The array is written over by the next frame, which saves a large allocation per frame.
    """
    frame = None
    while True:
        more, frame = capture.read(frame)
        if not more:
            return
        yield frame


def target_size(width, height, short_side, upscale):
    """Width and height with the given short side (px, 0 = keep) and the same aspect; larger only with `upscale`."""
    if not short_side or (min(width, height) <= short_side and not upscale):
        return width, height
    scale = short_side / min(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def resize(frame, size):
    """[H, W, 3] -> [h, w, 3] with size = (w, h). Halved by 2×2 means while that fits, the rest bilinear.

    Nearly as free of aliasing as an area filter at any ratio, at a fraction of its time (benchmarks/extract.py).
    """
    width, height = size
    while frame.shape[1] >= 2 * width and frame.shape[0] >= 2 * height:
        half = frame.shape[1] // 2, frame.shape[0] // 2
        # Only an exact factor of two takes the fast path: an odd last row or column is left out.
        frame = cv2.resize(frame[:2 * half[1], :2 * half[0]], half, interpolation=cv2.INTER_AREA)
    if (frame.shape[1], frame.shape[0]) != size:
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return frame
