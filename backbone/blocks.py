"""From a batch of clips to one feature map per block (paper, section 3.1)."""
import torch
import torch.nn.functional as F


def encode_blocks(backbone, block, rectify=False):
    """[B, N, C, T, H, W] -> features [B, N, S, D] in float32 or better; the remaining time steps are averaged.

    Features are signed. `rectify` applies the ReLU before that average, as the published classifier does.
    """
    B, N = block.shape[:2]
    feature = backbone(block.flatten(0, 1))     # [B·N, D, ceil(T/4), h, w]
    feature = feature.to(torch.promote_types(feature.dtype, torch.float32))
    if rectify:
        feature = F.relu(feature)
    feature = feature.mean(dim=2)               # [B·N, D, h, w]
    feature = feature.flatten(2).transpose(1, 2)
    return feature.unflatten(0, (B, N))         # [B, N, S, D]


def full_precision(tensor):
    """A context without autocast: what follows the backbone is under a percent of the work and stays float32."""
    return torch.autocast(tensor.device.type, enabled=False)
