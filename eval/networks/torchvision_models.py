"""Third-party video models, evaluated like our own: one table of loaders.

`--weights NAME` means random weights of a network of the table, `--weights NAME=FILE` those of a local file, a state
dict as its authors publish it; nothing is downloaded. A network of your own is one more entry.

Such a network has neither blocks nor an aggregator. It takes all N·T frames as one clip, at --img_dim, and its features
are called
  context  the vector that its own classifier reads
  block    the mean over all locations of its last feature map: the same vector, unless the classifier reads a class
           token or weights the locations
Attentive heads attend over the locations of that map; there are no tokens of kind context.
"""
from dataclasses import dataclass
from typing import Callable

import torch
import torch.nn as nn
import torch.nn.functional as F

from backbone import select_backbone
from eval.model import Representation
from utils.checkpoint import parameters_among, read_checkpoint
from utils.cli import UserError
from utils.data.colour import IMAGENET_MEAN, IMAGENET_STD
from utils.run.check_backbone import check_backbone, run_on_meta
from utils.run.log import say
from utils.text import first_line

IMAGENET = IMAGENET_MEAN, IMAGENET_STD
KINETICS = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
HALF = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)


# ---- which tensor is the feature: (net, clips [B, 3, F, H, W]) -> (its last map [B, M, D], context [B, D])

def resnet_feature(net, clip):
    x = net.layer4(net.layer3(net.layer2(net.layer1(net.stem(clip)))))          # [B, D, F/8 or F, H/16, W/16]
    locations = x.flatten(2).transpose(1, 2)
    return locations, locations.mean(dim=1)


def s3d_feature(net, clip):
    """Its classifier reads the mean over all windows of 2×7×7 locations; smaller maps are one window."""
    x = net.features(clip)                                                      # [B, D, F/8, H/32, W/32]
    window = [min(pair) for pair in zip((2, 7, 7), x.shape[2:])]
    return x.flatten(2).transpose(1, 2), F.avg_pool3d(x, window, stride=1).mean(dim=(2, 3, 4))


def mvit_feature(net, clip):
    """Its classifier reads the class token. Relative positions are interpolated for clips of another size."""
    x = net.conv_proj(clip)                                                     # [B, 96, F/2, H/4, W/4]
    size = tuple(x.shape[2:])
    x = net.pos_encoding(x.flatten(2).transpose(1, 2))
    for block in net.blocks:
        x, size = block(x, size)
    x = net.norm(x)                                                             # [B, 1 + F/2·H/32·W/32, D]
    return x[:, 1:], x[:, 0]


def swin_feature(net, clip):
    locations = net.norm(net.features(net.patch_embed(clip))).flatten(1, 3)        # of [B, F/2, H/32, W/32, D]
    return locations, locations.mean(dim=1)


# ---- the table

@dataclass(frozen=True)
class ThirdPartyModel:
    """An entry of the table.

    build:     () -> the network with random weights
    feature:   which tensor, see above
    head:      name of its classifier, which is not used and may have any number of classes in a file
    size:      D
    frames:    in a clip that its published weights are used with; it takes other numbers
    img_dim:   px, likewise
    colours:   (mean, standard deviation) of r, g and b that its input is normalised by, for colours from 0 to 1
    """
    build: Callable
    feature: Callable
    head: str
    size: int
    frames: int
    img_dim: int
    colours: tuple


def torchvision(name, *about):
    def build():
        from torchvision.models import get_model  # here: the import takes a second, and most commands don't need it
        return get_model(name, weights=None)

    return ThirdPartyModel(build, *about)


THIRD_PARTY_MODELS = {
    'torchvision:r3d_18': torchvision('r3d_18', resnet_feature, 'fc', 512, 16, 112, KINETICS),
    'torchvision:mc3_18': torchvision('mc3_18', resnet_feature, 'fc', 512, 16, 112, KINETICS),
    'torchvision:r2plus1d_18': torchvision('r2plus1d_18', resnet_feature, 'fc', 512, 16, 112, KINETICS),
    'torchvision:s3d': torchvision('s3d', s3d_feature, 'classifier', 1024, 128, 224, KINETICS),
    'torchvision:mvit_v2_s': torchvision('mvit_v2_s', mvit_feature, 'head', 768, 16, 224, HALF),
    'torchvision:swin3d_t': torchvision('swin3d_t', swin_feature, 'head', 768, 32, 224, IMAGENET),
}
WHAT_THIRD_PARTY = (f'{", ".join(THIRD_PARTY_MODELS)}: random weights of that network, or with =FILE those of its '
                    'state dict')
VECTORS_OF_THIRD_PARTY = ('third-party models take all frames of a clip at once; context: what their own classifier '
                     'reads, block: the mean of their last feature map')


class ThirdPartyRepresentation(nn.Module):
    """A network of the table in place of a Representation."""

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
        """Clips [B, N, C, T, H, W] -> (its last map [B, 1, M, D], what its classifier reads [B, 1, D]); float32."""
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


# ---- what --weights means

def split_weights(weights):
    """--weights as (name in THIRD_PARTY_MODELS or None, file or None for random weights).

    UserError: a name of torchvision's that the table lacks, no file after "="."""
    name, equals, file = weights.partition('=')
    if name in THIRD_PARTY_MODELS:
        if equals and not file:
            raise UserError(f'--weights {weights}: give a file after "=", or leave "=" out for random weights')
        return name, file or None
    if name.startswith('torchvision:'):
        raise UserError(f'--weights {weights}: there is no {name}; choose one of {", ".join(THIRD_PARTY_MODELS)}')
    return None, None if weights == 'random' else weights


def net_of(weights, net):
    """The name of the network of --weights: of the table, or our own `net`."""
    return split_weights(weights)[0] or net


def baseline_of(weights):
    """--weights of random weights of the same network."""
    return split_weights(weights)[0] or 'random'


def read_weights(weights):
    """The checkpoint of --weights, {} for random ones. UserError: the file can't be used, or is of another network."""
    name, file = split_weights(weights)
    if file is None:
        return {}
    checkpoint = read_checkpoint(file)
    return checkpoint if name is None else {'state_dict': state_of(name, file, checkpoint)}


def state_of(name, file, checkpoint):
    """A file's tensors by the names of a ThirdPartyRepresentation, without the classifier. UserError: it is of another
    network."""
    entry = THIRD_PARTY_MODELS[name]
    with torch.device('meta'):
        own = ThirdPartyRepresentation(entry).backbone.state_dict()
    state = {key: value for key, value in checkpoint.items() if not str(key).startswith(f'{entry.head}.')}
    lacking = parameters_among(key for key in own if key not in state)
    odd = next((key for key in [*lacking, *state] if key not in state or key not in own
                or getattr(state[key], 'shape', None) != own[key].shape), None)
    if odd is not None:
        where = ('not in the file' if odd not in state else 'only in the file' if odd not in own else
                 'of another shape there')
        raise UserError(f'{file} is not a state dict of {name} ({odd} is {where}): give one, or name its own network '
                        'before the "="')
    return {f'backbone.{key}': value for key, value in state.items()}


# ---- networks of the table and our own

def build_representation(net):
    """The network `net`, of the table or of backbone/, with random weights, for clips [B, N, C, T, H, W]."""
    return ThirdPartyRepresentation(THIRD_PARTY_MODELS[net]) if net in THIRD_PARTY_MODELS else Representation(net)


def announce(name, clip):
    """Says what clips a network of the table gets. UserError: it doesn't run on them."""
    entry = THIRD_PARTY_MODELS[name]
    check_representation(build_representation(name), name, clip)
    say(f'{name}: clips of {clip.num_seq * clip.seq_len} frames of {clip.img_dim} px; its published weights '
        f'are used with {entry.frames} frames of {entry.img_dim} px')


def check_representation(model, net, clip):
    """UserError unless the network runs on such clips. clip: {num_seq, seq_len, ds, img_dim}."""
    num_seq, seq_len, _, img_dim = clip
    if net not in THIRD_PARTY_MODELS:
        check_backbone(model.backbone, net, img_dim, seq_len)
        return
    try:
        feature, vector = run_on_meta(model, (2, num_seq, 3, seq_len, img_dim, img_dim))
    except NotImplementedError:  # an operation without a meta version: the first batch will tell
        return
    except Exception as error:  # any kind, from third-party code
        raise UserError(f'{net} fails on clips of {num_seq * seq_len} frames of {img_dim} px ({type(error).__name__}: '
                        f'{first_line(error)}): raise --img_dim, or --num_seq or --seq_len') from error
    size = THIRD_PARTY_MODELS[net].size
    if feature.dim() != 4 or feature.shape[-1] != size or vector.shape != (2, 1, size):
        raise UserError(f'{net}: the network of this entry in eval/networks/torchvision_models.py gives '
                        f'{list(feature.shape)} and {list(vector.shape)}; it must give [2, 1, M, {size}] and '
                        f'[2, 1, {size}] here, where {size} is the size in its entry')


def token_shape(net, clip):
    """(M, D) of the tokens that the network `net` makes of a clip, see `check_representation`."""
    num_seq, frames = clip.num_seq, (3, clip.seq_len, clip.img_dim, clip.img_dim)
    if net in THIRD_PARTY_MODELS:
        return tuple(run_on_meta(build_representation(net), (2, num_seq, *frames))[0].shape[2:])
    _, size, _, h, w = run_on_meta(select_backbone(net), (2, *frames)).shape
    return num_seq * h * w, size
