"""Small videos of every kind found in downloaded data sets, and functions that run the scripts like a user."""
import os
import struct
import wave

import cv2
import numpy as np

from tests import forked

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run(script, *flags, **options):
    """Runs a script of process_data, or a maker of experiments/data; -> the finished process with its output."""
    return forked.run(command(script, *flags), **options)


def command(script, *flags):
    folder = 'experiments/data' if script.startswith('make_') else 'process_data'
    return [os.path.join(ROOT, folder, script + '.py'), *map(str, flags)]


def extract(video_root, frame_root, *flags, **options):
    """Extracts a tree of {class}/{video} in one process, unless a flag says otherwise."""
    return run('extract_frames', '--dataset', 'folder', '--video_root', video_root, '--frame_root', frame_root,
               '--jobs', 1, *flags, **options)


def make_frames(n_frames, width, height, seed=0):
    """n_frames of a smooth image that moves to the right: uint8 [n, height, width, 3]."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width + n_frames, 3)).astype(np.float32)
    picture = cv2.GaussianBlur(noise, (0, 0), 4)
    picture = np.clip((picture - picture.mean()) / picture.std() * 40 + 128, 0, 255).astype(np.uint8)
    return [picture[:, n_frames - i:n_frames - i + width].copy() for i in range(n_frames)]


def write_video(path, n_frames=8, width=64, height=48, fourcc=None, seed=0, frames=None):
    """Writes a video file; by default the codec depends on the extension."""
    path = str(path)
    fourcc = fourcc or {'.avi': 'MJPG', '.webm': 'VP80'}.get(os.path.splitext(path)[1].lower(), 'mp4v')
    os.makedirs(os.path.dirname(path), exist_ok=True)
    writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*fourcc), 25, (width, height))
    assert writer.isOpened(), path
    for frame in frames if frames is not None else make_frames(n_frames, width, height, seed):
        writer.write(frame)
    writer.release()
    return path


def write_rotated(path, **options):
    """An .mp4 with a rotation tag of 90° clockwise, as phones write it."""
    data = bytearray(open(write_video(path, **options), 'rb').read())
    # The display matrix of the track header (version 0) starts 40 bytes after its name.
    start = data.index(b'tkhd') + 4 + 40
    upright = struct.pack('>9i', 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    assert data[start:start + 36] == upright
    data[start:start + 36] = struct.pack('>9i', 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    open(path, 'wb').write(data)


def write_variable_rate(path, n_frames):
    """An .mkv with increasing frame durations, made by rewriting the time stamps of its blocks."""
    data = bytearray(open(write_video(path, n_frames=n_frames), 'rb').read())
    position, number = data.index(b'\x1f\x43\xb6\x75'), 0
    while (position := data.find(b'\xa3', position + 1)) >= 0:
        # SimpleBlock: A3, size (1 to 8 bytes), track 1 (81), time stamp (2 bytes).
        length = 9 - int(data[position + 1]).bit_length()
        if length <= 8 and data[position + 1 + length] == 0x81:
            before = struct.unpack_from('>h', data, position + 2 + length)[0]
            if before == 40 * number:
                struct.pack_into('>h', data, position + 2 + length, 40 * number + 7 * number * number)
                number += 1
    assert number == n_frames, (number, n_frames)
    open(path, 'wb').write(data)


def write_audio(path):
    with wave.open(str(path), 'wb') as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))


def cut(path, share):
    """Truncates a file to a share of its length, like a broken download."""
    with open(path, 'r+b') as file:
        file.truncate(int(os.path.getsize(path) * share))


def tree_bytes(root):
    """{relative path: bytes} of all files below root, without hidden folders."""
    found = {}
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith('.')]
        for name in files:
            path = os.path.join(folder, name)
            with open(path, 'rb') as file:
                found[os.path.relpath(path, root)] = file.read()
    return found
