"""Candidates that surprise is measured against: features of blocks drawn from training videos, in a file."""
import hashlib
import json
from dataclasses import dataclass

import numpy as np
import torch

from eval.extract.cache import NO_ARRAYS, write_arrays
from eval.extract.inference import outputs_of
from eval.forecast.next_block import CANDIDATES
from eval.forecast.video_maps import maps_only
from utils.cli import UserError
from utils.data.clips import VideoDataset
from utils.random_streams import stream


@dataclass
class Bank:
    """feature: signed maps float32 [K, S, D]. made_with: what they depend on, plain values; see `read_bank`. paths: of
    the videos that they are of, each once."""
    feature: torch.Tensor
    made_with: dict
    paths: list

    @property
    def hash(self):
        """8 hex digits that say which bank it is."""
        return self.hash_with()

    def hash_with(self, context=None):
        """8 hex digits: bits are comparable where they are equal. context: M, the blocks seen, on which they depend,
        too."""
        data = json.dumps([self.made_with, context], sort_keys=True).encode() + self.feature.numpy().tobytes()
        return hashlib.sha256(data).hexdigest()[:8]


class DrawnBlocks(VideoDataset):
    """Up to `count` single blocks of the videos of a list, drawn from `seed`; videos without any are left out.

    clip: a Clip of one block. A video shorter than a block has none."""

    def __init__(self, videos, clip, count, seed):
        ends = np.cumsum(-(-videos.n_frames // clip.ds) // clip.seq_len)    # whole blocks of this and the videos before
        total = int(ends[-1])
        rows = np.sort(stream('bank', seed).choice(total, min(count, total), replace=False))
        video = np.searchsorted(ends, rows, side='right')
        block = rows - np.append(0, ends)[video]
        drawn = np.unique(video)
        super().__init__(videos.select(drawn), clip)
        self.drawn = [block[video == each] for each in drawn]

    def starts(self, index):
        return self.drawn[index]


def make_bank(encode, videos, clip, resources, made_with):
    """The Bank of up to CANDIDATES blocks of a VideoList, drawn from the seed in `made_with`, without unreadable ones.

    encode: blocks [B, 1, C, T, H, W] -> maps [B, 1, S, D]. clip: a Clip of one block. UserError: no block is left."""
    blocks = DrawnBlocks(videos, clip, CANDIDATES, made_with['seed'])
    maps = [maps for _, maps in outputs_of(encode, maps_only, blocks, resources, 'bank', [])]
    if not maps:
        raise UserError(f'--bank: none of the {len(videos)} training videos has a block of {clip.seq_len} frames with '
                        f'--ds {clip.ds} that can be read')
    return Bank(torch.cat(maps), made_with, list(blocks.videos.paths()))


def write_bank(path, bank):
    """UserError: it can't be written."""
    write_arrays(path, bank.made_with, [], {'feature': bank.feature.numpy(), 'path': np.array(bank.paths)})


def read_bank(path, expected):
    """The Bank in a file. expected: what `made_with` must be, but for the data and the seed it was drawn with.

    UserError: no bank, or one of other weights or settings."""
    try:
        with np.load(path) as stored:
            bank = Bank(torch.from_numpy(stored['feature']), json.loads(str(stored['fingerprint'])),
                        stored['path'].tolist())
    except NO_ARRAYS:
        raise UserError(f'--bank {path} is no bank, or one of an earlier version: give bank.npz of another --out, or a '
                        'data set') from None
    refuse_other(path, bank, expected)
    return bank


def refuse_other(path, bank, expected):
    """UserError: the Bank at `path` was made with other values than these."""
    other = [name for name, value in expected.items() if bank.made_with.get(name) != value]
    if other:
        raise UserError(f'--bank {path} was made with other {" and ".join(other)} '
                        f'({", ".join(f"{bank.made_with.get(name)}, now {expected[name]}" for name in other)}): make '
                        'one with these, by --bank and the name of a data set')
