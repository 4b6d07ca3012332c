"""Pictures across many clips: how often predictions are right, the easiest and hardest clips, features as colours."""
import numpy as np
from matplotlib.figure import Figure

from eval.heatmaps import DPI, FUTURE, SEEN, pixels, show

RIGHT, CHANCE = 'tab:blue', 'black'


def draw_overview(summary, title):
    """uint8 [H, W, 3]: top-1 by predicted block, by place, by motion; what predictions are taken for.

    summary: of eval.summary.summarise."""
    figure = Figure((13, 9), dpi=DPI, layout='constrained')
    figure.suptitle(f'{title}\n{summary["predictions"]} predicted places of {summary["clips"]} clips: the true place is '
                    f'the best of {summary["candidates"]} candidates in {summary["top1"]:.1%} (chance '
                    f'{summary["chance"]:.2%}), among the best five in {summary["top5"]:.1%}', fontsize=11,
                    parse_math=False)
    (steps, places), (motion, kinds) = figure.subplots(2, 2)

    values = summary['top1_by_step']
    bars(steps, [f'{step}' for step in range(1, len(values) + 1)], values, summary['chance'])
    steps.set(title='How far ahead?', xlabel='predicted block (1 = the next one)')

    values = np.array(summary['top1_by_place'])
    image = places.imshow(values, cmap='viridis', vmin=0)
    for (row, column), value in np.ndenumerate(values):
        bright = value > 0.6 * values.max()
        places.text(column, row, f'{value:.0%}', ha='center', va='center', fontsize=10 if values.shape[1] <= 4 else 7,
                    color='black' if bright else 'white')
    places.set(title='Where in the picture?', xticks=[], yticks=[])
    figure.colorbar(image, ax=places, label='top-1', shrink=0.9)

    quarters = summary['top1_by_motion']
    bars(motion, [f'{each["low"]:.1f} to {each["high"]:.1f}' for each in quarters], [each['top1'] for each in quarters],
         summary['chance'])
    motion.set(title='How fast does it move? (quarters of the places, slow to fast)',
               xlabel='mean change from frame to frame, grey levels of 255')

    names, values = zip(*summary['taken_for'].items())
    kinds.barh(range(len(names)), values, color=['tab:green', *['tab:red'] * (len(names) - 1)])
    for i, value in enumerate(values):
        kinds.text(value, i, f' {value:.1%}', va='center', fontsize=10)
    kinds.set(title='What is a predicted place taken for?', yticks=range(len(names)), xlim=(0, 1.15 * max(values)),
              xlabel='share of all predictions')
    kinds.set_yticklabels([name.replace(', ', ',\n').replace('place of', 'place\nof') for name in names])
    kinds.invert_yaxis()
    return pixels(figure)


def bars(axes, names, values, chance):
    axes.bar(range(len(values)), values, width=0.6, color=RIGHT)
    for i, value in enumerate(values):
        axes.text(i, value, f'{value:.1%}', ha='center', va='bottom', fontsize=10)
    axes.axhline(chance, color=CHANCE, linestyle=':', label=f'chance, {chance:.2%}')
    axes.set(ylabel='top-1', xticks=range(len(names)), ylim=(0, 1.18 * max(*values, chance)))
    axes.set_xticklabels(names)
    axes.legend(fontsize=9)


def draw_extremes(clips, pred_step):
    """uint8 [H, W, 3]: the middle frames of clips, a row each. clips: [(line of text, frames uint8 [N, H, W, 3]), …]."""
    N = len(clips[0][1])
    figure = Figure((1.25 * N + 0.4, 1.55 * len(clips) + 0.7), dpi=DPI, layout='constrained')
    figure.suptitle('Clips by how much of them is predicted right: the easiest first, then the hardest', fontsize=11)
    for part, (line, frames) in zip(np.atleast_1d(figure.subfigures(len(clips), 1)), clips):
        part.suptitle(line, fontsize=9, parse_math=False)
        for n, axes in enumerate(part.subplots(1, N, squeeze=False)[0]):
            show(axes, frames[n], FUTURE if n >= N - pred_step else SEEN)
    return pixels(figure)


def draw_colours(names, frames, true, predicted, size):
    """uint8 [H, W, 3]: for each of V clips its frames, its true features and the predicted ones as colours.

    names: V lines. frames uint8 [V, N, H, W, 3]. true [V, N, S, 3], predicted [V, P, S, 3] from 0 to 1: see
    eval.summary.principal_colours. size: (h, w)."""
    V, N = true.shape[:2]
    seen = N - predicted.shape[1]
    inches = max(1.25 * N + 1, 7)
    side = (inches - 1) / N
    figure = Figure((inches, V * (3 * side + 0.6) + 1.1), dpi=DPI, layout='constrained')
    figure.suptitle('Features as colours: the three principal components of the feature maps are red, green and blue\n'
                    '(the same for all clips here). Like colours are like features; a good prediction has the colours of '
                    'the true feature above it.', fontsize=9)
    for v, part in enumerate(np.atleast_1d(figure.subfigures(V, 1))):
        part.suptitle(names[v], fontsize=9, fontweight='bold', parse_math=False)
        grid = part.subplots(3, N, squeeze=False)
        for n in range(N):
            colour = FUTURE if n >= seen else SEEN
            show(grid[0, n], frames[v][n], colour)
            show(grid[1, n], true[v, n].reshape(*size, 3), colour)
            grid[0, n].set_title(f'{n + 1}: {"to predict" if n >= seen else "seen"}', fontsize=8, color=colour)
            if n >= seen:
                show(grid[2, n], predicted[v, n - seen].reshape(*size, 3), colour)
            else:
                grid[2, n].axis('off')
        for axes, label in zip(grid[:, 0], ('frame', 'true\nfeature', '')):
            axes.set_ylabel(label, rotation=0, ha='right', va='center', fontsize=9)
        grid[2, seen].set_ylabel('predicted\nfeature', rotation=0, ha='right', va='center', fontsize=9)
    return pixels(figure)
