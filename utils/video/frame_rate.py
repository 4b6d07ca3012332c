"""Frames at an even rate, whatever the rate of a film."""
from typing import Iterable, Iterator

ROUNDING = 1e-3   # s, of time stamps


def at_rate(timed: Iterable[tuple], fps: float) -> Iterator:
    """Yields `fps` frames a second: at each tick, from the first frame on, the one that is shown then. Frames are left
    out or repeated; the last is shown for as long as the others on average.

    timed: (seconds, frame) in order of display

    >>> film = [(0.0, 'a'), (0.1, 'b'), (0.2, 'c'), (0.6, 'd')]
    >>> list(at_rate(film, fps=5))
    ['a', 'c', 'c', 'd']
    """
    ticks, start, seconds, shown, count = 0, None, 0, None, 0
    for seconds, frame in timed:
        count += 1
        start = seconds if start is None else start
        while ticks / fps < seconds - start - ROUNDING:
            yield shown
            ticks += 1
        shown = frame
    end = (seconds - start) * count / (count - 1) if count > 1 else count / fps
    while ticks / fps < end - ROUNDING:
        yield shown
        ticks += 1


def spread_of_rates(rates: Iterable[float]) -> str:
    """A line where frame rates differ by more than a fifth, '' elsewhere: clips of one --ds then span different times.

    >>> spread_of_rates([25, 29.97, 0]), spread_of_rates([13, 120.0])[:44]
    ('', 'frame rates differ, from 13 to 120 a second:')
    """
    rates = [rate for rate in rates if rate > 0]
    if not rates or max(rates) <= 1.2 * min(rates):
        return ''
    return (f'frame rates differ, from {min(rates):.3g} to {max(rates):.3g} a second: clips of the same --ds span '
            'different times; --fps F takes the same number of frames a second from all')
