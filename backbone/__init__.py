"""Networks shared by pretraining and classification."""
from backbone.resnet_2d3d import STAGES, ResNet2d3d

NETWORKS = tuple(STAGES)


def select_backbone(network, track_running_stats=True):
    """Returns the 2D-3D ResNet `network` (one of NETWORKS); its `.feature_size` is D.

    Input [B, 3, T, H, W] -> output [B, D, ceil(T/4), H/32, W/32]. Without `track_running_stats` its BN layers keep no
    running statistics and always normalise by the batch.
    """
    if network not in STAGES:
        raise ValueError(f'unknown network {network!r}: choose one of {", ".join(NETWORKS)}')
    return ResNet2d3d(network, track_running_stats)
