"""The whole job on a small data set made here: videos -> frames -> csv -> pretraining -> fine-tuning -> test.

`make demo` runs this. It calls the real scripts, prints each command so that it can be copied, and ends with a table.
The data set goes to process_data/data, all else to --output, where the runs of an earlier demo are removed first.
"""
import argparse
import csv
import shutil
import time
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt

from pipeline import ROOT, best_model, read_log, run, run_folder

# Small enough for two CPU cores. No mirroring: classes differ by direction. Every third frame: motion shows at 48 px.
CLIP = {'dataset': 'demo', 'net': 'resnet18', 'img_dim': 48, 'num_seq': 4, 'ds': 3, 'flip': 0}
TRAINING = {**CLIP, 'lr': 3e-4, 'val_fraction': 0.15, 'print_freq': 20}
PRETRAINING = {**TRAINING, 'batch_size': 8, 'pred_step': 2}
FINETUNING = {**TRAINING, 'batch_size': 16, 'train_what': 'all', 'dropout': 0}
PLACES = 2 * 2  # of the feature map of 48 px
CHANCE = {'pretraining': 1 / (PRETRAINING['batch_size'] * PRETRAINING['pred_step'] * PLACES), 'classification': 1 / 8}
# what the runs are called, where their folders go (log_{prefix}), and their colours in the picture
RUNS = {'pretraining': 'black', 'finetune_pretrained': 'tab:blue', 'finetune_random': 'tab:orange'}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--output', default=str(ROOT / 'demo_output'),
                        help='folder for runs and pictures; an earlier demo\'s are replaced (default demo_output here)')
    parser.add_argument('--pretrain_epochs', default=16, type=int, help='epochs of pretraining (default 16)')
    parser.add_argument('--finetune_epochs', default=20, type=int, help='epochs of each fine-tuning (default 20)')
    return parser.parse_args(argv)


def main(args):
    started = time.monotonic()
    output = Path(args.output).resolve()
    for earlier in [output / f'log_{prefix}{name}' for name in RUNS for prefix in ('', 'test_')]:
        if earlier.exists():
            shutil.rmtree(earlier)

    run('process_data/make_demo.py')
    run('process_data/extract_frames.py', dataset='demo')
    run('process_data/write_csv.py', dataset='demo')
    run('process_data/check_frames.py', dataset='demo')

    run('dpc/main.py', **PRETRAINING, epochs=args.pretrain_epochs, prefix='pretraining', log_dir=output)
    weights = {'finetune_pretrained': best_model(output, 'pretraining'), 'finetune_random': 'random'}
    for name, pretrain in weights.items():
        run('eval/test.py', **FINETUNING, pretrain=pretrain, epochs=args.finetune_epochs, prefix=name, log_dir=output)
        run('eval/test.py', **CLIP, test=best_model(output, name), prefix=f'test_{name}', log_dir=output)

    draw_curves(output / 'curves.png', {name: read_log(run_folder(output, name)) for name in RUNS})
    report(output, time.monotonic() - started)


def draw_curves(path, logs):
    """A picture of loss and top-1 by epoch: pretraining on the left, both fine-tunings on the right."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 6.5), layout='constrained', sharex='col')
    for name, log in logs.items():
        column = 0 if name == 'pretraining' else 1
        for row, statistic in enumerate(('loss', 'top1')):
            for kind, style in (('train', '--'), ('val', '-')):
                values = log[kind][statistic]
                axes[row, column].plot(range(1, len(values) + 1), values, style, color=RUNS[name],
                                       label=f'{name.replace("_", ", ").replace("finetune", "fine-tuned")}, {kind}')
    for column, task in enumerate(CHANCE):
        axes[0, column].set(title=task, ylabel='loss')
        axes[1, column].axhline(CHANCE[task], color='grey', linewidth=1, linestyle=':', label='chance')
        axes[1, column].set(xlabel='epoch', ylabel='top-1', ylim=(0, None))
        axes[1, column].xaxis.get_major_locator().set_params(integer=True)
        axes[1, column].legend(fontsize=8)
        for row in range(2):
            axes[row, column].grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def test_accuracy(folder):
    """Top-1 over every video, from the csv that a test writes."""
    with open(folder / 'predictions.csv', newline='') as file:
        correct = [row['label'] == row['prediction'] for row in csv.DictReader(file)]
    return sum(correct) / len(correct)


def report(output, seconds):
    """Prints the table and where everything is."""
    best = max(read_log(run_folder(output, 'pretraining'))['val']['top1'])
    rows = [('pretraining task, best validation top-1', best, CHANCE['pretraining'])]
    for name, origin in (('finetune_pretrained', 'pretrained'), ('finetune_random', 'random')):
        accuracy = test_accuracy(run_folder(output, f'test_{name}'))
        rows.append((f'classification from {origin} weights, test top-1', accuracy, CHANCE['classification']))
    print(f'\n{"":52}   result   chance')
    for name, value, chance in rows:
        print(f'{name:52} {value:8.1%} {chance:8.1%}')
    print(f'\n{seconds / 60:.1f} minutes. Made in {output}:\n  {"curves":24} curves.png')
    for name in RUNS:
        print(f'  {name:24} {best_model(output, name).relative_to(output)}')
    for name in ('test_finetune_pretrained', 'test_finetune_random'):
        folder = run_folder(output, name).relative_to(output)
        print(f'  {name:24} {folder}/  confusion.png  predictions.csv  test_log.md')


if __name__ == '__main__':
    main(parse_args())
