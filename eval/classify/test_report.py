"""What a test reports: its numbers on the screen and in test_log.md, predictions.csv, pictures."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eval.classify.outputs import (
    MAX_DRAWN,
    accuracies_in,
    accuracy_text,
    class_accuracies_figure,
    confusion_figure,
    confusion_matrix,
    seen_lines,
    skipped_text,
    write_average_precision,
    write_log,
    write_predictions,
    write_probabilities,
)
from eval.classify.scores import Protocol, VideoScores, summarise, uncertainty
from eval.metrics.protocol_hash import mean_hash
from utils.data.lists import VideoList
from utils.text import printable


def report_test(folder: Path, facts: dict, videos: VideoList, protocols: Sequence[Protocol],
                scores: Sequence[VideoScores], broken: Sequence[tuple[int, str]], class_names: Sequence[str],
                hashes: dict[str, str]) -> dict[str, dict]:
    """Prints the numbers and writes test_log.md, predictions.csv, confusion.png and per_class.png; where videos have
    several labels test_log.md, probabilities.csv and average_precision.csv.

    facts: {name: value} for the log, with the `weights`. videos: all of them. scores, broken: of score_videos.
    hashes: {name of a protocol: its hash}, which its statistics get.
    Returns {protocol: statistics of summarise}, without protocols that score no video."""
    scored = [(protocol, each) for protocol, each in zip(protocols, scores) if len(each.index)]
    paths, group = videos.paths(), np.array(videos.groups())
    tables = {protocol.name: {**summarise(each, group[each.index]), 'hash': hashes[protocol.name]}
              for protocol, each in scored}
    skipped = [error for _, error in broken]
    facts = {**facts, **{protocol.name: protocol.about for protocol, _ in scored}}
    write_log(folder / 'test_log.md', f'Test of {Path(facts["weights"]).name}', facts, tables, skipped)
    for line in seen_lines(facts):
        print(line)
    for name, stats in tables.items():
        print_numbers(name, stats)
    for protocol in protocols:
        if protocol.name not in tables:
            print(f'{protocol.name}: no video is long enough')
    if skipped:
        print(f'{skipped_text(skipped)} (test_log.md names them)')
    files = ['test_log.md', *write_details(folder, [paths[i] for i in scores[0].index], scores[0], class_names,
                                           protocols[0].name)]
    print(f'written to {printable(str(folder))}: {", ".join(files)}')
    return tables


def write_details(folder: Path, paths: Sequence[str], scores: VideoScores, class_names: Sequence[str],
                  name: str) -> list[str]:
    """Writes the files on single videos and classes, from the scores of the protocol `name`; returns their names."""
    if scores.label.ndim == 2:
        write_probabilities(folder / 'probabilities.csv', paths, scores, class_names)
        write_average_precision(folder / 'average_precision.csv', scores, class_names)
        return ['probabilities.csv', 'average_precision.csv']
    write_predictions(folder / 'predictions.csv', paths, scores, class_names)
    if len(class_names) <= MAX_DRAWN:
        matrix = confusion_matrix(scores.label, scores.prediction, len(class_names))
        confusion_figure(matrix, class_names).savefig(folder / 'confusion.png')
        counts = matrix.sum(axis=1)
        bars = class_accuracies_figure(matrix.diagonal() / np.maximum(counts, 1), counts, class_names,
                                       f'Accuracy by class, {name}')
        bars.savefig(folder / 'per_class.png')
        return ['predictions.csv', 'confusion.png', 'per_class.png']
    print(f'no confusion.png: {len(class_names)} classes are more than the {MAX_DRAWN} of a picture')
    return ['predictions.csv']


def print_numbers(name: str, stats: dict) -> None:
    accuracies = ', '.join(f'{title} {accuracy_text(stats, key)}' for key, title in accuracies_in(stats).items())
    print(f'{name}: {stats["videos"]} videos in {stats["groups"]} groups, loss {stats["loss"]:.4f}, {accuracies}; '
          f'hash {stats["hash"]}')


def report_mean(folder: Path, facts: dict, tables: dict[int, dict]) -> None:
    """Prints the mean over splits of each protocol and its deviation, and writes test_log.md with it and each split.

    tables: {split: result of report_test}. A protocol that scored no video of some split has no mean."""
    for line in seen_lines(facts):
        print(line)
    rows = {}
    for name in tables[min(tables)]:
        splits = {f'{name}, split {split}': table[name] for split, table in tables.items() if name in table}
        rows.update(splits)
        if len(splits) == len(tables):
            rows[f'{name}, mean of {len(tables)} splits'] = stats = {
                **mean_of(list(splits.values())),
                'hash': mean_hash([each['hash'] for each in splits.values()])}
            print_numbers(f'{name}, mean of {len(tables)} splits', stats)
    write_log(folder / 'test_log.md', f'Mean of splits {", ".join(map(str, tables))}', facts, rows)
    print(f'written to {printable(str(folder))}: test_log.md and a folder for each split')


def mean_of(splits: Sequence[dict]) -> dict:
    """Statistics like those of summarise: all videos, means over splits and their intervals, and `deviation`, the
    sample standard deviation of each accuracy over splits. A group in the lists of several splits is drawn for all."""
    ends = np.cumsum([len(stats['group']) for stats in splits])

    def mean(name):
        return lambda times: np.mean([stats['accuracies'][name](part) for stats, part
                                      in zip(splits, np.split(times, ends[:-1])) if part.any()])

    names = splits[0]['accuracies']
    return {'videos': sum(stats['videos'] for stats in splits), 'loss': np.mean([stats['loss'] for stats in splits]),
            **uncertainty({name: mean(name) for name in names}, np.concatenate([stats['group'] for stats in splits])),
            'deviation': {name: np.std([stats[name] for stats in splits], ddof=1) for name in names}}
