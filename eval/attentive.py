"""Evaluates frozen weights by an attentive probe on all tokens of their clips, beside random weights."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils.packages

from eval.extract.setup import flags_for
from eval.extract.tokens import kinds_with_locations, say_sizes, size_of, tokens_of
from eval.protocols.attentive_probe import GRID, HeadTraining, attentive
from eval.protocols.common import (
    add_evaluation_arguments,
    add_kind_argument,
    draw_class_accuracies,
    group_by_path,
    kinds_of,
    next_commands,
    of_all_weights,
    repetitions_of,
    results_of,
    warn_of_unseen_classes,
    write_table,
)
from eval.protocols.protocol import make_task, merged
from eval.protocols.results import short_names
from eval.protocols.splits import start_all, write_mean
from utils.cli import Parser, UserError, fraction, positive_int, whole_number
from utils.data.demands import settle_flip
from utils.next_step import say_next
from utils.parallel import distributed
from utils.parallel.launch import launch
from utils.text import counted, printable


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    add_evaluation_arguments(parser)
    add_kind_argument(parser)
    group = parser.add_argument_group('heads')
    group.add_argument('--depth', default=1, type=int, choices=[1, 4],
                       help='how many times the query attends over the tokens (default 1)')
    group.add_argument('--epochs', default=20, type=positive_int,
                       help='epochs of training the heads, each of one clip of every training video (default 20)')
    group.add_argument('--head_batch', default=32, type=positive_int,
                       help='videos in a batch, all of them where there are fewer (default 32)')
    group.add_argument('--augment', default=0, type=whole_number, metavar='K',
                       help='keep the tokens of K random crops of each training clip, mirrored or not as by --flip '
                            '(default 0: the centre crop)')
    group.add_argument('--flip', type=fraction,
                       help='with --augment, the probability of mirroring (default 0.5, or what dataset.json of the '
                            'lists says; 0 if classes differ by direction)')
    args = parser.parse_args(argv)
    settle_flip(args)
    return args


def main(args):
    started = start_all(args)
    splits = [evaluate_split(*each) for each in started]
    if len(splits) > 1 and distributed.is_main():
        write_mean(args, started, splits)
    if distributed.is_main():
        say_next(*next_commands(args))


def evaluate_split(args, checkpoints, listed, class_names, precision, folder, seen):
    """Evaluates the weights on one split. Returns [(row of results, Outcome), …] in the main process."""
    if listed.label.ndim == 2:
        raise UserError(f'--dataset {args.dataset}: some of its videos have several labels, which attentive heads do '
                        'not learn; use eval/frozen.py, or eval/test.py --pretrain')
    kinds = kinds_of(args)
    evaluated = [weights for weights, _, _ in repetitions_of(args)]
    kinds_by_weights = {weights: kinds_with_locations(weights, kinds) for weights in evaluated}
    sizes = {weights: size_of(flags_for(args, weights), listed, weights) for weights in evaluated}
    say_sizes(folder / 'tokens', [sizes[weights] for weights in evaluated for _ in kinds_by_weights[weights]])

    def extract(weights, seed, name):
        return tokens_of(flags_for(args, weights), weights, seed, checkpoints.get(weights, {}), listed, precision,
                         folder / 'tokens' / name, kinds_by_weights[weights])

    tokens = of_all_weights(args, extract)
    if distributed.is_main():
        return evaluate(args, folder, tokens, listed, class_names, precision.device, seen)


def evaluate(args, folder, tokens, listed, class_names, device, seen):
    kinds = kinds_of(args)
    task = make_task(next(iter(tokens.values()))[0], 'video', group_by_path(listed))
    warn_of_unseen_classes(task, class_names)
    names = dict(zip(tokens, short_names(tokens)))
    if len(task.train) < args.head_batch:
        print(f'--head_batch {args.head_batch}: all {len(task.train)} training videos are one batch')
    training = HeadTraining(args.depth, args.epochs, args.head_batch, args.seed)
    outcomes = {}
    for kind in kinds:
        for weights, repetitions in tokens.items():
            if kind in repetitions[0].maps:
                outcomes[weights, kind], = merged(
                    [[attentive(task, each, kind, training, device, f'heads on {kind} of {names[weights]}')]
                     for each in repetitions])
    results = results_of(args, listed, task, {key: [outcome] for key, outcome in outcomes.items()}, depth=args.depth,
                         epochs=args.epochs, head_batch=args.head_batch,
                         augment=[args.augment, args.flip] if args.augment else None)
    views = f'{args.augment} random crops of each training clip' if args.augment else 'centre crops'
    write_table(args, folder, results, tokens, task, [
        f'attentive heads: {args.depth} deep, {counted(args.epochs, "epoch")}, {views}; the best of {len(GRID)}',
        *seen])
    if not args.no_pictures:
        (folder / 'pictures').mkdir(exist_ok=True)
        for (weights, kind), outcome in outcomes.items():
            name = f'{names[weights]}_{kind}'
            draw_class_accuracies(folder / 'pictures' / f'{name}_attentive.png', task, outcome, class_names,
                                  printable(f'{names[weights]}, {kind}'))
    print(f'written to {folder}: results.json, results.md, differences.json, hits.npz'
          + ('' if args.no_pictures else ', pictures/'))
    return results


if __name__ == '__main__':
    launch(main, parse_args())
