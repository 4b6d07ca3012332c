"""A video, whatever a list names: a frame folder, a packed one (`path` + .zip) or a video file. No torch."""
import os

import cv2
from joblib import Parallel, delayed
from tqdm import tqdm

from utils import system_errors
from utils.cli import UserError, warn
from utils.video.frames import (
    BAD_ZIP,
    MAX_PIXELS,
    DiskError,
    FrameError,
    count_in,
    decode,
    frame_name,
    frame_names,
    read_jpegs,
)
from utils.video.reader import VideoError, VideoFile

SHORT_SIDE = 240  # px, of the frames of a video file: what extract_frames.py shrinks to by default
PATIENCE = 30     # s of decoding without a wanted frame; less than the default of --timeout, which ends a run


def read_pictures(path, numbers, reduction_of=None, fps=None):
    """Yields frames of the video `path`, RGB uint8 [H, W, 3], all of one size.

    numbers:       frame numbers, ascending and distinct, from 1
    reduction_of:  (height, width) of the frames -> 1, 2 or 4, the factor by which they can be smaller; called once
                   (None: full size)
    fps:           of a video file, frames a second to take by time (None: every frame)
    A video file is opened here and closed when the generator ends. FrameError: a frame or the whole video is missing or
    broken, or its size differs from the first; a video file has fewer frames, or is decoded too slowly."""
    reduction_of = reduction_of or (lambda height, width: 1)
    if os.path.isfile(path):
        yield from _read_film(path, numbers, reduction_of, fps)
    else:
        yield from _read_folder(path, numbers, reduction_of)


def has_frame(path, number, fps=None):
    """Whether the video `path` has frame `number`. FrameError: it is a video file that can't be read, or the file
    system fails."""
    if os.path.isdir(path):
        frame = os.path.join(path, frame_name(number))
        return os.path.isfile(frame) or refuse_failure(frame)
    if not os.path.isfile(path):
        try:
            return frame_name(number) in frame_names(path)
        except (OSError, *BAD_ZIP):
            return refuse_failure(path + '.zip')
    try:
        with VideoFile(path, rate=fps, patience=PATIENCE) as video:
            return number <= video.n_frames
    except (VideoError, UserError) as error:
        raise as_frame_error(path, error) from None


def stamp_of(path, n_frames):
    """(size, time of change) of what the video `path` is read from, a tuple of int that changes when it is replaced.

    Of a frame folder: its own, which changes when frames are added or removed, and those of its first and last frame,
    which change when all are written again under their names. Looking at every frame would take far longer.
    """
    if os.path.isdir(path):
        sources = [path, *(os.path.join(path, frame_name(number)) for number in (1, n_frames))]
    else:
        sources = [path if os.path.isfile(path) else f'{path}.zip']
    return sum(map(_stamp, sources), ())


def _stamp(path):
    try:
        found = os.stat(path)
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def count_frames(path, fps=None):
    """Frames of the video `path`. VideoFile.n_frames says how those of a file are counted; its first must decode. fps:
    see `read_pictures`.

    VideoError: it is no video, or a broken one. UserError: a folder or zip that can't be read."""
    return count_and_rate(path, fps)[0]


def count_and_rate(path, fps=None):
    """(`count_frames`, frames a second that a video file has itself; 0.0 of extracted frames)."""
    if os.path.isfile(path):
        with VideoFile(path, rate=fps) as video:
            count, own_rate = video.n_frames, video.fps
            if next(video.all_frames(), None) is None:
                raise VideoError('no frame in it can be decoded')
            return count, own_rate
    try:
        names = frame_names(path)
    except FileNotFoundError:
        names = []
    except BAD_ZIP as error:
        raise VideoError(f'no video that can be read, its zip is broken ({str(error)[:200]})') from None
    except OSError as error:
        raise UserError(f'{path}: cannot be listed ({error.strerror}); fix that and run again') from error
    count = count_in(names)
    if not count:
        raise VideoError(f'no video: neither a video file, nor a frame folder or zip with {frame_name(1)}, …')
    if names[-1] > frame_name(count):
        after = sum(name > frame_name(count) for name in names)
        warn(f'{path}: {frame_name(count + 1)} is missing: what comes after it, {after} of {after + count} frames, '
             'cannot be used')
    return count, 0.0


def frame_rate(path):
    """Frames a second as the header of a video file says; 0.0 of extracted frames, and of a file that can't be read."""
    if not os.path.isfile(path):
        return 0.0
    try:
        with VideoFile(path) as video:
            return video.fps
    except (VideoError, UserError):
        return 0.0


def count_all(root, names, jobs, fps=None):
    """({name: frames}, {name: reason}, rates) of the usable and of the unusable videos `names` in `root`, by `jobs`
    threads, with a progress bar. rates: frames a second of every video file. fps: see `read_pictures`."""
    def count(name):
        try:
            return *count_and_rate(os.path.join(root, name), fps), ''
        except VideoError as error:
            return 0, 0.0, str(error)

    counts = Parallel(n_jobs=jobs, prefer='threads', return_as='generator')(delayed(count)(name) for name in names)
    counted = dict(zip(names, list(tqdm(counts, total=len(names), desc='counting frames', unit='video',
                                          disable=not names))))
    return ({name: frames for name, (frames, _, _) in counted.items() if frames},
            {name: reason for name, (frames, _, reason) in counted.items() if not frames},
            [rate for _, rate, _ in counted.values()])


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


def _read_film(path, numbers, reduction_of, fps):
    factor = None
    try:
        with VideoFile(path, short_side=SHORT_SIDE, rate=fps, patience=PATIENCE) as video:
            for frame in video.frames(numbers):
                height, width = frame.shape[:2]
                factor = factor or reduction_of(height, width)
                yield frame if factor == 1 else _reduced(frame, factor)
    except (VideoError, UserError) as error:
        raise as_frame_error(path, error) from None


def refuse_failure(path):
    """False, or DiskError where the file system fails on `path`."""
    if said := system_errors.failure_at(path):
        raise DiskError(said)
    return False


def as_frame_error(path, error):
    """An error of VideoFile as one of frames."""
    return DiskError(str(error)) if isinstance(error, UserError) else FrameError(f'{path}: {error}')


def _reduced(frame, factor):
    """Means of factor × factor pixels, as a JPEG decoder reduces; last row and column are repeated to fill theirs."""
    height, width = frame.shape[:2]
    whole = cv2.copyMakeBorder(frame, 0, -height % factor, 0, -width % factor, cv2.BORDER_REPLICATE)
    return cv2.resize(whole, (whole.shape[1] // factor, whole.shape[0] // factor), interpolation=cv2.INTER_AREA)
