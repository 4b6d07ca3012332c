"""Decoding one video with OpenCV, frame by frame, on one thread."""
import math
import os
import stat

import cv2


class VideoError(Exception):
    """A video that cannot be used; the message is the reason."""


def quiet_decoder():
    """Makes OpenCV in this process silent and single-threaded. Call it before the first video is opened."""
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
    # Only FFmpeg's reader: others of OpenCV take a name like %03d for a pattern.
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise VideoError('no video that the decoder can read; the file may be cut short')
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    announced = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    fps = capture.get(cv2.CAP_PROP_FPS)
    return capture, int(max(announced, 0)), round(fps, 3) if math.isfinite(fps) and fps > 0 else 0.0


def decoded_frames(capture):
    """Yields each coded frame once, BGR uint8 [H, W, 3], upright. None is repeated or dropped to match a frame rate.

    The next frame overwrites the array, which saves a large allocation per frame.
    """
    frame = None
    while True:
        more, frame = capture.read(frame)
        if not more:
            return
        yield frame


def target_size(width, height, short_side, upscale):
    """Size with the given short side (px, 0 keeps the size) and the same aspect ratio; enlarged only with `upscale`."""
    if not short_side or (min(width, height) <= short_side and not upscale):
        return width, height
    scale = short_side / min(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def resize(frame, size):
    """[H, W, 3] -> [h, w, 3] with size = (w, h). Halves by 2×2 means as often as possible, the rest is bilinear.

    Aliases hardly more than an area filter at any ratio, in a fraction of the time (benchmarks/extract.py).
    """
    width, height = size
    while frame.shape[1] >= 2 * width and frame.shape[0] >= 2 * height:
        half = frame.shape[1] // 2, frame.shape[0] // 2
        # OpenCV is fast only for an exact factor of two, so an odd last row or column is dropped.
        frame = cv2.resize(frame[:2 * half[1], :2 * half[0]], half, interpolation=cv2.INTER_AREA)
    if (frame.shape[1], frame.shape[0]) != size:
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return frame
