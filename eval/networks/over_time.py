"""A network for use in other code that gives features along a video."""
import numpy as np
import torch

from eval.model import ContextEncoder
from utils.cli import UserError
from utils.data.clip_starts import blocks_of_clips, window_starts

BLOCKS_AT_ONCE = 64


class FeatureExtractor(ContextEncoder):
    """A ContextEncoder with `transform`, the Preprocessing of its input."""

    @torch.no_grad()
    def over_time(self, frames: np.ndarray, every: float | None = None) -> torch.Tensor:
        """The consecutive frames of a video, uint8 [F, H, W, 3], RGB -> context of windows along it, [T, D].

        every: frames from the start of one window of N·T·ds frames to that of the next (None: a block's T·ds, with
        which each block is encoded once). The last window reaches the end, unless windows are shorter than `every`;
        the last frame is repeated as needed.
        UserError: the frames have another form, or `every` is not above 0."""
        frames, clip = self.transform.checked(frames), self.transform
        span = clip.seq_len * clip.ds
        every = span if every is None else every
        if not every > 0:
            raise UserError(f'every={every}: give the frames from one window to the next, a number above 0')
        starts = window_starts(np.arange(len(frames)), every, clip.num_seq * span)
        first, rows = blocks_of_clips(starts, clip.num_seq, span)
        numbers = np.minimum(first[:, None] + clip.ds * np.arange(clip.seq_len), len(frames) - 1)     # [U, T]
        device = next(self.parameters()).device
        maps = []
        for part in np.split(numbers, range(BLOCKS_AT_ONCE, len(numbers), BLOCKS_AT_ONCE)):
            block = clip.block(frames[part.reshape(-1)], len(part))[0].unsqueeze(1)       # [u, 1, 3, T, h, w]
            maps.append(self.encode(block.to(device))[:, 0])
        maps = torch.cat(maps)                                                            # [U, S, D]
        return torch.cat([self.summarise(maps[part]) for part in torch.from_numpy(rows).split(BLOCKS_AT_ONCE)])
