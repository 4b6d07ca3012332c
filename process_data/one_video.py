"""Extracts one video: the task of each worker process of extract_frames.py."""
import contextlib
import errno
import functools
import os
import shutil

import cv2

from process_data import layout, report, video
from utils.cli import UserError
from utils.data.frames import FrameError, decode, frame_name


def extract_video(name, source, target, work, packed, settings):
    """Extracts a video into the folder `work`, then moves that folder (or the zip in it) to `target`; -> report row.

    A faulty video gives a row with status failed. A faulty disk raises UserError, as it would fail every video.
    """
    video.quiet_decoder()
    try:
        capture, announced, fps = video.open_video(source)
        if target_exists(target):
            frames, (width, height) = existing_frames(target)
        else:
            # mkdir, not makedirs: a worker that outlives its run must not recreate the swept folder of that run.
            os.mkdir(work)
            with layout.open_packer(os.path.join(work, 'frames.zip')) if packed else (
                    contextlib.nullcontext(functools.partial(layout.write_loose, work))) as add:
                frames, (width, height) = write_frames(capture, add, **settings)
            if not frames:
                raise video.VideoError('no frame in it can be decoded')
            move_into_place(work, target, packed)
    except (video.VideoError, cv2.error) as error:
        shutil.rmtree(work, ignore_errors=True)
        return report.make_row(name, 'failed', ' '.join(str(error).split()))
    except OSError as error:
        raise UserError(f'{error.filename or target}: cannot be written ({error.strerror}); '
                        'fix that and run the same command again to resume') from error
    short = frames < announced
    return report.make_row(name, 'partial' if short else 'ok',
                           f'{frames} of {announced} announced frames can be decoded' if short else '',
                           frames, announced, width, height, fps)


def write_frames(capture, add, short_side, upscale, quality):
    """Calls add(name, jpeg) for each frame; -> (number of frames, their (width, height))."""
    size, frames = ('', ''), 0
    for frames, frame in enumerate(video.decoded_frames(capture), 1):
        if frames == 1:
            size = video.target_size(frame.shape[1], frame.shape[0], short_side, upscale)
        encoded, jpeg = cv2.imencode('.jpg', video.resize(frame, size), [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not encoded:
            raise video.VideoError(f'a frame of {size[0]}x{size[1]} px cannot be encoded as JPEG')
        add(frame_name(frames), jpeg.tobytes())
    return frames, size


def move_into_place(work, target, packed):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if packed:
        os.rename(os.path.join(work, 'frames.zip'), target + '.zip')
    else:
        try:
            os.rename(work, target)
        except OSError as error:
            # Another run may just have finished it, with the same bytes.
            if not target_exists(target):
                if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise video.VideoError('its frame folder exists and has other files in it: remove it') from error
                raise
    shutil.rmtree(work, ignore_errors=True)


def target_exists(target):
    return os.path.exists(os.path.join(target, frame_name(1))) or os.path.exists(target + '.zip')


def existing_frames(target):
    """-> (number of frames, their (width, height)) of a frame folder that exists but has no row in a report."""
    try:
        names = layout.frame_names(target)
        with layout.open_frames(target) as read:
            image = decode(read(names[0])) if names else None
    except (*layout.BAD_ZIP, FrameError, cv2.error):
        image = None
    if image is None:
        raise video.VideoError('its frames exist but cannot be read: remove them')
    return len(names), (image.shape[1], image.shape[0])
