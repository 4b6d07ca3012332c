"""Recognises actions before their end: a linear probe on the first part of each test video, completed by a prediction
of the rest or not, beside random weights."""
import contextlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils.packages

from eval.forecast.contexts import check_predictor, contexts_of
from eval.protocols.anticipation import (
    EXPLAINED,
    anticipation,
    curve_facts,
    gain_rows,
    prediction_facts,
    result_tables,
)
from eval.protocols.common import (
    add_evaluation_arguments,
    files_of,
    group_by_path,
    next_commands,
    of_all_weights,
    results_of,
    warn_of_unseen_classes,
    write_table,
)
from eval.protocols.pictures import draw_anticipation
from eval.protocols.protocol import make_task, merged
from eval.protocols.results import short_names
from eval.protocols.splits import start_all, write_mean
from utils.cli import Parser, UserError, number
from utils.next_step import say_next
from utils.parallel import distributed
from utils.parallel.launch import launch
from utils.text import ENCODING, printable

OBSERVE = 0.1, 0.25, 0.5, 0.75, 1.
part = number(float, lambda value: 1e-4 <= value <= 1, 'a part of each video from 0.0001 to 1, such as 0.25')


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    add_evaluation_arguments(parser, others='third-party models, which predict nothing, are refused')
    parser.add_argument('--observe', default=OBSERVE, nargs='+', type=part, metavar='PART',
                        help='parts of each test video, from its start, that are seen, as fractions of its frames; '
                             'nothing beyond them is decoded (default: '
                             f'{" ".join(f"{fraction:g}" for fraction in OBSERVE)})')
    parser.add_argument('--json', action='store_true',
                        help='print the rows of results.json, an object a line, and all else on stderr')
    args = parser.parse_args(argv)
    args.observe = sorted({round(fraction, 4) for fraction in args.observe})
    return args


def main(args):
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr if args.json else out):
        started = start_all(args)
        for one, checkpoints, listed, *_ in started:
            check(one, checkpoints, listed)
        splits = [evaluate_split(*each) for each in started]
        if not distributed.is_main():
            return
        rows = write_mean(args, started, splits) if len(splits) > 1 else [row for row, _ in splits[0]]
        say_next(*next_commands(args))
    if args.json:
        print('\n'.join(map(json.dumps, rows)))


def check(args, checkpoints, listed):
    """UserError: weights or a data set that this can't be measured with."""
    for weights in args.weights:
        check_predictor(weights, checkpoints.get(weights, {}))
    if listed.label.ndim == 2:
        raise UserError(f'--dataset {args.dataset}: some of its videos have several labels, which the probe does not '
                        'learn here; use eval/frozen.py')
    if not listed.rows_of('test').any():
        raise UserError(f'--dataset {args.dataset}: there is no test video to see a part of; the data set needs a test '
                        'list')


def evaluate_split(args, checkpoints, listed, class_names, precision, folder, seen):
    """Evaluates the weights on one split. Returns [(row of results, Outcome), …] in the main process."""
    def extract(weights, seed, name):
        return contexts_of(args, weights, seed, checkpoints.get(weights, {}), listed, precision,
                           folder / 'contexts' / f'{name}.npz')

    contexts = of_all_weights(args, extract)
    if distributed.is_main():
        return evaluate(args, folder, contexts, listed, class_names, seen)


def evaluate(args, folder, contexts, listed, class_names, seen):
    groups = group_by_path(listed)
    task = make_task(next(iter(contexts.values()))[0], 'video', groups)
    warn_of_unseen_classes(task, class_names)
    outcomes = {}
    for weights, repetitions in contexts.items():
        found = [anticipation(make_task(each, 'video', groups), each, args.observe) for each in repetitions]
        for feature in found[0]:
            outcomes[weights, feature] = merged([each[feature] for each in found])
    results, gains = results_of(args, listed, task, outcomes), gain_rows(outcomes, args.observe)
    rows, names = [row for row, _ in results], dict(zip(contexts, short_names(contexts)))
    trained = {weights: name for weights, name in names.items() if weights in files_of(args)}
    sentence = write_table(args, folder, results, contexts, task, [
        'observed: the first '
        f'{", ".join(f"{100 * fraction:g}" for fraction in args.observe)}% of the frames of each test video',
        *EXPLAINED, *prediction_facts(gains, trained),
        *curve_facts(outcomes, args.observe, trained, 1 / len(class_names)), *seen], result_tables(rows, gains, names))
    with open(folder / 'gains.json', 'w', **ENCODING) as file:
        json.dump(gains, file, indent=1)
    if not args.no_pictures:
        draw_anticipation(folder / 'anticipation.png', rows, args.observe,
                          {weights: printable(name) for weights, name in names.items()}, 1 / len(class_names))
    print(f'written to {folder}: results.json, results.md, differences.json, gains.json, hits.npz'
          + ('' if args.no_pictures else ', anticipation.png'))
    if sentence:
        print(f'\n{sentence}')
    return results


if __name__ == '__main__':
    launch(main, parse_args())
