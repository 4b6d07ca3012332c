"""Judges frozen features by retrieval, k-NN and a linear probe, beside random weights and appearance alone."""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from eval.appearance import appearance
from eval.knn import knn
from eval.outputs import ENCODING, draw_class_accuracies, printable, skipped_text
from eval.pictures import draw_retrieval, draw_tsne
from eval.probe import probe, subsets
from eval.results import row_of, short_names, table_lines, write_results
from eval.retrieval import KS, retrieval
from eval.settings import SPLITS
from eval.setup import add_feature_arguments, features_of, prepare
from eval.task import Outcome, make_task
from utils.cli import Parser, UserError
from utils.parallel import distributed
from utils.parallel.launch import launch
from utils.run.log import warn

PROTOCOLS = {'retrieval': retrieval, 'knn': knn, 'probe': probe}
RANDOM_SEEDS = 3  # random weights that are averaged
SHOWN_CLASSES = 5


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--weights', required=True, nargs='+', metavar='FILE',
                        help='checkpoints of pretraining or of classifiers, of one net; random weights are always '
                             'judged, too')
    parser.add_argument('--out', required=True, metavar='FOLDER',
                        help='folder for results.json, results.md, pictures, and the features, which are reused')
    parser.add_argument('--split', default=1, type=int, choices=SPLITS, help='split of the data set (default 1)')
    parser.add_argument('--feature', default='both', choices=['context', 'block', 'both'],
                        help='context: the aggregator\'s last state; block: the backbone\'s features (default both)')
    protocols = [*PROTOCOLS, 'appearance']
    parser.add_argument('--protocols', default=protocols, nargs='+', choices=protocols,
                        help='appearance: the probe on pixels and colours of frames instead of features (default: all)')
    parser.add_argument('--mean', action='store_true',
                        help='the checkpoints are of one training with several seeds: judge their mean, under the name '
                             'of the first')
    parser.add_argument('--no_random', action='store_true', help='leave out random weights, where another table has them')
    parser.add_argument('--no_pictures', action='store_true', help='no retrieval page, bars and t-SNE')
    add_feature_arguments(parser)
    return parser.parse_args(argv)


def main(args):
    args.weights = [*dict.fromkeys(args.weights)]
    files = [name for name in args.weights if name != 'random']
    if not files and (args.mean or args.no_random):
        raise UserError(f'--{"mean" if args.mean else "no_random"}: give --weights a file')
    checkpoints, listed, class_names, precision = prepare(args)
    if not class_names:
        raise UserError(f'--dataset {args.dataset}: its videos have no labels (no classInd.txt), which judging needs')
    folder = Path(args.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'--out {folder}: cannot make this folder ({error.strerror})') from error

    # features of each kind of weights: a list, as random weights are drawn several times
    features = {}
    for weights, name in zip(files, short_names(files)):
        features[weights] = [features_of(args, weights, args.seed, checkpoints[weights], listed, precision,
                                         folder / 'features' / f'{name}.npz')]
    if args.mean:
        features = {files[0]: sum(features.values(), [])}
    if not args.no_random:
        features['random'] = [features_of(args, 'random', args.seed + i, {}, listed, precision,
                                          folder / 'features' / f'random-{i}.npz') for i in range(RANDOM_SEEDS)]
    if distributed.is_main():
        judge(args, folder, features, listed, class_names)


def judge(args, folder, features, listed, class_names):
    kinds = ['context', 'block'] if args.feature == 'both' else [args.feature]
    judged = next(iter(features.values()))
    first = judged[0]
    if not all(np.array_equal(each.path, first.path) for each in sum(features.values(), [])):
        raise UserError('some videos could be read for some of the weights only: the disk fails at times, or the frames '
                        'are being written; run this again')
    task = make_task(first, kinds[0])
    warn_of_unseen_classes(task, class_names)
    beyond = [f'R@{k}' for k in KS if k > len(task.train)]
    if beyond:
        warn(f'no {", ".join(beyond)}: there are only {len(task.train)} training videos')

    n_frames = dict(zip(listed.videos.paths(), listed.videos.n_frames.tolist()))
    protocols = [name for name in args.protocols if name in PROTOCOLS]
    outcomes = {(weights, kind): outcomes_of([make_task(each, kind) for each in repetitions], protocols)
                for kind in kinds for weights, repetitions in features.items()}
    rows = [row_of(weights, kind, outcome) for (weights, kind), each in outcomes.items() for outcome in each]
    if 'appearance' in args.protocols:
        shown = appearance(first, n_frames)
        rows += [row_of('none', kind, outcome) for kind, each in shown.items() for outcome in each]

    facts = [f'data: {args.dataset}, split {args.split}: {len(task.train)} training and {len(task.test)} test videos',
             f'clip: {args.num_seq} blocks of {args.seq_len} frames, ds {args.ds}, {args.img_dim} px; net {args.net}',
             *([f'checkpoints: mean of {len(judged)} seeds'] if args.mean else []),
             *([] if args.no_random else [f'random weights: mean of {RANDOM_SEEDS} seeds']),
             'subsets of labels: mean ± deviation of 3 seeds',
             '[low, high]: 95% bootstrap interval over test videos']
    if first.skipped:
        facts.append(skipped_text(first.skipped))
    write_results(folder, rows, facts + first.skipped)
    if 'probe' in args.protocols:
        write_subsets(folder / 'label_subsets.json', task)
    print('\n'.join([*facts, '', *map(printable, table_lines(rows))]))
    if not args.no_pictures:
        names = dict(zip(features, short_names(features)))
        for (weights, kind), each in outcomes.items():
            draw(folder / 'pictures', f'{names[weights]}_{kind}', make_task(features[weights][0], kind), each, n_frames,
                 class_names)
    print(f'written to {folder}: results.json, results.md' + ('' if args.no_pictures else ', pictures/'))


def outcomes_of(tasks, protocols):
    """Outcomes of the protocols, by name; tasks that differ in random weights only are repetitions of one Outcome."""
    merged = []
    for each in zip(*([outcome for name in protocols for outcome in PROTOCOLS[name](task)] for task in tasks)):
        merged.append(Outcome(each[0].protocol, each[0].setting, each[0].metric,
                              np.concatenate([outcome.hits for outcome in each]),
                              sum((outcome.chosen for outcome in each), [])))
    return merged


def warn_of_unseen_classes(task, class_names):
    unseen = np.setdiff1d(task.test_label, task.train_label)
    if len(unseen):
        videos = np.isin(task.test_label, unseen).sum()
        named = ', '.join(printable(class_names[label]) for label in unseen[:SHOWN_CLASSES])
        warn(f'{len(unseen)} classes of the test list have no training video: {named}'
             + (', …' if len(unseen) > SHOWN_CLASSES else '') + f'; their {videos} test videos count as wrong')


def draw(folder, name, task, outcomes, n_frames, class_names):
    """The pictures of one kind of vector of some weights."""
    folder.mkdir(exist_ok=True)
    title = printable(', '.join(name.rsplit('_', 1)))
    draw_retrieval(folder / f'{name}_retrieval.png', task, n_frames, class_names, title)
    draw_tsne(folder / f'{name}_tsne.png', task, class_names, f't-SNE of {title}')
    counts = np.bincount(task.test_label, minlength=len(class_names))
    for outcome in outcomes:
        if outcome.metric == 'top1' and outcome.setting == 'all labels':
            right = np.bincount(task.test_label, outcome.hits.mean(axis=0), minlength=len(class_names))
            draw_class_accuracies(folder / f'{name}_{outcome.protocol}.png', right / np.maximum(counts, 1), counts,
                                  class_names, f'Accuracy by class, {outcome.protocol} on {title}')


def write_subsets(path, task):
    """The paths of the training videos of each subset of labels: {setting: [paths of each seed]}."""
    paths = {setting: [task.train_path[rows].tolist() for rows in seeds] for setting, seeds in subsets(task).items()
             if setting != 'all labels'}
    with open(path, 'w', **ENCODING) as file:
        json.dump(paths, file, indent=1)


if __name__ == '__main__':
    launch(main, parse_args())
