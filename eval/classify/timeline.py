"""A picture of one video: some of its frames, and the probabilities of its clips over time."""
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from matplotlib.figure import Figure

from utils.data.clips import read_frames
from utils.data.crops import box_at
from utils.text import printable

FRAMES = 8    # in the strip
SIDE = 112    # px, of a frame
GAP = 4       # px, between them
CLASSES = 3   # with a line of their own, at least
MOST_CLASSES = 8


def draw_timeline(path: Path, name: str, video: str, n_frames: int, starts: np.ndarray, span: int,
                  probability: np.ndarray, class_names: Sequence[str], fps: float | None = None) -> None:
    """Draws one video to `path`.

    video, n_frames, fps: where its frames are, how many, and of a video file how many a second (None: all). starts: int
    [K], first frame of each clip, from 0; a clip spans `span` frames. probability: [K, num_class] of each clip. name:
    of the video, in the title."""
    numbers = np.linspace(1, n_frames, FRAMES).round().astype(int)
    frames = np.empty((FRAMES, SIDE, SIDE, 3), np.uint8)
    read_frames(video, numbers, lambda height, width: box_at(height, width, 0.5, 0.5), False, frames,
                progress=SimpleNamespace(value=0), fps=fps)
    mean = probability.mean(axis=0)
    order = np.argsort(-mean, kind='stable')
    winners = set(probability.argmax(axis=1))  # of any clip: a video may show several actions, one after the other
    best = [label for rank, label in enumerate(order) if rank < CLASSES or label in winners][:MOST_CLASSES]
    middle = np.minimum(starts + span / 2, n_frames)

    figure = Figure((11, 4.2), layout='constrained')
    strip, chart = figure.subplots(2, 1, height_ratios=(1, 2))
    frames = np.pad(frames, ((0, 0), (0, 0), (GAP // 2, GAP // 2), (0, 0)), constant_values=255)
    strip.imshow(np.hstack(frames), extent=(0, FRAMES, 0, 1))
    strip.set(xticks=np.arange(FRAMES) + 0.5, xticklabels=numbers, yticks=[])
    strip.set_title(printable(f'{name}: {class_names[best[0]]}, {mean[best[0]]:.1%}'), fontsize=11, parse_math=False)
    for label in best:
        chart.plot(middle, probability[:, label], 'o-',
                   label=printable(f'{class_names[label]}, {mean[label]:.1%} on average'))
    chart.set(xlim=(1, max(2, n_frames)), ylim=(0, 1.02), xlabel='frame (middle of the clip)', ylabel='probability')
    for text in chart.legend(loc='center left', bbox_to_anchor=(1, 0.5), frameon=False).get_texts():
        text.set_parse_math(False)
    chart.grid(alpha=0.3)
    figure.savefig(path, dpi=100)
