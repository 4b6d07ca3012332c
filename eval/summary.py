"""What a test reports: its numbers on the screen and in test_log.md, predictions.csv, pictures."""
from pathlib import Path

import numpy as np

from eval.classification import summarise
from eval.intervals import interval_of
from eval.outputs import (MAX_DRAWN, accuracy_text, confusion_matrix, draw_class_accuracies, draw_confusion, printable,
                          skipped_text, write_log, write_predictions)


def report_test(folder, facts, paths, protocols, scores, broken, class_names, seed=0):
    """Prints the numbers and writes test_log.md, predictions.csv, confusion.png and per_class.png.

    facts: {name: value} for the log, with the `weights`. paths: of all videos. scores, broken: of score_videos. seed: of
    the intervals; another one for each split, or the draws for their mean would not be independent.
    Returns {protocol: statistics of summarise}, without protocols that score no video."""
    scored = [(protocol, each) for protocol, each in zip(protocols, scores) if len(each.index)]
    tables = {protocol.name: summarise(each, seed) for protocol, each in scored}
    skipped = [error for _, error in broken]
    facts = {**facts, **{protocol.name: protocol.about for protocol, _ in scored}}
    write_log(folder / 'test_log.md', f'Test of {Path(facts["weights"]).name}', facts, tables, skipped)
    first = scores[0]
    write_predictions(folder / 'predictions.csv', [paths[i] for i in first.index], first, class_names)
    for name, stats in tables.items():
        print_numbers(name, stats)
    for protocol in protocols:
        if protocol.name not in tables:
            print(f'{protocol.name}: no video is long enough')
    if skipped:
        print(f'{skipped_text(skipped)} (test_log.md names them)')
    files = ['test_log.md', 'predictions.csv']
    if len(class_names) <= MAX_DRAWN:
        matrix = confusion_matrix(first.label, first.prediction, len(class_names))
        draw_confusion(folder / 'confusion.png', matrix, class_names)
        counts = matrix.sum(axis=1)
        draw_class_accuracies(folder / 'per_class.png', matrix.diagonal() / np.maximum(counts, 1), counts, class_names,
                              f'Accuracy by class, {protocols[0].name}')
        files += ['confusion.png', 'per_class.png']
    else:
        print(f'no confusion.png: {len(class_names)} classes are more than the {MAX_DRAWN} of a picture')
    print(f'written to {printable(str(folder))}: {", ".join(files)}')
    return tables


def print_numbers(name, stats):
    print(f'{name}: {stats["videos"]} videos, loss {stats["loss"]:.4f}, top-1 {accuracy_text(stats, "top1")}, '
          f'top-5 {accuracy_text(stats, "top5")}, mean per class {accuracy_text(stats, "mean_class")}')


def report_mean(folder, facts, tables):
    """Prints the mean over splits of each protocol and its deviation, and writes test_log.md with it and each split.

    tables: {split: what report_test returned}. A protocol that scored no video of some split has no mean."""
    rows = {}
    for name in tables[min(tables)]:
        splits = {f'{name}, split {split}': table[name] for split, table in tables.items() if name in table}
        rows.update(splits)
        if len(splits) == len(tables):
            rows[f'{name}, mean of {len(tables)} splits'] = stats = mean_of(list(splits.values()))
            print_numbers(f'{name}, mean of {len(tables)} splits', stats)
    write_log(folder / 'test_log.md', f'Mean of splits {", ".join(map(str, tables))}', facts, rows)
    print(f'written to {printable(str(folder))}: test_log.md and a folder for each split')


def mean_of(splits):
    """Statistics like those of summarise: all videos, means over splits and their intervals, and `deviation`, the sample
    standard deviation of each accuracy over splits."""
    names = ('top1', 'top5', 'mean_class')
    drawn = {name: np.mean([stats['draws'][name] for stats in splits], axis=0) for name in names}
    return {'videos': sum(stats['videos'] for stats in splits), 'loss': np.mean([stats['loss'] for stats in splits]),
            **{name: np.mean([stats[name] for stats in splits]) for name in names},
            'interval': {name: interval_of(values) for name, values in drawn.items()}, 'draws': drawn,
            'deviation': {name: np.std([stats[name] for stats in splits], ddof=1) for name in names}}
