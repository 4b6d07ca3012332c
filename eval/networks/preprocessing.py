"""From frames in memory to a network's input, as in a test: centre crop, resize, ImageNet's mean 0 and std 1."""
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import torch

from utils.cli import UserError
from utils.data.clip_starts import clip_starts, count_blocks
from utils.data.colour import IMAGENET_MEAN, IMAGENET_STD, to_block
from utils.data.crops import SQUARE, box_at, cut, reduction
from utils.video.reader import VideoFile
from utils.video.shrink import resize, target_size
from utils.video.sources import SHORT_SIDE


@dataclass
class Preprocessing:
    """Turns uint8 frames [F, H, W, 3] of one video, RGB and upright, into float32 input.

    With `num_seq` the frames are consecutive ones of a video of any length. Every ds-th is taken and they are cut into
    clips as in a test: [K, N, 3, T, img_dim, img_dim]. A video shorter than a clip repeats its last frame.
    With num_seq None the frames are the block: [1, 3, F, img_dim, img_dim].

    Larger frames first shrink to `short_side`, px, as those of video files do everywhere. Extracted frames are read at
    any size elsewhere: 0 for larger ones keeps the size.

    Equal to what VideoDataset and to_block make of the frames of `read`, and of JPEGs with one exception: where the
    crop has at least twice `img_dim` pixels, JPEGs are decoded at a half or quarter of the size. Here pixels are
    averaged 2×2 or 4×4 instead, which differs by a few grey levels. So do the frames of another reader, as `read`
    shrinks some before it converts their colours.

    fps: frames a second that `read` takes by time (0: every frame)"""
    num_seq: int | None
    seq_len: int
    ds: int
    img_dim: int
    short_side: int = SHORT_SIDE
    fps: float = 0

    def read(self, path):
        """All frames of a video file as the commands read them, uint8 [F, H, W, 3], RGB, upright, shrunk.

        VideoError: it can't be read. UserError: the file system fails."""
        with VideoFile(path, short_side=self.short_side, rate=self.fps) as video:
            count = max(1, video.n_frames)      # frame 1 of none is an error that says so
            return np.stack([*video.frames(range(1, count + 1))])

    def __call__(self, frames):
        frames = self.checked(frames)
        if self.num_seq is None:
            return self.block(frames).flatten(0, 1)                             # [1, 3, F, h, w]
        blocks = count_blocks(len(frames), self.num_seq, self.seq_len, self.ds)
        numbers = np.minimum(self.ds * np.arange(blocks * self.seq_len), len(frames) - 1)
        video = self.block(frames[numbers], blocks)[0]                          # [blocks, 3, T, h, w]
        return video[clip_starts(blocks, self.num_seq)[:, None] + np.arange(self.num_seq)]

    def checked(self, frames):
        """The frames as an array. UserError: they are not uint8 [F, H, W, 3]."""
        frames = np.asarray(frames)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
            raise UserError(f'frames are uint8 [T, H, W, 3], RGB; these are {frames.dtype} {list(frames.shape)}')
        return frames

    def block(self, frames, count=1):
        """uint8 [F, H, W, 3] -> [1, count, 3, F / count, img_dim, img_dim]"""
        cropped = np.empty((len(frames), self.img_dim, self.img_dim, 3), np.uint8)
        size = target_size(*frames.shape[2:0:-1], self.short_side)
        for frame, out in zip(frames, cropped):
            centre_crop(resize(frame, size), out)
        return to_block(torch.from_numpy(cropped)[None], None, count)

    def facts(self):
        """What it does, as a dict of plain values for other code."""
        return {**asdict(self), 'frames': 'uint8 RGB, upright',
                'shrink': 'if the short side is above short_side: 2x2 means as often as possible, then bilinear',
                'crop': f'centre, {SQUARE} px at most',
                'resize': 'bilinear, antialiased', 'scale': 1 / 255, 'mean': IMAGENET_MEAN, 'std': IMAGENET_STD}


def centre_crop(frame, out):
    """The centre crop of a frame uint8 [H, W, 3] in `out` [img_dim, img_dim, 3]."""
    box = box_at(*frame.shape[:2], down=0.5, right=0.5)
    factor = reduction(box, len(out))
    # whole cells of factor × factor px, as a JPEG decoder reduces
    box = type(box)(*(edge // factor * factor for edge in box))
    crop = frame[box.top:box.top + box.height, box.left:box.left + box.width]
    if factor > 1:
        crop = cv2.resize(crop, (box.width // factor, box.height // factor), interpolation=cv2.INTER_AREA)
    cut(crop, type(box)(0, 0, *crop.shape[:2]), False, out)
