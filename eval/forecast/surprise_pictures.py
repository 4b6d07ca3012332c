"""The surprise of a video over time: a curve under its frames with the moments of most surprise, and a heat film."""
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from types import SimpleNamespace

import cv2
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from eval.forecast.clip_pictures import DPI, MATCH, MOST_OPAQUE, label, pixels
from utils.cli import UserError
from utils.data.clips import read_frames
from utils.data.crops import box_at
from utils.text import printable

FRAMES = 8               # in the strip
SIDE = 112               # px, of a frame in the picture
MAX_NAMED = 16           # locations of a map with their bits
FILM_SIDE, STRIP = 320, 80   # px, of the film's frames and of the curve below
BLOCKS_DRAWN = 100       # of a film, with their frames in memory at a time
MODEL, COPY, MOTION = 'tab:blue', 'tab:orange', 'grey'


@dataclass
class Source:
    """Where the frames of a video are: path, and fps of a VideoList; T = seq_len, ds as in a Clip."""
    path: str
    fps: float | None
    seq_len: int
    ds: int

    def frames(self, numbers, side):
        """uint8 [M, side, side, 3], the centre crop of frames `numbers`, ascending, from 1."""
        out = np.empty((len(numbers), side, side, 3), np.uint8)
        read_frames(self.path, np.asarray(numbers), lambda height, width: box_at(height, width, 0.5, 0.5), False, out,
                    progress=SimpleNamespace(value=0), fps=self.fps)
        return out

    def numbers_of(self, block):
        """Of its T frames, from 1."""
        return 1 + self.ds * (block * self.seq_len + np.arange(self.seq_len))


def draw_course(course, source, dpi=DPI):
    """uint8 [height, width, 3]: frames, curves, and the moments of most surprise. Block k of the video is row k − 1 of
    the Course. FrameError: a frame can't be read any more."""
    blocks, top = np.linspace(1, len(course.bits), FRAMES).round().astype(int), course.top()
    pairs = [block for row in top for block in (row, row + 1)]          # the last seen block, and the surprising one
    wanted, where = np.unique([source.numbers_of(block)[source.seq_len // 2] for block in [*blocks, *pairs]],
                              return_inverse=True)
    frames = source.frames(wanted, SIDE)[where]

    figure = Figure((11, 6.8), dpi=dpi, layout='constrained')
    curves, moments = figure.subfigures(2, 1, height_ratios=(5, 2))
    strip, chart, motion = curves.subplots(3, 1, height_ratios=(1.1, 2.2, 0.7))
    strip.imshow(np.hstack(np.pad(frames[:FRAMES], ((0, 0), (0, 0), (2, 2), (0, 0)), constant_values=255)),
                 extent=(0, FRAMES, 0, 1), aspect='auto')
    strip.set(xticks=np.arange(FRAMES) + 0.5, xticklabels=[f'{course.seconds[block - 1]:.1f} s' for block in blocks],
              yticks=[])
    strip.set_title(printable(Path(course.name).name), fontsize=11, parse_math=False)
    draw_curves(chart, motion, course, top)
    axes = moments.subplots(1, 2 * len(top), squeeze=False)[0]
    for number, row in enumerate(top):
        draw_moment(axes[2 * number:2 * number + 2], ascii_uppercase[number], course, row,
                    *frames[FRAMES + 2 * number:FRAMES + 2 * number + 2])
    return pixels(figure)


def draw_curves(chart, motion, course, top):
    """The bits; those of the copy on a scale of their own, as they may be many times more; the frame difference."""
    mean, copy, difference = course.curves.values()
    beside = chart.twinx()
    chart.axhline(course.uninformed, color='grey', linewidth=0.8, linestyle=':')
    chart.text(0, course.uninformed, ' no information', fontsize=7, color='grey', va='bottom')
    chart.plot(course.seconds, mean, '.-', color=MODEL)
    for letter, row in zip(ascii_uppercase, top):
        chart.annotate(letter, (course.seconds[row], mean[row]), (0, 6), textcoords='offset points', ha='center',
                       fontweight='bold', color=MODEL)
    beside.plot(course.seconds, copy, '.--', color=COPY, linewidth=1, alpha=0.7)
    motion.plot(course.seconds, difference, '.-', color=MOTION)
    for axes, name, colour, most in ((chart, 'surprise, bits', MODEL, max(mean.max(), course.uninformed)),
                                     (beside, 'as the last seen\nblock, bits', COPY, copy.max()),
                                     (motion, 'frame\ndifference', MOTION, difference.max())):
        axes.set_ylabel(name, color=colour, fontsize=9)
        axes.set(ylim=(0, 1.15 * max(most, 0.01)), xlim=(0, course.end[-1]))
    chart.set_xticklabels([])
    motion.set_xlabel('seconds')
    for axes in (chart, motion):
        axes.grid(alpha=0.3)


def draw_moment(axes, letter, course, row, before, after):
    """The middle frame of the last seen block, and that of the surprising one under its bits by location."""
    h, w = course.size
    for each, frame in zip(axes, (before, after)):
        each.imshow(frame, extent=(0, 1, 1, 0))
        each.set(xticks=[], yticks=[])
    axes[0].set_title(f'{letter}: seen before', fontsize=9)
    axes[1].set_title(f'{course.seconds[row]:.2f} s: {course.bits[row].mean():.1f} bits', fontsize=9)
    axes[1].imshow(glow(course, row), extent=(0, 1, 1, 0), interpolation='nearest')
    for s, bits in enumerate(course.bits[row] if h * w <= MAX_NAMED else ()):
        label(axes[1], (s % w + 0.5) / w, (s // w + 0.5) / h, f'{bits:.1f}', 8)


def glow(course, row):
    """RGBA float [h, w, 4], the more opaque the more surprising the location."""
    h, w = course.size
    opacity = MOST_OPAQUE * course.bits[row] / max(course.bits.max(), 1e-6)
    return np.dstack([np.broadcast_to(to_rgb(MATCH), (h, w, 3)), opacity.reshape(h, w)])


def write_surprise_film(path, course, source):
    """An .mp4 of the frames of all scored blocks, at their speed on average, under the heat of their bits by location,
    with the curve below. FrameError: a frame can't be read any more. UserError: OpenCV can't write it."""
    size = (FILM_SIDE, FILM_SIDE + STRIP)
    frames_a_second = (len(course.bits) * source.seq_len - 1) / max(course.end[-1] - course.start[0], 1e-3)
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), frames_a_second, size)
    if not film.isOpened():
        raise UserError(f'{path}: OpenCV cannot write this film; choose another --out, or leave out --film')
    curve = curve_strip(course)
    for start in range(0, len(course.seconds), BLOCKS_DRAWN):
        rows = range(start, min(start + BLOCKS_DRAWN, len(course.seconds)))
        numbers = np.concatenate([source.numbers_of(row + 1) for row in rows])
        for i, frame in enumerate(source.frames(numbers, FILM_SIDE)):
            row = rows[i // source.seq_len]
            film.write(np.ascontiguousarray(np.vstack([heated(frame, course, row), at_row(curve, course, row)])
                                            [:, :, ::-1]))
    film.release()


def heated(frame, course, row):
    """A frame [H, W, 3], darkened, under the glow of a block."""
    heat = cv2.resize(glow(course, row), frame.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    opacity = heat[..., 3:]
    return (0.8 * frame * (1 - opacity) + 255 * heat[..., :3] * opacity).astype(np.uint8)


def curve_strip(course):
    """The curve of the mean bits, uint8 [STRIP, FILM_SIDE, 3]."""
    strip = np.full((STRIP, FILM_SIDE, 3), 255, np.uint8)
    cv2.polylines(strip, [points_of(course)], False, (31, 119, 180), 2, cv2.LINE_AA)
    return strip


def points_of(course):
    """int32 [T, 2], where the mean bits are in the strip."""
    mean = course.bits.mean(axis=1)
    x = np.linspace(4, FILM_SIDE - 5, len(mean)) if len(mean) > 1 else np.array([FILM_SIDE / 2])
    y = STRIP - 5 - (STRIP - 24) * mean / max(mean.max(), 1e-6)
    return np.stack([x, y], axis=1).round().astype(np.int32)


def at_row(curve, course, row):
    """The strip with a mark at a block, its time and its bits."""
    strip = curve.copy()
    x, y = points_of(course)[row].tolist()
    cv2.line(strip, (x, 14), (x, STRIP), (190, 190, 190), 1)
    cv2.circle(strip, (x, y), 4, (200, 30, 30), cv2.FILLED, cv2.LINE_AA)
    cv2.putText(strip, f'{course.seconds[row]:.1f} s  {course.bits[row].mean():.1f} bits', (6, 12),
                cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return strip
