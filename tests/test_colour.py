"""Colour on the device against torchvision's operations, frame by frame, and how its parameters are distributed."""
import numpy as np
import pytest
import torch
import torchvision.transforms.functional as F

from utils.data import colour
from utils.data.colour import FINETUNING, IMAGENET_MEAN, IMAGENET_STD, PRETRAINING, ColourRecipe, draw_colour, to_block

ADJUST = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)


def tensors(parameters):
    return {name: torch.from_numpy(value) for name, value in parameters.items()}


def slow_colour(frame, grey, factors, order):
    """frame uint8 [H, W, 3] -> float32, with torchvision's operations on a float image."""
    image = frame.permute(2, 0, 1).float() / 255
    if grey >= 0:
        image = image[grey].expand(3, -1, -1)
    for operation in order.tolist():
        image = ADJUST[operation](image, factors[operation].item())
    return image.permute(1, 2, 0)


def some_frames(count):
    """Half of them noise, half smooth; corners hold black, white and pure colours, where hue is degenerate."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (count, 24, 20, 3), generator=generator, dtype=torch.uint8)
    small = torch.rand(count // 2, 3, 3, 3, generator=generator) * 255
    frames[::2] = torch.nn.functional.interpolate(small, (24, 20), mode='bilinear').permute(0, 2, 3, 1).byte()
    corners = [[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)]
    frames[:, 0, :8] = torch.tensor(corners, dtype=torch.uint8)
    return frames


def apply_colour(frames, parameters, compiled=False):
    """float32 in 0..1, before normalisation, as the device of the frames does it."""
    if frames.device.type == 'cpu':
        return colour._each_frame(frames, parameters)
    function = colour._function(colour._all_frames, compiled)
    return function(frames, parameters['grey'], parameters['factors'], parameters['order'])


def all_at_once(frames, parameters):
    return colour._all_frames(frames, parameters['grey'], parameters['factors'], parameters['order'])


@pytest.mark.parametrize('way', [apply_colour, all_at_once], ids=['cpu', 'cuda formulas'])
@pytest.mark.parametrize('recipe', [PRETRAINING, FINETUNING], ids=['pretraining', 'fine-tuning'])
def test_equals_torchvision(way, recipe):
    frames = some_frames(96)
    rng = np.random.default_rng(1)
    # 24 clips of 4 frames: fine-tuning draws once for a clip
    draws = [draw_colour(rng, 4, recipe) for _ in range(24)]
    parameters = tensors({name: np.concatenate([draw[name] for draw in draws]) for name in draws[0]})
    result = way(frames, parameters)
    assert result.dtype == torch.float32 and result.shape == frames.shape
    for i, frame in enumerate(frames):
        expected = slow_colour(frame, *(parameters[name][i] for name in ('grey', 'factors', 'order')))
        assert (result[i] - expected).abs().max() <= 2 / 255, (i, parameters['factors'][i], parameters['order'][i])


@pytest.mark.parametrize('way', [apply_colour, all_at_once], ids=['cpu', 'cuda formulas'])
def test_extreme_factors(way):
    frames = some_frames(8)
    factors = torch.tensor([[0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0], [1, 1, 1, .5],
                            [3, 1, 1, 0], [1, 3, 1, 0], [1, 1, 3, 0], [1, 1, 1, -.5]], dtype=torch.float32)
    parameters = {'grey': torch.full((8,), -1, dtype=torch.int8), 'factors': factors,
                  'order': torch.arange(4, dtype=torch.int8).repeat(8, 1)}
    result = way(frames, parameters)
    for i, frame in enumerate(frames):
        expected = slow_colour(frame, -1, factors[i], parameters['order'][i])
        assert (result[i] - expected).abs().max() <= 2 / 255


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('compiled', [False, True])
def test_cuda_equals_cpu(compiled):
    frames = some_frames(96)
    parameters = tensors(draw_colour(np.random.default_rng(2), 96, PRETRAINING))
    on_device = {name: value.cuda() for name, value in parameters.items()}
    result = apply_colour(frames.cuda(), on_device, compiled).cpu()
    assert (result - apply_colour(frames, parameters)).abs().max() <= 2 / 255


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('coloured', [False, True])
def test_block(dtype, coloured):
    B, N, T, H, W = 2, 3, 4, 24, 20
    frames = some_frames(B * N * T)
    parameters = tensors(draw_colour(np.random.default_rng(3), B * N * T, PRETRAINING)) if coloured else None
    rgb = apply_colour(frames, parameters) if coloured else frames.float() / 255
    expected = F.normalize(rgb.permute(0, 3, 1, 2), IMAGENET_MEAN, IMAGENET_STD)  # [B·N·T, C, H, W]

    batched = parameters and {name: value.unflatten(0, (B, N * T)) for name, value in parameters.items()}
    block = to_block(frames.unflatten(0, (B, N * T)), batched, N, dtype)
    assert block.shape == (B, N, 3, T, H, W) and block.dtype == dtype
    assert block.permute(0, 1, 3, 4, 5, 2).is_contiguous()  # channels-last for 2-D convolutions
    images = block.transpose(2, 3).flatten(0, 2)
    torch.testing.assert_close(images, expected.to(dtype), atol=1e-5 if dtype == torch.float32 else 0.02, rtol=0)

    on_cuda = (colour._plain(frames, dtype) if parameters is None
               else colour._coloured(frames, *parameters.values(), dtype))
    assert on_cuda.dtype == dtype
    assert (on_cuda.permute(0, 3, 1, 2).float() - images.float()).abs().max() <= 2 / 255 / min(IMAGENET_STD) + 0.02


def test_pretraining_distribution():
    drawn = draw_colour(np.random.default_rng(0), 20000, PRETRAINING)
    grey, factors, order = drawn['grey'], drawn['factors'], drawn['order']
    assert (grey.dtype, factors.dtype, order.dtype) == (np.int8, np.float32, np.int8)
    assert abs((grey < 0).mean() - 0.5) < 0.02
    for channel in range(3):
        assert abs((grey == channel).mean() - 1 / 6) < 0.01
    low, high = np.array([.5, .5, .5, -.25]), np.array([1.5, 1.5, 1.5, .25])
    assert (factors >= low).all() and (factors <= high).all()
    quartiles = np.quantile(factors, [.25, .5, .75], axis=0)
    assert np.abs(quartiles - (low + np.outer([.25, .5, .75], high - low))).max() < 0.02
    places, counts = np.unique(order, axis=0, return_counts=True)
    assert len(places) == 24 and abs(counts / len(order) - 1 / 24).max() < 0.005
    assert (np.sort(order, axis=1) == np.arange(4)).all()
    assert np.abs(np.corrcoef(factors[:, 0], factors[:, 1])[0, 1]) < 0.03


def test_finetuning_distribution():
    rng = np.random.default_rng(0)
    clips = [draw_colour(rng, 5, FINETUNING) for _ in range(3000)]
    for clip in clips[:50]:
        assert all((value == value[0]).all() for value in clip.values())  # the same for all frames of a clip
    assert all((clip['grey'] == -1).all() for clip in clips)
    jittered = [not (clip['factors'][0] == colour.UNCHANGED).all() for clip in clips]
    assert abs(np.mean(jittered) - 0.3) < 0.03


def test_no_colour_changes_nothing():
    frames = some_frames(4)
    parameters = tensors(draw_colour(np.random.default_rng(0), 4, ColourRecipe(per_frame=True, grey_p=0, jitter_p=0)))
    for way in (apply_colour, all_at_once):
        torch.testing.assert_close(way(frames, parameters), frames.float() / 255, atol=1e-6, rtol=0)
