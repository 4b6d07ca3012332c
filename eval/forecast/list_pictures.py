"""Pictures across many clips: how often predictions are right, the easiest and hardest clips, features as colours."""
from textwrap import fill

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from eval.forecast.clip_pictures import DPI, FUTURE, SEEN, pixels, show, wrapped
from eval.metrics.intervals import FEWEST_GROUPS

TINT = 0.75  # share of the feature's colour over a frame
CURVES = {'model': ('model', 'o-'), 'copy_last': ('copy of the last seen block', 's--'),
          'copy_mean': ('mean of the seen blocks', '^--'), 'shuffled': ('model, seen blocks shuffled', 'D-')}
TITLES = {'all_steps': 'all predicted blocks', 'own_step': 'the same block of all clips'}
PERCENT = FuncFormatter(lambda value, _: f'{100 * value:g}%')


def draw_overview(summary, weights):
    """uint8 [H, W, 3]: top-1 by predicted block, by location, by motion; what predictions are taken for.

    summary: of eval.forecast.breakdown.summarise. weights: what they are called."""
    figure = Figure((13, 9), dpi=DPI, layout='constrained')
    figure.suptitle(f'What a net predicts with weights of {weights}: in {summary["top1"]:.1%} of '
                    f'{summary["predictions"]} predicted locations of {summary["clips"]} clips the true location is\n'
                    f'the best of {summary["candidates"]} candidates (top-1; chance {summary["chance"]:.2%}), in '
                    f'{summary["top5"]:.1%} it is among the best five',
                    fontsize=11, parse_math=False)
    (steps, locations), (motion, kinds) = figure.subplots(2, 2)

    values = summary['top1_by_step']
    intervals = summary['top1_by_step_interval']
    known = intervals[0][0] is not None
    bars(steps, range(1, len(values) + 1), values, summary['chance'], intervals if known else None)
    steps.set(title='How far ahead?', xlabel='predicted block (1 = the next)'
              + (f'; lines: 95% interval over {summary["groups"]} groups' if known else ''))

    values = np.array(summary['top1_by_location'])
    locations.imshow(values, cmap='viridis', vmin=0)
    for (row, column), value in np.ndenumerate(values):
        locations.text(column, row, f'{100 * value:.1f}', ha='center',
                    va='center', fontsize=10, color='black' if value > 0.6 * values.max() else 'white')
    locations.set(title='Where in the picture? (top-1 in %)', xticks=[], yticks=[])

    quarters = summary['top1_by_motion']
    bars(motion, [f'{each["low"]:.1f} to {each["high"]:.1f}' for each in quarters], [each['top1'] for each in quarters],
         summary['chance'])
    motion.set(title='How fast does it move? (quarters of the locations, slow to fast)',
               xlabel='change from frame to frame, mean over the location, in grey levels (of 255)')

    names, values = zip(*summary['taken_for'].items())
    kinds.barh(range(len(names)), values, color=['tab:green', *['tab:red'] * (len(names) - 1)])
    for i, value in enumerate(values):
        kinds.text(value, i, f' {value:.1%}', va='center', fontsize=10)
    kinds.set(title='What is a predicted location taken for?', xlim=(0, 1.15 * max(values)),
              xlabel='share of predictions')
    kinds.set_yticks(range(len(names)), [fill(name, 15) for name in names])
    kinds.xaxis.set_major_formatter(PERCENT)
    kinds.invert_yaxis()
    return pixels(figure)


def bars(axes, names, values, chance, intervals=None):
    x = range(len(values))
    axes.bar(x, values, width=0.6, color='tab:blue')
    if intervals:
        axes.vlines(x, *zip(*intervals), color='black')
    tops = [high for _, high in intervals] if intervals else values
    for i, value, top in zip(x, values, tops):
        axes.text(i, top, f'{value:.1%}', ha='center', va='bottom', fontsize=10)
    axes.axhline(chance, color='black', linestyle=':', label=f'chance, {chance:.2%}')
    axes.set(ylabel='top-1', ylim=(0, 1.25 * max(*tops, chance)))
    axes.set_xticks(x, names)
    axes.yaxis.set_major_formatter(PERCENT)
    axes.legend(fontsize=9)


def draw_horizon(summary, weights):
    """uint8 [H, W, 3]: top-1 by predicted step of a model and its controls, a chart for each kind of candidates.

    summary: of eval/horizon.py. weights: what they are called."""
    figure = Figure((13, 5.6), dpi=DPI, layout='constrained')
    figure.suptitle(f'How far ahead does a net with weights of {weights} predict? {summary["seen"]} blocks seen, '
                    f'{summary["steps"]} predicted, of which pretraining predicted {summary["pred_step"]}; '
                    f'{summary["clips"]} clips', fontsize=11, parse_math=False)
    charts = figure.subplots(1, len(summary['by_candidates']), squeeze=False)[0]
    known = summary['groups'] >= FEWEST_GROUPS
    for axes, (name, table) in zip(charts, summary['by_candidates'].items()):
        x = np.arange(1, summary['steps'] + 1)
        for i, (curve, values) in enumerate(table['curves'].items()):
            text, style = CURVES[curve]
            if known:
                low, high = np.transpose(values['interval'])
                axes.fill_between(x, low, high, alpha=0.15, color=f'C{i}', linewidth=0)
            axes.plot(x, values['top1'], style, color=f'C{i}', label=text)
        axes.axhline(table['chance'], color='black', linestyle=':', label='chance')
        if summary['steps'] > summary['pred_step']:
            axes.axvspan(summary['pred_step'] + 0.5, summary['steps'] + 0.5, color='black', alpha=0.06, linewidth=0,
                         label='not trained for')
        axes.set(title=f'{table["candidates"]} candidates: {TITLES[name]} (chance {table["chance"]:.2%})',
                 xlabel='predicted block (1 = the next)',
                 ylabel='top-1' + (f', with 95% interval over {summary["groups"]} groups' if known else ''),
                 xticks=x, xlim=(0.5, summary['steps'] + 0.5))
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PERCENT)
    figure.legend(*charts[0].get_legend_handles_labels(), loc='outside lower center', ncols=6, fontsize=9)
    return pixels(figure)


def draw_extremes(clips, pred_step):
    """uint8 [H, W, 3]: the middle frames of clips, a row each. clips: [(line of text, frames [N, H, W, 3]), …]."""
    N = len(clips[0][1])
    inches = max(1.25 * N + 0.4, 6)
    text = wrapped('The clips of which most is predicted right, and those of which least is. Blue frames: blocks that '
                   'are seen; orange: to predict.', inches, 10)
    figure = Figure((inches, (inches / N + 0.3) * len(clips) + 0.7), dpi=DPI, layout='constrained')
    figure.suptitle(text, fontsize=10)
    for part, (line, frames) in zip(np.atleast_1d(figure.subfigures(len(clips), 1)), clips):
        part.suptitle(line, fontsize=9, parse_math=False)
        for n, axes in enumerate(part.subplots(1, N, squeeze=False)[0]):
            show(axes, frames[n], FUTURE if n >= N - pred_step else SEEN)
    return pixels(figure)


def draw_colours(names, frames, true, predicted, size):
    """uint8 [H, W, 3]: for each of V clips its frames, and over them as colours the true features and the predicted.

    names: V lines. frames: V of uint8 [N, H, W, 3]. true [V, N, S, 3], predicted [V, P, S, 3] from 0 to 1: see
    eval.forecast.breakdown.principal_colours. size: (h, w)."""
    V, N = true.shape[:2]
    seen = N - predicted.shape[1]
    inches = max(1.25 * N + 1, 7)
    text = wrapped('Features as colours: red, green and blue are the three principal components of the '
                   'difference from the mean feature of the same location; similar colours are similar features. A '
                   'predicted location has the colour of the true feature that it is taken for: where it is '
                   'right, that of the location above it.', inches, 9)
    figure = Figure((inches, V * (3 * (inches - 1) / N + 0.6) + 1.1), dpi=DPI, layout='constrained')
    figure.suptitle(text, fontsize=9)
    for v, part in enumerate(np.atleast_1d(figure.subfigures(V, 1))):
        part.suptitle(names[v], fontsize=9, fontweight='bold', parse_math=False)
        grid = part.subplots(3, N, squeeze=False)
        for n in range(N):
            colour = FUTURE if n >= seen else SEEN
            show(grid[0, n], frames[v][n], colour)
            grid[0, n].set_title(f'{n + 1}: {"to predict" if n >= seen else "seen"}', fontsize=8, color=colour)
            show(grid[1, n], tinted(frames[v][n], true[v, n].reshape(*size, 3)), colour)
            if n >= seen:
                show(grid[2, n], tinted(frames[v][n], predicted[v, n - seen].reshape(*size, 3)), colour)
            else:
                grid[2, n].axis('off')
        for axes, name in ((grid[0, 0], 'frame'), (grid[1, 0], 'true\nfeature'), (grid[2, seen], 'predicted')):
            axes.set_ylabel(name, rotation=0, ha='right', va='center', fontsize=9)
    return pixels(figure)


def tinted(frame, colours):
    """A frame uint8 [H, W, 3] in grey, tinted by colours [h, w, 3] from 0 to 1."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None] / 255
    tint = cv2.resize(colours.astype(np.float32), grey.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return TINT * tint + (1 - TINT) * grey
