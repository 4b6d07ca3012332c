"""What the commands of frozen evaluation share: flags, which weights are evaluated, the table of results."""
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Optional

import numpy as np

from eval.classify.outputs import class_accuracies_figure, skipped_text
from eval.extract.setup import add_feature_arguments, flags_for, prepare
from eval.extract.vectors import LabelledVideos
from eval.metrics.multi_label import classes_in
from eval.metrics.protocol_hash import protocol_hash
from eval.networks.seen import check_all_unseen
from eval.networks.settings import SPLITS
from eval.networks.weights import (
    VECTORS_OF_THIRD_PARTY,
    WHAT_THIRD_PARTY,
    baseline_of,
    files_behind,
    hash_of,
    net_of,
    split_weights,
)
from eval.protocols.protocol import Outcome, Task
from eval.protocols.results import (
    choice_facts,
    difference_rows,
    each_once,
    interval_fact,
    row_of,
    short_names,
    write_hits,
    write_results,
)
from eval.protocols.verdict import verdict
from utils.cli import UserError, make_folder, positive_int_or_all
from utils.next_step import command, data_flags
from utils.parallel.precision import Precision
from utils.run.log import warn
from utils.run.setup import clip_settings, frames_taken
from utils.text import printable

RANDOM_SEEDS = 3  # random weights that are averaged
SHOWN_CLASSES = 5


def add_evaluation_arguments(parser: ArgumentParser, others: str = WHAT_THIRD_PARTY) -> None:
    """others: what else than our own networks --weights takes."""
    parser.add_argument('--weights', required=True, nargs='+', metavar='FILE',
                        help='checkpoints or model folders, of pretraining or of classifiers, of one net; random '
                             f'weights of every net are always evaluated, too; {others}')
    parser.add_argument('--out', required=True, metavar='FOLDER',
                        help='folder for results.json, results.md, pictures, and the extracted features, which are '
                             'reused')
    parser.add_argument('--split', type=positive_int_or_all, choices=[*SPLITS, 'all'],
                        help='split of the data set (default: that of --weights if they are of this data set, else 1); '
                             'all: the mean of splits 1, 2 and 3, of three --weights, pretrained on these splits in '
                             'this order, or of one for all')
    parser.add_argument('--mean', action='store_true',
                        help='the checkpoints are of one training with several seeds: evaluate their mean, under the '
                             'name of the first')
    parser.add_argument('--no_random', action='store_true',
                        help='leave out random weights, where another table has them')
    parser.add_argument('--no_pictures', action='store_true', help='write no pictures')
    add_feature_arguments(parser)


def add_kind_argument(parser: ArgumentParser) -> None:
    parser.add_argument('--feature', default='both', choices=['context', 'block', 'both'],
                        help='context: the aggregator\'s states; block: the backbone\'s features (default both)')


def start_frozen_evaluation(args: Namespace) -> tuple[dict, LabelledVideos, list[str], Precision, Path, list[str]]:
    """(checkpoints, LabelledVideos, class names, Precision, folder of --out, lines of `check_all_unseen`): `prepare`,
    and the folder is made. Sets args.sha256, see `sha256_of`.

    UserError: as there; videos without labels, nothing to evaluate, test videos whose labels were trained on, a folder
    that can't be made."""
    args.weights = [*dict.fromkeys(args.weights)]
    if not files_of(args) and (args.mean or args.no_random):
        raise UserError(f'--{"mean" if args.mean else "no_random"}: give --weights a file')
    if args.mean and len({net_of(name, None) for name in args.weights}) > 1:
        raise UserError('--mean: the --weights are of several nets; evaluate each mean by a separate command')
    checkpoints, listed, class_names, precision = prepare(args, by_class=True)
    args.sha256 = sha256_of(args)  # now: a file may be replaced until the results are there
    seen = check_all_unseen(args, checkpoints, listed.videos.select(listed.rows_of('test')))
    folder = Path(args.out)
    make_folder(folder, '--out')
    return checkpoints, listed, class_names, precision, folder, seen


# ---- which weights

def files_of(args: Namespace) -> list[str]:
    """The --weights that are files."""
    return [name for name in args.weights if split_weights(name)[1]]


def sha256_of(args: Namespace) -> dict[str, list[str]]:
    """{weights: sha256 of each file that its rows are of}; of random weights and none there are no files."""
    files = files_of(args)
    found = {name: [hash_of([file]) for file in files_behind(name)] for name in files}
    return {**found, files[0]: each_once(found.values())} if args.mean else found


def baselines_of(args: Namespace) -> list[str]:
    """The random weights to evaluate, as --weights calls them: of every net; with --no_random only those it names."""
    names = args.weights if args.no_random else map(baseline_of, args.weights)
    return list(dict.fromkeys(name for name in names if not split_weights(name)[1]))


def repetitions_of(args: Namespace) -> list[tuple[str, int, str]]:
    """What is evaluated, [(weights, seed, name of a file for their features, without ending), …].

    >>> repetitions_of(Namespace(weights=['a/epoch9.pth.tar'], seed=0, no_random=False))[:2]
    [('a/epoch9.pth.tar', 0, 'epoch9'), ('random', 0, 'random-0')]
    """
    files = files_of(args)
    trained = [(weights, args.seed, name) for weights, name in zip(files, short_names(files))]
    baselines = baselines_of(args)
    random = [(weights, args.seed + i, f'{name}-{i}') for weights, name in zip(baselines, short_names(baselines))
              for i in range(RANDOM_SEEDS)]
    return trained + random


def kinds_of(args: Namespace) -> list[str]:
    """The kinds of features that --feature names."""
    return ['context', 'block'] if args.feature == 'both' else [args.feature]


def of_all_weights(args: Namespace, extract: Callable) -> dict[str, list]:
    """{weights: [result of `extract`, …]}: several for random weights and --mean, which are averaged.

    extract: (weights, seed, name) of `repetitions_of` -> features or tokens. UserError: some videos could be read for
    some of the weights only."""
    files, found = files_of(args), {}
    for weights, seed, name in repetitions_of(args):
        row = files[0] if args.mean and weights in files else weights
        found.setdefault(row, []).append(extract(weights, seed, name))
    paths = [each.path for repetitions in found.values() for each in repetitions if each is not None]
    if not all(np.array_equal(path, paths[0]) for path in paths):
        raise UserError('some videos could be read for some of the weights only: the disk fails at times, or the '
                        'frames are being written; run this again')
    return found


def group_by_path(listed: LabelledVideos) -> dict[str, str]:
    """{path of a video: its group}."""
    return dict(zip(listed.videos.paths(), listed.videos.groups()))


# ---- results

def results_of(args: Namespace, listed: LabelledVideos, task: Task, outcomes: dict[tuple[str, str],
               Sequence[Outcome]], **choices) -> list[tuple[dict, Outcome]]:
    """(row of results, Outcome) of the Outcomes of each (weights, feature). The row has the `hash` of its protocol.

    choices: of the flags, those that decide what the protocol measures."""
    row_of_path = {path: row for row, path in enumerate(listed.videos.paths())}
    train, test = (listed.videos.select(np.array([row_of_path[path] for path in paths]))
                   for paths in (task.train_path, task.test_path))

    @cache
    def hash_for(clip, protocol, videos):
        """videos: as many were tested on. Appearance leaves out those of which it can't read a frame."""
        return protocol_hash(train, test, protocol=protocol, videos=videos, **clip._asdict(), **choices)

    return [({**row_of(weights, feature, outcome, args.sha256.get(weights, ())),
              'hash': hash_for(clip_settings(flags_for(args, weights)), outcome.protocol, outcome.hits.shape[1])},
             outcome) for (weights, feature), each in outcomes.items() for outcome in each]


def warn_of_unseen_classes(task: Task, class_names: Sequence[str]) -> None:
    unseen = np.setdiff1d(classes_in(task.test_label), classes_in(task.train_label))
    if len(unseen):
        affected = task.test_label[:, unseen].any(axis=1) if task.multi_label else np.isin(task.test_label, unseen)
        named = ', '.join(printable(class_names[label]) for label in unseen[:SHOWN_CLASSES])
        warn(f'{len(unseen)} classes of the test list have no training video: {named}'
             + (', …' if len(unseen) > SHOWN_CLASSES else '') + f'; their {affected.sum()} test videos count as wrong'
             + (' where they have no other label' if task.multi_label else ''))


def compared(args: Namespace) -> list[tuple[str, str]]:
    """[(weights, weights to compare them with), …]: each file with random weights of its net, and with the first file.

    >>> compared(Namespace(weights=['a.pth.tar', 'b.pth.tar'], mean=False))
    [('a.pth.tar', 'random'), ('b.pth.tar', 'random'), ('b.pth.tar', 'a.pth.tar')]
    """
    files = files_of(args)
    return [*((name, baseline_of(name)) for name in files), *((name, files[0]) for name in files[1:])]


def write_table(args: Namespace, folder: Path, results: Sequence[tuple[dict, Outcome]], found: dict[str, list],
                task: Task, notes: Sequence[str], tables: Sequence[str] | None = None) -> str:
    """Writes and prints what `results_of` returns; returns its verdict. found: of `of_all_weights`. notes: lines on the
    protocols. tables: see `write_results`."""
    rows, outcomes = [row for row, _ in results], {}
    for row, outcome in results:
        outcomes.setdefault((row['weights'], row['feature']), []).append(outcome)
    differences = difference_rows(outcomes, compared(args))
    evaluated = next(iter(found.values()))
    skipped = evaluated[0].skipped
    baselines = baselines_of(args)
    named = '' if baselines == ['random'] else f' ({", ".join(baselines)})'
    facts = [f'data: {args.dataset}, split {args.split}: {len(task.train)} training and {len(task.test)} test videos',
             *clip_facts(args),
             *([f'checkpoints: mean of {len(evaluated)} seeds'] if args.mean else []),
             *([VECTORS_OF_THIRD_PARTY] if any(net_of(name, None) for name in args.weights) else []),
             *([f'random weights{named}: mean of {RANDOM_SEEDS} seeds'] if baselines else []),
             *notes, *choice_facts(rows), interval_fact(task.test_group)]
    if skipped:
        facts.append(skipped_text(skipped))
    sentence = verdict(rows, differences)
    tables = write_results(folder, rows, facts + skipped, differences, sentence, tables)
    write_hits(folder / 'hits.npz', sum(map(list, outcomes.values()), []), task.test_path.tolist(), task.test_group)
    print('\n'.join([*facts, '', *map(printable, tables)]))
    return printable(sentence)


def clip_facts(args: Namespace) -> list[str]:
    """A line for each kind of clips, with the networks that get them."""
    nets = {}
    for weights in args.weights:
        nets.setdefault(clip_settings(flags_for(args, weights)), {})[net_of(weights, args.net)] = None
    return [f'clip: {clip.num_seq} blocks of {clip.seq_len} frames, {frames_taken(args)}, {clip.img_dim} px; net '
            + ', '.join(each) for clip, each in nets.items()]


def next_commands(args: Namespace, script: Optional[str] = None, out: str = '') -> list[str]:
    """Another frozen evaluation of the same weights, if there is a `script`, and the page about this one."""
    other = [command(script, **data_flags(args), split=args.split, weights=args.weights, out=out)] if script else []
    return [*other, command('eval/report.py', args.out, out='report.html')]


def draw_class_accuracies(path: Path, task: Task, outcome: Outcome, class_names: Sequence[str], title: str) -> None:
    """A picture of an Outcome's accuracy by class."""
    counts = np.bincount(task.test_label, minlength=len(class_names))
    right = np.bincount(task.test_label, outcome.hits.mean(axis=0), minlength=len(class_names))
    class_accuracies_figure(right / np.maximum(counts, 1), counts, class_names,
                            f'Accuracy by class, {outcome.protocol} on {title}').savefig(path)
