"""When the frames of a video are shown: seconds from its first frame, by the file's own time stamps. No torch."""
import os

import numpy as np

from utils.video.reader import VideoError, VideoFile

LARGEST_GAP = 10  # s between two frames; more is taken for a fault of the file


def frame_times(path, n_frames, fps=None, frame_rate=None):
    """Seconds of the first `n_frames` frames of the video `path`, float64 [n_frames], from 0 at the first.

    fps:         the frames of a video file are those that read_pictures takes at this rate (None, 0: all)
    frame_rate:  frames a second of extracted frames, and of a video file whose time stamps `check_times` refuses
    VideoError: there are no such time stamps and no frame_rate; the file has fewer frames, or can't be read.
    UserError: the file system fails."""
    if not os.path.isfile(path):
        if not frame_rate:
            raise VideoError('extracted frames have no time stamps: say how many there are a second with '
                             '--frame_rate F')
        return np.arange(n_frames) / frame_rate
    with VideoFile(path) as video:
        seconds = video.times()
    try:
        check_times(seconds)
    except VideoError:
        if not frame_rate:
            raise
        return np.arange(n_frames) / (fps or frame_rate)
    if fps:
        return np.arange(n_frames) / fps
    if len(seconds) < n_frames:
        raise VideoError(f'it has {len(seconds)} frames, and the times of {n_frames} were asked for')
    return np.array(seconds[:n_frames]) - seconds[0]


def check_times(seconds):
    """VideoError: a time is None, or the times [s, …] of successive frames jump back or by more than LARGEST_GAP."""
    if not seconds or None in seconds:
        raise VideoError('its frames have no time stamps: say how many there are a second with --frame_rate F')
    steps = np.diff(seconds)
    jumps = np.flatnonzero((steps <= 0) | (steps > LARGEST_GAP))
    if len(jumps):
        raise VideoError(f'its time stamps jump by {steps[jumps[0]]:.1f} s at frame {jumps[0] + 2}: cut it there, or '
                         'say how many frames there are a second with --frame_rate F')
