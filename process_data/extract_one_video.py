"""Extracts one video: the task of each worker process of extract_frames.py."""
import contextlib
import errno
import functools
import os
import shutil

import cv2
import numpy as np

from process_data import extract_report as report
from process_data import layout
from utils.cli import UserError
from utils.video.frames import (
    BAD_ZIP,
    DiskError,
    FrameError,
    count_in,
    decode,
    frame_name,
    frame_names,
    has_frames,
    open_frames,
)
from utils.video.reader import VideoError, VideoFile


def extract_video(name, source, target, work, packed, settings):
    """Extracts a video into the folder `work`, then moves that folder (or the zip in it) to `target`; -> report row.

    A faulty video gives a row with status failed, one that has lost frames status partial. A faulty disk raises
    UserError, as it would fail every video.
    """
    cv2.setNumThreads(1)
    remarks = []
    try:
        with VideoFile(source, 'bgr24', settings['short_side'], settings['upscale'], settings.get('fps')) as video:
            if target_exists(target):
                frames, (width, height) = existing_frames(target)
                video.decode_all()
            else:
                # mkdir, not makedirs: a worker that outlives its run must not recreate the swept folder of that run.
                os.mkdir(work)
                with layout.open_packer(os.path.join(work, 'frames.zip')) if packed else (
                        contextlib.nullcontext(functools.partial(layout.write_loose, work))) as add:
                    frames, (width, height), remarks = write_frames(video, add, settings)
                if not frames:
                    raise VideoError('no frame in it can be decoded')
                move_into_place(work, target, packed)
            losses, fps = video.losses(), settings.get('fps') or video.fps
            announced = max(frames, video.announced) if losses and 'fps' not in settings else frames
    except (VideoError, cv2.error) as error:
        shutil.rmtree(work, ignore_errors=True)
        return report.make_row(name, 'failed', ' '.join(str(error).split()))
    except OSError as error:
        raise UserError(f'{error.filename or target}: cannot be written ({error.strerror}); '
                        'fix that and run the same command again to resume') from error
    if announced > frames:
        losses.insert(0, f'{frames} of {announced} announced frames can be decoded')
    return report.make_row(name, 'partial' if losses else 'ok', '; '.join(losses + remarks), frames, announced,
                           width, height, fps)


def write_frames(video, add, settings):
    """Calls add(name, jpeg) for each frame of a VideoFile; -> (number of frames, their (width, height), remarks).

    The remarks, a list of str, are the reader's notes, and what makes the pictures suspicious: a broken decoder can
    deliver one picture, or one colour, for a whole video.
    """
    size, frames, first, moves, plain = ('', ''), 0, None, False, True
    for frames, frame in enumerate(video.all_frames(), 1):
        if first is None:
            first, size = frame, frame.shape[1::-1]
        moves = moves or (frames > 1 and not np.array_equal(frame, first))
        plain = plain and np.array_equal(frame.min((0, 1)), frame.max((0, 1)))
        encoded, jpeg = cv2.imencode('.jpg', frame, [cv2.IMWRITE_JPEG_QUALITY, settings['quality']])
        if not encoded:
            raise VideoError(f'a frame of {size[0]}x{size[1]} px cannot be encoded as JPEG')
        add(frame_name(frames), jpeg.tobytes())
    remarks = list(video.notes)
    if frames and plain:
        remarks.append('every frame is of one colour')
    elif frames > 1 and not moves:
        remarks.append(f'all {frames} frames are the same picture')
    return frames, size, remarks


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
                    raise VideoError('its frame folder exists and has other files in it: remove it') from error
                raise
    shutil.rmtree(work, ignore_errors=True)


def target_exists(target):
    return has_frames(target) or os.path.exists(target + '.zip')


def existing_frames(target):
    """-> (number of frames, their (width, height)) of a frame folder that exists but has no row in a report."""
    try:
        names = frame_names(target)
        with open_frames(target) as read:
            image = decode(read(names[0])) if names else None
    except DiskError:
        raise
    except (*BAD_ZIP, FrameError, cv2.error):
        image = None
    if image is None:
        raise VideoError('its frames exist but cannot be read: remove them')
    return count_in(names), (image.shape[1], image.shape[0])
