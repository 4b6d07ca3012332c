"""A picture of a batch of clips as the network sees them."""
import numpy as np

from utils.data.colour import IMAGENET_MEAN, IMAGENET_STD

CLIPS, MOST_FRAME_PX = 4, 64
INCHES_PER_PX = 1 / 100


def draw_clips(block, pred_step, title, captions=()):
    """The first clips of a batch, a row per clip, its blocks side by side with gaps and the last ones marked.

    block: normalised [B, N, C, T, H, W]. pred_step: P, how many of the N blocks are to be predicted (0: none).
    captions: of the rows, if any.
    Returns uint8 [height, width, 3].
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and needed once per run
    from matplotlib.figure import Figure

    clips = block[:CLIPS].float().cpu()
    B, N, C, T, H, W = clips.shape
    mean, std = (clips.new_tensor(values).view(3, 1, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = (clips * std + mean).clamp(0, 1).permute(0, 1, 4, 3, 5, 2)                     # [B, N, H, T, W, C]
    strips = np.pad(pixels.numpy(), [(0, 0)] * 4 + [(0, 2), (0, 0)], constant_values=1)     # 2 px between frames
    strips = strips.reshape(B, N, H, T * (W + 2), C)[:, :, :, :-2]

    px = min(W, MOST_FRAME_PX)
    width, height = N * (T * (px + 2) + 14) * INCHES_PER_PX, (B * (px + 8) + 70) * INCHES_PER_PX
    figure = Figure((max(width, 7), height), dpi=100, layout='constrained')
    figure.suptitle(title, fontsize=10)
    for (clip, n), axes in np.ndenumerate(figure.subplots(B, N, squeeze=False)):
        predicted = n >= N - pred_step
        axes.imshow(strips[clip, n], interpolation='nearest')
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color='tab:orange' if predicted else 'tab:blue', linewidth=2)
        if clip == 0:
            label = 'block' if not pred_step else 'to predict' if predicted else 'seen'
            axes.set_title(f'{n + 1}: {label}', fontsize=8)
        if n == 0 and captions:
            axes.set_ylabel(captions[clip], fontsize=8, rotation='horizontal', ha='right', va='center')
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
