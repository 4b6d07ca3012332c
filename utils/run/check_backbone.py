"""Checks of a backbone before training: its contract (backbone/__init__.py) and bfloat16 on the CPU."""
import importlib
from functools import partial

import torch
from torch import nn

from utils.cli import UserError

CHECKED_BLOCKS = 8
GRADIENT_ERROR = 0.1  # rounding to bfloat16 makes 0.01


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

    def note(module, args, name):
        inputs.setdefault((repr(module), args[0].shape), (name, module, args[0]))

    hooks = [module.register_forward_pre_hook(partial(note, name=name)) for name, module in backbone.named_modules()
             if isinstance(module, nn.Conv2d | nn.Conv3d) and module.weight.requires_grad]
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


def gradient_error(module, x):
    """‖g − g₃₂‖ / ‖g₃₂‖ of the weight gradient in bfloat16 and float32, for an input and a random output gradient."""
    gradients = []
    for bf16 in (False, True):
        with torch.autocast('cpu', torch.bfloat16, enabled=bf16):
            output = module(x if bf16 else x.float())
        downstream = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output)
        gradients.append(torch.autograd.grad(output, module.weight, downstream)[0])
    exact, found = gradients
    return ((found - exact).norm() / exact.norm()).item()


@torch.no_grad()
def run_on_meta(backbone, shape):
    """The output of the backbone, as a meta tensor, for a block of this shape; the backbone stays as it is.

    Meta tensors have shapes but no values: this takes no time."""
    state = {name: tensor.to('meta') for name, tensor in (*backbone.named_parameters(), *backbone.named_buffers())}
    with torch.device('meta'):
        return torch.func.functional_call(backbone, state, (torch.empty(shape),))


def first_line(error):
    return (str(error).splitlines() or [''])[0][:200]
