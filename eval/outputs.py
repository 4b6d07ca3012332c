"""Files that a test writes: test_log.md, predictions.csv with a row for each video, confusion.png."""
import csv

import matplotlib
import numpy as np

matplotlib.use('Agg')
import matplotlib.pyplot as plt

MAX_DRAWN = 1000    # classes of a confusion matrix
MAX_LABELLED = 400  # classes with their names at its sides
MAX_INCHES = 40
# Names of files and classes may hold bytes that are not UTF-8; they are written as they were read.
ENCODING = {'encoding': 'utf-8', 'errors': 'surrogateescape'}


def printable(text):
    """The text with bytes that are not UTF-8 escaped, for screens and pictures."""
    return text.encode('utf-8', 'backslashreplace').decode('utf-8')


def write_log(path, title, facts, tables, skipped=()):
    """Appends a section to test_log.md.

    facts: {name: value}. tables: {protocol: statistics}, a table row each. skipped: a line for each unreadable video.
    """
    lines = [f'## {title}', '']
    lines += [f'- {name}: {value}' for name, value in facts.items()]
    lines += ['', '| protocol | videos | loss | top-1 | top-5 | mean per class |', '|---|---|---|---|---|---|']
    for protocol, stats in tables.items():
        lines.append(f'| {protocol} | {stats["videos"]} | {stats["loss"]:.4f} | {stats["top1"]:.2%} '
                     f'| {stats["top5"]:.2%} | {stats["mean_class"]:.2%} |')
    if skipped:
        lines += ['', f'Skipped {len(skipped)} unreadable videos, which are not in these numbers:', '']
        lines += [f'- {line}' for line in skipped]
    with open(path, 'a', **ENCODING) as file:
        file.write('\n'.join(lines) + '\n\n')


def write_predictions(path, video_paths, scores, class_names):
    """csv of the R videos of `scores`: path, label, prediction, probability of the prediction. video_paths: R str."""
    with open(path, 'w', newline='', **ENCODING) as file:
        writer = csv.writer(file)
        writer.writerow(['path', 'label', 'prediction', 'probability'])
        for video, label, prediction, row in zip(video_paths, scores.label, scores.prediction, scores.probability):
            writer.writerow([video, class_names[label], class_names[prediction], f'{row[prediction]:.4f}'])


def confusion_matrix(label, prediction, num_class):
    """Counts int64 [num_class, num_class]: rows are true classes, columns predicted ones."""
    matrix = np.zeros((num_class, num_class), np.int64)
    np.add.at(matrix, (label, prediction), 1)
    return matrix


def draw_confusion(path, matrix, class_names):
    """A picture of the confusion matrix, each row normalised to 1."""
    size = len(class_names)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    inches = min(MAX_INCHES, max(5, 2.5 + size * 0.22))
    figure, axes = plt.subplots(figsize=(inches + 1, inches), layout='constrained')
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
    figure.savefig(path, dpi=120)
    plt.close(figure)
