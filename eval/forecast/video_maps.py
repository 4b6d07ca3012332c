"""Every block of whole videos once: its feature map, and how much it moves."""
import itertools
import operator
from collections import Counter

import torch

from backbone.blocks import encode_blocks
from eval.extract.inference import outputs_of
from eval.forecast.predictions import motion_of
from utils.data.clips import PieceDataset

BLOCKS_READ = 32  # of a video in memory as frames: its length doesn't matter


def encoder_of(model):
    """A DPC as a function of single blocks: [B, 1, C, T, H, W] -> signed maps [B, S, D]; S = 1 if pooled. BN normalises
    by the running statistics, so that a block's map doesn't depend on the batch."""
    def encode(block):
        feature = encode_blocks(model.backbone, block)[:, 0]
        return feature.mean(dim=1, keepdim=True) if model.pooled else feature

    return encode


def maps_of_videos(encode, videos, clip, resources, broken):
    """Yields (index, signed maps [U, S, D], frame difference [U]) of each readable video of a VideoList.

    encode: of `encoder_of`. clip: a Clip of one block. broken: gets (index, error) of each unreadable video, perhaps
    several times. The frame difference is the mean absolute difference of successive frames in grey levels, see
    `motion_of`; that of the first block is NaN, as it has no frame before it."""
    dataset = PieceDataset(videos, clip, most=BLOCKS_READ)
    pieces_of = Counter(index for index, _ in dataset.pieces)
    outputs = outputs_of(encode, dataset, resources, 'videos', broken)
    for index, pieces in itertools.groupby(outputs, key=operator.itemgetter(0)):
        maps, motion, before = [], [], None
        for _, video, output in pieces:
            maps.append(output)
            motion.append(difference(video['frames'], before))
            before = video['frames'][-1:]
        if len(maps) == pieces_of[index]:      # else a part of it could not be read
            yield index, torch.cat(maps), torch.cat(motion).numpy()


def difference(frames, before):
    """The frame difference of K blocks, uint8 [K, T, H, W, 3], float64 [K]; before: the block before them [1, T, H, W,
    3], or None at the start, where the first is NaN."""
    blocks = frames if before is None else torch.cat([before, frames])
    found = torch.full([len(frames)], torch.nan, dtype=torch.float64)
    if len(blocks) > 1:
        moved = motion_of(blocks.flatten(0, 1).unsqueeze(0), len(blocks), len(blocks) - 1, (1, 1))     # [1, …, 1]
        found[-moved.shape[1]:] = torch.from_numpy(moved[0, :, 0])
    return found
