"""Clips and whole videos of a VideoList as uint8 frames; colours are augmented later, on the training device.

All data sets (UCF101, HMDB51, Kinetics, a folder of your own) use the same two classes and differ by csv only.
"""
import multiprocessing
from typing import Callable, NamedTuple, Optional, Union

import cv2
import numpy as np
import torch

from utils.data.clip_starts import blocks_of_clips, clip_starts, count_blocks, training_starts
from utils.data.colour import ColourRecipe, draw_colour
from utils.data.crops import Box, View, cut, draw_box, reduction, views_of
from utils.data.lists import VideoList
from utils.random_streams import stream
from utils.video.frames import FrameError
from utils.video.sources import has_frame, read_pictures

TRIES = 10  # videos tried for one sample before the run stops
BLOCKS_READ = 64  # of a whole video at a time: 16 MB at 128 px
MOST_FRAMES = 10 ** 7  # of a video in a test: four days


class Clip(NamedTuple):
    """N = `num_seq` blocks of T = `seq_len` frames: every ds-th of a video, with a side of img_dim px."""
    num_seq: int
    seq_len: int
    ds: int
    img_dim: int


class ClipDataset(torch.utils.data.Dataset):
    """Clips of N·T frames, one or more from each video of a list.

    clip:    a Clip, which spans N·T·ds frames of its video
    crop:    'square' | 'resized' (training) or 'centre' (validation: middle window, no flip); see draw_box
    flip:    probability of mirroring a clip left to right
    colour:  a utils.data.colour.ColourRecipe such as PRETRAINING, or None for no colour augmentation
    labels:  int64 [R], bool [R, C] of several labels, or None
    seed:    every random choice depends on (seed, epoch, index) only, so a clip is the same in every process
    clips_per_video: K; clip `index` is number index % K of video index // K, see `training_starts` for where it starts

    `dataset[epoch, index]` is a dict:
        frames  uint8 [N·T, H, W, 3]
        colour  parameters of draw_colour as tensors, or None
        label   int64 [], -1 where there are no labels; or bool [C]
        index   int64 [], the video of the clip
        broken  list of str, a line for each broken video that this clip replaces; usually empty
    `dataset.__getitems__(keys)`, which a DataLoader calls for a batch of keys, stacks these over B keys; `broken` is
    one list. A video shorter than a clip repeats its last frame; `usable` in utils.data.splits drops short videos.
    Ten broken videos in a row give {error: str} instead: an exception in a worker would arrive with its traceback.

    `progress.value` counts the frames read by all workers.

    >>> videos = VideoList.from_rows(['/frames/run/v1', '/frames/jump/v2'], [200, 31])
    >>> dataset = ClipDataset(videos, Clip(num_seq=8, seq_len=5, ds=3, img_dim=128), crop='resized')
    >>> len(dataset), dataset.num_frames    # dataset[0, 1] is a clip of the second video, as epoch 0 draws it
    (2, 40)
    """

    def __init__(self, videos: VideoList, clip: Clip, crop: str, flip: float = 0.5,
                 colour: Optional[ColourRecipe] = None, labels: Optional[np.ndarray] = None, seed: int = 0,
                 clips_per_video: int = 1):
        self.videos, self.labels, self.seed = videos, labels, seed
        self.num_seq, self.num_frames, self.ds = clip.num_seq, clip.num_seq * clip.seq_len, clip.ds
        self.crop, self.img_dim, self.flip, self.colour = crop, clip.img_dim, flip, colour
        self.clips_per_video = clips_per_video
        self.progress = multiprocessing.RawValue('L')

    def __len__(self) -> int:
        return len(self.videos) * self.clips_per_video

    def __getitem__(self, key: tuple[int, int]) -> dict:
        batch = self.__getitems__([key])
        if 'error' in batch:
            raise FrameError(batch['error'])
        colour = batch.get('colour') and {name: value[0] for name, value in batch['colour'].items()}
        return {**{name: batch[name][0] for name in ('frames', 'label', 'index')}, 'colour': colour,
                'broken': batch['broken']}

    def __getitems__(self, keys: list[tuple[int, int]]) -> dict:
        frames = torch.empty(len(keys), self.num_frames, self.img_dim, self.img_dim, 3, dtype=torch.uint8)
        try:
            drawn = [self._draw_clip(*key, out) for key, out in zip(keys, frames.numpy())]
        except FrameError as error:
            return {'error': str(error)}
        colours, index, broken = zip(*drawn)
        label = [-1] * len(index) if self.labels is None else self.labels[list(index)]
        colour = self.colour and {name: torch.from_numpy(np.stack([colour[name] for colour in colours]))
                                  for name in colours[0]}
        return {'frames': frames, 'colour': colour, 'label': torch.as_tensor(label), 'index': torch.tensor(index),
                'broken': sum(broken, [])}

    def _draw_clip(self, epoch, index, out):
        """Fills `out` uint8 [N·T, H, W, 3] -> (colour parameters, index of the video, lines on broken ones)."""
        rng = stream('clip', self.seed, epoch, index)
        video, clip = divmod(index, self.clips_per_video)
        broken = []
        for _ in range(TRIES):
            try:
                self._read_clip(video, clip, rng, out)
            except FrameError as error:
                broken.append(str(error))
                video = int(rng.integers(len(self.videos)))
            else:
                colour = self.colour and draw_colour(rng, self.num_frames, self.colour)
                return colour, video, broken
        raise FrameError(f'{broken[-1]} ({TRIES} broken videos in a row; '
                         'process_data/check_frames.py finds them all)')

    def _read_clip(self, video, clip, rng, out):
        centre = self.crop == 'centre'
        n_frames = int(self.videos.n_frames[video])
        first, windows = training_starts(n_frames, self.num_frames * self.ds, clip, self.clips_per_video)
        start = first + ((windows - 1) // 2 if centre else int(rng.integers(windows)))
        mirrored = not centre and rng.random() < self.flip
        numbers = np.minimum(1 + start + self.ds * np.arange(self.num_frames), n_frames)
        read_frames(self.videos.path(video), numbers, lambda h, w: draw_box(rng, h, w, self.crop), mirrored, out,
                    self.progress, self.videos.fps)


class Plan(NamedTuple):
    """What is read of a video for its clips, each block once.

    first: int64 [U], the first frame of each block, from 0, ascending
    rows:  int64 [K, N], the blocks of each clip, rows of `first`
    start: int64 [K], where the clips start, in the unit of the data set
    """
    first: np.ndarray
    rows: np.ndarray
    start: np.ndarray


class VideoDataset(torch.utils.data.Dataset):
    """Whole videos for a test (paper, section 4): every ds-th frame, cut into blocks of T, and those into clips of N
    blocks that may overlap. A video shorter than a clip repeats its last frame.

    starts_of: frames of a video -> first blocks of its clips, int64 [K], ascending; None: clips that cover the whole
               video, see `clip_starts`
    labels:    int64 [R], bool [R, C] of several labels, or None
    views:     V views of utils.data.crops, or a function of the index that gives them; None: the centre crop
    most:      blocks read at a time, which bounds memory

    A video is read in pieces, each block once however many clips it is in. `dataset[piece]`, of `pieces(index)`, is
        blocks    uint8 [V, u, T, H, W, 3], successive blocks of each view
        index     int64 [], the video
        last      bool [], whether it is the last piece
    For a missing or broken frame it is {index, broken: str} instead: the error does not end a test.
    `progress.value` counts the frames read by all workers.

    >>> videos = VideoList.from_rows(['/frames/run/v1', '/frames/jump/v2'], [200, 31])
    >>> dataset = VideoDataset(videos, Clip(8, 5, 3, img_dim=128), most=10)
    >>> dataset.pieces(0)
    [(0, 0, 10), (0, 10, 13)]
    >>> dataset.plan(0).rows[:, 0].tolist()  # its 13 blocks are in three clips
    [0, 4, 5]
    """
    unit = None  # frames that starts are counted in; None: those of a block

    def __init__(self, videos: VideoList, clip: Clip, labels: Optional[np.ndarray] = None,
                 starts_of: Optional[Callable[[int], np.ndarray]] = None,
                 views: Union[list[View], Callable[[int], list[View]], None] = None, most: int = BLOCKS_READ):
        self.videos, self.labels, self.most = videos, labels, most
        self.num_seq, self.seq_len, self.ds, self.img_dim = clip
        self.starts_of = starts_of or self._covering_starts
        self.views = views or views_of()
        self.progress = multiprocessing.RawValue('L')

    def starts(self, index: int) -> np.ndarray:
        """Where the clips of a video start, int64 [K], ascending."""
        return self.starts_of(int(self.videos.n_frames[index]))

    def plan(self, index: int) -> Plan:
        """The Plan of a video."""
        start, span = self.starts(index), self.seq_len * self.ds
        return Plan(*blocks_of_clips(start * (self.unit or span), self.num_seq, span), start)

    def numbers(self, index: int) -> np.ndarray:
        """The frames of each block of the Plan, int64 [U, T], from 1."""
        numbers = 1 + self.plan(index).first[:, None] + self.ds * np.arange(self.seq_len)
        return np.minimum(numbers, self.videos.n_frames[index])

    def last_frame(self, index: int) -> int:
        """The last frame that must be there, from 1."""
        return int(self.videos.n_frames[index])

    def about(self, index: int) -> dict:
        """{index, label (-1 where there are no labels; or bool [C]), n_frames as listed} of a video."""
        label = -1 if self.labels is None else self.labels[index]
        return {'index': index, 'label': torch.as_tensor(label), 'n_frames': int(self.videos.n_frames[index])}

    def pieces(self, index: int) -> list[tuple[int, int, int]]:
        """What to read of a video: [(index, first, end) of at most `most` blocks, …]."""
        if self.videos.n_frames[index] > MOST_FRAMES:  # reading it will say so
            return [(index, 0, self.num_seq)]
        count = len(self.plan(index).first)
        return [(index, first, min(first + self.most, count)) for first in range(0, count, self.most)]

    def views_of(self, index: int) -> list[View]:
        """The V views of a video."""
        return self.views(index) if callable(self.views) else self.views

    def __getitem__(self, piece: tuple[int, int, int]) -> dict:
        try:
            return self._read_piece(*piece)
        except FrameError as error:
            return {'index': torch.tensor(piece[0]), 'broken': str(error)}

    def _read_piece(self, index, first, end):
        path, n_frames, last = self.videos.path(index), int(self.videos.n_frames[index]), self.last_frame(index)
        # before allocating memory: the count may be far too large
        if first == 0 and not has_frame(path, last, self.videos.fps):
            raise FrameError(f'{path}: the list says {n_frames} frames, but frame {last} is not there')
        if n_frames > MOST_FRAMES:
            raise FrameError(f'{path}: {n_frames} frames; at most {MOST_FRAMES} are read')
        numbers, views = self.numbers(index), self.views_of(index)
        distinct, rows = np.unique(numbers[first:end], return_inverse=True)
        frames = torch.empty(len(views), len(distinct), self.img_dim, self.img_dim, 3, dtype=torch.uint8)
        read_views(path, distinct, views, frames.numpy(), self.progress, self.videos.fps)
        return {'blocks': frames[:, torch.from_numpy(rows.reshape(-1, self.seq_len))], 'index': torch.tensor(index),
                'last': torch.tensor(end == len(numbers))}

    def _covering_starts(self, n_frames):
        return clip_starts(count_blocks(n_frames, self.num_seq, self.seq_len, self.ds), self.num_seq)


def read_frames(path, numbers, box_of, flip, out, progress, fps=None):
    """Reads frames of the video `path` into `out` uint8 [M, img_dim, img_dim, 3], all cropped to the same box.

    numbers:  int [M], ascending, from 1; a repeated number is read and decoded once
    box_of:   (height, width) of the frames -> the Box to crop to
    progress: its `value` is raised for each frame
    fps:      of a video file, see read_pictures
    FrameError: a frame is missing, broken, or its size differs from the first."""
    for rows, frame, (box,) in decoded_frames(path, numbers, [box_of], out.shape[1], progress, fps):
        cut(frame, box, flip, out[rows.start])
        out[rows.start + 1:rows.stop] = out[rows.start]


def read_views(path, numbers, views, out, progress, fps=None):
    """Reads frames of the video `path` once, and cuts each into V `views`: `out` uint8 [V, M, img_dim, img_dim, 3].
    The other arguments and errors are those of read_frames."""
    boxes_of = [view.box_of for view in views]
    for rows, frame, boxes in decoded_frames(path, numbers, boxes_of, out.shape[2], progress, fps):
        mirrored = cv2.flip(frame, 1) if any(view.mirrored for view in views) else None
        for view, box, clip in zip(views, boxes, out):
            cut(mirrored if view.mirrored else frame, box, False, clip[rows.start])
            clip[rows.start + 1:rows.stop] = clip[rows.start]


def decoded_frames(path, numbers, boxes_of, img_dim, progress, fps):
    """Yields (rows, frame, boxes) for each distinct frame of `numbers`, see read_frames: the slice of its rows in
    `numbers`; the frame uint8 [H, W, 3], decoded as small as `img_dim` allows; for each of `boxes_of` its box in it."""
    distinct, copies = np.unique(numbers, return_counts=True)
    boxes = []

    def reduction_of(height, width):
        whole = [box_of(height, width) for box_of in boxes_of]
        factor = min(reduction(box, img_dim) for box in whole)
        boxes.extend(Box(*(edge // factor for edge in box)) for box in whole)
        return factor

    i = 0
    for frame, count in zip(read_pictures(path, distinct, reduction_of, fps), copies):
        yield slice(i, i + count), frame, boxes
        i += count
        progress.value += 1  # not atomic, which is enough to see that it moves
