"""Results of a study: results.json, a table, and pictures of accuracy against pretraining time and by data set."""
import json

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from eval.protocols.protocol import Outcome
from eval.protocols.results import estimate_of, key_of, row_of, table_lines
from utils.text import ENCODING

# (protocol, setting, metric) of a panel: its title
SHOWN = {
    ('retrieval', 'all labels', 'R@1'): 'retrieval, R@1',
    ('knn', 'all labels', 'top1'): 'k-NN',
    ('probe', 'all labels', 'top1'): 'linear probe, all labels',
    ('probe', '20 per class', 'top1'): 'linear probe, 20 labels per class',
    ('probe', '5 per class', 'top1'): 'linear probe, 5 labels per class',
    ('fine-tuning', 'all labels', 'top1'): 'fine-tuning, all labels',
    ('fine-tuning', '20% of labels', 'top1'): 'fine-tuning, 20% of labels',
}
APPEARANCE = ('one frame', 'colour histogram')  # protocols shown beside the probe
COLOURS = {'context': 'tab:blue', 'block': 'tab:orange', 'network': 'tab:purple', 'frame': 'tab:green',
           'colour': 'tab:red'}
STYLES = ('o-', 's--', '^-.')  # of the variants


def rows_of(study):
    """The rows of results.json that a study has so far. Rows of pretrained weights say after how much pretraining.

    Beside what results.json has: hits, how often each test video that can be read was right, and the group of each."""
    group_of = study.groups()
    rows = study.result('random weights') or []
    for path in study.files('evaluate'):
        rows += study.result(path.stem)
    for variant, origin in study.finetunings():
        for setting in study.labels:
            right = [study.result(f'finetune {variant} {origin} {setting} {seed}') for seed in range(study.args.seeds)]
            if None in right:
                continue
            videos = sorted(set(right[0]).intersection(*right))
            hits = np.array([[each[video] for video in videos] for each in right], float)
            more = {'variant': variant}
            if origin == 'pretrained':
                used = last(rows, study.pretraining_of(variant))[0]
                more.update({name: used[name] for name in ('epoch', 'clips', 'minutes')})
            group = [group_of[video] for video in videos]
            row = row_of(origin, 'network', Outcome('fine-tuning', setting, 'top1', hits, np.array(group)))
            rows.append({**row, 'hits': hits.mean(axis=0).tolist(), 'group': group, **more})
    return rows


def last(rows, variant):
    """The rows of a variant's pretrained weights after their longest pretraining."""
    own = [row for row in rows if row['weights'] == 'pretrained' and row['variant'] == variant]
    return [row for row in own if row['epoch'] == max(each['epoch'] for each in own)]


def write_report(folder, rows, facts, curves, others, chance):
    """Writes results.json, results.md and study.png. facts: lines about the study. chance: accuracy of guessing."""
    with open(folder / 'results.json', 'w', **ENCODING) as file:
        json.dump([{name: value for name, value in row.items() if name not in ('hits', 'group')} for row in rows], file,
                  indent=1)
    baselines = [{**row, 'weights': 'appearance' if row['weights'] == 'none' else row['weights']}
                 for row in rows if row['weights'] != 'pretrained' and row.get('variant', 'default') == 'default']
    found = {variant: [{**row, 'weights': variant} for row in last(rows, variant)] for variant in curves + others}
    random = [row for row in baselines if row['weights'] == 'random']
    main = [*baselines, *({**row, 'weights': f'pretrained, {variant}'} for variant in curves for row in found[variant])]
    lines = ['## What pretraining is worth', '', *(f'- {fact}' for fact in facts), f'- chance: {chance:.1%}', '',
             *table_lines(shown(main)), '',
             'Pretrained weights are above random ones, by the 95% interval of the difference:', '',
             *(line for variant in curves for line in crossings(shown(rows), shown(random), variant))]
    if others:
        scratch = [{**row, 'weights': f'{row["variant"]}, from random weights'} for row in rows
                   if row['weights'] == 'random' and row.get('variant', 'default') != 'default']
        compared = shown([row for variant in curves + others for row in found[variant]] + scratch)
        lines += ['', '## Variants, at an equal budget', '', *table_lines(compared), '',
                  *(f'- {variant}: {compare(shown(found[variant]), shown(found["default"]))}' for variant in others
                    if found[variant])]
    with open(folder / 'results.md', 'w', **ENCODING) as file:
        file.write('\n'.join(lines) + '\n')
    draw(folder / 'study.png', rows, curves, chance)


def shown(rows):
    return [row for row in rows if panel_of(row) in SHOWN]


def panel_of(row):
    """Key in SHOWN: appearance is measured by the probe."""
    return 'probe' if row['protocol'] in APPEARANCE else row['protocol'], row['setting'], row['metric']


def crossings(rows, random, variant):
    """A line for each feature and protocol: the first checkpoint that is above random weights, see `difference`."""
    lines = []
    for other in random:
        above = [row for row in rows if row['weights'] == 'pretrained' and row['variant'] == variant
                 and key_of(row) == key_of(other) and difference(row, other) > 0]
        first = min(above, key=lambda row: row['epoch'], default=None)
        lines.append(f'- {variant}: {", ".join(key_of(other))}: ' + ('never' if first is None else
                     f'from {first["minutes"]:.1f} minutes on ({first["clips"]:,.0f} clips, epoch {first["epoch"]})'))
    return lines


def compare(rows, default):
    """'better at …; worse at …', see `difference`."""
    by_key = {key_of(row): row for row in default}
    signs = [(', '.join(key_of(row)), difference(row, by_key[key_of(row)])) for row in rows if key_of(row) in by_key]
    better, worse = ([key for key, sign in signs if sign == which] for which in (1, -1))
    said = [f'{word} at {" · ".join(keys)}' for word, keys in (('better', better), ('worse', worse)) if keys]
    return '; '.join(said) or 'no difference beyond the intervals'


def difference(row, other):
    """1 or -1 where the 95% interval of the difference on the same test videos is above or below zero, else 0; also for
    too few groups, where other videos could be read, and for steps of an earlier version, which stored no groups."""
    group = np.array(row.get('group', []))
    hits = [np.array([each.get('hits', [])]) for each in (row, other)]
    if not len(group) or other.get('group') != row['group'] or np.isnan(hits).any():
        return 0
    one, two = (Outcome(*key_of(row)[1:], each, group) for each in hits)
    found = estimate_of(one, minus=two)
    return 0 if found['low'] is None else int(found['low'] > 0) - int(found['high'] < 0)


def bars_of(row):
    """How far the interval of a row goes below and above its value; of too few groups their values."""
    low, high = (row['low'], row['high']) if row['low'] is not None else (
        min(row['by_group'].values()), max(row['by_group'].values()))
    return row['value'] - low, high - row['value']


def short(count):
    """1234567 -> '1.23M'"""
    power = sum(count >= limit for limit in (1e3, 1e6))
    return f'{count / 1000 ** power:.3g}{("", "k", "M")[power]}'


def draw(path, rows, curves, chance):
    """Accuracy against minutes and clips of pretraining, by protocol; bands: random weights, appearance."""
    figure, axes = make_figure()
    pretrained = [row for row in rows if row['weights'] == 'pretrained']
    clips = {row['minutes']: row['clips'] for row in pretrained if row['variant'] == 'default'}
    for panel, axis in panels(axes, rows):
        for row in rows:
            if panel_of(row) == panel and row['weights'] != 'pretrained' and row.get('variant', 'default') == 'default':
                name = 'random weights' if row['weights'] == 'random' else row['protocol']
                axis.axhline(row['value'], color=COLOURS[row['feature']], linestyle=':',
                             label=f'{row["feature"]}, random weights' if name == 'random weights' else name)
                below, above = bars_of(row)
                axis.axhspan(row['value'] - below, row['value'] + above, color=COLOURS[row['feature']], alpha=0.1,
                             linewidth=0)
        for variant, style in zip(curves, STYLES):
            for feature in ('context', 'block', 'network'):
                line = sorted((row['minutes'], row['value'], *bars_of(row)) for row in pretrained
                              if (row['variant'], row['feature'], panel_of(row)) == (variant, feature, panel))
                if line:
                    minutes, value, below, above = np.array(line).T
                    axis.errorbar(minutes, value, [below, above], fmt=style, capsize=3,
                                  color=COLOURS[feature], label=f'{feature}, pretrained ({variant})')
        axis.axhline(chance, color='grey', linewidth=1, label='chance')
        axis.set(title=SHOWN[panel], xlabel='minutes of pretraining', xscale='log', ylim=(0, 1))
        axis.grid(alpha=0.3)
        if clips:
            axis.set_xlim(min(clips) / 1.5, max(clips) * 1.5)
            axis.set_xticks([*clips], [f'{minutes:.3g}' for minutes in clips])
            top = axis.secondary_xaxis('top')
            top.set_xticks([*clips], [short(count) for count in clips.values()], fontsize=8)
            top.set_xlabel('clips', fontsize=8)
            for each in (axis.xaxis, top.xaxis):
                each.set_minor_locator(NullLocator())
    finish(path, figure, axes)


def draw_data(path, found):
    """Accuracy on several data sets, in the order given: {name: rows of results.json}; one panel for each of SHOWN."""
    figure, axes = make_figure()
    best = {data: [*(row for row in rows if row['weights'] == 'random' and row.get('variant', 'default') == 'default'),
                   *(row for variant in {row['variant'] for row in rows if row['weights'] == 'pretrained'}
                     for row in last(rows, variant))] for data, rows in found.items()}
    for panel, axis in panels(axes, sum(best.values(), [])):
        series = {}
        for number, rows in enumerate(best.values()):
            for row in rows:
                if panel_of(row) == panel:
                    name = 'random weights' if row['weights'] == 'random' else row['variant']
                    point = number, row['value'], *bars_of(row)
                    series.setdefault((row['feature'], name), []).append(point)
        names = ['random weights', *sorted({name for _, name in series} - {'random weights'})]
        for (feature, name), points in sorted(series.items()):
            number, value, below, above = np.array(points).T
            axis.errorbar(number, value, [below, above], capsize=3, color=COLOURS[feature],
                          fmt='x:' if name == 'random weights' else STYLES[(names.index(name) - 1) % len(STYLES)],
                          label=f'{feature}, {name}')
        axis.set(title=SHOWN[panel], ylim=(0, 1))
        axis.set_xticks(range(len(found)), found, rotation=30)
        axis.grid(alpha=0.3)
    finish(path, figure, axes)


def make_figure():
    """(Figure, axes [2, 4])"""
    figure = Figure((19, 9.5), layout='constrained')
    return figure, figure.subplots(2, 4, sharey=True)


def panels(axes, rows):
    """(panel, axis) of those of SHOWN for which there are rows; the other axes stay empty."""
    there = [panel for panel in SHOWN if any(panel_of(row) == panel for row in rows)]
    for axis in axes.flat[len(there):]:
        axis.axis('off')
    return zip(there, axes.flat)


def finish(path, figure, axes):
    """Adds one legend for all panels in place of the last, and saves the picture."""
    for axis in axes[:, 0]:
        axis.set_ylabel('accuracy')
    named = {label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels())}
    axes.flat[-1].axis('off')
    axes.flat[-1].legend(named.values(), named, loc='center', title='95% intervals over groups of test videos')
    figure.savefig(path, dpi=80)
