"""What a test leaves behind: test_log.md, a csv with a row for each video, and the confusion matrix as a picture."""
import csv

import matplotlib
import numpy as np

matplotlib.use('Agg')
import matplotlib.pyplot as plt


def write_log(path, title, facts, tables):
    """Appends a section to test_log.md: `facts` {name: value} and a row for each of `tables` {protocol: statistics}."""
    lines = [f'## {title}', '']
    lines += [f'- {name}: {value}' for name, value in facts.items()]
    lines += ['', '| protocol | videos | loss | top-1 | top-5 | mean per class |', '|---|---|---|---|---|---|']
    for protocol, stats in tables.items():
        lines.append(f'| {protocol} | {stats["videos"]} | {stats["loss"]:.4f} | {stats["top1"]:.2%} '
                     f'| {stats["top5"]:.2%} | {stats["mean_class"]:.2%} |')
    with open(path, 'a', encoding='utf-8') as file:
        file.write('\n'.join(lines) + '\n\n')


def write_predictions(path, video_paths, scores, class_names):
    """csv: path, label, prediction, probability of the prediction."""
    with open(path, 'w', newline='', encoding='utf-8', errors='surrogateescape') as file:
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
    """A picture of the confusion matrix, each row as shares of its class."""
    size = len(class_names)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    inches = max(5, 2.5 + size * 0.22)
    figure, axes = plt.subplots(figsize=(inches + 1, inches), layout='constrained')
    image = axes.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    font = 9 if size <= 20 else 6
    axes.set_xticks(range(size), class_names, rotation=90, fontsize=font)
    axes.set_yticks(range(size), class_names, fontsize=font)
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
