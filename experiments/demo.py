"""Every step on a small data set made here: videos, frames, lists, pretraining, frozen evaluation, fine-tuning, test.

`make demo` runs this. It calls the real scripts, prints each command so that it can be copied, and ends with a table
and a sentence. Most of its time goes to pretraining: as many epochs as fit at the speed that this machine has beside
what else runs on it, which is measured again as it pretrains. Fine-tuning is left out where it could not leave chance.
Data sets are written to process_data/data, the rest to --output, where the runs of an earlier demo are removed first.
"""
import json
import math
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from experiments.data.synthetic import FORMER_NAMES, SETTINGS
from experiments.demo_budget import (
    FINETUNING_STEPS,
    MINUTES,
    Machine,
    minutes_needed,
    minutes_to_take,
    more_epochs,
    plan,
)
from experiments.demo_report import RUNS, draw_curves, how_to_enter, print_report
from experiments.run_script import command_line, newest_model, run, run_folder
from process_data.layout import DATA_ROOT, synthetic_folder
from utils import ROOT
from utils.cli import Parser, cpu_cores, positive
from utils.data.lists import csv_file, list_folder
from utils.run.read_log import read_records

# Small enough for two slow CPU cores. No mirroring: classes differ by direction. A clip spans 40 of a video's frames.
DATA = {'videos_per_class': 48, 'unlabelled': 1024, 'size': 64, 'frames': 48}
CLIP = {'net': 'resnet18', 'img_dim': 32, 'num_seq': 4, 'ds': 2}
TRAINING = {**CLIP, 'batch_size': 8, 'flip': 0, 'print_freq': 20, 'keep': 1}
PRETRAINING = {**TRAINING, 'dataset': 'demo_unlabelled', 'pred_step': 2, 'lr': 5e-4, 'val_fraction': 0.11}
# Two processes on a CPU wait for each other once a step, threads at every layer: twice as slow beside other work.
PROCESSES = {} if torch.cuda.is_available() or cpu_cores() < 2 else {'gpu': 'cpu', 'num_procs': 2}
FINETUNING = {**TRAINING, 'dataset': 'demo', 'train_what': 'ft', 'lr': 1e-3, 'dropout': 0, 'val_fraction': 0.15}
STEPS = {'data': 'make videos', 'lists': 'extract frames, write lists', 'first': 'pretrain for an epoch',
         'pretrain': 'pretrain for as many more as fit', 'frozen': 'evaluate frozen features, beside random weights',
         'predict': 'draw predictions', 'finetune': 'fine-tune from pretrained and from random weights',
         'test': 'test both', 'report': 'write the report'}


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--output', default=str(ROOT / 'demo_output'),
                        help='folder for runs and pictures; an earlier demo\'s are replaced (default demo_output here)')
    parser.add_argument('--minutes', type=positive,
                        help=f'how long the demo may take; pretraining gets most of it (default {MINUTES[0]}, up to '
                             f'{MINUTES[1]} where the machine needs them to show something)')
    return parser.parse_args(argv)


def main(args):
    output = Path(args.output).resolve()
    runs = [f'log_{prefix}{name}' for name in RUNS for prefix in ('', 'test_')]
    for earlier in ('frozen', 'prediction', *runs):
        if (output / earlier).exists():
            shutil.rmtree(output / earlier)
    demo = Demo(output, args.minutes or MINUTES[0])
    print(how_to_enter())
    demo.print_plan('on a slow machine; the speed of this one is measured in step 3')

    # data
    demo.begin('data')
    run('experiments/data/make_demo.py', **data_flags())
    demo.begin('lists')
    for dataset in ('demo', 'demo_unlabelled'):
        run('process_data/extract_frames.py', dataset=dataset, packed=True)
        run('process_data/write_csv.py', dataset=dataset)

    # pretraining, for as long as fits; the speed is measured after the first epoch and again half way
    demo.begin('first')
    demo.pretrain(1)
    demo.choose_minutes(args.minutes)
    demo.begin('pretrain')
    for part in (2, 1):
        if epochs := math.ceil(demo.more_epochs() / part):
            demo.pretrain(demo.epochs + epochs)
    weights = newest_model(output, 'pretraining')

    # frozen evaluation, beside random weights
    demo.begin('frozen')
    run('eval/frozen.py', **PROCESSES, dataset='demo', weights=weights, out=output / 'frozen')
    demo.begin('predict')
    run('eval/visualise.py', dataset='demo_unlabelled', weights=weights, out=output / 'prediction', pictures=2)

    # fine-tuning and test, where they fit
    demo.begin('finetune')
    if demo.seconds_left() > sum(demo.machine.finetuning(FINETUNING['batch_size'])):
        finetune(demo, {'finetune_pretrained': weights, 'finetune_random': 'random'})
    else:
        flags = ' '.join(command_line({**FINETUNING, 'epochs': demo.finetuning_epochs(), 'pretrain': weights}))
        print('left out: in the time that is left it would stay at chance, which says nothing about the weights. '
              f'To fine-tune:\npython eval/test.py {flags}')

    demo.begin('report')
    draw_curves(output)
    run('eval/report.py', output, out=output / 'report.html')
    print_report(output, weights, time.monotonic() - demo.started)


def data_flags():
    """Flags of make_demo.py: DATA, or those that made the data set that is there, so that it is used as it is."""
    settings = Path(synthetic_folder('demo_unlabelled', 'videos'), SETTINGS)
    if not settings.is_file():
        return DATA
    return {FORMER_NAMES.get(name, name): value for name, value in json.loads(settings.read_text()).items()}


def finetune(demo, origins):
    """Trains a classifier from each of `origins`, {name of the run: weights}, equally long, and tests it."""
    for name, weights in origins.items():
        run('eval/test.py', **FINETUNING, **PROCESSES, pretrain=weights, epochs=demo.finetuning_epochs(), prefix=name,
            log_dir=demo.output)
    demo.begin('test')
    for name in origins:
        run('eval/test.py', dataset='demo', test=newest_model(demo.output, name), prefix=f'test_{name}',
            log_dir=demo.output)


@dataclass
class Demo:
    """Time, speed and epochs of pretraining so far. took: {step: seconds} of the steps that are done."""
    output: Path
    minutes: float
    started: float = field(default_factory=lambda: time.monotonic())
    machine: Machine = field(default_factory=Machine)
    epochs: int = 0
    took: dict = field(default_factory=dict)
    running: tuple = ()  # (step, when it began)

    def seconds_left(self):
        return 60 * self.minutes - (time.monotonic() - self.started)

    def plan(self):
        return plan(60 * self.minutes, self.machine, TRAINING['batch_size'], self.took)

    def print_plan(self, speed):
        print(f'the plan, {self.minutes:.0f} minutes {speed}:')
        for number, (name, what) in enumerate(STEPS.items(), 1):
            seconds = self.plan()[name]
            print(f'  {number}. {what:50} {f"{seconds / 60:4.1f} minutes" if seconds else "left out: too short"}')

    def begin(self, name):
        """Prints the step that begins, and what is left."""
        self.end()
        self.running = name, time.monotonic()
        number = list(STEPS).index(name) + 1
        seconds = self.plan()[name]
        print(f'\n[{number}/{len(STEPS)}] {STEPS[name]}: ' + (f'about {seconds / 60:.1f} minutes; ' if seconds else '')
              + f'{max(0, self.seconds_left()) / 60:.1f} of {self.minutes:.0f} are left', flush=True)

    def end(self):
        """Takes the time of the step that is running, if there is one."""
        if self.running:
            name, began = self.running
            self.took[name] = time.monotonic() - began
            self.running = ()

    def pretrain(self, epochs):
        """Pretrains up to `epochs` epochs in all, and measures the machine."""
        started = time.monotonic()
        run('dpc/main.py', **PRETRAINING, **PROCESSES, resume='auto', epochs=epochs, prefix='pretraining',
            log_dir=self.output)
        took = time.monotonic() - started
        records = read_records(run_folder(self.output, 'pretraining') / 'log.jsonl')
        train = [record for record in records if record['kind'] == 'train']
        clips = train[-1]['iteration'] * PRETRAINING['batch_size'] / len(train)
        speed = float(np.mean([record['clips_per_s'] for record in train[self.epochs:]]))
        validated = next(record for record in reversed(records) if record['kind'] == 'val')['time']
        save = 2 * max(0., validated - train[-1]['time'])  # as long as validation, about
        new, self.epochs = epochs - self.epochs, epochs
        start = max(1., took - new * (clips / speed + save))
        self.machine = Machine(speed, start, save, round(clips), labelled_videos())

    def choose_minutes(self, given):
        """Says how fast the machine is and what it would need, and prints the plan again."""
        self.end()
        needed = minutes_needed(time.monotonic() - self.started, self.machine)
        self.minutes = minutes_to_take(given, needed)
        print()
        if needed > self.minutes:
            minutes = math.ceil(needed)
            print(f'{self.minutes:.0f} minutes are too few to show something on this machine, beside what else runs '
                  f'on it: that takes about {minutes}. To take them: make demo MINUTES={minutes}, or python '
                  f'experiments/demo.py --minutes {minutes}. This demo continues with what fits.')
        self.print_plan(f'at {self.machine.clips_per_s:.1f} clips/s')

    def more_epochs(self):
        """How many more epochs of pretraining fit."""
        steps = self.plan()
        return more_epochs(self.seconds_left(), self.machine, steps['finetune'] + steps['test'])

    def finetuning_epochs(self):
        training = self.machine.labelled * 3 / 4 * (1 - FINETUNING['val_fraction'])
        return math.ceil(FINETUNING_STEPS * FINETUNING['batch_size'] / training)


def labelled_videos():
    folder = list_folder(DATA_ROOT, 'demo', CLIP['img_dim'])
    return sum(len(Path(csv_file(folder, 1, part)).read_text().splitlines()) for part in ('train', 'test'))


if __name__ == '__main__':
    main(parse_args())
