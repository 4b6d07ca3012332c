"""Curves of a report: for each statistic of log.jsonl one chart, with the runs in colours."""
import re
from dataclasses import dataclass, replace

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from eval.page.svg import inline_svg

INCHES = 3.7, 2.3  # of a chart; the page scales it
MAX_STEPS = 400    # points of a curve over steps
MAX_MARKED = 40    # epochs of a curve with a marker each
COLOURS = ('#0969da', '#d1570b', '#1a7f37', '#a22ec0', '#b08800', '#c4266e', '#0e7d87', '#6e5b4c')  # of the runs
STYLES = {'step': {'linewidth': 0.8, 'alpha': 0.4}, 'train': {'linestyle': '--', 'markerfacecolor': 'white'}, 'val': {}}
# of the controls, in the chart of the accuracy that they are compared with; all are of validation
CONTROL_STYLES = {'top1': {'linewidth': 2}, 'copy_last': {'linestyle': '--'}, 'copy_mean': {'linestyle': ':'},
                  'top1_shuffled': {'linestyle': '-.'}}
# title of a group: the statistics in it
CONTROLS = 'Predictions against controls'
GROUPS = {
    'Loss and accuracy': r'loss|top1|top3|top5',
    CONTROLS: '|'.join(CONTROL_STYLES),
    'By predicted block': r'top1_step\d+',
    'What predictions are taken for': r'wrong_.*|guess_.*',
    'Features': r'spread.*|effective_rank.*|rank.*|knn',
    'Speed and optimisation': r'clips_per_s|data_wait|memory_gb|lr|grad_norm|replaced|skipped',
    'Others': r'.*',
}
NOT_STATISTICS = {'time', 'kind', 'iteration', 'epoch', 'epochs', 'step', 'steps', 'host', 'pid', 'how',
                  'text'}
MEANING = {'loss': 'loss', 'top1': 'top-1', 'top3': 'top-3', 'top5': 'top-5', 'clips_per_s': 'clips per second',
           'data_wait': 'share of time waiting for data', 'memory_gb': 'memory, GB', 'lr': 'learning rate',
           'grad_norm': 'norm of the gradient', 'knn': 'k-NN accuracy',
           'copy_last': 'repeating the last seen block', 'copy_mean': 'mean of the seen blocks',
           'top1_shuffled': 'seen blocks shuffled', 'wrong_video': 'taken for another video',
           'wrong_clip': 'taken for another clip of the video',
           'wrong_location': 'taken for another location of the clip',
           'wrong_time': 'right location, another time', 'guess_video': 'another video, when guessing',
           'guess_clip': 'another clip of the right video, when guessing',
           'guess_location': 'another location of the right clip, when guessing',
           'guess_time': 'another time of the right location, when guessing'}


@dataclass
class Series:
    """A curve. kind: 'step', 'train' or 'val'; beside controls the name of its statistic. values: [(epoch, value)]."""
    run: str
    kind: str
    colour: str
    values: list


@dataclass
class Chart:
    """The curves of one statistic, or of top-1 and its controls."""
    group: str
    name: str
    series: list

    @property
    def controlled(self):
        return self.group == CONTROLS

    @property
    def title(self):
        return MEANING.get(self.name, self.name.replace('_', ' '))

    @property
    def summary(self):
        """The chart in words."""
        parts = [f'{each.run}, {MEANING.get(each.kind, each.kind)}: {each.values[0][1]:.4g} to '
                 f'{each.values[-1][1]:.4g}, lowest {min(y for _, y in each.values):.4g}, highest '
                 f'{max(y for _, y in each.values):.4g}'
                 for each in self.series if each.kind != 'step']
        return f'{self.title} by epoch. ' + '; '.join(parts)

    @property
    def svg(self):
        return inline_svg(self.draw(), f'{self.group}: {self.name}', self.summary)

    def draw(self):
        """The Figure."""
        with matplotlib.rc_context({'font.size': 8}):
            figure = Figure(INCHES, layout='constrained')
            axes = figure.subplots()
        for each in self.series:
            marker = 'o' if each.kind != 'step' and len(each.values) <= MAX_MARKED else ''
            style = CONTROL_STYLES[each.kind] if self.controlled else STYLES[each.kind]
            axes.plot(*zip(*each.values), marker=marker, markersize=3, color=each.colour, **style)
        values = [y for each in self.series for _, y in each.values]
        if self.controlled:
            axes.set_ylim(0, 1.05 * max(values))
            kinds = list(dict.fromkeys(each.kind for each in self.series))
            lines = [Line2D([], [], color='grey', **CONTROL_STYLES[kind]) for kind in kinds]
            axes.legend(lines, [MEANING[kind] for kind in kinds], fontsize=6, handlelength=3)
        elif self.name.startswith('top') or 0 <= min(values) < max(values) / 2 or min(values) == max(values) > 0:
            axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
        return figure


def chart_groups(training):
    """[(title, [Chart])] of the statistics that the logs of the runs have, and the names of those that are always 0."""
    names = dict.fromkeys(name for run in training for name in run.log.columns if name not in NOT_STATISTICS)
    series = {name: found for name in names if (found := series_of(name, training))}
    zeros = [name for name, found in series.items() if not any(y for each in found for _, y in each.values)]
    groups, left = [], [name for name in series if name not in zeros]
    for title, pattern in GROUPS.items():
        chosen = {name: series[name] for name in left if re.fullmatch(pattern, name)}
        left = [name for name in left if name not in chosen]
        if title == CONTROLS and chosen:
            chosen = {'top1': beside_controls(chosen, series['top1'])}
        if chosen:
            groups.append((title, [Chart(title, name, found) for name, found in chosen.items()]))
    return groups, zeros


def beside_controls(controls, accuracy):
    """The Series of one chart: top-1 in validation of the runs that have controls, and these. accuracy: all Series of
    top-1. controls: {statistic: [Series]}."""
    runs = {each.run for found in controls.values() for each in found}
    found = {'top1': [each for each in accuracy if each.run in runs], **controls}
    return [replace(each, kind=name) for name, kept in found.items() for each in kept if each.kind == 'val']


def series_of(name, training):
    """The Series of one statistic; [] where no run has a finite value."""
    series = [Series(run.name, kind, colour_of(i), values) for i, run in enumerate(training)
              for kind in STYLES if (values := values_of(run.log, kind, name))]
    only_steps = all(each.kind == 'step' for each in series)
    return [] if only_steps and name not in ('loss', 'top1') else series


def colour_of(number):
    """Of a run, by its position among the runs."""
    return COLOURS[number % len(COLOURS)]


def values_of(log, kind, name):
    """[(epoch, value), …] of the records of one kind; steps are at fractions of an epoch, some of many."""
    if not {'kind', 'epoch', name, *(('step', 'steps') if kind == 'step' else ())} <= set(log):
        return []
    value = pd.to_numeric(log[name], errors='coerce')
    rows = log.assign(value=value)[(log.kind == kind) & np.isfinite(value) & log.epoch.notna()]
    epochs = rows.epoch
    if kind == 'step':
        rows = rows[::max(1, -(-len(rows) // MAX_STEPS))]
        epochs = rows.epoch - 1 + rows.step / rows.steps
    return [(round(float(x), 3), float(y)) for x, y in zip(epochs, rows.value)]
