"""Pictures of the predictions for a clip: how well those of chosen locations match every true location."""
from dataclasses import dataclass
from string import ascii_uppercase
from textwrap import fill

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from utils.cli import UserError

SEEN, FUTURE, TRUE, TAKEN = 'tab:blue', 'tab:orange', '#00e04b', '#ff2020'
MATCH, MOST_OPAQUE = '#ffd21f', 0.75
DPI = 100
FILM_DPI = 75
SECONDS_PER_LOCATION = 0.6
MAX_LABELLED = 64      # locations of a map with their percentages
MIN_PERCENT = 1        # that is printed
MAX_ROWS = len(ascii_uppercase)  # of a picture


@dataclass
class ClipView:
    """What a picture of one clip shows.

    title      the video's name
    frames     uint8 [N, H, W, 3], the middle frame of each block
    size       (h, w) of the feature map
    rank, taken: of eval.forecast.predictions.Batch, for this clip: [P, S], [P, S, 3]; match: of match_of, [P, S, P, S]
    index      this clip's number in its batch
    others     {number in the batch: frames [N, H, W, 3]}, at least of the other clips that locations are taken for
    candidates how many true locations each prediction is compared with; clips: of how many clips they are
    """
    title: str
    frames: np.ndarray
    size: tuple
    rank: np.ndarray
    taken: np.ndarray
    match: np.ndarray
    index: int
    others: dict
    candidates: int
    clips: int

    @property
    def seen(self):
        return len(self.frames) - len(self.rank)


def moving_locations(motion, count):
    """[(p, s), …] of `count` different locations of the map, those that move most, each in the block in which it moves
    most; the fastest first. motion [P, S]."""
    fastest = np.argsort(-motion.max(axis=0), kind='stable')[:count]
    return [(int(motion[:, s].argmax()), int(s)) for s in fastest]


def film_locations(motion, count):
    """[(p, s), …] of all locations of all blocks in their order; if they are over `count`, of those that move most."""
    fastest = np.sort(np.argsort(-motion.ravel(), kind='stable')[:count])
    return [divmod(int(i), motion.shape[1]) for i in fastest]


def draw_clip(view, locations, dpi=DPI):
    """uint8 [height, width, 3]: the frames of the clip, and a row for each predicted location (p, s) below."""
    N, P = len(view.frames), len(view.rank)
    inches = max(1.5 * N, 2.1 * (P + 2), 9)
    text = wrapped(explanation(view), inches, 9)
    heights = [1.0 + 0.17 * text.count('\n'), inches / N + 0.35, *[min(inches / (P + 2), 3) + 0.4] * len(locations)]
    figure = Figure((inches, sum(heights)), dpi=dpi, layout='constrained')
    head, strip, *rows = figure.subfigures(2 + len(locations), 1, height_ratios=heights)
    head.suptitle(view.title, fontsize=12, fontweight='bold', parse_math=False)
    draw_legend(head, text)
    for n, axes in enumerate(strip.subplots(1, N, squeeze=False)[0]):
        future = n >= view.seen
        show(axes, view.frames[n], FUTURE if future else SEEN)
        axes.set_title(f'{n + 1}: {"to predict" if future else "seen"}', fontsize=10, color=FUTURE if future else SEEN)
        for letter, (p, s) in zip(ascii_uppercase, locations):
            if n == view.seen + p:
                outline(axes, view, s, TRUE, letter)
    for row, letter, (p, s) in zip(rows, ascii_uppercase, locations):
        draw_location(row, letter, view, p, s)
    return pixels(figure)


def explanation(view):
    P, S = view.rank.shape
    seen = 'block 1' if view.seen == 1 else f'blocks 1 to {view.seen}'
    future = f'block {view.seen + 1}' if P == 1 else f'blocks {view.seen + 1} to {view.seen + P}'
    others = 'this clip' if view.clips == 1 else f'{view.clips} clips: a location of another clip may beat those shown'
    return (f'From {seen} the network predicts the feature of every location ({view.size[0]}×{view.size[1]} a block) '
            f'of {future}; the middle frame of each block is shown. Each row below compares the feature predicted for '
            'one location with the true features of all locations: the brighter, the more alike (softmax of the scores '
            f'over the {P * S} locations of this clip\'s future: a row adds up to 100%). Rank 1 = the true location '
            f'has the highest score of {view.candidates} candidates, the future locations of {others}.')


def wrapped(text, inches, points):
    """The text in lines that fit a figure of this width."""
    return fill(text, int(inches * 72 / points / 0.53))


def draw_legend(part, text):
    axes = part.subplots()
    axes.axis('off')
    axes.text(0.5, 1, text, ha='center', va='top', fontsize=9, transform=axes.transAxes)
    axes.legend(handles=[Patch(fill=False, edgecolor=SEEN, linewidth=2, label='seen'),
                         Patch(fill=False, edgecolor=FUTURE, linewidth=2, label='to predict'),
                         Patch(fill=False, edgecolor=TRUE, linewidth=3, label='the location that is predicted'),
                         Patch(fill=False, edgecolor=TAKEN, linewidth=2, linestyle='--', label='taken for it')],
                loc='lower center', ncols=4, fontsize=9, frameon=False)


def draw_location(part, letter, view, p, s):
    """One row: which location is predicted, its match with all true locations, and what it is taken for."""
    P = len(view.rank)
    clip, taken_p, taken_s = view.taken[p, s].tolist()
    right, here = view.rank[p, s] == 0, clip == view.index
    text, *maps, answer = part.subplots(1, P + 2)

    text.axis('off')
    verdict, colour = ('right', 'tab:green') if right else ('wrong', 'tab:red')
    text.text(0.5, 0.5, f'{letter}\nblock {view.seen + p + 1}\n{name_of(view, s)}\n\n{verdict}: rank '
              f'{view.rank[p, s] + 1}\nof {view.candidates}', ha='center', va='center', fontsize=11,
              color=colour, transform=text.transAxes)

    match = view.match[p, s]                                            # [P, S]
    for q, axes in enumerate(maps):
        heat(axes, view, view.seen + q, match[q], match.max())
        axes.set_title(f'match with\nblock {view.seen + q + 1}', fontsize=9)
        if q == p:
            outline(axes, view, s, TRUE)
        if not right and here and q == taken_p:
            outline(axes, view, taken_s, TAKEN)

    frames = view.frames if here else view.others[clip]
    show(answer, frames[view.seen + taken_p], TRUE if right else TAKEN)
    outline(answer, view, taken_s, TRUE if right else TAKEN)
    whose = 'this' if here else 'another'
    answer.set_title(f'taken for {name_of(view, taken_s)}\nof block {view.seen + taken_p + 1} of {whose} clip',
                     fontsize=9, color=colour)


def name_of(view, s):
    row, column = divmod(s, view.size[1])
    return f'row {row + 1}, column {column + 1}'


def show(axes, frame, colour):
    """A frame on axes from (0, 0) to (1, 1), framed in a colour."""
    axes.imshow(frame, extent=(0, 1, 1, 0), interpolation='antialiased')
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=colour, linewidth=2)


def heat(axes, view, block, match, most):
    """A block's frame, darkened, under the match [S] of its locations; `most` is the brightest."""
    h, w = view.size
    axes.imshow((0.6 * view.frames[block]).astype(np.uint8), extent=(0, 1, 1, 0))
    glow = np.tile(to_rgba(MATCH), (h, w, 1))
    glow[..., 3] = MOST_OPAQUE * match.reshape(h, w) / most
    axes.imshow(glow, extent=(0, 1, 1, 0), interpolation='nearest')
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=FUTURE, linewidth=2)
    for s, percent in enumerate(np.rint(100 * match).astype(int)):
        if percent >= MIN_PERCENT and h * w <= MAX_LABELLED:
            row, column = divmod(s, w)
            label(axes, (column + 0.5) / w, (row + 0.5) / h, f'{percent}%' if w <= 4 else percent, 10 if w <= 4 else 7)


def label(axes, x, y, text, points, **how):
    axes.text(x, y, text, fontsize=points, color='white', path_effects=[withStroke(linewidth=2, foreground='black')],
              **{'ha': 'center', 'va': 'center', **how})


def outline(axes, view, s, colour, letter=''):
    """Marks location s; dashed and a little inside in the colour TAKEN."""
    h, w = view.size
    row, column = divmod(s, w)
    wrong = colour == TAKEN
    inset = 0.015 if wrong else 0
    axes.add_patch(Rectangle((column / w + inset, row / h + inset), 1 / w - 2 * inset, 1 / h - 2 * inset, fill=False,
                             edgecolor=colour, linewidth=2.5, linestyle='--' if wrong else '-', clip_on=False,
                             zorder=5))
    if letter:
        label(axes, column / w + 0.02, row / h + 0.02, letter, 10, ha='left', va='top')


def pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def write_picture(path, picture):
    """uint8 [H, W, 3] -> a PNG. UserError: it can't be written."""
    try:
        path.write_bytes(cv2.imencode('.png', picture[:, :, ::-1])[1].tobytes())
    except OSError as error:
        raise UserError(f'{path}: cannot write the picture ({error.strerror}); make room or choose another --out'
                        ) from error


def write_film(path, view, locations):
    """An .mp4 that shows the locations (p, s) one after the other. UserError: OpenCV can't write it."""
    film = None
    for location in locations:
        picture = draw_clip(view, [location], FILM_DPI)
        picture = picture[:len(picture) // 2 * 2, :picture.shape[1] // 2 * 2, ::-1]  # the codec wants even sides
        if film is None:
            codec = cv2.VideoWriter_fourcc(*'mp4v')
            film = cv2.VideoWriter(str(path), codec, 1 / SECONDS_PER_LOCATION, picture.shape[1::-1])
            if not film.isOpened():
                raise UserError(f'{path}: OpenCV cannot write this film; choose another --out, or give --no_film')
        film.write(np.ascontiguousarray(picture))
    film.release()
