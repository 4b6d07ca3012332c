"""Videos whose frames say which they are: red is twice the frame's number, green rises from left to right."""
import os

import cv2
import numpy as np

from utils.data.lists import VideoList
from utils.video.frames import frame_name


def write_video(path, n_frames, height=24, width=32):
    """Writes frames 1..n_frames (at most 120) of a video."""
    os.makedirs(path)
    green = np.linspace(40, 200, width).astype(np.uint8)
    for number in range(1, n_frames + 1):
        rgb = np.zeros((height, width, 3), np.uint8)
        rgb[:, :, 0], rgb[:, :, 1] = 2 * number, green
        cv2.imwrite(f'{path}/{frame_name(number)}', rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])


def write_videos(root, lengths, **size):
    """One video of each length, in classes a and b in turns -> VideoList."""
    paths = [str(root / 'ab'[i % 2] / f'video{i:02d}') for i in range(len(lengths))]
    for path, n_frames in zip(paths, lengths):
        write_video(path, n_frames, **size)
    return VideoList.from_rows(paths, lengths)


def numbers(frames):
    """uint8 [..., H, W, 3] -> the frame numbers [...]."""
    return np.rint(np.asarray(frames)[..., 0].mean((-1, -2)) / 2).astype(int)


def is_flipped(frames):
    """uint8 [..., H, W, 3] -> bool [...]: green falls from left to right."""
    green = np.asarray(frames)[..., 1].astype(int)
    return green[..., 0].mean(-1) > green[..., -1].mean(-1)
