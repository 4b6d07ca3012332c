"""Checks of a backbone before training: its contract (backbone/__init__.py) and bfloat16 on the CPU."""
import importlib
from functools import partial

import torch
from torch import nn

from utils.cli import UserError
from utils.text import first_line

CHECKED_BLOCKS = 2  # the shapes of a batch in a fraction of its time
GRADIENT_ERROR = 0.1  # rounding to bfloat16 makes 0.01
TINY = torch.finfo(torch.float32).tiny


def check_backbone(backbone, name, img_dim, seq_len):
    """UserError unless blocks [B, 3, seq_len, img_dim, img_dim] give features [B, feature_size, T', h, w].

    name: of the backbone, for the message.
    """
    size = getattr(backbone, 'feature_size', None)
    if not isinstance(size, int):
        raise UserError(f'--net {name}: a backbone needs an int attribute feature_size, its number of output channels; '
                        f'this one has {size!r}')
    block = (2, 3, seq_len, img_dim, img_dim)
    # The first call on the meta device imports it and needs a folder for temporary files: no fault of the backbone.
    importlib.import_module('torch._dynamo')
    try:
        shape = list(run_on_meta(backbone, block).shape)
    except NotImplementedError:  # an operation without a meta version: the first batch will tell
        return
    except Exception as error:  # any kind, from any code of the user's
        raise UserError(f'--net {name}: the backbone fails on blocks {list(block)} '
                        f'({type(error).__name__}: {first_line(error)}); it takes [B, 3, T, H, W], see '
                        'backbone/__init__.py') from error
    if len(shape) != 5 or shape[:2] != [2, size] or 0 in shape:
        raise UserError(f'--net {name}: the backbone gives {shape} for blocks {list(block)}; it must give '
                        f'[2, {size}, T\', h, w], where {size} is its feature_size')


def wrong_gradient(backbone, img_dim, seq_len):
    """What is wrong about training in bfloat16 on the CPU, in words; None if nothing is.

    oneDNN leaves part of a convolution's bfloat16 weight gradient unwritten, or writes past its end, for shapes that
    differ between processors and versions. So the gradient of each kind of convolution, at the shapes it gets in this
    backbone, is computed in both precisions and compared. The backbone stays as it is."""
    inputs = {}

    def note(module, args, kwargs, name):
        x, *_ = *args, *kwargs.values()
        inputs.setdefault((repr(module), x.shape), (name, module, x))

    hooks = [module.register_forward_pre_hook(partial(note, name=name), with_kwargs=True)
             for name, module in backbone.named_modules()
             if isinstance(module, nn.Conv2d | nn.Conv3d) and trainable_weights(module)]
    if not hooks:
        return None
    generator = torch.Generator().manual_seed(0)
    block = torch.randn(CHECKED_BLOCKS, 3, seq_len, img_dim, img_dim, generator=generator)
    buffers = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16), torch.random.fork_rng([]):
        torch.func.functional_call(backbone, buffers, (block,))
    for hook in hooks:
        hook.remove()
    for name, module, x in inputs.values():
        error = gradient_error(module, x)
        if not error < GRADIENT_ERROR:
            return (f'on this CPU PyTorch computes a wrong bfloat16 weight gradient for {name} '
                    f'({type(module).__name__} {"×".join(map(str, module.kernel_size))} on {list(x.shape)}: off by '
                    f'{error:.2g} of its norm)')
    return None


def trainable_weights(conv):
    """Parameters that make the weight of a convolution: several where it is normalised by its own forward pass."""
    return [parameter for name, parameter in conv.named_parameters() if parameter.requires_grad and name != 'bias']


def gradient_error(conv, x):
    """‖g − g₃₂‖ / ‖g₃₂‖ of the weight gradient in bfloat16 and float32, for an input and a random output gradient; the
    largest of several `trainable_weights`."""
    gradients = []
    for bf16 in (False, True):
        buffers = {name: buffer.clone() for name, buffer in conv.named_buffers()}  # a spectral norm updates its own
        with torch.autocast('cpu', torch.bfloat16, enabled=bf16):
            output = torch.func.functional_call(conv, buffers, (x if bf16 else x.float(),))
        downstream = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output)
        gradients.append(torch.autograd.grad(output, trainable_weights(conv), downstream))
    return torch.stack([(found - exact).norm() / exact.norm().clamp_min(TINY)  # zero input: both are zero
                        for exact, found in zip(*gradients)]).max().item()


@torch.no_grad()
def run_on_meta(backbone, shape):
    """The output of the backbone, as a meta tensor, for a block of this shape; the backbone stays as it is.

    Meta tensors have shapes but no values: this takes no time."""
    state = {name: tensor.to('meta') for name, tensor in (*backbone.named_parameters(), *backbone.named_buffers())}
    with torch.device('meta'):
        return torch.func.functional_call(backbone, state, (torch.empty(shape),))
