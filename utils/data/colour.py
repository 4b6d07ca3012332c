"""Colour augmentation of uint8 frames, with parameters drawn in the data workers and applied on the training device.

A frame is first turned grey (one of its channels copied into all three) or not, then brightness, contrast, saturation
and hue change in the frame's own order, each as torchvision's `adjust_*` does on float images, clamped to 0..1.
Contrast needs the mean grey of the frame as the operations before it leave it.
"""
import functools
from dataclasses import dataclass
from typing import Optional

import cv2
import numpy as np
import torch

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # columns of `factors`, values in `order`
UNCHANGED = (1, 1, 1, 0)  # the factors that change nothing
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LUMA = (0.2989, 0.587, 0.114)  # weights of r, g, b in grey


@dataclass(frozen=True)
class ColourRecipe:
    """How strongly colours are augmented.

    >>> gentle = ColourRecipe(per_frame=True, grey_p=0.5, jitter_p=1, hue=0.1)
    >>> gentle.hue, gentle.brightness
    (0.1, 0.5)
    """
    per_frame: bool          # parameters are drawn for each frame, or once for the whole clip
    grey_p: float            # probability of grey
    jitter_p: float          # probability of the jitter below
    brightness: float = 0.5  # factor from 1 − this to 1 + this
    contrast: float = 0.5    # the same
    saturation: float = 0.5  # the same
    hue: float = 0.25        # shift of at most this, turns of the colour circle


# Per frame in pretraining, where colour would be a shortcut from block to block.
PRETRAINING = ColourRecipe(per_frame=True, grey_p=0.5, jitter_p=1)
FINETUNING = ColourRecipe(per_frame=False, grey_p=0, jitter_p=0.3)


def draw_colour(rng: np.random.Generator, n_frames: int, recipe: ColourRecipe) -> dict[str, np.ndarray]:
    """Draws the colour parameters of M = `n_frames` frames:

    grey     int8 [M]        channel that replaces all three, or -1
    factors  float32 [M, 4]  brightness, contrast, saturation (factors), hue (shift in turns)
    order    int8 [M, 4]     permutation of 0..3, which of the factors comes first, second, …

    >>> draw_colour(np.random.default_rng(0), 40, PRETRAINING)['factors'].shape
    (40, 4)
    """
    rows = n_frames if recipe.per_frame else 1
    reach = np.array([recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue])
    factors = np.maximum(np.array(UNCHANGED) + rng.uniform(-1, 1, (rows, 4)) * reach, [0, 0, 0, -recipe.hue])
    factors[rng.random(rows) >= recipe.jitter_p] = UNCHANGED
    grey = np.where(rng.random(rows) < recipe.grey_p, rng.integers(3, size=rows), -1)
    order = rng.random((rows, 4)).argsort(axis=1)  # a random permutation in each row
    colour = {'grey': grey.astype(np.int8), 'factors': factors.astype(np.float32), 'order': order.astype(np.int8)}
    return {name: np.broadcast_to(value, (n_frames, *value.shape[1:])).copy()
            for name, value in colour.items()}


def to_block(frames: torch.Tensor, colour: Optional[dict[str, torch.Tensor]], num_seq: int,
             dtype: torch.dtype = torch.float32, compiled: bool = False) -> torch.Tensor:
    """frames uint8 [B, N·T, H, W, 3] -> block [B, N, C, T, H, W] with ImageNet's mean 0 and std 1 (N = `num_seq`).

    colour: parameters with leading dimensions [B, N·T], or None to leave the colours alone. The block is a view of
    contiguous [B, N, T, H, W, C] memory: what 2-D convolutions call channels-last, at no cost.
    On CUDA all frames go through the same operations at once, fused by torch.compile if `compiled`, and nothing waits
    for the device. The CPU takes one frame after the other, in OpenCV, so that it stays in cache.

    >>> to_block(torch.zeros(2, 40, 32, 32, 3, dtype=torch.uint8), None, num_seq=8).shape
    torch.Size([2, 8, 3, 5, 32, 32])
    """
    flat = frames.flatten(0, 1)  # [B·N·T, H, W, 3]
    if colour is not None:
        colour = {name: value.flatten(0, 1) for name, value in colour.items()}
    if frames.device.type == 'cpu':
        block = _each_frame(flat, colour, IMAGENET_MEAN, IMAGENET_STD).to(dtype)
    elif colour is None:
        block = _function(_plain, compiled)(flat, dtype)
    else:
        block = _function(_coloured, compiled)(flat, colour['grey'], colour['factors'], colour['order'], dtype)
    return block.unflatten(0, (frames.shape[0], num_seq, -1)).permute(0, 1, 5, 2, 3, 4)


@functools.cache
def _compile(function):
    return torch.compile(function)


def _function(function, compiled):
    return _compile(function) if compiled else function


# ---- all frames at once (CUDA) ---------------------------------------------------------------------------------------

def _grey(r, g, b):
    return LUMA[0] * r + LUMA[1] * g + LUMA[2] * b


def _shift_hue(r, g, b, turns):
    """Hue moved by `turns` of the colour circle, at the same value (largest channel) and chroma (largest − smallest).

    With the hue h in sixths of a turn, each channel is smallest + chroma·(a trapezoid of h)."""
    largest = torch.maximum(torch.maximum(r, g), b)
    smallest = torch.minimum(torch.minimum(r, g), b)
    chroma = largest - smallest
    scale = 1 / torch.clamp(chroma, min=1e-8)  # a pixel without chroma has no hue; any will do
    hue = torch.where(largest == r, (g - b) * scale,
                      torch.where(largest == g, (b - r) * scale + 2, (r - g) * scale + 4)) + 6 * turns
    hue = hue - 6 * torch.floor(hue / 6)  # 0..6
    return (smallest + chroma * torch.clamp((hue - 3).abs() - 1, 0, 1),
            smallest + chroma * torch.clamp(2 - (hue - 2).abs(), 0, 1),
            smallest + chroma * torch.clamp(2 - (hue - 4).abs(), 0, 1))


def _all_frames(frames, grey, factors, order):
    """frames uint8 [M, H, W, 3] -> float32 [M, H, W, 3] in 0..1, with the colours of `draw_colour`'s parameters.

    Each of the four steps runs every operation on all frames, with a factor that changes nothing for the frames whose
    turn it isn't: no frame takes a branch, so nothing has to be known on the host."""
    channel = grey.long().clamp(min=0).view(-1, 1, 1, 1).expand(*frames.shape[:3], 1)
    single = frames.gather(3, channel)  # [M, H, W, 1]
    frames = torch.where(grey.view(-1, 1, 1, 1) >= 0, single, frames).float() / 255
    rgb = frames.unbind(3)  # each [M, H, W]

    # Contrast needs the mean grey after the operations before it, so those run once for the mean and all four again.
    # Less memory traffic than keeping the intermediate frames, and the two passes compile to two kernels.
    step = (order == CONTRAST).int().argmax(1)  # [M]
    before = rgb
    for i in range(3):
        before = _one_step(before, torch.where(i < step, order[:, i], -1), factors, 0)
    mean = _grey(*before).mean((1, 2), keepdim=True)  # [M, 1, 1]
    for i in range(4):
        rgb = _one_step(rgb, order[:, i], factors, mean)
    return torch.stack(rgb, dim=3)


def _one_step(rgb, operation, factors, mean):
    """Applies to each frame the operation [M] at one step of its order (none for -1)."""
    brightness, contrast, saturation, turns = (
        torch.where(operation == i, factors[:, i], UNCHANGED[i]).view(-1, 1, 1) for i in range(4))
    grey = _grey(*rgb)
    # At most one of the three factors differs from 1, so their sum of changes is that one's change.
    blended = [torch.clamp(x * brightness + (1 - contrast) * (mean - x) + (1 - saturation) * (grey - x), 0, 1)
               for x in rgb]
    shifted = _shift_hue(*rgb, turns)
    is_hue = (operation == HUE).view(-1, 1, 1)
    return [torch.where(is_hue, s, x) for s, x in zip(shifted, blended)]


def _normalise(x, dtype):
    # Channel by channel: tensors of the constants would have to be copied to the device each time.
    planes = [(plane - mean) / std for plane, mean, std in zip(x.unbind(3), IMAGENET_MEAN, IMAGENET_STD)]
    return torch.stack(planes, dim=3).to(dtype)


def _plain(frames, dtype):
    return _normalise(frames / 255, dtype)


def _coloured(frames, grey, factors, order, dtype):
    return _normalise(_all_frames(frames, grey, factors, order), dtype)


# ---- one frame after the other (CPU) ---------------------------------------------------------------------------------

def _each_frame(frames, colour, mean=(0, 0, 0), std=(1, 1, 1)):
    """frames uint8 [M, H, W, 3] -> (the augmented frames in 0..1 − mean) / std, float32 of the same shape."""
    out = np.empty(frames.shape, np.float32)
    # Factors for whole rows r g b r g b …: arithmetic along a last dimension of 3 would be far slower.
    scale = np.tile(1 / np.float32(std), frames.shape[2])
    shift = np.tile(-np.float32(mean) / np.float32(std), frames.shape[2])
    if colour is not None:
        grey, factors, order = (colour[name].tolist() for name in ('grey', 'factors', 'order'))
    for i, frame in enumerate(frames.numpy()):
        x = frame * np.float32(1 / 255)
        if colour is not None:
            x = _one_frame(x, grey[i], factors[i], order[i])
        rows = out[i].reshape(len(frame), -1)
        np.multiply(x.reshape(rows.shape), scale, out=rows)
        rows += shift
    return torch.from_numpy(out)


def _one_frame(x, grey, factors, order):
    """x float32 [H, W, 3] in 0..1 -> the same after the operations of one frame; may overwrite its argument."""
    if grey >= 0:
        x = cv2.extractChannel(x, grey)  # [H, W] until the end; saturation and hue do nothing to it
    for operation in order:
        factor = factors[operation]
        if factor == UNCHANGED[operation] or (grey >= 0 and operation in (SATURATION, HUE)):
            continue
        if operation == BRIGHTNESS:
            x *= factor
        elif operation == CONTRAST:
            mean = cv2.mean(x if grey >= 0 else cv2.cvtColor(x, cv2.COLOR_RGB2GRAY))[0]
            x *= factor
            x += (1 - factor) * mean
        elif operation == SATURATION:
            x = cv2.transform(x, factor * np.eye(3) + (1 - factor) * np.array([LUMA] * 3))
        else:
            hsv = cv2.cvtColor(x, cv2.COLOR_RGB2HSV)  # hue in degrees; OpenCV wraps it above 360, not below 0
            hsv[:, :, 0] += 360 * (factor % 1)
            x = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        np.clip(x, 0, 1, out=x)
    return x if grey < 0 else cv2.cvtColor(x, cv2.COLOR_GRAY2RGB)
