"""The backbone: every convolution it asks for, in the shapes it asks for it; its options change no number."""
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from backbone import select_backbone


def convolutions_of(network, side, frames):
    """[(convolution, shape of its input)] on blocks [1, 3, `frames`, `side`, `side`], each combination once."""
    found = {}

    def record(conv, inputs):
        found.setdefault((str(conv), inputs[0].shape), conv)

    with torch.device('meta'):
        backbone = select_backbone(network)
        hooks = [module.register_forward_pre_hook(record) for module in backbone.modules()
                 if isinstance(module, nn.Conv3d)]
        backbone(torch.empty(1, 3, frames, side, side))
    for hook in hooks:
        hook.remove()
    return [(conv, shape) for (_, shape), conv in found.items()]


def plain_conv3d(conv, x, weight):
    """What the convolution stands for, on images or volumes."""
    volume = x.unsqueeze(2) if x.dim() == 4 else x
    output = F.conv3d(volume, weight, None, conv.stride, conv.padding)
    return output.squeeze(2) if x.dim() == 4 else output


def run_ours(conv, x, weight):
    return torch.func.functional_call(conv, {'weight': weight}, x)


def output_and_gradients(run, conv, x, weight, output_gradient):
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    output = run(conv, x, weight)
    gradients = torch.autograd.grad(output, (x, weight), output_gradient.to(output.dtype))
    return [value.float() for value in (output.detach(), *gradients)]


def relative_error(actual, expected):
    return ((actual - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-5), (torch.bfloat16, 0.01)])
@pytest.mark.parametrize('network, side, frames', [('resnet18', 64, 5), ('resnet18', 128, 5), ('resnet18', 224, 5),
                                                   ('resnet50', 64, 5), ('resnet18', 64, 3), ('resnet18', 64, 8)])
def test_every_convolution_against_plain_conv3d(network, side, frames, dtype, tolerance, channels_last):
    """Guards the folding of time, and against kernels wrong for one type and shape only, as one of oneDNN's is."""
    torch.manual_seed(0)
    for conv, shape in convolutions_of(network, side, frames):
        x = torch.randn(4, *shape[1:]).to(dtype)
        weight = (torch.randn(conv.weight.shape) * conv.weight[0].numel() ** -0.5).to(dtype)
        output_gradient = torch.randn(4, *conv(torch.empty(shape, device='meta')).shape[1:]).to(dtype)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d)
        ours = output_and_gradients(run_ours, conv, x, weight, output_gradient)
        expected = output_and_gradients(plain_conv3d, conv, x.float(), weight.float(), output_gradient)
        for what, actual, value in zip(('output', 'input gradient', 'weight gradient'), ours, expected):
            assert relative_error(actual, value) < tolerance, f'{what} of {conv} on {tuple(x.shape)}'
