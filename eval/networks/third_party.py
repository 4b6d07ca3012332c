"""What a third-party model is here: an entry of a table, and the network that stands in for a Representation.

Such a network has neither blocks nor an aggregator. It takes all N·T frames as one clip, and its features are called
  context  the vector that its own classifier reads, or that its authors pool its tokens to
  block    the mean over all locations of its last feature map: the same vector, unless the classifier reads a class
           token, weights the locations or normalises their mean
Attentive heads attend over the locations of that map; there are no tokens of kind context.
"""
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn as nn

from utils.data.colour import IMAGENET_MEAN, IMAGENET_STD

IMAGENET = IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True)
class ThirdPartyModel:
    """An entry of a table.

    build:       () -> the network with random weights
    feature:     which tensor: (network, clips [B, 3, F, H, W]) -> (its last map [B, M, D], context [B, D])
    head:        name of the part that is not used, as its classifier, which may have any number of classes in a file
    size:        D
    frames:      in a clip that its published weights are used with
    img_dim:     px, likewise
    colours:     (mean, standard deviation) of r, g and b that its input is normalised by, for colours from 0 to 1
    fixed_size:  it takes frames of `img_dim` px only, and its clips default to those of `frames` and `img_dim`
    frame_steps: it takes any multiple of so many frames; 0: `frames` only
    """
    build: Callable
    feature: Callable
    head: str
    size: int
    frames: int
    img_dim: int
    colours: tuple
    fixed_size: bool = False
    frame_steps: int = 1


class ThirdPartyRepresentation(nn.Module):
    """A network of a table in place of a Representation."""

    def __init__(self, entry):
        super().__init__()
        self.feature = entry.feature
        self.backbone = entry.build()
        self.backbone.feature_size = entry.size
        setattr(self.backbone, entry.head, nn.Identity())
        mean, std, given_mean, given_std = (torch.tensor(each).view(3, 1, 1, 1)
                                            for each in (*entry.colours, *IMAGENET))
        self.register_buffer('scale', given_std / std, persistent=False)
        self.register_buffer('shift', (given_mean - mean) / std, persistent=False)

    def forward(self, block):
        """Clips [B, N, C, T, H, W] -> (its last map [B, 1, M, D], context [B, 1, D]); float32."""
        feature, _, vector = self.all_states(self.encode(block))
        return feature, vector

    def encode(self, block):
        """The clips as they are: it encodes all N·T frames at once."""
        return block

    def all_states(self, block):
        """What `forward` gives with None in the middle: it has no states after every block."""
        clip = block.transpose(1, 2).flatten(2, 3)                              # [B, C, N·T, H, W]
        locations, vector = self.feature(self.backbone, clip * self.scale + self.shift)
        return locations.float().unsqueeze(1), None, vector.float().unsqueeze(1)


def on_meta(entry):
    """The ThirdPartyRepresentation of an entry without values, only shapes: made in no time."""
    with torch.device('meta'):
        return ThirdPartyRepresentation(entry)
