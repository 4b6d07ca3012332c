"""A picture of a batch of clips as the network sees them."""
import numpy as np
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

from utils.data.colour import IMAGENET_MEAN, IMAGENET_STD

CLIPS, MOST_FRAME_PX = 4, 64
# px: between blocks; of the line around a block and between frames; height of a line of text
GAP, EDGE, TEXT = 8, 2, 18
SEEN, PREDICTED = '#1f77b4', '#ff7f0e'


def draw_clips(block, pred_step, title, captions=()):
    """The first clips of a batch, a row per clip, its blocks side by side with gaps and the last ones marked.

    block: normalised [B, N, C, T, H, W]. pred_step: P, how many of the N blocks are to be predicted (0: none).
    captions: of the rows, if any.
    Returns uint8 [height, width, 3].
    """
    strips = strips_of(block[:CLIPS].float().cpu())                             # [B, N, H, T·(W + EDGE) - EDGE, C]
    B, N, height, width, _ = strips.shape
    font = ImageFont.load_default(12)
    left, top = GAP + max((round(font.getlength(f'{caption}  ')) for caption in captions), default=0), 2 * TEXT + GAP
    right, bottom = width + 2 * EDGE + GAP, height + 2 * EDGE + GAP             # from one block to the next
    size = max(left + N * right, 2 * GAP + round(font.getlength(title))), top + B * bottom
    picture = Image.new('RGB', size, 'white')
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, GAP), title, 'black', font)
    for (clip, n) in np.ndindex(B, N):
        x, y = left + n * right, top + clip * bottom
        predicted = n >= N - pred_step
        if clip == 0:
            label = 'block' if not pred_step else 'to predict' if predicted else 'seen'
            draw.text((x, y - TEXT), f'{n + 1}: {label}', 'black', font)
        if n == 0 and captions:
            draw.text((GAP, y + height / 2), captions[clip], 'black', font, anchor='lm')
        draw.rectangle((x, y, x + width + 2 * EDGE - 1, y + height + 2 * EDGE - 1), PREDICTED if predicted else SEEN)
        picture.paste(Image.fromarray(strips[clip, n]), (x + EDGE, y + EDGE))
    return np.asarray(picture).copy()


def strips_of(clips):
    """The frames of each block side by side: normalised clips [B, N, C, T, H, W] -> uint8 [B, N, h, T·(w + EDGE) -
    EDGE, C], where w is at most MOST_FRAME_PX."""
    B, N, C, T, H, W = clips.shape
    mean, std = (clips.new_tensor(values).view(3, 1, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = (clips * std + mean).clamp(0, 1).permute(0, 1, 3, 2, 4, 5).flatten(0, 2)   # [B·N·T, C, H, W]
    px = min(W, MOST_FRAME_PX)
    pixels = F.interpolate(pixels, (H * px // W, px), mode='area')
    pixels = F.pad(pixels, (0, EDGE), value=1).mul(255).round().byte().unflatten(0, (B, N, T))
    return pixels.permute(0, 1, 4, 2, 5, 3).flatten(3, 4)[:, :, :, :-EDGE].numpy()
