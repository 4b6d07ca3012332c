"""Video files of every kind, made by PyAV's encoders."""
from fractions import Fraction

import av
import cv2
import numpy as np

MILLISECOND = Fraction(1, 1000)


def film(count, width=64, height=48, seed=0, blur=3):
    """`count` RGB pictures of a smooth texture (`blur`, px) that moves: uint8 [height, width, 3]."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height + count, width + 2 * count, 3)).astype(np.float32)
    picture = cv2.GaussianBlur(noise, (0, 0), blur)
    picture = np.clip((picture - picture.mean()) / picture.std() * 45 + 128, 0, 255).astype(np.uint8)
    return [np.ascontiguousarray(picture[i:i + height, 2 * i:2 * i + width]) for i in range(count)]


def write_film(path, pictures, codec='libx264', pix_fmt='yuv420p', options=None, muxing=None, times=None, rotation=0,
               matrix=None, full_range=None):
    """Writes RGB pictures as a video file; returns its path as str.

    options, muxing: of the encoder and of the container, {name: str}
    times:           ms at which the frames are shown (None: 25 a second)
    rotation:        degrees, counterclockwise, by which a player must turn the frames
    matrix:          FFmpeg's number of a colour matrix, which only goes into the header
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = pictures[0].shape[:2]
    with av.open(str(path), 'w', options=muxing or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.thread_count = 1  # sizes of packets depend on it
        if times is not None:
            stream.codec_context.time_base = MILLISECOND
        if rotation:
            stream.set_display_rotation(rotation)
        if matrix is not None:
            stream.codec_context.colorspace = matrix
        if full_range is not None:
            stream.codec_context.color_range = 2 if full_range else 1
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format='rgb24').reformat(format=pix_fmt)
            if times is not None:
                frame.pts, frame.time_base = times[i], MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


def decoded(path):
    """Every frame of a video file by the plain loop, RGB uint8 [H, W, 3], not turned upright."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]


def replace_bytes(path, old, new):
    """Replaces the only occurrence of `old` in a file."""
    data = open(path, 'rb').read()
    assert data.count(old) == 1 and len(old) == len(new), (path, data.count(old))
    open(path, 'wb').write(data.replace(old, new))


def cut_off_first(path, count):
    """Makes the edit list of an .mp4 of 25 frames a second begin `count` frames later."""
    data = bytearray(open(path, 'rb').read())
    at = data.index(b'elst') + 16       # name, version and flags, number of edits, duration of the first
    start = int.from_bytes(data[at:at + 4], 'big')
    data[at:at + 4] = (start + count * 512).to_bytes(4, 'big')      # libavformat's 12,800 ticks a second
    open(path, 'wb').write(data)
