"""Clips and whole videos out of a VideoList, as uint8 frames; their colours change later, on the training device.

All data sets (UCF101, HMDB51, Kinetics, a folder of your own) go through the same two classes: they differ by csv.
"""
import numpy as np
import torch

from utils.data.augmentation import Box, cut, draw_box, reduction
from utils.data.colour import draw_colour
from utils.data.frames import MAX_PIXELS, FrameError, decode, frame_name, read_jpegs

TRIES = 10  # videos tried for one sample before the data set is taken for broken


class ClipDataset(torch.utils.data.Dataset):
    """One clip of N·T frames out of each video of a list (N = `num_seq` blocks of T = `seq_len` frames).

    ds:      every ds-th frame is taken, so a clip spans N·T·ds frames of its video
    crop:    'square' | 'resized' (training) or 'centre' (validation: middle window, no flip), see utils.data.augmentation
    img_dim: px, side of the frames that come out
    flip:    probability of mirroring a clip left to right
    colour:  arguments of draw_colour, e.g. utils.data.colour.PRETRAINING, or None to leave colours alone
    labels:  int64 [R], or None
    seed:    every random choice comes from (seed, epoch, index) alone, so a clip is the same in every process

    `dataset[epoch, index]` is a dict:
        frames  uint8 [N·T, H, W, 3]
        colour  parameters of draw_colour as tensors, or None
        label   int64 [], -1 where there are no labels
        index   int64 [], the video that the clip is from
        broken  list of str, a line for each broken video that was drawn before; usually empty
    A video shorter than a clip repeats its last frame; `fits` in utils.data.lists finds them, to leave them out.
    FrameError: a broken frame in each of ten videos."""

    def __init__(self, videos, num_seq, seq_len, ds, crop, img_dim, flip=0.5, colour=None, labels=None, seed=0):
        self.videos, self.labels, self.seed = videos, labels, seed
        self.num_frames, self.ds = num_seq * seq_len, ds
        self.crop, self.img_dim, self.flip, self.colour = crop, img_dim, flip, colour

    def __len__(self):
        return len(self.videos)

    def __getitem__(self, key):
        frames = torch.empty(1, self.num_frames, self.img_dim, self.img_dim, 3, dtype=torch.uint8)
        clips = self.read_clips([key], frames)
        colour = clips['colour'] and {name: value[0] for name, value in clips['colour'].items()}
        return {'frames': frames[0], 'colour': colour, 'label': clips['label'][0], 'index': clips['index'][0],
                'broken': clips['broken']}

    def read_clips(self, keys, frames):
        """Fills `frames` uint8 [B, N·T, H, W, 3] with the clips of B keys (epoch, index).

        -> a dict of the rest with a leading B, and one list of `broken` lines."""
        drawn = [self._draw_clip(*key, out) for key, out in zip(keys, frames.numpy())]
        colours, index, broken = zip(*drawn)
        label = [-1] * len(index) if self.labels is None else self.labels[list(index)]
        colour = self.colour and {name: torch.from_numpy(np.stack([colour[name] for colour in colours]))
                                  for name in colours[0]}
        return {'colour': colour, 'label': torch.as_tensor(label), 'index': torch.tensor(index),
                'broken': sum(broken, [])}

    def _draw_clip(self, epoch, index, out):
        """Fills `out` uint8 [N·T, H, W, 3] -> (colour parameters, index of the video, lines about broken ones)."""
        rng = np.random.default_rng((self.seed, epoch, index))
        broken = []
        for _ in range(TRIES):
            try:
                self._read_clip(index, rng, out)
            except FrameError as error:
                broken.append(str(error))
                index = int(rng.integers(len(self.videos)))
            else:
                colour = self.colour and draw_colour(rng, self.num_frames, **self.colour)
                return colour, index, broken
        raise FrameError(f'{broken[-1]} ({TRIES} broken videos one after the other; '
                         'process_data/check_frames.py finds them all)')

    def _read_clip(self, index, rng, out):
        centre = self.crop == 'centre'
        n_frames = int(self.videos.n_frames[index])
        windows = max(1, n_frames - self.num_frames * self.ds + 1)  # places where a clip may start
        start = (windows - 1) // 2 if centre else int(rng.integers(windows))
        mirrored = not centre and rng.random() < self.flip
        numbers = np.minimum(1 + start + self.ds * np.arange(self.num_frames), n_frames)
        read_frames(self.videos.path(index), numbers, lambda h, w: draw_box(rng, h, w, self.crop), mirrored, out)


class VideoDataset(torch.utils.data.Dataset):
    """Whole videos for the test protocol (paper, section 4): every ds-th frame, cut into blocks of T = `seq_len`,
    those into clips of N = `num_seq` blocks; the clips start every N//2 blocks, and the last
    one ends with the last block. A video shorter than a clip repeats its last frame. Centre crop.

    Item: dict of frames uint8 [K clips, N·T, H, W, 3], label int64 [] (-1 where there are no labels), index int64 [].
    FrameError: a broken frame."""

    def __init__(self, videos, num_seq, seq_len, ds, img_dim, labels=None):
        self.videos, self.labels = videos, labels
        self.num_seq, self.seq_len, self.ds, self.img_dim = num_seq, seq_len, ds, img_dim

    def __len__(self):
        return len(self.videos)

    def __getitem__(self, index):
        n_frames = int(self.videos.n_frames[index])
        sampled = -(-n_frames // self.ds)  # frames 1, 1 + ds, … up to the end
        blocks = max(self.num_seq, sampled // self.seq_len)
        numbers = np.minimum(1 + self.ds * np.arange(blocks * self.seq_len), n_frames)
        frames = torch.empty(len(numbers), self.img_dim, self.img_dim, 3, dtype=torch.uint8)
        read_frames(self.videos.path(index), numbers, lambda h, w: draw_box(None, h, w, 'centre'), flip=False,
                    out=frames.numpy())

        starts = clip_starts(blocks, self.num_seq)
        clips = frames.unflatten(0, (blocks, self.seq_len))[starts[:, None] + np.arange(self.num_seq)]
        label = -1 if self.labels is None else int(self.labels[index])
        return {'frames': clips.flatten(1, 2), 'label': torch.tensor(label), 'index': torch.tensor(index)}


def clip_starts(blocks, num_seq):
    """First blocks, int64 [K], of the clips that cover `blocks` blocks; the last clip ends with the last block."""
    stride = max(1, num_seq // 2)
    last = blocks - num_seq
    return np.append(np.arange(0, last, stride), last)


def read_frames(path, numbers, box_of, flip, out):
    """Reads frames of the video `path` into `out` uint8 [M, img_dim, img_dim, 3], all cut out by one box.

    numbers: int [M], ascending, from 1; a repeated number is read and decoded once
    box_of:  (height, width) of the frames -> the Box to cut out
    FrameError: a frame that is missing, broken or of another size than the first."""
    distinct, copies = np.unique(numbers, return_counts=True)
    jpegs = read_jpegs(path, distinct)
    first = _decode(jpegs[0], path, distinct[0])
    box = box_of(*first.shape[:2])
    factor = reduction(box, out.shape[1])
    if factor > 1:
        box = Box(*(edge // factor for edge in box))
        first = _decode(jpegs[0], path, distinct[0], factor)
    i = 0
    for jpeg, number, count in zip(jpegs, distinct, copies):
        frame = first if i == 0 else _decode(jpeg, path, number, factor)
        if frame.shape != first.shape:
            raise FrameError(f'{path}/{frame_name(number)}: not of the size of the frames before it')
        cut(frame, box, flip, out[i])
        out[i + 1:i + count] = out[i]
        i += count


def _decode(jpeg, path, number, factor=1):
    frame = decode(jpeg, factor)
    if frame is None:
        raise FrameError(f'{path}/{frame_name(number)}: not a whole JPEG of at most {MAX_PIXELS} pixels')
    return frame
