"""Checks of a backbone before training: its contract (backbone/__init__.py) and bfloat16 on the CPU.

Both run the backbone on meta tensors, which have shapes but no values: they cost nothing and change nothing.
"""
import torch
from torch.overrides import TorchFunctionMode

from utils.cli import UserError


def check_backbone(backbone, name, img_dim, seq_len):
    """UserError unless blocks [B, 3, seq_len, img_dim, img_dim] give features [B, feature_size, T', h, w].

    name: of the backbone, for the message.
    """
    size = getattr(backbone, 'feature_size', None)
    if not isinstance(size, int):
        raise UserError(f'--net {name}: a backbone needs an int attribute feature_size, its number of output channels; '
                        f'this one has {size!r}')
    block = (2, 3, seq_len, img_dim, img_dim)
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


def check_precision(backbone, name, img_dim, seq_len, device, dtype):
    """UserError when training in `dtype` would use a 3-D convolution whose weight gradient is wrong.

    On the CPU oneDNN leaves part of the bfloat16 weight gradient unwritten, or writes past its end, when the kernel is
    longer in time than the input and there is more than one output step: 3×3×3 at stride 1 on two time steps.
    """
    trained = any(parameter.requires_grad for parameter in backbone.parameters())
    if device.type != 'cpu' or dtype != torch.bfloat16 or not trained:
        return
    with VolumeConvolutions() as convolutions:
        try:
            run_on_meta(backbone, (2, 3, seq_len, img_dim, img_dim))
        except NotImplementedError:
            return
    for kernel, steps, output_steps in convolutions.found:
        if kernel[0] > steps and output_steps > 1:
            raise UserError(f'--amp bf16: on the CPU PyTorch computes wrong weight gradients for --net {name}, whose '
                            f'{"×".join(map(str, kernel))} convolution gets only {steps} time steps; give --amp off, '
                            'or build it from backbone.resnet_2d3d.VolumeConv')


class VolumeConvolutions(TorchFunctionMode):
    """Within the context, notes (kernel size, input time steps, output time steps) of every 3-D convolution."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        if function is torch.conv3d:
            volume, weight = args[:2]
            self.found.append((tuple(weight.shape[2:]), volume.shape[2], output.shape[2]))
        return output


@torch.no_grad()
def run_on_meta(backbone, shape):
    """The output of the backbone, as a meta tensor, for a block of this shape; the backbone stays as it is."""
    state = {name: tensor.to('meta') for name, tensor in (*backbone.named_parameters(), *backbone.named_buffers())}
    with torch.device('meta'):
        return torch.func.functional_call(backbone, state, (torch.empty(shape),))


def first_line(error):
    return (str(error).splitlines() or [''])[0][:200]
