"""What pretraining is worth: accuracy against pretraining time, beside random weights and appearance alone.

`make study` runs this. For each data set it pretrains on the unlabelled list with several seeds, evaluates the frozen
features after more and more epochs, fine-tunes from them and from random weights with the same labels and epochs, and
compares variants at an equal budget. It calls the real scripts and prints each command. Lengths follow from --minutes
and the measured speed of this machine. The same command resumes a study that was stopped: every step stores its result.
"""
import json
import math
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from eval.protocols.results import interval_fact
from experiments.run_script import command_line
from experiments.study_budget import (
    CHECKPOINTS,
    MAX_FINETUNING,
    checkpoints,
    count_of_checkpoints,
    equal_cost,
    finetuning_epochs,
    pretraining_epochs,
)
from experiments.study_report import draw_data, rows_of, write_report
from experiments.study_steps import (
    LABELS,
    MAKERS,
    VARIANTS,
    evaluate,
    evaluate_random,
    finetune,
    make_data,
    measure,
    pretrain,
)
from utils import ROOT
from utils.cli import Parser, UserError, fraction, positive, positive_int, run_cli, whole_number
from utils.data.classes import read_class_list
from utils.data.lists import VideoList, csv_file, list_folder

CURVES = {'puppets': ['default', 'cpv4']}  # variants evaluated at every checkpoint, if not only the default
FINETUNING_SHARE = 0.25  # of the time
FINETUNING_STEPS = 100   # on the demo 30 leave all classifiers near chance, 120 those of random weights alone
RANDOM_SEEDS = 3  # of random weights in eval/frozen.py
# until sizes are known: as many steps as there can be
UNKNOWN = {'epochs': 10 ** CHECKPOINTS, 'checkpoints': CHECKPOINTS}


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--minutes', default=120, type=positive, help='how long the study may take (default 120)')
    parser.add_argument('--device', choices=['cpu', 'cuda'], help='default: cuda where there is a GPU')
    parser.add_argument('--data', default=['demo'], nargs='+', metavar='NAME',
                        help='demo or puppets, which are made; demo2, demo8 or demo64, whose videos have so many '
                             'different appearances; puppets0 to puppets4, in which only the first so many of '
                             'appearance, position, size, view and drift vary; or LABELLED:UNLABELLED, the names of '
                             'two data sets of your own. Several share the time and are compared in data.png (default '
                             'demo)')
    parser.add_argument('--variants', default=[], nargs='+', choices=VARIANTS,
                        help='variants to compare with the default, at equal cost; as cpvK takes K clips of a video '
                             'in an epoch, a study that begins with it trains the default for K epochs or a multiple')
    parser.add_argument('--frozen_only', action='store_true',
                        help='no fine-tuning, which takes a quarter of the time')
    parser.add_argument('--seeds', default=3, type=positive_int, help='of everything that trains (default 3)')
    parser.add_argument('--output', default=str(ROOT / 'study_output'),
                        help='gets a folder for each data set, in which an unfinished study is resumed (default '
                             'study_output here)')
    scripts = parser.add_argument_group('passed on to the scripts')
    scripts.add_argument('--csv_root', default=str(ROOT / 'process_data' / 'data'))
    scripts.add_argument('--frame_root')
    scripts.add_argument('--img_dim', default=48, type=positive_int, help='default 48')
    scripts.add_argument('--num_seq', default=4, type=positive_int, help='default 4')
    scripts.add_argument('--ds', default=2, type=positive_int, help='default 2')
    scripts.add_argument('--batch_size', default=16, type=positive_int, help='default 16')
    scripts.add_argument('--flip', default=0., type=fraction, help='default 0: classes differ by direction')
    scripts.add_argument('--num_workers', type=whole_number)
    args = parser.parse_args(argv)
    for data in args.data:
        if data not in MAKERS and len(data.split(':')) != 2:
            parser.error(f'--data {data}: give {", ".join(MAKERS)} or the names of two data sets, LABELLED:UNLABELLED')
    for variant in args.variants:
        if args.frozen_only and VARIANTS[variant][1]:
            parser.error(f'--variants {variant} differs in fine-tuning, which --frozen_only leaves out')
    return args


def main(args):
    found = {}
    for data in args.data:
        study = Study(args, data, Path(args.output).resolve() / data.replace(':', '-').replace('/', '-'),
                      args.minutes / len(args.data))
        study.open()
        for number, (name, work, *about) in enumerate(steps(study), 1):
            if not study.file(name).exists():
                total = max(number, sum(1 for _ in steps(study)))
                print(f'\n=== {data}: step {number} of {total}, {name}; {study.seconds() / 60:.1f} of '
                      f'{study.minutes:g} minutes used', flush=True)
                study.do(name, work, *about)
                if name.startswith(('random', 'evaluate')):
                    report(study)
        found[data] = report(study)
        print(f'\n{(study.folder / "results.md").read_text()}\nin {study.folder}: results.json, results.md, study.png')
    if len(found) > 1:
        draw_data(Path(args.output) / 'data.png', found)
        print(f'{args.output}/data.png: accuracy on each data set')


@dataclass
class Study:
    """The study of one data set: its settings, and the stored results of its steps."""
    args: object
    data: str
    folder: Path
    minutes: float

    def __post_init__(self):
        made = self.data in MAKERS
        dataset = MAKERS[self.data][0] if made else None
        self.labelled, self.unlabelled = (dataset, f'{dataset}_unlabelled') if made else self.data.split(':')
        self.curves = CURVES.get(dataset, ['default'])  # evaluated at every checkpoint; the others at the end
        self.labels = {} if self.args.frozen_only else LABELS  # of fine-tuning
        self.others = [name for name in dict.fromkeys(self.args.variants) if name not in self.curves]
        # With K clips of every video an epoch is as long as K of the default's: only after a multiple are both whole.
        self.unit = max(VARIANTS[name][0].get('clips_per_video', 1) for name in self.curves + self.others)
        csv_root = self.folder / 'data' / 'lists' if made else self.args.csv_root
        passed_on = {'csv_root': csv_root, **{name: getattr(self.args, name) for name in ('frame_root', 'num_workers')}}
        self.flags = {name: value for name, value in passed_on.items() if value is not None}
        if self.args.device:
            self.flags['gpu'] = {'cpu': 'cpu', 'cuda': 0}[self.args.device]
        self.clip = {name: getattr(self.args, name) for name in ('img_dim', 'num_seq', 'ds')}
        self.batches = {name: getattr(self.args, name) for name in ('batch_size', 'flip')}

    def list_folder(self, data):
        return list_folder(self.flags['csv_root'], data, self.args.img_dim)

    def groups(self):
        """{path of a test video of the labelled data: its group}"""
        videos = VideoList.read_csv(csv_file(self.list_folder(self.labelled), 1, 'test'), self.args.frame_root)
        return dict(zip(videos.paths(), videos.groups()))

    def pretraining_of(self, variant):
        """The variant whose pretraining a variant uses: its own, or the default's if it differs in fine-tuning only."""
        return variant if VARIANTS[variant][0] else 'default'

    def finetunings(self):
        """(variant, 'random' or 'pretrained') of every fine-tuning; variants of pretraining need no random weights."""
        return [(name, origin) for name in self.curves + self.others for origin in ('random', 'pretrained')
                if origin == 'pretrained' or not VARIANTS[name][0]]

    def open(self):
        """Makes the folder, or checks that it has a study with the same settings; variants may be added."""
        settings = {name: value for name, value in vars(self.args).items() if name not in ('variants', 'output')}
        settings.update(data=self.data, minutes=self.minutes)
        path = self.folder / 'study.json'
        if path.exists() and any(step.stem != 'data' for step in self.files('')):
            before = json.loads(path.read_text())
            differ = {name: before.get(name) for name in settings if settings[name] != before.get(name)}
            if differ:
                had = ', '.join(' '.join(command_line({name: value})) if value else f'no --{name}'
                                for name, value in differ.items())
                raise UserError(f'{self.folder} has a study with {had}: give the same flags to resume it, or another '
                                '--output')
        if self.data not in MAKERS:
            for name in (self.labelled, self.unlabelled):
                self.list_folder(name)  # before any work
            file = csv_file(self.list_folder(self.labelled), 1, 'train')
            if Path(file).exists() and VideoList.read_csv(file, self.args.frame_root).has_several_labels():
                raise UserError(f'--data {self.data}: some videos of {self.labelled} have several labels, but a study '
                                'trains on parts of each class: give a data set with one label a video')
        (self.folder / 'steps').mkdir(parents=True, exist_ok=True)
        for step in (self.folder / 'steps').glob('judge-*.json'):  # the name of this step in earlier versions
            step.rename(step.with_name(step.name.replace('judge', 'evaluate', 1)))
        path.write_text(json.dumps(settings, indent=1) + '\n')

    def file(self, step):
        return self.folder / 'steps' / f'{step.replace(" ", "-")}.json'

    def do(self, step, work, *about):
        started = time.monotonic()
        result = work(self, *about)
        temporary = self.file(step).with_suffix('.tmp')
        temporary.write_text(json.dumps({'seconds': time.monotonic() - started, 'result': result}))
        temporary.replace(self.file(step))

    def result(self, step):
        """What the step returned; None before it has been done."""
        return json.loads(self.file(step).read_text())['result'] if self.file(step).exists() else None

    def seconds(self, beginning=''):
        """Time that the steps took, or those whose names begin so."""
        return sum(json.loads(path.read_text())['seconds'] for path in self.files(beginning))

    def files(self, beginning):
        """Those of the finished steps whose names begin so, epoch 3 before epoch 13."""
        def by_number(path):
            return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', path.stem)]

        return sorted((self.folder / 'steps').glob(f'{beginning.replace(" ", "-")}*.json'), key=by_number)

    def left(self):
        return 60 * self.minutes - self.seconds()


def steps(study):
    """Yields (name, function, arguments after the study) in order; the later ones follow from sizes found earlier."""
    yield 'data', make_data
    yield 'random weights', evaluate_random
    yield 'speed', measure
    if study.labels:
        yield 'size of finetuning', size_finetuning
    yield from all_finetunings(study, 'default', 'random')
    yield 'size of pretraining', size_pretraining
    size = study.result('size of pretraining') or UNKNOWN
    epochs = checkpoints(size['epochs'], size['checkpoints'])
    for i in range(len(epochs)):
        if i == len(epochs) - 1:
            yield 'size of the rest', size_rest, epochs[-2]
            epochs[-1] = study.result('size of the rest') or epochs[-1]
        for variant in study.curves:
            yield from pretrain_and_evaluate(study, variant, epochs[i])
    for variant in study.curves:
        yield from all_finetunings(study, variant, 'pretrained')
    for variant in study.others:
        if VARIANTS[variant][0]:
            yield from pretrain_and_evaluate(study, variant, epochs[-1])
        else:
            yield from all_finetunings(study, variant, 'random')
        yield from all_finetunings(study, variant, 'pretrained')


def pretrain_and_evaluate(study, variant, epochs):
    """epochs: of the default, whose cost the variant's have."""
    epochs = equal_cost(epochs, VARIANTS[variant][0], study.args.num_seq)
    for seed in range(study.args.seeds):
        yield f'pretrain {variant} {seed} to {epochs}', pretrain, variant, seed, epochs
    yield f'evaluate {variant} at {epochs}', evaluate, variant, epochs


def all_finetunings(study, variant, origin):
    sized = study.result('size of finetuning')
    for setting in study.labels if sized is None else sized:
        for seed in range(study.args.seeds):
            yield f'finetune {variant} {origin} {setting} {seed}', finetune, variant, origin, setting, seed


# ---- sizes

def size_finetuning(study):
    """{setting: epochs} of fine-tuning; {} where there is too little time for it, which a line says."""
    speed = study.result('speed')
    runs = len(study.finetunings()) * len(study.labels) * study.args.seeds
    with open(csv_file(study.list_folder(study.labelled), 1, 'train')) as file:
        videos = sum(1 for _ in file)
    epochs = finetuning_epochs(FINETUNING_SHARE * study.left() / runs - 2 * speed['start'], videos, study.labels,
                               speed['clips_per_s'], speed['save'])
    steps = epochs['all labels'] * videos // study.args.batch_size
    if steps >= FINETUNING_STEPS:
        return epochs
    enough = math.ceil(FINETUNING_STEPS * study.args.batch_size / videos)  # epochs
    seconds = enough * (videos / speed['clips_per_s'] + speed['save']) + 2 * speed['start']
    minutes = len(study.args.data) * (study.seconds() + runs * seconds / FINETUNING_SHARE) / 60
    print(f'fine-tuning is left out: each classifier would be trained for {steps} steps, and with fewer than '
          f'{FINETUNING_STEPS} all stay near chance; '
          + (f'it takes --minutes {math.ceil(minutes)}' if enough <= MAX_FINETUNING else
             f'{videos} training videos are too few for it, or give a smaller --batch_size'))
    return {}


def size_pretraining(study):
    """{'epochs': of pretraining with the default, 'checkpoints': at how many of them features are evaluated}"""
    seconds, costs, curves, others = budget(study)
    count = count_of_checkpoints(seconds, costs, curves)
    return {'epochs': pretraining_epochs(seconds, costs, curves, others, count, before=1, unit=study.unit),
            'checkpoints': count}


def size_rest(study, before):
    """Epochs again, before the last checkpoint: from the time that all `before` epochs took."""
    seconds, costs, curves, others = budget(study)
    trained = [study.result(path.stem) for path in study.files('pretrain')]
    minutes, clips = (sum(each[name] for each in trained) for name in ('minutes', 'clips'))
    costs['epoch'] *= study.result('speed')['clips_per_s'] * 60 * minutes / clips
    return pretraining_epochs(seconds, costs, curves, others, 1, before, study.unit)


def budget(study):
    """Seconds left for pretraining and evaluating, the costs that study_budget describes, numbers of curves, others."""
    speed = study.result('speed')
    others = sum(1 for name in study.others if VARIANTS[name][0])
    finetuning = study.seconds('finetune default random') * (len(study.finetunings()) - 1)
    evaluated = len(study.files('evaluate'))
    costs = {'epoch': speed['epoch'], 'start': speed['start'], 'seeds': study.args.seeds,
             'evaluation': study.seconds('evaluate') / evaluated if evaluated
             else study.seconds('random weights') * study.args.seeds / RANDOM_SEEDS}
    return study.left() - finetuning, costs, len(study.curves), others


def report(study):
    """Writes the results so far, and returns the rows of results.json."""
    facts = [f'{study.seconds() / 60:.0f} minutes; pretrained on {study.unlabelled}, evaluated on {study.labelled}',
             f'clip: {study.args.num_seq} blocks, ds {study.args.ds}, {study.args.img_dim} px',
             f'mean ± deviation over {study.args.seeds} seeds of training, and of subsets of labels',
             interval_fact(np.array([*study.groups().values()])) + '; of the mean over seeds: how much another '
             'seed could change is the deviation']
    rows = rows_of(study)
    classes = read_class_list(study.list_folder(study.labelled))
    write_report(study.folder, rows, facts, study.curves, study.others, chance=1 / len(classes))
    return rows


if __name__ == '__main__':
    run_cli(main, parse_args())
