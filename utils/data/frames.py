"""The frames of a video: JPEGs `image_00001.jpg` … in a folder, or the same files in one uncompressed zip beside it.

OpenCV decodes them: within a few per cent of the fastest alternative at full quality, and it is needed anyway
(benchmarks/NOTES.md has the comparison).
"""
import os
import zipfile

import cv2
import numpy as np

from utils.cli import UserError

JPEG_END = b'\xff\xd9'
# OpenCV's flags that decode at 1/1, 1/2 and 1/4 of the size and give RGB; libjpeg then skips most of the inverse DCT.
DECODE_FLAGS = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4,
}


class FrameError(UserError):
    """A frame that is missing or broken; the message names its file."""


def frame_name(number):
    """File name of a frame; numbers start at 1."""
    return f'image_{number:05d}.jpg'


def read_jpegs(path, numbers):
    """The bytes of some frames of the video `path` (its frame folder): from the folder, or else from `path + '.zip'`.

    numbers: frame numbers from 1, ascending. -> list of bytes. FrameError: a frame or the whole video is missing."""
    try:
        return [_read_file(f'{path}/{frame_name(number)}') for number in numbers]
    except OSError as error:
        if os.path.isdir(path) or not os.path.isfile(path + '.zip'):
            raise FrameError(f'{error.filename or path}: {error.strerror}') from None
    return _read_packed(path + '.zip', numbers)


def _read_file(file):
    with open(file, 'rb', buffering=0) as frame:
        return frame.read()


def _read_packed(file, numbers):
    try:
        with zipfile.ZipFile(file) as archive:
            return [archive.read(frame_name(number)) for number in numbers]
    except KeyError as error:
        raise FrameError(f'{file}: {error.args[0]}') from None
    except (OSError, zipfile.BadZipFile) as error:
        raise FrameError(f'{file}: {error}') from None


def has_frame(path, number):
    """Whether frame `number` of the video `path` is there, loose or packed."""
    if os.path.isdir(path):
        return os.path.isfile(os.path.join(path, frame_name(number)))
    try:
        with zipfile.ZipFile(path + '.zip') as archive:
            return frame_name(number) in archive.NameToInfo
    except (OSError, zipfile.BadZipFile):
        return False


def decode(jpeg, reduce=1):
    """JPEG bytes -> RGB uint8 [H, W, 3], or None where they are broken. `reduce` 2 or 4: half or quarter size."""
    # OpenCV 4 fills the rest of a truncated frame with grey and says nothing, hence the look at the end marker.
    if JPEG_END not in jpeg[-1024:]:
        return None
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), DECODE_FLAGS[reduce])
