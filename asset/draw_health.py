"""Draws health.png, the validation curves of several pretraining runs beside each other:

    python asset/draw_health.py {run folder} … --titles "…" …
"""
import argparse
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

CONTROLS = {'top1': ('top-1', 'tab:blue', '-'), 'top1_shuffled': ('seen blocks shuffled', 'tab:orange', '--'),
            'copy_last': ('copy of the last seen block', 'tab:green', ':'),
            'copy_mean': ('mean of the seen blocks', 'tab:olive', ':')}
ANSWERS = {'top1': ('right', 'tab:blue'), 'wrong_time': ('another time', 'tab:cyan'),
           'wrong_location': ('another location', 'tab:purple'),
           'wrong_clip': ('another clip of the video', 'tab:pink'),
           'wrong_video': ('another video', 'lightgrey')}
RANKS = {'effective_rank': ('targets', 'tab:blue', '-'), 'effective_rank_state': ('states', 'tab:orange', '--')}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', nargs='+')
    parser.add_argument('--titles', nargs='+', required=True)
    args = parser.parse_args()
    figure = Figure((4.2 * len(args.runs), 8.5), layout='constrained')
    axes = figure.subplots(3, len(args.runs), sharex='col', sharey='row', squeeze=False)
    for run, title, (controls, answers, ranks) in zip(args.runs, args.titles, axes.T):
        log = pd.read_json(Path(run) / 'log.jsonl', lines=True)
        log = log[log.kind == 'val']
        for axis, lines in ((controls, CONTROLS), (ranks, RANKS)):
            for name, (label, colour, style) in lines.items():
                axis.plot(log.epoch, log[name], style, color=colour, label=label, linewidth=2)
        answers.stackplot(log.epoch, [log[name] for name in ANSWERS], labels=[label for label, _ in ANSWERS.values()],
                          colors=[colour for _, colour in ANSWERS.values()])
        controls.set_title(title)
        answers.set(ylim=(0, 1), xlim=(log.epoch.min(), log.epoch.max()))
        ranks.set_xlabel('epoch')
        ranks.xaxis.get_major_locator().set_params(integer=True)
    for axis, label in zip(axes[:, 0], ('top-1 and its controls', 'best-scored location (shares)', 'effective rank')):
        axis.set_ylabel(label)
    for axis in axes[:, -1]:
        axis.legend(loc='center left', bbox_to_anchor=(1, 0.5), frameon=False)
    for axis in (*axes[0], *axes[2]):
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    figure.savefig(Path(__file__).with_name('health.png'), dpi=80)


if __name__ == '__main__':
    main()
