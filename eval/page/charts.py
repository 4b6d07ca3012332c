"""Curves of a report: for each statistic of log.jsonl one chart, with the runs in colours."""
import re
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 360, 220                    # of a chart, in units of its SVG
LEFT, RIGHT, TOP, BOTTOM = 48, 10, 10, 28   # margins
MAX_STEPS = 400                             # points of a curve over steps
COLOURS = 8                                 # of the style sheet
# title of a group: the statistics in it
CONTROLS = 'Predictions against controls'
GROUPS = {
    'Loss and accuracy': r'loss|top1|top3|top5',
    CONTROLS: r'copy_.*|.*shuffled.*|top1_step\d+',
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
           'copy_last': 'top-1 of repeating the last seen block', 'copy_mean': 'top-1 of the mean of the seen blocks',
           'top1_shuffled': 'top-1 with the seen blocks shuffled', 'wrong_video': 'taken for another video',
           'wrong_clip': 'taken for another clip of the video', 'wrong_place': 'taken for another place of the clip',
           'wrong_time': 'right place, another time', 'guess_video': 'another video, when guessing',
           'guess_clip': 'another clip of the right video, when guessing',
           'guess_place': 'another place of the right clip, when guessing',
           'guess_time': 'another time of the right place, when guessing'}


@dataclass
class Series:
    """A curve. kind: 'step', 'train' or 'val'. values: [(epoch, value)]; points: the same in units of the SVG."""
    run: str
    kind: str
    colour: int
    values: list
    points: list

    @property
    def line(self):
        return ' '.join(f'{x:g},{y:g}' for x, y in self.points)


@dataclass
class Chart:
    name: str
    title: str
    series: list
    x_ticks: list  # [(place, text)]
    y_ticks: list

    @property
    def summary(self):
        """The chart in words."""
        parts = [f'{each.run}, {each.kind}: {each.values[0][1]:.4g} to {each.values[-1][1]:.4g}, lowest '
                 f'{min(y for _, y in each.values):.4g}, highest {max(y for _, y in each.values):.4g}'
                 for each in self.series if each.kind != 'step']
        return f'{self.title} by epoch. ' + '; '.join(parts)

    @property
    def data(self):
        """What the page's script needs to show values."""
        return [{'name': f'{each.run}, {each.kind}', 'colour': each.colour, 'kind': each.kind, 'values': each.values,
                 'points': each.points} for each in self.series]


def chart_groups(training):
    """[(title, [Chart])] of the statistics that the logs of the runs have, and the names of those that are always 0."""
    names = dict.fromkeys(name for run in training for name in run.log.columns if name not in NOT_STATISTICS)
    series = {name: found for name in names if (found := series_of(name, training))}
    zeros = [name for name, found in series.items() if not any(y for each in found for _, y in each.values)]
    groups, left = [], [name for name in series if name not in zeros]
    for title, pattern in GROUPS.items():
        chosen = {name: series[name] for name in left if re.fullmatch(pattern, name)}
        left = [name for name in left if name not in chosen]
        highest = None
        if title == CONTROLS and chosen:  # beside the accuracy that they are compared with, on its scale
            runs = {each.run for found in chosen.values() for each in found}
            chosen = {'top1': [each for each in series['top1'] if each.kind == 'val' and each.run in runs], **chosen}
            highest = max(y for found in chosen.values() for each in found for _, y in each.values)
        if chosen:
            groups.append((title, [chart_of(name, found, highest) for name, found in chosen.items()]))
    return groups, zeros


def series_of(name, training):
    """The Series of one statistic, without points; [] where no run has a finite value."""
    series = [Series(run.name, kind, i % COLOURS, values, []) for i, run in enumerate(training)
              for kind in ('step', 'train', 'val') if (values := values_of(run.log, kind, name))]
    only_steps = all(each.kind == 'step' for each in series)
    return [] if only_steps and name not in ('loss', 'top1') else series


def chart_of(name, series, highest=None):
    """The Chart of one statistic. highest: where its scale ends, from 0; None fits the values."""
    xs, ys = zip(*(value for each in series for value in each.values))
    x_ticks = ticks(int(min(xs)), max(xs), integer=True)
    low, high = (min(ys), max(ys)) if highest is None else (0, highest)
    y_ticks = ticks(0 if 0 <= low < high / 2 or low == high > 0 else low, high)

    def place(x, y):
        across, up = part(x, x_ticks), part(y, y_ticks)
        return (round(LEFT + across * (WIDTH - LEFT - RIGHT), 1),
                round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1))

    series = [replace(each, points=[place(x, y) for x, y in each.values]) for each in series]
    return Chart(name, MEANING.get(name, name.replace('_', ' ')), series,
                 [(place(x, y_ticks[0])[0], f'{x:g}') for x in x_ticks],
                 [(place(x_ticks[0], y)[1], f'{y:.4g}') for y in y_ticks])


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


def ticks(low, high, integer=False):
    """Round numbers that enclose low to high."""
    if low == high:
        high = low + (abs(low) or 1)
    return [float(tick) for tick in MaxNLocator(nbins=5, integer=integer).tick_values(low, high)]


def part(value, all_ticks):
    return (value - all_ticks[0]) / (all_ticks[-1] - all_ticks[0])
