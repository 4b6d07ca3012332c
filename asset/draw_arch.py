"""Draws asset/arch.png, the figure of the method (paper, section 3). Lengths are inches of the figure."""
import argparse
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

WIDTH, HEIGHT = 10, 7.3
SEEN, PREDICTED = 5, 3
BLOCK_FRAMES = 5
INK, MUTED, FAINT = '#23272e', '#667080', '#c3c9d2'
# Okabe and Ito's palette: told apart with any colour vision.
FEATURE, PREDICTION, POSITIVE, NEGATIVE = '#0072b2', '#e69f00', '#009e73', '#d55e00'
DARK = '#9a6a00'   # the orange, dark enough for letters
TINT = {FEATURE: '#d6e8f4', PREDICTION: '#fbe8bf', NEGATIVE: '#fadfce'}
MAP = 0.56          # side of a feature map
CELLS = 4           # 4×4 locations, as at 128 px


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--output', default=str(Path(__file__).resolve().with_name('arch.png')),
                        help='picture to write (default asset/arch.png of this repository)')
    return parser.parse_args(argv)


def main(args):
    matplotlib.rcParams.update({'font.family': 'DejaVu Sans', 'mathtext.fontset': 'stix'})
    figure = Figure((WIDTH, HEIGHT), facecolor='white')
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, HEIGHT))
    axes.axis('off')
    draw_prediction(axes)
    axes.plot([0.35, WIDTH - 0.35], [2.52, 2.52], color=FAINT, lw=0.8)
    draw_contrast(axes)
    draw_scores(axes)
    figure.savefig(args.output, dpi=180, metadata={'Software': None})


# ---- parts

def text(axes, x, y, words, size=10, color=INK, ha='center', va='center', **style):
    axes.text(x, y, words, fontsize=size, color=color, ha=ha, va=va, **style)


def arrow(axes, start, end, color=INK, style='-|>', width=1.2):
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle=style, mutation_scale=9, lw=width, color=color,
                                   shrinkA=0, shrinkB=0))


def box(axes, x, y, width, height, words, size=11):
    """A rounded box around its centre (x, y)."""
    axes.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, fc='white', ec=INK, lw=1.2,
                                  boxstyle='round,pad=0,rounding_size=0.08'))
    text(axes, x, y, words, size)


def centre_of(x, y, row, column, side=MAP):
    """Centre of a location of the map around (x, y); row 0 is at the top."""
    cell = side / CELLS
    return x + (column - (CELLS - 1) / 2) * cell, y - (row - (CELLS - 1) / 2) * cell


def feature_map(axes, x, y, color, side=MAP, marked=None, mark=None):
    """A map of 4×4 locations around (x, y), one of them `marked` (row, column) in the colour `mark`."""
    cell = side / CELLS
    for row in range(CELLS):
        for column in range(CELLS):
            here = (row, column) == marked
            cx, cy = centre_of(x, y, row, column, side)
            axes.add_patch(Rectangle((cx - cell / 2, cy - cell / 2), cell, cell, lw=0.7, ec=color,
                                     fc=mark if here else TINT[color]))


def block_of_frames(axes, x, y, block, width=0.68, height=0.5):
    """Frames of block number `block`, fanned out, with a ball that bounces along through the whole clip."""
    fan = 0.045
    for i in reversed(range(BLOCK_FRAMES)):
        left, bottom = x - width / 2 + (i - 2) * fan, y - height / 2 + (i - 2) * fan
        axes.add_patch(Rectangle((left, bottom), width, height, fc='#eaf1f8', ec=MUTED, lw=0.8))
    left, bottom = x - width / 2 - 2 * fan, y - height / 2 - 2 * fan
    axes.add_patch(Rectangle((left, bottom), width, 0.11, fc='#cfd8c4', ec='none'))
    axes.add_patch(Rectangle((left, bottom), width, height, fc='none', ec=MUTED, lw=0.8))
    for age in (2, 1, 0):   # the older the paler
        moment = (block + 0.75 - 0.22 * age) / (SEEN + PREDICTED)
        hop = 2 * moment % 1
        centre = (left + 0.06 + moment * (width - 0.12), bottom + 0.13 + 1.1 * hop * (1 - hop))
        axes.add_patch(Circle(centre, 0.055, fc='#5b4b8a', ec='none', alpha=(1, 0.35, 0.15)[age]))


# ---- the panels

def draw_prediction(axes):
    """Blocks -> f -> maps -> g -> φ -> predicted maps, fed back to g. A column for each block."""
    frames_y, encoder_y, target_y, predicted_y, aggregator_y = 3.12, 3.78, 4.52, 5.5, 6.35
    columns = [1.75 + 1.07 * i for i in range(SEEN + PREDICTED)]
    last_seen = columns[SEEN - 1]
    border = (last_seen + columns[SEEN]) / 2

    for label, y in (('blocks of\nframes', frames_y), ('encoder', encoder_y), ('feature\nmaps', target_y),
                     ('predictor,\npredicted maps', predicted_y), ('aggregator\n(ConvGRU)', aggregator_y)):
        text(axes, 0.35, y, label, 9, MUTED, ha='left', linespacing=1.25)
    for first, last, words in ((columns[0], last_seen, 'seen'), (columns[SEEN], columns[-1], 'future, predicted')):
        text(axes, (first + last) / 2, 7.08, words, 11, weight='bold')
        axes.plot([first - 0.42, last + 0.42], [6.9, 6.9], color=FAINT, lw=1.5)
    axes.plot([border, border], [2.75, 3.5], color=FAINT, lw=1, ls=(0, (4, 3)))
    axes.plot([border, border], [4.05, 4.82], color=FAINT, lw=1, ls=(0, (4, 3)))

    box(axes, (columns[0] + columns[-1]) / 2, encoder_y, columns[-1] - columns[0] + 0.8, 0.34,
        r'$f$   2D-3D ResNet, the same for every block', size=10)
    for t, x in enumerate(columns, start=1):
        block_of_frames(axes, x, frames_y, t - 1)
        arrow(axes, (x, encoder_y - 0.29), (x, encoder_y - 0.17))
        arrow(axes, (x, encoder_y + 0.17), (x, target_y - MAP / 2))
        feature_map(axes, x, target_y, FEATURE)
        text(axes, x + MAP / 2 + 0.14, target_y - 0.2, f'$z_{t}$', 12, FEATURE)

    for t, x in enumerate(columns[:-1], start=1):
        box(axes, x, aggregator_y, 0.4, 0.36, '$g$')
        if t < len(columns) - 1:
            arrow(axes, (x + 0.2, aggregator_y), (columns[t] - 0.2, aggregator_y))
        if t <= SEEN:
            arrow(axes, (x, target_y + MAP / 2), (x, aggregator_y - 0.18))

    for t in range(SEEN, len(columns)):
        x, branch = columns[t], (columns[t - 1] + columns[t]) / 2
        feature_map(axes, x, predicted_y, PREDICTION)
        text(axes, x + 0.2, predicted_y - MAP / 2 - 0.16, rf'$\hat{{z}}_{t + 1}$', 12, DARK)
        text(axes, branch, aggregator_y + 0.17, f'$c_{t}$', 11)
        arrow(axes, (branch, aggregator_y), (branch, predicted_y + 0.15))
        box(axes, branch, predicted_y, 0.28, 0.3, r'$\varphi$')
        arrow(axes, (branch + 0.14, predicted_y), (x - MAP / 2, predicted_y))
        if t == len(columns) - 1:   # the chain ends here
            axes.plot([columns[t - 1] + 0.2, branch], [aggregator_y] * 2, color=INK, lw=1.2)
        else:
            arrow(axes, (x, predicted_y + MAP / 2), (x, aggregator_y - 0.18), PREDICTION)
        arrow(axes, (x, predicted_y - MAP / 2), (x, target_y + MAP / 2), POSITIVE, style='<|-|>', width=1.6)
    text(axes, columns[SEEN] - 0.08, 5.01, 'compare', 9, POSITIVE, ha='right')
    text(axes, columns[SEEN] + 0.08, 5.97, 'fed\nback', 9, DARK, ha='left', linespacing=1.1)


def draw_contrast(axes):
    """One predicted location and what it is scored against: its true location, and all others of the batch."""
    y, side, here = 1.1, 0.8, (1, 2)
    text(axes, 0.35, 2.27, 'Dense contrast', 11, ha='left', weight='bold')
    text(axes, 1.85, 2.265, 'one predicted location against all true locations of the batch', 9.5, MUTED, ha='left')

    predicted_x, true_x = 1.0, 2.75
    feature_map(axes, predicted_x, y, PREDICTION, side, here, PREDICTION)
    feature_map(axes, true_x, y, NEGATIVE, side, here, POSITIVE)
    for x, count in ((4.15, 2), (5.6, 3)):
        for i in reversed(range(count)):
            feature_map(axes, x + 0.08 * i, y + 0.08 * i, NEGATIVE, side)

    start, end = centre_of(predicted_x, y, *here, side), centre_of(true_x, y, *here, side)
    arrow(axes, (start[0] + side / 8, start[1]), (end[0] - side / 8, end[1]), POSITIVE, style='<|-|>', width=1.6)
    text(axes, predicted_x, y + 0.66, r'$\hat{z}_6$', 12, DARK)
    text(axes, true_x, y + 0.66, '$z_6$', 12, FEATURE)
    text(axes, 4.19, y + 0.66, '$z_7,\\ z_8$', 12, FEATURE)
    text(axes, 5.68, y + 0.72, '$z_6,\\ z_7,\\ z_8$', 12, FEATURE)
    for x, words in ((predicted_x, 'one predicted\nlocation'), (true_x, 'its true location\nand other locations'),
                     (4.19, 'other times'), (5.68, 'other clips')):
        text(axes, x, y - 0.5, words, 9, MUTED, va='top', linespacing=1.25)


def draw_scores(axes):
    """The score matrix of two clips, two times and three locations: the positives are its diagonal."""
    left, top, cell, rows, locations = 7.47, 1.84, 0.105, 12, 3
    side = rows * cell
    for row in range(rows):
        for column in range(rows):
            color = POSITIVE if row == column else TINT[NEGATIVE]
            corner = (left + column * cell, top - (row + 1) * cell)
            axes.add_patch(Rectangle(corner, cell, cell, lw=0.4, ec='white', fc=color))
    for i in range(0, rows + 1, locations):    # maps; clips are twice as long
        style = {'color': MUTED, 'lw': 1.3 if i % (2 * locations) == 0 else 0.5}
        axes.plot([left, left + side], [top - i * cell] * 2, **style)
        axes.plot([left + i * cell] * 2, [top, top - side], **style)
    text(axes, left + side / 2, top + 0.14, 'true locations', 9, FEATURE)
    text(axes, left - 0.14, top - side / 2, 'predicted locations', 9, DARK, rotation=90)
    text(axes, left - 0.27, 2.27, 'Scores of a batch', 11, ha='left', weight='bold')
    for y, color, words in ((1.45, POSITIVE, 'positive'), (1.17, TINT[NEGATIVE], 'negative')):
        axes.add_patch(Rectangle((8.89, y - 0.06), 0.12, 0.12, fc=color, ec='none'))
        text(axes, 9.07, y, words, 9, MUTED, ha='left')
    text(axes, left + side / 2, top - side - 0.16, 'the positive of row $i$ is column $i$', 9, MUTED)


if __name__ == '__main__':
    main(parse_args())
