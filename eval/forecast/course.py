"""The surprise of one video over time, as it is written, summarised and drawn."""
import csv
import math
from dataclasses import dataclass

import numpy as np

from utils.cli import UserError
from utils.text import ENCODING

COLUMNS = 'seconds', 'bits', 'copy_bits', 'frame_difference', 'start', 'end', 'seen'
MOMENTS = 3                                       # of most surprise, that are named and drawn
MEASURES = {'mean': np.mean, 'highest': np.max}   # of a video's blocks


@dataclass
class Course:
    """Of the T = U − 1 blocks of a video that have a block before them.

    name         of the video
    start, end   float64 [T], s: of a block's first and last frame
    bits, copy_bits: float32 [T, S] by location, of the prediction and of the last seen block as one
    difference   float64 [T], the frame difference, grey levels
    seen         int64 [T], blocks that the prediction is from
    candidates   K, that each block is compared with
    size         (h, w) of the feature map
    context      M, the blocks that each is predicted from but for the first few
    """
    name: str
    start: np.ndarray
    end: np.ndarray
    bits: np.ndarray
    copy_bits: np.ndarray
    difference: np.ndarray
    seen: np.ndarray
    candidates: int
    size: tuple
    context: int

    @property
    def seconds(self):
        """The middle of each block, [T]."""
        return (self.start + self.end) / 2

    @property
    def curves(self):
        """{name: [T]}: means over locations, and the frame difference."""
        return {'bits': self.bits.mean(axis=1), 'copy_bits': self.copy_bits.mean(axis=1),
                'frame_difference': self.difference}

    @property
    def settled(self):
        """Mask [T] of the blocks that are predicted from M blocks. The first few are predicted from fewer, and surprise
        for that reason."""
        return self.seen == self.context

    @property
    def uninformed(self):
        """The bits where prediction tells nothing and all scores are equal."""
        return math.log2(self.candidates + 1)

    def top(self):
        """Rows of the moments of most surprise among the settled ones, the highest first; there is a block between
        two of them at least."""
        left, rows = np.where(self.settled, self.bits.mean(axis=1), -np.inf), []
        while len(rows) < MOMENTS and np.isfinite(left).any():
            rows.append(int(left.argmax()))
            left[max(0, rows[-1] - 1):rows[-1] + 2] = -np.inf
        return rows

    def measures(self):
        """{measure: {curve: float}} of the settled blocks, one at least, see MEASURES and `curves`."""
        return {measure: {name: float(function(curve[self.settled])) for name, curve in self.curves.items()}
                for measure, function in MEASURES.items()}

    def summary(self):
        """Plain numbers for people and programs: means, and the moments of most surprise."""
        seconds, curves = self.seconds, self.curves
        return {'video': self.name, 'blocks': len(self.bits), 'candidates': self.candidates, **self.measures()['mean'],
                'top': [{'seconds': round(float(seconds[row]), 3), 'bits': float(curves['bits'][row]),
                         'copy_bits': float(curves['copy_bits'][row])} for row in self.top()]}


def block_times(seconds, count, seq_len, ds):
    """Times of the frames of a video [F] -> (start, end) of its first `count` blocks, s, of their first and last
    frame."""
    first = ds * seq_len * np.arange(count)
    return seconds[first], seconds[first + ds * (seq_len - 1)]


def is_course(path):
    """Whether `write_course` has written the file."""
    try:
        with open(path, 'rb') as file:
            return file.read(100).startswith(','.join(COLUMNS).encode())
    except OSError:
        return False


def write_course(path, course):
    """A csv of COLUMNS and the bits of each location, a row for each block. UserError: it can't be written."""
    curves, (_, w) = course.curves, course.size
    columns = [course.seconds, *curves.values(), course.start, course.end]
    header = [*COLUMNS, *(f'bits_row{s // w + 1}_column{s % w + 1}' for s in range(course.bits.shape[1]))]
    try:
        with open(path, 'w', newline='', **ENCODING) as file:
            rows = csv.writer(file, lineterminator='\n')
            rows.writerow(header)
            for values, seen, bits in zip(zip(*columns), course.seen, course.bits):
                rows.writerow([*(f'{value:.4f}' for value in values), seen, *(f'{value:.4f}' for value in bits)])
    except OSError as error:
        raise UserError(f'{path}: cannot write it ({error.strerror}); make room or choose another --out') from error
