"""From a batch of clips to one feature map per block (paper, section 3.1), with any backbone."""
import contextlib

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def encode_blocks(backbone: nn.Module, block: torch.Tensor, rectify: bool = False, chunks: int = 1,
                  by_batch: bool = False) -> torch.Tensor:
    """[B, N, C, T, H, W] -> features [B, N, S, D] in float32 or better; the remaining time steps are averaged.

    Features are signed. `rectify` applies the ReLU before that average, as the published classifier does.
    chunks: encode the B·N blocks in so many chunks, each recomputed in the backward pass: only one chunk's activations
    exist at a time. Gradients are those of the whole, but BN normalises by the chunk.
    by_batch: BN layers in eval mode normalise by the batch, too, without recording it.
    """
    def encode(blocks):
        with batch_normalisation(backbone) if by_batch else contextlib.nullcontext():
            return backbone(blocks)             # [B·N, D, T', h, w]

    B, N = block.shape[:2]
    blocks = block.flatten(0, 1)                # [B·N, C, T, H, W]
    if chunks == 1:
        feature = encode(blocks)
    elif not torch.is_grad_enabled():
        feature = torch.cat([encode(chunk) for chunk in blocks.chunk(chunks)])
    else:
        feature = torch.cat([recomputed(backbone, encode, chunk) for chunk in blocks.chunk(chunks)])
    feature = feature.to(torch.promote_types(feature.dtype, torch.float32))
    if rectify:
        feature = F.relu(feature)
    feature = feature.mean(dim=2)               # [B·N, D, h, w]
    feature = feature.flatten(2).transpose(1, 2)
    return feature.unflatten(0, (B, N))         # [B, N, S, D]


def recomputed(module, function, x):
    """function(x) without storing its activations: the backward pass recomputes them.

    `module` holds the BN layers that `function` runs: their running statistics see x once.
    """
    return checkpoint(function, x, use_reentrant=False,
                      context_fn=lambda: (contextlib.nullcontext(), restored_buffers(module)))


@contextlib.contextmanager
def restored_buffers(module):
    """Restores the buffers of `module` (BN's running statistics) on leaving."""
    buffers = list(module.buffers())
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, before):
            buffer.copy_(value)


@contextlib.contextmanager
def batch_normalisation(module):
    """Has the BN layers of `module` that are in eval mode normalise by the batch, without recording it."""
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and not layer.training]
    tracking = [layer.track_running_stats for layer in layers]
    try:
        for layer in layers:
            layer.training, layer.track_running_stats = True, False
        yield
    finally:
        for layer, track_running_stats in zip(layers, tracking):
            layer.training, layer.track_running_stats = False, track_running_stats


def full_precision(tensor):
    """A context without autocast: what follows the backbone is under a percent of the work and stays float32."""
    return torch.autocast(tensor.device.type, enabled=False)
