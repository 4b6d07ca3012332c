"""Pictures of frozen features: a page of retrieved videos, a t-SNE, accuracy by the part of a video that was seen."""
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from sklearn.manifold import TSNE

from eval.protocols.anticipation import FEATURES, setting_of
from eval.protocols.protocol import Task
from eval.protocols.retrieval import neighbours_of_test
from utils.text import printable
from utils.video.frames import FrameError
from utils.video.sources import read_pictures

QUERIES, NEIGHBOURS = 12, 5  # of a retrieval page
MAX_POINTS = 5000            # of a t-SNE
MAX_LEGEND = 20              # classes with a colour and a name of their own
DPI = 110
LEGEND_COLUMNS = 3           # of the names of LINES, below one chart
LINES = dict(zip(FEATURES, ('o-', 's-', 'P-', '^--', 'D:')))  # of what the classifier gets
RIGHT, WRONG, QUERY = 'tab:green', 'tab:red', 'black'


def draw_retrieval(path: Path, task: Task, frames_of: dict[str, int], class_names: Sequence[str], title: str,
                   fps: float | None = None) -> None:
    """A row for each of some test videos: its middle frame, and those of the training videos nearest to it, framed
    green where the class is the same and red where not.

    frames_of: {path of a video: its number of frames}. fps: of the VideoList. The queries are
    drawn at random, the same every time."""
    def picture_of(path):
        return middle_frame(path, frames_of[path], fps)

    count = min(NEIGHBOURS, len(task.train))
    order = np.random.default_rng(0).permutation(len(task.test))[:QUERIES]
    order = order[np.argsort(task.test_label[order], kind='stable')]
    found = neighbours_of_test(task, count)
    figure = Figure((1.75 * (1 + count), 2 * len(order)), layout='constrained')
    for query, row in zip(order, figure.subplots(len(order), 1 + count, squeeze=False)):
        label = task.test_label[query]
        show(row[0], picture_of(task.test_path[query]), class_names[label], QUERY)
        for neighbour, cell in zip(found[query], row[1:]):
            other = task.train_label[neighbour]
            show(cell, picture_of(task.train_path[neighbour]), class_names[other], RIGHT if other == label else WRONG)
    figure.suptitle(f'{title}: a test video, and the training videos nearest to it', parse_math=False)
    figure.savefig(path, dpi=DPI)


def show(axes: Axes, picture: np.ndarray, name: str, colour: str) -> None:
    """A frame, framed and named."""
    axes.imshow(picture)
    axes.set_title(printable(name), fontsize=8, color=colour, parse_math=False)
    axes.set(xticks=[], yticks=[])
    for edge in axes.spines.values():
        edge.set(color=colour, linewidth=3)


def middle_frame(path: str, n_frames: int, fps: float | None = None) -> np.ndarray:
    """uint8 [H, W, 3]; grey if it can't be read any more."""
    try:
        return next(read_pictures(path, [(n_frames + 1) // 2], fps=fps))
    except FrameError:
        return np.full((64, 64, 3), 127, np.uint8)


def draw_tsne(path: Path, task: Task, class_names: Sequence[str], title: str) -> None:
    """The test videos in two dimensions, coloured by class."""
    rows = np.arange(len(task.test))
    if len(rows) > MAX_POINTS:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:MAX_POINTS])
    vectors, label = task.test[rows], task.test_label[rows]
    deviation = vectors.std(axis=0)
    vectors = (vectors - vectors.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    perplexity = min(30, (len(rows) - 1) / 3)
    points = TSNE(perplexity=perplexity, init='pca', random_state=0).fit_transform(vectors)
    classes = np.unique(label)
    colours = matplotlib.colormaps['tab20' if len(classes) > 10 else 'tab10']
    figure = Figure((9, 7), layout='constrained')
    axes = figure.subplots()
    for i, c in enumerate(classes):
        axes.scatter(*points[label == c].T, s=24 if len(rows) < 1000 else 8, color=colours(i % colours.N),
                     label=printable(class_names[c]))
    if len(classes) <= MAX_LEGEND:
        legend = axes.legend(fontsize=8, loc='center left', bbox_to_anchor=(1, 0.5))
        for text in legend.get_texts():
            text.set_parse_math(False)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, parse_math=False)
    figure.savefig(path, dpi=DPI)


def draw_anticipation(path: Path, rows: Sequence[dict], observe: Sequence[float], names: dict[str, str],
                      chance: float) -> None:
    """Top-1 by the part of a video that was seen, a chart for each kind of weights, with intervals if there are any.
    Where lines are the same, the later ones are thinner, with smaller marks.

    rows: of results.json. names: {weights: what they are called}."""
    figure = Figure((max(6, 5.2 * len(names)), 5), layout='constrained')
    charts = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, (weights, name) in zip(charts, names.items()):
        for i, (kind, feature) in enumerate(FEATURES.items()):
            row_of = {row['setting']: row for row in rows if (row['weights'], row['feature']) == (weights, feature)}
            curve = [row_of[setting_of(fraction)] for fraction in observe] if row_of else []
            if curve and curve[0]['low'] is not None:
                axes.fill_between(observe, [row['low'] for row in curve], [row['high'] for row in curve], alpha=0.12,
                                  color=f'C{i}', linewidth=0)
            if curve:
                axes.plot(observe, [row['value'] for row in curve], LINES[kind], color=f'C{i}', label=feature,
                          linewidth=4 - 0.7 * i, markersize=13 - 2 * i, zorder=3 + i)
        axes.axhline(chance, color='black', linestyle=':', label=f'chance, {chance:.1%}')
        axes.set_title(name, parse_math=False)
        axes.set(xlabel='part of the video that was seen', xticks=observe, xlim=(0, 1.03), ylim=(0, None))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(alpha=0.3)
    groups = rows[0]['groups']
    charts[0].set_ylabel(f'top-1; {groups} groups are too few for intervals' if rows[0]['low'] is None else
                         f'top-1, with 95% interval over {groups} groups')
    figure.legend(*charts[0].get_legend_handles_labels(), loc='outside lower center', fontsize=9,
                  ncols=LEGEND_COLUMNS * len(names))
    figure.savefig(path, dpi=DPI)
