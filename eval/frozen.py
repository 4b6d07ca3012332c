"""Evaluates frozen features by retrieval, k-NN and a linear probe, beside random weights and appearance alone."""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils.packages

from eval.extract.setup import features_of, flags_for
from eval.protocols.appearance import appearance
from eval.protocols.common import (
    add_evaluation_arguments,
    add_kind_argument,
    draw_class_accuracies,
    group_by_path,
    kinds_of,
    next_commands,
    of_all_weights,
    results_of,
    warn_of_unseen_classes,
    write_table,
)
from eval.protocols.knn import knn
from eval.protocols.linear_probe import probe, subsets
from eval.protocols.pictures import draw_retrieval, draw_tsne
from eval.protocols.protocol import make_task, merged
from eval.protocols.results import short_names
from eval.protocols.retrieval import KS, retrieval
from eval.protocols.splits import start_all, write_mean
from utils.cli import Parser
from utils.next_step import say_next
from utils.parallel import distributed
from utils.parallel.launch import launch
from utils.run.log import warn
from utils.text import ENCODING, printable

PROTOCOLS = {'retrieval': retrieval, 'knn': knn, 'probe': probe}


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    add_evaluation_arguments(parser)
    add_kind_argument(parser)
    protocols = [*PROTOCOLS, 'appearance']
    parser.add_argument('--protocols', default=protocols, nargs='+', choices=protocols,
                        help='appearance: the probe on pixels and colours of frames instead of features (default: all)')
    return parser.parse_args(argv)


def main(args):
    started = start_all(args)
    splits = [evaluate_split(*each) for each in started]
    if len(splits) > 1 and distributed.is_main():
        write_mean(args, started, splits)
    if distributed.is_main():
        say_next(*next_commands(args, 'eval/attentive.py', args.out.rstrip('/') + '_attentive'))


def evaluate_split(args, checkpoints, listed, class_names, precision, folder, seen):
    """Evaluates the weights on one split. Returns [(row of results, Outcome), …] in the main process."""
    def extract(weights, seed, name):
        return features_of(flags_for(args, weights), weights, seed, checkpoints.get(weights, {}), listed, precision,
                           folder / 'features' / f'{name}.npz')

    features = of_all_weights(args, extract)
    if distributed.is_main():
        return evaluate(args, folder, features, listed, class_names, seen)


def evaluate(args, folder, features, listed, class_names, seen):
    kinds, groups = kinds_of(args), group_by_path(listed)
    first = next(iter(features.values()))[0]
    task = make_task(first, kinds[0], groups)
    warn_of_unseen_classes(task, class_names)
    beyond = [f'R@{k}' for k in KS if k > len(task.train)]
    if beyond:
        warn(f'no {", ".join(beyond)}: there are only {len(task.train)} training videos')

    n_frames = dict(zip(listed.videos.paths(), listed.videos.n_frames.tolist()))
    protocols = [name for name in args.protocols if name in PROTOCOLS]
    outcomes = {(weights, kind): outcomes_of([make_task(each, kind, groups) for each in repetitions], protocols)
                for kind in kinds for weights, repetitions in features.items()}
    alone = appearance(first, n_frames, groups, listed.videos.fps) if 'appearance' in args.protocols else {}
    shown = {**outcomes, **{('none', kind): each for kind, each in alone.items()}}
    results = results_of(args, listed, task, shown)
    sentence = write_table(args, folder, results, features, task, [
        'videos have several labels: any of them is right in R@k and top1; no subsets of labels'
        if task.multi_label else 'subsets of labels: mean ± deviation of 3 seeds', *seen])
    if 'probe' in args.protocols and not task.multi_label:
        write_subsets(folder / 'label_subsets.json', task)
    pictures = not (args.no_pictures or task.multi_label)
    if task.multi_label and not args.no_pictures:
        print('no pictures: they show one label a video')
    if pictures:
        names = dict(zip(features, short_names(features)))
        for (weights, kind), each in outcomes.items():
            draw(folder / 'pictures', f'{names[weights]}_{kind}', make_task(features[weights][0], kind), each, n_frames,
                 class_names, listed.videos.fps)
    print(f'written to {folder}: results.json, results.md, differences.json, hits.npz'
          + (', pictures/' if pictures else ''))
    if sentence:
        print(f'\n{sentence}')
    return results


def outcomes_of(tasks, protocols):
    """Outcomes of the protocols, by name; tasks that differ in random weights only are repetitions of one Outcome."""
    return merged([[outcome for name in protocols for outcome in PROTOCOLS[name](task)] for task in tasks])


def draw(folder, name, task, outcomes, n_frames, class_names, fps):
    """The pictures of one kind of vector of some weights."""
    folder.mkdir(exist_ok=True)
    title = printable(', '.join(name.rsplit('_', 1)))
    draw_retrieval(folder / f'{name}_retrieval.png', task, n_frames, class_names, title, fps)
    draw_tsne(folder / f'{name}_tsne.png', task, class_names, f't-SNE of {title}')
    for outcome in outcomes:
        if outcome.metric == 'top1' and outcome.setting == 'all labels':
            draw_class_accuracies(folder / f'{name}_{outcome.protocol}.png', task, outcome, class_names, title)


def write_subsets(path, task):
    """The paths of the training videos of each subset of labels: {setting: [paths of each seed]}."""
    paths = {setting: [task.train_path[rows].tolist() for rows in seeds] for setting, seeds in subsets(task).items()
             if setting != 'all labels'}
    with open(path, 'w', **ENCODING) as file:
        json.dump(paths, file, indent=1)


if __name__ == '__main__':
    launch(main, parse_args())
