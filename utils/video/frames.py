"""The frames of a video: JPEGs `image_00001.jpg` … in a folder, or the same files in one uncompressed zip beside it.

OpenCV decodes them: within a few per cent of the fastest alternative at full quality, and it is needed anyway
(benchmarks/NOTES.md has the comparison).
"""
import contextlib
import functools
import itertools
import os
import re
import stat
import struct
import zipfile
import zlib

import cv2
import numpy as np

from utils import system_errors
from utils.cli import UserError

MAX_BYTES = 2 ** 25   # of one frame: over a thousand times the usual
MAX_PIXELS = 2 ** 26  # of one frame, 8192 × 8192: decoders allocate what the header says, gigabytes in a broken one
FRAME_NAME = re.compile(r'image_[0-9]{5,}\.jpg')
JPEG_START, JPEG_END = b'\xff\xd8', b'\xff\xd9'
# Start of frame, the segment with the size; of the markers C0 … CF, C4, C8 and CC are others.
JPEG_SIZE_MARKERS = frozenset(range(0xc0, 0xd0)) - {0xc4, 0xc8, 0xcc}
JPEG_BARE_MARKERS = frozenset([0x00, 0x01, *range(0xd0, 0xd8)])  # without a segment
# What zipfile raises for broken archives, depending on where they are broken; RuntimeError for encrypted ones.
BAD_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError)
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


def has_frames(folder):
    return os.path.exists(os.path.join(folder, frame_name(1)))


def frame_names(path):
    """Sorted names of the frames of the video `path` (its frame folder), in the folder or in `path + '.zip'`.

    OSError: neither is there, or it can't be read. BAD_ZIP: a broken archive."""
    if os.path.isdir(path):
        with os.scandir(path) as entries:
            names = [entry.name for entry in entries]
    else:
        with zipfile.ZipFile(path + '.zip') as archive:
            names = archive.namelist()
    return sorted(filter(FRAME_NAME.fullmatch, names))


def count_in(names):
    """Frames of a video with these names: up to the first gap in their numbers from 1.

    >>> count_in(['image_00000.jpg', 'image_00001.jpg', 'image_00002.jpg', 'image_00004.jpg'])
    2
    """
    present = set(names)
    return next(number for number in itertools.count() if frame_name(number + 1) not in present)


class DiskError(FrameError):
    """A frame that can't be read because the file system fails: no broken one."""


@contextlib.contextmanager
def open_frames(path):
    """Gives a function read(name) -> bytes for the frames of the video `path`, in its folder or in `path + '.zip'`.

    FrameError: a frame or the whole video is missing, the archive is broken or encrypted, or a frame has over MAX_BYTES
    (from `read`). DiskError: the file system fails."""
    file = path + '.zip'
    if os.path.isdir(path) or not os.path.isfile(file):
        yield functools.partial(_read_file, path)
        return
    try:
        archive = zipfile.ZipFile(file)
    except (OSError, *BAD_ZIP) as error:
        raise _frame_error(file, error) from None
    with archive:
        yield functools.partial(_read_entry, archive)


def read_jpegs(path, numbers):
    """Yields the bytes of some frames of the video `path`, by their numbers from 1. FrameError: see open_frames."""
    with open_frames(path) as read:
        for number in numbers:
            yield read(frame_name(number))


def _read_file(folder, name):
    file = f'{folder}/{name}'
    try:
        with open(file, 'rb', buffering=0, opener=_open_at_once) as frame:
            info = os.fstat(frame.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise FrameError(f'{file}: not a regular file')
            if info.st_size > MAX_BYTES:
                raise FrameError(f'{file}: over {MAX_BYTES} bytes, too big for a frame')
            return frame.read()
    except OSError as error:
        raise _frame_error(file, error) from None


def _open_at_once(file, flags):
    """os.open that doesn't wait for the other end of a named pipe."""
    return os.open(file, flags | os.O_NONBLOCK)


def _read_entry(archive, name):
    try:
        entry = archive.getinfo(name)
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise zipfile.BadZipFile(f'{name} is compressed by method {entry.compress_type}; pack it again with '
                                     'process_data/pack_frames.py')
        if max(entry.file_size, entry.compress_size) > MAX_BYTES:
            raise zipfile.BadZipFile(f'{name} has over {MAX_BYTES} bytes, too big for a frame')
        with archive.open(entry) as frame:
            return frame.read(entry.file_size)  # read() would inflate without bound before it looks at the size
    except (KeyError, OSError, *BAD_ZIP) as error:
        raise _frame_error(archive.filename, error) from None


def _frame_error(file, error):
    """An error of the system or of zipfile as one line."""
    if system_errors.is_failure(error):
        return DiskError(system_errors.failure(file, error))
    if isinstance(error, OSError) and error.strerror:
        return FrameError(f'{file}: {error.strerror}')
    return FrameError(f'{file}: ' + (error.args[0] if isinstance(error, KeyError) else str(error)[:200] or 'cut short'))


def is_whole(jpeg):
    """Whether JPEG bytes have their end mark: decoders fill what was cut off with grey and say nothing."""
    return JPEG_END in jpeg[-1024:]


def size_in_header(jpeg):
    """(height, width) that the header of a JPEG announces, or None. Like libjpeg it skips bytes between segments."""
    at = len(JPEG_START) if jpeg.startswith(JPEG_START) else len(jpeg)
    while 0 <= (at := jpeg.find(b'\xff', at)) <= len(jpeg) - 9:
        marker = jpeg[at + 1]
        if marker in JPEG_SIZE_MARKERS:
            return int.from_bytes(jpeg[at + 5:at + 7], 'big'), int.from_bytes(jpeg[at + 7:at + 9], 'big')
        if marker == 0xff:  # a fill byte
            at += 1
        elif marker in JPEG_BARE_MARKERS:
            at += 2
        else:
            at += 2 + int.from_bytes(jpeg[at + 2:at + 4], 'big')
    return None


def decode(jpeg, reduce=1):
    """JPEG bytes -> RGB uint8 [H, W, 3], or None where they are broken or have over MAX_PIXELS.

    reduce: 2 or 4 for half or quarter size."""
    size = size_in_header(jpeg)
    if size is None or size[0] * size[1] > MAX_PIXELS or not is_whole(jpeg):
        return None
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), DECODE_FLAGS[reduce])
