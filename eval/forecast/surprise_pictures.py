"""The surprise of a video over time: a curve under its frames with the moments of most surprise, and a heat film."""
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from string import ascii_uppercase
from types import SimpleNamespace

import av
import cv2
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
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
TICKS = 1000             # of a second, in the times of a film's frames
HEAT = LinearSegmentedColormap.from_list('heat', [to_rgba(MATCH, 0), to_rgba(MATCH, MOST_OPAQUE)])
MOST_TIMES = 4           # that a copy's bits may be more before the axis becomes logarithmic
MODEL, COPY, MOTION = 'tab:blue', 'tab:orange', 'grey'


@dataclass
class Source:
    """Where the frames of a video are: path, and fps of a VideoList; T = seq_len, ds as in a Clip. times: s, [F]."""
    path: str
    fps: float | None
    seq_len: int
    ds: int
    times: np.ndarray

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
    blocks, top = np.linspace(1, len(course.bits), FRAMES).round().astype(int), sorted(course.top())
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
    if has_heat(course):
        moments.colorbar(ScalarMappable(Normalize(0, course.bits.max()), HEAT), ax=axes,
                         label='bits of a location').solids.set_edgecolor('face')
    for number, row in enumerate(top):
        draw_moment(axes[2 * number:2 * number + 2], ascii_uppercase[number], course, row,
                    *frames[FRAMES + 2 * number:FRAMES + 2 * number + 2])
    return pixels(figure)


def draw_curves(chart, motion, course, top):
    """The bits of the prediction and of the copy on one axis, and the frame difference on another."""
    mean, copy, difference = course.curves.values()
    chart.axhline(course.uninformed, color='grey', linewidth=0.8, linestyle=':')
    chart.text(0, course.uninformed, ' no information', fontsize=7, color='grey', va='bottom')
    chart.plot(course.seconds, copy, '.--', color=COPY, linewidth=1, alpha=0.7, label='as the last seen block')
    chart.plot(course.seconds, mean, '.-', color=MODEL, label='surprise')
    for letter, row in zip(ascii_uppercase, top):
        chart.annotate(letter, (course.seconds[row], mean[row]), (0, 6), textcoords='offset points', ha='center',
                       fontweight='bold', color=MODEL)
    motion.plot(course.seconds, difference, '.-', color=MOTION)
    most = max(mean.max(), course.uninformed, 0.01)
    if copy.max() > MOST_TIMES * most:
        chart.set_yscale('symlog', linthresh=most)
        chart.yaxis.set_major_formatter('{x:g}')
        chart.set_ylabel(f'bits, logarithmic above {most:.0f}', fontsize=9)
    else:
        chart.set_ylabel('bits', fontsize=9)
    chart.set_ylim(0, 1.15 * max(most, copy.max()))
    chart.legend(fontsize=8, ncols=2, reverse=True, loc='lower right', bbox_to_anchor=(1, 0.98), frameon=False)
    motion.set_ylabel('frame\ndifference', color=MOTION, fontsize=9)
    motion.set_ylim(0, 1.15 * max(difference.max(), 0.01))
    chart.set_xticklabels([])
    motion.set_xlabel('seconds')
    for axes in (chart, motion):
        axes.set_xlim(0, course.end[-1])
        axes.grid(alpha=0.3)


def draw_moment(axes, letter, course, row, before, after):
    """The middle frame of the last seen block, and that of the surprising one under its bits by location, if
    there are several."""
    h, w = course.size
    for each, frame in zip(axes, (before, after)):
        each.imshow(frame, extent=(0, 1, 1, 0))
        each.set(xticks=[], yticks=[])
    axes[0].set_title(f'{letter}: seen before', fontsize=9)
    axes[1].set_title(f'{course.seconds[row]:.2f} s: {course.bits[row].mean():.1f} bits', fontsize=9)
    if not has_heat(course):
        return
    axes[1].imshow(glow(course, row), extent=(0, 1, 1, 0), interpolation='nearest')
    for s, bits in enumerate(course.bits[row] if h * w <= MAX_NAMED else ()):
        label(axes[1], (s % w + 0.5) / w, (s // w + 0.5) / h, f'{bits:.1f}', 8)


def has_heat(course):
    """Whether there are several locations, whose bits can differ."""
    return course.size != (1, 1)


def glow(course, row):
    """RGBA float [h, w, 4], the more opaque the more surprising the location."""
    return HEAT(course.bits[row].reshape(course.size) / max(course.bits.max(), 1e-6))


def write_surprise_film(path, course, source):
    """An .mp4 of the frames of all blocks at their own times, under the heat of their bits by location, with the curve
    below. The first block has no bits. FrameError: a frame can't be read any more. UserError: it can't be written."""
    try:
        with av.open(str(path), 'w', format='mp4') as film:
            stream = film.add_stream('mpeg4', rate=TICKS)
            stream.width, stream.height, stream.pix_fmt = FILM_SIDE, FILM_SIDE + STRIP, 'yuv420p'
            stream.bit_rate = 2_000_000
            last = -1
            for number, picture in film_pictures(course, source):
                frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
                last = max(last + 1, round(TICKS * source.times[number - 1]))    # no two at one time
                frame.pts, frame.time_base = last, Fraction(1, TICKS)
                film.mux(stream.encode(frame))
            film.mux(stream.encode())
    except (OSError, av.FFmpegError) as error:
        raise UserError(f'{path}: cannot write this film ({error}); choose another --out, or leave out --film'
                        ) from error


def film_pictures(course, source):
    """Yields (number of the frame from 1, uint8 [FILM_SIDE + STRIP, FILM_SIDE, 3]) for the frames of all blocks."""
    curve, blocks = curve_strip(course), len(course.bits) + 1
    for start in range(0, blocks, BLOCKS_DRAWN):
        end = min(start + BLOCKS_DRAWN, blocks)
        numbers = np.concatenate([source.numbers_of(block) for block in range(start, end)])
        for i, (number, frame) in enumerate(zip(numbers.tolist(), source.frames(numbers, FILM_SIDE))):
            row = start + i // source.seq_len - 1
            if row >= 0 and has_heat(course):
                frame = heated(frame, course, row)
            yield number, np.vstack([frame, marked(curve, course, row, source.times[number - 1])])


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
    y = STRIP - 5 - (STRIP - 24) * mean / max(mean.max(), 1e-6)
    return np.stack([strip_x(course, course.seconds), y], axis=1).round().astype(np.int32)


def strip_x(course, seconds):
    return 4 + (FILM_SIDE - 9) * seconds / max(course.end[-1], 1e-3)


def marked(curve, course, row, seconds):
    """The strip with a line at a time, and with the bits of its block; row −1: of the first, which has none."""
    strip = curve.copy()
    x = round(strip_x(course, seconds))
    cv2.line(strip, (x, 14), (x, STRIP), (190, 190, 190), 1)
    text = f'{seconds:.2f} s  '
    if row >= 0:
        cv2.circle(strip, points_of(course)[row].tolist(), 4, (200, 30, 30), cv2.FILLED, cv2.LINE_AA)
        text += f'{course.bits[row].mean():.1f} bits'
    cv2.putText(strip, text, (6, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return strip
