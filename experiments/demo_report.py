"""What a demo ends with: a table of ten rows, a sentence, what was made and where, and the next commands."""
import csv
import json
import os
import shlex
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from eval.protocols.protocol import Outcome
from eval.protocols.results import cell_of, row_of, table_lines
from eval.protocols.verdict import verdict
from experiments.run_script import epoch_curves, newest_model, run_folder
from utils import ROOT
from utils.data.lists import VideoList
from utils.text import counted

# name of each run (its folder is log_{name}): colour in the picture
RUNS = {'pretraining': 'black', 'finetune_pretrained': 'tab:blue', 'finetune_random': 'tab:orange'}
# rows of the table, for each feature: (protocol, labels, metric)
SHOWN = [('retrieval', 'all labels', 'R@1'), ('knn', 'all labels', 'top1'), ('probe', 'all labels', 'top1'),
         ('probe', '50% of labels', 'top1'), ('probe', '5 per class', 'top1')]
CLASSES = 8


def how_to_enter():
    """How another terminal gets the `python` of the commands that are shown."""
    return f'commands are shown as they run in {ROOT}' + (f' after: {activation()}' if activation() else '')


def activation():
    """The command that enters this virtual environment; None where there is none, or `python` is its own already."""
    script = Path(sys.prefix, 'bin', 'activate')
    if sys.prefix == sys.base_prefix or not script.is_file() or os.environ.get('VIRTUAL_ENV') == sys.prefix:
        return None
    return f'. {shlex.quote(str(script.relative_to(ROOT) if script.is_relative_to(ROOT) else script))}'


def runs_of(output):
    return [name for name in RUNS if (output / f'log_{name}').exists()]


def draw_curves(output):
    """curves.png, loss and top-1 by epoch of each run that has several epochs; none without such a run."""
    logs = {name: epoch_curves(run_folder(output, name)) for name in runs_of(output)}
    logs = {name: log for name, log in logs.items() if len(log['train']['loss']) > 1}
    (output / 'curves.png').unlink(missing_ok=True)
    if not logs:
        return
    figure = Figure((10, 3.5), layout='constrained')
    for axis, statistic in zip(figure.subplots(1, 2), ('loss', 'top1')):
        for name, log in logs.items():
            for kind, style in (('train', '--'), ('val', '-')):
                values = log[kind][statistic]
                axis.plot(range(1, len(values) + 1), values, style, color=RUNS[name],
                          label=f'{name.replace("_", ", from ").replace("finetune", "fine-tuning")}, {kind}')
        axis.set(xlabel='epoch', ylabel={'top1': 'top-1'}.get(statistic, statistic))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)
    figure.savefig(output / 'curves.png', dpi=120)


def test_accuracy(folder):
    """Top-1 over every video and its 95% interval, as text, from the csv that a test writes."""
    with open(folder / 'predictions.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    correct = np.array([row['label'] == row['prediction'] for row in rows])
    group = VideoList.from_rows([row['path'] for row in rows], np.ones(len(rows))).groups()
    return cell_of(row_of('', '', Outcome('test', 'all labels', 'top1', correct[None].astype(float), np.array(group))))


def print_report(output, weights, seconds):
    """Prints the table, the verdict, the paths of everything and the next commands."""
    rows, differences = (json.loads((output / 'frozen' / f'{name}.json').read_text())
                         for name in ('results', 'differences'))
    shown = [{**row, 'hash': None} for row in rows if (row['protocol'], row['setting'], row['metric']) in SHOWN]
    names = {str(weights): 'pretrained', 'random': 'random weights'}
    print()
    print('\n'.join(table_lines(shown, names=lambda found: [names.get(each, each) for each in found])))
    for origin in ('pretrained', 'random'):
        if (output / f'log_test_finetune_{origin}').exists():
            print(f'fine-tuned from {origin} weights: top-1 '
                  + test_accuracy(run_folder(output, f'test_finetune_{origin}')))
    print(f'\n{verdict(rows, differences)}; chance: {1 / CLASSES:.1%}')

    epochs = len(epoch_curves(run_folder(output, 'pretraining'))['train']['loss'])
    print(f'\n{seconds / 60:.1f} minutes, {counted(epochs, "epoch")} of pretraining. Made in {output}:')
    made = {'report.html': 'all of it on one page', 'curves.png': 'loss and top-1 by epoch',
            'frozen/': 'results.json, results.md with all rows, retrieval pages and other pictures',
            'prediction/': 'what the network predicts: similarity maps over frames, overview.png',
            **{str(newest_model(output, name).relative_to(output)): f'checkpoint, {name.replace("_", ", from ")}'
               for name in runs_of(output)}}
    for path, what in made.items():
        if (output / path).exists():
            print(f'  {path}  {what}')
    print('\n'.join(['\nnext: your own videos, any folder of video files; labels are not needed',
                     *next_commands()]))


def next_commands():
    """Lines to copy: into the environment, pretraining on a folder, frozen evaluation."""
    enter = activation()
    return [f'  cd {shlex.quote(str(ROOT))}' + (f' && {enter}' if enter else ''),
            '  python dpc/main.py --dataset /path/to/your/videos',
            '  python eval/frozen.py --dataset /path/to/your/videos --weights {model.pth.tar} --out frozen_videos',
            'the first ends with the path of {model.pth.tar}; the second needs class folders, videos/{class}/{video}']
