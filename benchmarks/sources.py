"""Clips per second of one core from each source that a list may name: frames, packed frames, video files.

    python -m benchmarks.input_pipeline --source frames packed video

A clip is 40 frames, every third, at 128 px. The files: UCF101-like (320×240 MPEG-4 in .avi), Kinetics-like (340×256
H.264 with GOPs of 250), and 150 px high H.264 with GOPs of 12; frames are 150 px high. "PyAV alone" seeks and decodes
the very same frames and crops and resizes them, with the time stamps known beforehand and nothing checked.
"""
import os
from fractions import Fraction

import av
import cv2
import numpy as np
import torch

from utils.data.clips import Clip, ClipDataset
from utils.data.crops import cut, draw_box
from utils.data.lists import VideoList
from utils.video.reader import VideoFile, resize

NUM_SEQ, SEQ_LEN, DS, IMG_DIM = 8, 5, 3, 128
H100_CLIPS = 1600   # a second, R18 at 128 px
# name: (extension, width, height, codec, options, bits a second)
FILES = {
    'video, MPEG-4 320x240': ('.avi', 320, 240, 'mpeg4', {'g': '250'}, 520_000),
    'video, H.264 340x256': ('.mp4', 340, 256, 'libx264', {'g': '250', 'preset': 'medium'}, 600_000),
    'video, H.264 266x150, GOP 12': ('.mp4', 266, 150, 'libx264', {'g': '12', 'preset': 'medium'}, 500_000),
}


def encode(frames, folder, kind):
    """Writes the videos of a VideoList of frame folders as files of one of FILES -> VideoList."""
    extension, width, height, codec, options, rate = FILES[kind]
    paths = [os.path.join(folder, kind.replace(' ', '_'), f'{i:04d}{extension}') for i in range(len(frames))]
    os.makedirs(os.path.dirname(paths[0]))
    for source, path in zip(frames.paths(), paths):
        with av.open(path, 'w') as container:
            stream = container.add_stream(codec, rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, 'yuv420p', rate
            for name in sorted(os.listdir(source)):
                picture = resize(cv2.imread(os.path.join(source, name))[:, :, ::-1], (width, height))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format='rgb24')))
            container.mux(stream.encode())
    return VideoList.from_rows(paths, frames.n_frames)


def ours(videos):
    """A function that makes one clip as a data worker does, less the random numbers for colour."""
    dataset = ClipDataset(videos, Clip(NUM_SEQ, SEQ_LEN, DS, IMG_DIM), 'resized')
    rng = np.random.default_rng(0)
    return lambda: dataset.__getitems__([(int(rng.integers(1 << 30)), int(rng.integers(len(videos))))])


def pyav_alone(videos):
    """A function that makes one clip with PyAV by the shortest code. Its files need no turning and no shrinking."""
    times = []
    for path in videos.paths():
        with VideoFile(path) as video:
            found, _ = video._read_index()
            times.append(found or [Fraction(i) for i in range(video.n_frames)])
    rng, out = np.random.default_rng(0), np.empty((NUM_SEQ * SEQ_LEN, IMG_DIM, IMG_DIM, 3), np.uint8)

    def clip():
        rng.integers(1 << 30)
        i = int(rng.integers(len(videos)))
        start = int(rng.integers(len(times[i]) - len(out) * DS + 1))
        wanted = [times[i][start + DS * k] for k in range(len(out))]
        with av.open(videos.path(i)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            container.seek(wanted[0], stream=stream)
            converter, taken, box = av.video.reformatter.VideoReformatter(), 0, None
            for frame in container.decode(stream):
                if frame.pts == wanted[taken]:
                    picture = converter.reformat(frame, format='rgb24', threads=1).to_ndarray()
                    box = box or draw_box(rng, *picture.shape[:2], 'resized')
                    cut(picture, box, False, out[taken])
                    taken += 1
                    if taken == len(wanted):
                        return

    return clip


def megabytes(videos):
    """Size of all files of a VideoList, MB."""
    total = 0
    for path in videos.paths():
        if os.path.isdir(path):
            total += sum(entry.stat().st_size for entry in os.scandir(path))
        else:
            total += os.path.getsize(path if os.path.isfile(path) else path + '.zip')
    return total / 1e6


def compare(lists, in_turns, rounds, clips):
    """Prints the table of VideoLists {name: videos}; -> {name: {clips/s, of PyAV alone, MB}}."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    ways = {name: ours(videos) for name, videos in lists.items()}
    ways |= {f'{name}: PyAV alone': pyav_alone(videos) for name, videos in lists.items() if name in FILES}
    rates = in_turns(ways, rounds, clips)
    results = {}
    print(f'{"one core":32} clips/s   of PyAV alone   kB a frame   cores for {H100_CLIPS} clips/s')
    for name, videos in lists.items():
        alone = rates.get(f'{name}: PyAV alone')
        kilobytes = 1000 * megabytes(videos) / int(videos.n_frames.sum())
        results[name] = {'clips/s': rates[name], 'of PyAV alone': alone and rates[name] / alone,
                         'kB a frame': kilobytes}
        share = f'{rates[name] / alone:15.0%}' if alone else ' ' * 15
        print(f'{name:32} {rates[name]:7.1f} {share} {kilobytes:12.1f} {H100_CLIPS / rates[name]:12.0f}')
    return results
