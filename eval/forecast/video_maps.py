"""Every block of whole videos once: its feature map, and how much it moves."""
from collections import defaultdict

import torch

from backbone.blocks import encode_blocks
from eval.extract.inference import outputs_of
from eval.forecast.predictions import motion_of
from utils.data.clips import VideoDataset


def encoder_of(model):
    """A DPC as a function of blocks: [B, 1, C, T, H, W] -> signed maps [B, 1, S, D]; S = 1 if pooled. BN normalises by
    the running statistics, so that a block's map doesn't depend on the batch."""
    def encode(block):
        feature = encode_blocks(model.backbone, block)
        return feature.mean(dim=2, keepdim=True) if model.pooled else feature

    return encode


def maps_only(feature):
    """Maps of clips of one block [B, 1, …] -> [B, …]: what `outputs_of` is to give of them."""
    return feature[:, 0]


def maps_of_videos(encode, videos, clip, resources, broken):
    """Yields (index, signed maps [U, S, D], frame difference float64 [U]) of each readable video of a VideoList.

    encode: of `encoder_of`. clip: a Clip of one block. broken: gets (index, error) of each unreadable video. The frame
    difference is the mean absolute difference of successive frames in grey levels, see `motion_of`; that of the first
    block is NaN, as it has no frame before it."""
    motion, before = defaultdict(list), {}

    def add_motion(piece):
        index, blocks = int(piece['index']), piece['blocks'][0]             # [u, T, H, W, 3]
        motion[index].append(difference(blocks, before.get(index)))
        before[index] = blocks[-1:].clone()     # or it would hold the whole piece

    dataset = VideoDataset(videos, clip)
    for video, maps in outputs_of(encode, maps_only, dataset, resources, 'videos', broken, add_motion):
        index = video['index']
        del before[index]
        yield index, maps, torch.cat(motion.pop(index)).numpy()


def difference(frames, before):
    """The frame difference of K blocks, uint8 [K, T, H, W, 3], float64 [K]; before: the block before them [1, T, H, W,
    3], or None at the start, where the first is NaN."""
    blocks = frames if before is None else torch.cat([before, frames])
    found = torch.full([len(frames)], torch.nan, dtype=torch.float64)
    if len(blocks) > 1:
        moved = motion_of(blocks.flatten(0, 1).unsqueeze(0), len(blocks), len(blocks) - 1, (1, 1))     # [1, …, 1]
        found[-moved.shape[1]:] = torch.from_numpy(moved[0, :, 0])
    return found
