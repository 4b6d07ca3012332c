"""Networks shared by pretraining and classification, by name.

A network of your own is a file in this folder and one line in the table.

A backbone is built without arguments. It maps blocks [B, 3, T, H, W] to features [B, D, T', h, w], any T' >= 1 (the
time steps are averaged), and has an int attribute `feature_size`, D. utils/run/check_backbone.py checks this before
training. Its BN layers must be PyTorch's, or subclasses of them.

An aggregator is built from (D, dropout=0.1). It maps a sequence of maps [B, N, S, D] and a state, None at the start, to
(the states after each step [B, N, S, D], the last state).

>>> import torch
>>> backbone = select_backbone('resnet18')
>>> backbone(torch.rand(1, 3, 5, 32, 32)).shape == (1, backbone.feature_size, 2, 1, 1)
True
"""
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from backbone.convgru import ConvGRU
from backbone.resnet_2d3d import ResNet2d3d

BACKBONES = {
    'resnet18': partial(ResNet2d3d, 'resnet18'),
    'resnet34': partial(ResNet2d3d, 'resnet34'),
    'resnet50': partial(ResNet2d3d, 'resnet50'),
    'resnet101': partial(ResNet2d3d, 'resnet101'),
    'resnet152': partial(ResNet2d3d, 'resnet152'),
    'resnet200': partial(ResNet2d3d, 'resnet200'),
}
AGGREGATORS = {
    'convgru': ConvGRU,
}
AGGREGATOR = 'convgru'      # the one that all models are built with; checkpoints store its name
NETWORKS = BACKBONES.keys()  # the choices of --net


def select_backbone(network: str, track_running_stats: bool = True) -> nn.Module:
    """Returns the backbone `network` (one of NETWORKS); its `.feature_size` is D.

    Input [B, 3, T, H, W] -> output [B, D, ceil(T/4), H/32, W/32] for the 2D-3D ResNets. Without `track_running_stats`
    its BN layers have no running statistics and always normalise by the batch. ValueError for an unknown name.
    """
    if network not in BACKBONES:
        raise ValueError(f'unknown network {network!r}: choose one of {", ".join(NETWORKS)}')
    backbone = BACKBONES[network]()
    if not track_running_stats:
        remove_running_statistics(backbone)
    return backbone


def make_aggregator(size: int, dropout: float = 0.1) -> nn.Module:
    """The aggregator of D = `size` channels."""
    return AGGREGATORS[AGGREGATOR](size, dropout)


def remove_running_statistics(backbone: nn.Module) -> None:
    for module in backbone.modules():
        if isinstance(module, _BatchNorm):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
