"""Extracting one video: what each worker process of extract_frames.py does."""
import errno
import os
import shutil
import zipfile

import cv2
import numpy as np

from process_data import layout, report, video
from process_data.errors import UserError


def extract_video(name, source, target, work, packed, settings):
    """Extracts one video into the folder `work` and moves that, or the zip in it, to `target`; -> its report row.

    A video at fault gives a row of status failed. A disk at fault raises UserError, since it would fail every video.
    """
    video.quiet_decoder()
    try:
        capture, announced, fps = video.open_video(source)
        if target_exists(target):
            frames, (width, height) = frames_there(target)
        else:
            # Not makedirs: a worker that outlives its run must not bring the swept folder of that run back.
            os.mkdir(work)
            with layout.Packer(os.path.join(work, 'frames.zip')) if packed else layout.Loose(work) as store:
                frames, (width, height) = write_frames(capture, store, **settings)
            if not frames:
                raise video.VideoError('no frame in it can be decoded')
            put_in_place(work, target, packed)
    except (video.VideoError, cv2.error) as error:
        shutil.rmtree(work, ignore_errors=True)
        return report.make_row(name, 'failed', ' '.join(str(error).split()))
    except OSError as error:
        raise UserError(f'{error.filename or target}: cannot be written ({error.strerror}); '
                        'mend that and run the same command again to go on from here') from error
    short = frames < announced
    return report.make_row(name, 'partial' if short else 'ok',
                           f'{frames} of {announced} announced frames can be decoded' if short else '',
                           frames, announced, width, height, fps)


def write_frames(capture, store, short_side, upscale, quality):
    """-> (number of frames added to `store`, their (width, height))."""
    size, frames = ('', ''), 0
    for frames, frame in enumerate(video.decoded_frames(capture), 1):
        if frames == 1:
            size = video.target_size(frame.shape[1], frame.shape[0], short_side, upscale)
        encoded, jpeg = cv2.imencode('.jpg', video.resize(frame, size), [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not encoded:
            raise video.VideoError(f'a frame of {size[0]}x{size[1]} px cannot be encoded as JPEG')
        store.add(layout.frame_name(frames), jpeg.tobytes())
    return frames, size


def put_in_place(work, target, packed):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if packed:
        os.rename(os.path.join(work, 'frames.zip'), target + '.zip')
    else:
        try:
            os.rename(work, target)
        except OSError as error:
            # Another run may have finished it meanwhile, with the same bytes.
            if not target_exists(target):
                if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise video.VideoError('its frame folder is there with other things in it: remove it') from error
                raise
    shutil.rmtree(work, ignore_errors=True)


def target_exists(target):
    return os.path.exists(os.path.join(target, layout.frame_name(1))) or os.path.exists(target + '.zip')


def frames_there(target):
    """-> (number of frames, their (width, height)) of a frame folder that is there but in no report."""
    try:
        names = layout.frame_names(target)
        with layout.open_frames(target) as read:
            jpeg = read(names[0]) if names else b''
    except zipfile.BadZipFile:
        jpeg = b''
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) if jpeg else None
    if image is None:
        raise video.VideoError('its frames are there but cannot be read: remove them')
    return len(names), (image.shape[1], image.shape[0])
