"""The backbone's layers: every convolution in the shapes it is used with, BN in the memory layouts it meets."""
import itertools

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from backbone import select_backbone
from backbone.resnet_2d3d import BatchNorm, VolumeConv
from benchmarks.train_step import flop_per_clip

pytestmark = pytest.mark.published_widths


def convolutions_of(network, side, frames):
    """[(convolution, shape of its input)] for blocks [1, 3, `frames`, `side`, `side`], each combination once."""
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
    """The convolution as PyTorch computes it, on images or volumes."""
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


FLOAT, BFLOAT = (torch.float32, 1e-5), (torch.bfloat16, 0.01)  # dtype, relative error
NETWORKS = [('resnet18', 128, 5), ('resnet50', 64, 5), ('resnet18', 224, 5), ('resnet18', 32, 5),
            *(('resnet18', 64, frames) for frames in range(1, 9))]
QUICK = [(('resnet18', 128, 5), FLOAT, False), (('resnet50', 64, 5), FLOAT, True), (('resnet18', 64, 8), BFLOAT, True),
         *itertools.product([('resnet18', 64, 2)], (FLOAT, BFLOAT), (False, True))]


@pytest.mark.parametrize('network, dtype, channels_last', [
    case if case in QUICK else pytest.param(*case, marks=pytest.mark.soak)
    for case in itertools.product(NETWORKS, (FLOAT, BFLOAT), (False, True))])
def test_every_convolution_against_plain_conv3d(network, dtype, channels_last):
    """Also finds kernels of PyTorch that are wrong for one type and shape, as oneDNN's for two time steps."""
    torch.manual_seed(0)
    dtype, tolerance = dtype
    for conv, shape in convolutions_of(*network):
        x = torch.randn(2, *shape[1:]).to(dtype)
        weight = (torch.randn(conv.weight.shape) * conv.weight[0].numel() ** -0.5).to(dtype)
        output_gradient = torch.randn(2, *conv(torch.empty(shape, device='meta')).shape[1:]).to(dtype)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d)
        ours = output_and_gradients(run_ours, conv, x, weight, output_gradient)
        expected = output_and_gradients(plain_conv3d, conv, x.float(), weight.float(), output_gradient)
        for what, actual, value in zip(('output', 'input gradient', 'weight gradient'), ours, expected):
            assert relative_error(actual, value) < tolerance, f'{what} of {conv} on {tuple(x.shape)}'


def test_the_convolution_of_two_time_steps_keeps_the_layout():
    """So that no layer after it has to copy."""
    conv = VolumeConv(4, 6, 3, padding=1, bias=False)
    for memory_format in (torch.contiguous_format, torch.channels_last_3d):
        volume = torch.randn(2, 4, 2, 5, 5).contiguous(memory_format=memory_format)
        assert conv(volume).is_contiguous(memory_format=memory_format)


def layouts(x):
    """The same values in every memory layout that a volume [B, C, T, 1, 1] can come in."""
    B, C, T = x.shape[:3]
    of_images = x.transpose(1, 2).reshape(B * T, C, 1, 1).clone().unflatten(0, (B, T)).transpose(1, 2)
    return x.contiguous(), x.contiguous(memory_format=torch.channels_last_3d), of_images


def test_batch_norm_of_single_pixels_in_every_layout():
    """PyTorch's own gives wrong gradients on the CPU where the layouts of input and gradient differ."""
    torch.manual_seed(0)
    norm = BatchNorm(8)
    x, output_gradient = torch.randn(2, 4, 8, 3, 1, 1)
    reference = x.double().requires_grad_()
    expected, = torch.autograd.grad(nn.BatchNorm3d(8).double()(reference), reference, output_gradient.double())
    for volume, gradient in itertools.product(layouts(x), layouts(output_gradient)):
        volume = volume.detach().requires_grad_()
        actual, = torch.autograd.grad(norm(volume), volume, gradient)
        torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('convert', [lambda norm: norm, nn.SyncBatchNorm.convert_sync_batchnorm], ids=['own', 'sync'])
@pytest.mark.parametrize('shape', [(6, 8), (6, 8, 4, 4), (6, 8, 3, 4, 4), (6, 8, 3, 1, 1)])
def test_batch_norm_takes_vectors_images_and_volumes(shape, convert):
    """By batch in training, by running statistics in eval mode; also as converted for several GPUs."""
    torch.manual_seed(0)
    norm, expected = convert(BatchNorm(8)), nn.BatchNorm1d(8)
    x = torch.randn(shape) + 1
    for training in (True, False):
        actual = norm.train(training)(x)
        rows = x.flatten(2) if x.dim() > 2 else x  # what nn.BatchNorm1d takes
        torch.testing.assert_close(actual, expected.train(training)(rows).view(shape), rtol=1e-4, atol=1e-5)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value)


@pytest.mark.parametrize('settings', [{'bias': True}, {'groups': 2}])
def test_other_settings_of_the_volume_convolution_are_those_of_conv3d(settings):
    """A net of one's own may ask for them."""
    ours, plain = VolumeConv(4, 6, 3, padding=1, **settings), torch.nn.Conv3d(4, 6, 3, padding=1, **settings)
    plain.load_state_dict(ours.state_dict())
    volume = torch.randn(2, 4, 2, 5, 5)
    torch.testing.assert_close(ours(volume), plain(volume))


def test_work_of_a_clip_is_as_published():
    assert flop_per_clip('resnet18', 128) == pytest.approx(146e9, rel=0.01)
    assert flop_per_clip('resnet34', 224) == pytest.approx(1.03e12, rel=0.01)


@pytest.mark.parametrize('network, size', [('resnet18', 256), ('resnet50', 1024)])
@pytest.mark.parametrize('frames, steps', [(1, 1), (5, 2), (8, 2)])
def test_backbone_shapes(network, size, frames, steps):
    with torch.device('meta'):
        backbone = select_backbone(network)
        assert backbone.feature_size == size
        assert backbone(torch.empty(2, 3, frames, 128, 128)).shape == (2, size, steps, 4, 4)
