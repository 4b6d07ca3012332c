"""The first parts of videos: which blocks they consist of, and a data set that decodes nothing else."""
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from utils.data.clip_starts import count_blocks
from utils.data.clips import Clip, Plan, VideoDataset
from utils.data.lists import VideoList


class Parts(NamedTuple):
    """What is seen of a video of U blocks.

    numbers: int64 [K, T], the frames of each distinct block of all parts, from 1
    rows:    for each part int64 [n], its blocks among these K, in their order
    blocks:  U, of the whole video
    """
    numbers: np.ndarray
    rows: list[np.ndarray]
    blocks: int


def parts_of(n_frames: int, clip: Clip, observe: Sequence[float]) -> Parts:
    """The Parts of a video for the fractions `observe`, of each at least one frame.

    A block that is seen in part repeats the last frame seen. A part that is the whole video has all of its blocks, as
    in a test: whole blocks, or those of a clip where the video is shorter.

    >>> parts = parts_of(20, Clip(num_seq=2, seq_len=4, ds=2, img_dim=32), observe=[0.5, 1])    # frames 1, 3, …, 19
    >>> parts.numbers.tolist(), [rows.tolist() for rows in parts.rows], parts.blocks
    ([[1, 3, 5, 7], [9, 10, 10, 10], [9, 11, 13, 15]], [[0, 1], [0, 2]], 2)
    """
    blocks = count_blocks(n_frames, clip.num_seq, clip.seq_len, clip.ds)
    found = []
    for fraction in observe:
        seen = seen_frames(n_frames, fraction)
        count = blocks if seen == n_frames else min(blocks, -(-seen // (clip.ds * clip.seq_len)))
        found.append(np.minimum(1 + clip.ds * np.arange(count * clip.seq_len), seen).reshape(count, clip.seq_len))
    numbers, rows = np.unique(np.concatenate(found), axis=0, return_inverse=True)
    return Parts(numbers, np.split(rows.ravel(), np.cumsum([len(each) for each in found])[:-1]), blocks)


def seen_frames(n_frames: int, fraction: float) -> int:
    """Frames in a part of a video, at least one."""
    return max(1, int(n_frames * fraction + 1e-6))  # 0.29 · 100 is 28.999…


class ObservedBlocks(VideoDataset):
    """The distinct blocks of the parts `observe` of each video as clips of one block, in the order of
    `parts(index).numbers`. No frame beyond the largest part is looked for or decoded."""

    def __init__(self, videos: VideoList, clip: Clip, observe: Sequence[float]):
        super().__init__(videos, clip._replace(num_seq=1))
        self.clip, self.observe = clip, observe

    def parts(self, index: int) -> Parts:
        return parts_of(int(self.videos.n_frames[index]), self.clip, self.observe)

    def plan(self, index: int) -> Plan:
        numbers = self.parts(index).numbers
        each = np.arange(len(numbers))
        return Plan(numbers[:, 0] - 1, each[:, None], each)

    def numbers(self, index: int) -> np.ndarray:
        return self.parts(index).numbers

    def last_frame(self, index: int) -> int:
        return seen_frames(int(self.videos.n_frames[index]), max(self.observe))
