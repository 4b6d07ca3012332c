"""Files that a test writes: test_log.md, predictions.csv with a row for each video, confusion.png, per_class.png."""
import csv
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from eval.classify.scores import VideoScores
from eval.metrics.average_precision import average_precision
from eval.metrics.intervals import FEWEST_GROUPS, MOST_VALUES, in_braces
from utils.data.classes import SEPARATOR
from utils.data.lists import VideoList
from utils.text import ENCODING, printable

warnings.filterwarnings('ignore', r'Glyph \d+ .* missing from')  # letters that the font lacks are drawn as boxes

ACCURACIES = {'map': 'mAP', 'top1': 'top-1', 'top5': 'top-5', 'mean_class': 'mean per class'}  # of eval.classify.scores
MAX_DRAWN = 1000    # classes of a picture
MAX_LABELLED = 400  # classes with their names at its sides
MAX_INCHES = 40
DPI = 120
BARS = 40           # of classes in a column, for each column: 51 classes take one, 101 two, 400 three


def skipped_text(errors: Sequence[str]) -> str:
    """What reports say of the unreadable videos, a line for each in `errors`."""
    return f'skipped {len(errors)} unreadable videos, which are not in these numbers'


def accuracies_in(stats: dict) -> dict[str, str]:
    """{name: title} of the ACCURACIES that statistics have.

    >>> accuracies_in({'videos': 10, 'loss': 1.5, 'top1': 0.5})
    {'top1': 'top-1'}
    """
    return {name: title for name, title in ACCURACIES.items() if name in stats}


def accuracy_text(stats: dict, name: str) -> str:
    """An accuracy and its interval, or for too few groups the value of each; of a mean over splits also its deviation.

    >>> accuracy_text({'top1': 0.4125, 'interval': {'top1': (0.381, 0.444)}}, 'top1')
    '41.25% [38.10%, 44.40%]'
    >>> accuracy_text({'top1': 0.5, 'interval': {'top1': (None, None)}, 'by_group': {'top1': {'ann': .6, 'bob': .4}}},
    ...               'top1')
    '50.00% {40.00%, 60.00%}'
    """
    deviation = f' ± {stats["deviation"][name]:.2%}' if 'deviation' in stats else ''
    low, high = stats['interval'][name]
    if low is None:
        return f'{stats[name]:.2%}{deviation} {in_braces(stats["by_group"][name].values(), "{:.2%}")}'
    return f'{stats[name]:.2%}{deviation} [{low:.2%}, {high:.2%}]'


def seen_lines(facts: dict) -> list[str]:
    """What the facts of a test say of test videos that training has seen; of several splits for each.

    >>> seen_lines({'weights': 'a, b, c', 'seen in split 2': 'pretraining saw 6 of these 9 test videos'})
    ['split 2: pretraining saw 6 of these 9 test videos']
    """
    return [text if name == 'seen' else f'{name.removeprefix("seen in ")}: {text}' for name, text in facts.items()
            if name.startswith('seen')]


def write_log(path: Path, title: str, facts: dict, tables: dict[str, dict], skipped: Sequence[str] = ()) -> None:
    """Appends a section to test_log.md.

    facts: {name: value}. tables: {protocol: statistics}, a table row each. skipped: a line for each unreadable video.
    """
    lines = [f'## {title}', '']
    lines += [f'- {name}: {value}' for name, value in facts.items()]
    names = accuracies_in(next(iter(tables.values()), {}))
    titles = ['protocol', 'videos', 'groups', 'loss', *names.values(), 'hash']
    lines += ['', f'| {" | ".join(titles)} |', '|---' * len(titles) + '|']
    for protocol, stats in tables.items():
        accuracies = ' | '.join(accuracy_text(stats, name) for name in names)
        lines.append(f'| {protocol} | {stats["videos"]} | {stats["groups"]} | {stats["loss"]:.4f} | {accuracies} '
                     f'| {stats.get("hash", "–")} |')
    lines += ['', 'In brackets: 95% intervals over groups of test videos (bootstrap). In braces, for fewer than '
                  f'{FEWEST_GROUPS} groups: the value of each, of more than {MOST_VALUES} the two ends. Numbers of '
                  'another hash are not comparable: it stands for lists, labels, protocol and clips.']
    if any('deviation' in stats for stats in tables.values()):
        lines[-1] += ' After ±: standard deviation over splits.'
    if skipped:
        lines += ['', f'{skipped_text(skipped)}:', '']
        lines += [f'- {line}' for line in skipped]
    with open(path, 'a', **ENCODING) as file:
        file.write('\n'.join(lines) + '\n\n')


def write_rows(path: Path, rows: Iterable[Sequence]) -> None:
    """Writes a csv file."""
    with open(path, 'w', newline='', **ENCODING) as file:
        csv.writer(file).writerows(rows)


def write_predictions(path: Path, video_paths: Sequence[str], scores: VideoScores, class_names: Sequence[str]) -> None:
    """csv of the R videos of `scores`: path, label, prediction, probability of the prediction. video_paths: R str."""
    rows = ((video, class_names[label], class_names[prediction], f'{row[prediction]:.4f}') for
            video, label, prediction, row in zip(video_paths, scores.label, scores.prediction, scores.probability))
    write_rows(path, [('path', 'label', 'prediction', 'probability'), *rows])


def write_probabilities(path: Path, video_paths: Sequence[str], scores: VideoScores,
                        class_names: Sequence[str]) -> None:
    """csv of R videos with several labels: path, labels, the probability of each class. video_paths: R str."""
    rows = ((video, SEPARATOR.join(class_names[c] for c in np.flatnonzero(label)),
             *(f'{probability:.6g}' for probability in row))
            for video, label, row in zip(video_paths, scores.label, scores.probability))
    write_rows(path, [('path', 'label', *class_names), *rows])


def write_average_precision(path: Path, scores: VideoScores, class_names: Sequence[str]) -> None:
    """csv of the C classes: class, videos that have it, its average precision (empty without any)."""
    counts = scores.label.sum(axis=0)
    average = average_precision(scores.probability, scores.label)(np.ones(len(scores.label), int))
    rows = ((name, count, f'{value:.4f}' if count else '') for name, count, value in zip(class_names, counts, average))
    write_rows(path, [('class', 'videos', 'average_precision'), *rows])


def write_list(path: Path, videos: VideoList) -> None:
    """A VideoList as a csv list of this project: rows path, frames, label (empty without labels) and group."""
    label = videos.label if videos.label is not None else [b''] * len(videos)
    label, group = ([text.decode(**ENCODING) for text in column] for column in (label, videos.group))
    write_rows(path, zip(videos.paths(), videos.n_frames.tolist(), label, group))


def confusion_matrix(label: np.ndarray, prediction: np.ndarray, num_class: int) -> np.ndarray:
    """Counts int64 [num_class, num_class]: rows are true classes, columns predicted ones.

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), num_class=2).tolist()
    [[1, 1], [0, 1]]
    """
    matrix = np.zeros((num_class, num_class), np.int64)
    np.add.at(matrix, (label, prediction), 1)
    return matrix


def confusion_figure(matrix: np.ndarray, class_names: Sequence[str]) -> Figure:
    """A Figure of the confusion matrix, each row normalised to 1."""
    size = len(class_names)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    inches = min(MAX_INCHES, max(5, 2.5 + size * 0.22))
    figure = Figure((inches + 1, inches), dpi=DPI, layout='constrained')
    axes = figure.subplots()
    image = axes.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    font = 9 if size <= 20 else 6
    if size <= MAX_LABELLED:
        names = [printable(name) for name in class_names]
        axes.set_xticks(range(size), names, rotation=90, fontsize=font, parse_math=False)
        axes.set_yticks(range(size), names, fontsize=font, parse_math=False)
    axes.set(xlabel='predicted', ylabel='true')
    if size <= 20:
        for row in range(size):
            for column in range(size):
                if matrix[row, column]:
                    axes.text(column, row, matrix[row, column], ha='center', va='center', fontsize=font,
                              color='white' if shares[row, column] > 0.5 else 'black')
    figure.colorbar(image, label='share of the class', shrink=0.8)
    return figure


def class_accuracies_figure(accuracy: np.ndarray, counts: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """A Figure with a bar for each class that has a video, the best first; many classes in several columns.

    accuracy: [C], from 0 to 1. counts: int [C], videos of each class. class_names: C str."""
    order = [c for c in np.argsort(-accuracy, kind='stable') if counts[c]]
    columns = max(1, round(np.sqrt(len(order) / BARS)))
    rows = -(-len(order) // columns)
    figure = Figure((2 + 6 * columns, 1.5 + 0.22 * rows), dpi=DPI, layout='constrained')
    mean = accuracy[order].mean()
    for axes, start in zip(figure.subplots(1, columns, squeeze=False)[0], range(0, columns * rows, rows)):
        shown = order[start:start + rows]
        axes.axvline(mean, color='grey', linewidth=1, linestyle=':', zorder=0)
        bars = axes.barh(range(len(shown)), accuracy[shown], height=0.75)
        axes.bar_label(bars, [f'{accuracy[c] * counts[c]:.0f} of {counts[c]}' for c in shown], padding=3, fontsize=8)
        axes.set_yticks(range(len(shown)), [printable(class_names[c]) for c in shown], fontsize=9, parse_math=False)
        axes.set_xticks(ticks := np.linspace(0, 1, 6), [f'{tick:.0%}' for tick in ticks])
        axes.set(xlim=(0, 1.15), ylim=(rows - 0.4, -0.6))
        axes.spines[['top', 'right']].set_visible(False)
    unseen = len(class_names) - len(order)
    figure.suptitle(f'{title}\nmean {mean:.1%} (dotted)' + (f'; classes without a video: {unseen}' if unseen else ''),
                    fontsize=11, parse_math=False)
    return figure
