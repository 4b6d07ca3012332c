"""Every step on a small data set made here: videos, frames, lists, pretraining, frozen evaluation, fine-tuning, test.

`make demo` runs this. It calls the real scripts, prints each command so that it can be copied, and ends with a table.
Pretraining takes the rest of --minutes at the measured speed of this machine. Data sets are written to
process_data/data, everything else to --output, where the runs of an earlier demo are removed first.
"""
import csv
import json
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from matplotlib.figure import Figure

from eval.protocols.protocol import Outcome
from eval.protocols.results import cell_of, row_of
from experiments.run_script import best_model, epoch_curves, run, run_folder
from utils import ROOT
from utils.cli import Parser, positive
from utils.data.lists import VideoList

# Small enough for two CPU cores. No mirroring: classes differ by direction. The clips span 40 of a video's 64 frames.
CLIP = {'net': 'resnet18', 'img_dim': 48, 'num_seq': 4, 'ds': 2}
TRAINING = {**CLIP, 'batch_size': 16, 'flip': 0, 'print_freq': 20}
PRETRAINING = {**TRAINING, 'dataset': 'demo_unlabelled', 'pred_step': 2, 'lr': 5e-4, 'val_fraction': 0.05}
FINETUNING = {**TRAINING, 'dataset': 'demo', 'train_what': 'ft', 'lr': 1e-3, 'dropout': 0, 'val_fraction': 0.15}
CANDIDATES = PRETRAINING['batch_size'] * PRETRAINING['pred_step'] * 2 * 2  # 2×2 locations of the feature map of 48 px
CLASSES = 8
# name of each run (its folder is log_{name}): colour in the picture
RUNS = {'pretraining': 'black', 'finetune_pretrained': 'tab:blue', 'finetune_random': 'tab:orange'}
# Cost of the steps, in clips of training: an epoch of pretraining; an epoch of both fine-tunings; the features of the
# checkpoint and of three random networks, and the tests.
PRETRAINING_CLIPS, FINETUNING_CLIPS, EVALUATION_CLIPS = 2400, 2 * 170, 1200
OVERHEAD_SECONDS = 90   # starting scripts, protocols, pictures
FINETUNING_SHARE = 0.2  # of the clips that the time allows
MAX_FINETUNING = 8      # epochs


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--output', default=str(ROOT / 'demo_output'),
                        help='folder for runs and pictures; an earlier demo\'s are replaced (default demo_output here)')
    parser.add_argument('--minutes', default=9.5, type=positive,
                        help='how long the demo may take; pretraining gets the rest of it (default 9.5)')
    return parser.parse_args(argv)


def main(args):
    started = time.monotonic()
    output = Path(args.output).resolve()
    runs = [f'log_{prefix}{name}' for name in ('speed', *RUNS) for prefix in ('', 'test_')]
    for earlier in ('frozen', 'prediction', *runs):
        if (output / earlier).exists():
            shutil.rmtree(output / earlier)

    # data
    run('experiments/data/make_demo.py')
    for dataset in ('demo', 'demo_unlabelled'):
        run('process_data/extract_frames.py', dataset=dataset, packed=True)
        run('process_data/write_csv.py', dataset=dataset)
        run('process_data/check_frames.py', dataset=dataset)

    # pretraining, for as long as fits; an epoch on the few labelled videos measures the speed
    run('dpc/main.py', **{**PRETRAINING, 'dataset': 'demo'}, epochs=1, prefix='speed', log_dir=output)
    speed, = epoch_curves(run_folder(output, 'speed'))['train']['clips_per_s']
    epochs, finetuning_epochs = epochs_that_fit(speed, 60 * args.minutes - (time.monotonic() - started))
    run('dpc/main.py', **PRETRAINING, epochs=epochs, prefix='pretraining', log_dir=output)
    weights = best_model(output, 'pretraining')

    # frozen evaluation, beside random weights
    run('eval/frozen.py', dataset='demo', weights=weights, out=output / 'frozen')
    run('eval/visualise.py', dataset='demo_unlabelled', weights=weights, out=output / 'prediction')

    # fine-tuning and test
    for name, pretrain in {'finetune_pretrained': weights, 'finetune_random': 'random'}.items():
        run('eval/test.py', **FINETUNING, pretrain=pretrain, epochs=finetuning_epochs, prefix=name, log_dir=output)
        run('eval/test.py', dataset='demo', test=best_model(output, name), prefix=f'test_{name}', log_dir=output)

    draw_curves(output / 'curves.png', {name: epoch_curves(run_folder(output, name)) for name in RUNS})
    run('eval/report.py', output, out=output / 'report.html')
    report(output, time.monotonic() - started)


def epochs_that_fit(clips_per_second, seconds):
    """(epochs of pretraining, epochs of each fine-tuning) of a demo that has this time left."""
    clips = clips_per_second * (seconds - OVERHEAD_SECONDS) - EVALUATION_CLIPS
    finetuning = min(MAX_FINETUNING, max(1, int(FINETUNING_SHARE * clips / FINETUNING_CLIPS)))
    return max(1, int((clips - finetuning * FINETUNING_CLIPS) / PRETRAINING_CLIPS)), finetuning


def draw_curves(path, logs):
    """A picture of loss and top-1 by epoch: pretraining on the left, both fine-tunings on the right."""
    figure = Figure((10, 6.5), layout='constrained')
    axes = figure.subplots(2, 2, sharex='col')
    for name, log in logs.items():
        column = 0 if name == 'pretraining' else 1
        for row, statistic in enumerate(('loss', 'top1')):
            for kind, style in (('train', '--'), ('val', '-')):
                values = log[kind][statistic]
                axes[row, column].plot(range(1, len(values) + 1), values, style, color=RUNS[name],
                                       label=f'{name.replace("_", ", ").replace("finetune", "fine-tuned")}, {kind}')
    for column, (task, chance) in enumerate({'pretraining': 1 / CANDIDATES, 'classification': 1 / CLASSES}.items()):
        axes[0, column].set(title=task, ylabel='loss')
        axes[1, column].axhline(chance, color='grey', linewidth=1, linestyle=':', label='chance')
        axes[1, column].set(xlabel='epoch', ylabel='top-1', ylim=(0, None))
        axes[1, column].xaxis.get_major_locator().set_params(integer=True)
        axes[1, column].legend(fontsize=8)
        for row in range(2):
            axes[row, column].grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def test_accuracy(folder):
    """Top-1 over every video and its 95% interval, as text, from the csv that a test writes."""
    with open(folder / 'predictions.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    correct = np.array([row['label'] == row['prediction'] for row in rows])
    group = VideoList.from_rows([row['path'] for row in rows], np.ones(len(rows))).groups()
    return cell_of(row_of('', '', Outcome('test', 'all labels', 'top1', correct[None].astype(float), np.array(group))))


def report(output, seconds):
    """Prints the tables, a conclusion, and the paths of everything."""
    log = epoch_curves(run_folder(output, 'pretraining'))
    rows = [('pretraining task, best validation top-1', f'{max(log["val"]["top1"]):.1%}', 1 / CANDIDATES)]
    for name, origin in (('finetune_pretrained', 'pretrained'), ('finetune_random', 'random')):
        rows.append((f'fine-tuned from {origin} weights, test top-1',
                     test_accuracy(run_folder(output, f'test_{name}')), 1 / CLASSES))
    print(f'\n{(output / "frozen" / "results.md").read_text()}\n{"":45} result [95% interval]       chance')
    for name, value, chance in rows:
        print(f'{name:45} {value:25} {chance:8.1%}')
    print(f'\n{verdict(json.loads((output / "frozen" / "differences.json").read_text()))}')
    epochs = len(log['train']['loss'])
    print(f'\n{seconds / 60:.1f} minutes, {epochs} epochs of pretraining. Made in {output}:')
    for path, what in (('report.html', 'all of it on one page'), ('curves.png', 'loss and top-1 by epoch'),
                       ('frozen/', 'results.json, results.md, retrieval pages and other pictures'),
                       ('prediction/', 'predictions: similarity maps over frames, overview.png')):
        print(f'  {path:24} {what}')
    for name in RUNS:
        print(f'  {name:24} {best_model(output, name).relative_to(output)}')
    for name in ('test_finetune_pretrained', 'test_finetune_random'):
        folder = run_folder(output, name).relative_to(output)
        print(f'  {name:24} {folder}/  confusion.png  per_class.png  predictions.csv  test_log.md')


def verdict(differences):
    """One sentence on the rows of differences.json: where pretrained features beat random ones."""
    better = [row for row in differences if row['low'] is not None and row['low'] > 0]
    if not better:
        return ('The frozen features do not beat those of random weights by more than the 95% interval of the '
                'difference: so short a pretraining shows that everything works, not what it is worth; '
                'experiments/README.md has longer runs.')
    best = max(better, key=lambda row: row['low'])
    return (f'Frozen features beat those of random weights in {len(better)} of {len(differences)} numbers (the 95% '
            f'interval of the difference is above zero), most clearly in {best["protocol"]} ({best["metric"]}, '
            f'{best["feature"]}): by {100 * best["value"]:.0f} points. No single frame tells these classes apart, so '
            'the features have learned motion. All videos have one appearance: this does not show that features also '
            'learn motion where appearance varies.')


if __name__ == '__main__':
    main(parse_args())
