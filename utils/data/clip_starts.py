"""Where the clips of a video start: one or more at random in training, overlapping ones that cover it all in a test.

Letters: a clip has N = `num_seq` blocks of T = `seq_len` frames, every `ds`-th of the video.
"""
import numpy as np

ROUNDING = 1e-6  # of times, s
# Blocks from the start of one test clip to that of the next in the published code, as a share of the N of a clip.
PUBLISHED_STRIDE = {'ucf101': 1 / 2, 'hmdb51': 3 / 4}


def count_blocks(n_frames: int, num_seq: int, seq_len: int, ds: int) -> int:
    """Whole blocks of T in every ds-th of `n_frames` frames; a short video is padded to N.

    >>> count_blocks(200, num_seq=8, seq_len=5, ds=3), count_blocks(30, num_seq=8, seq_len=5, ds=3)
    (13, 8)
    """
    sampled = -(-n_frames // ds)  # frames 1, 1 + ds, … up to the end
    return max(num_seq, sampled // seq_len)


def clip_starts(blocks: int, num_seq: int) -> np.ndarray:
    """First blocks, int64 [K], of test clips that cover `blocks` blocks and overlap by half: every N//2; the last clip
    ends with the last block.

    >>> clip_starts(17, num_seq=8)
    array([0, 4, 8, 9])
    """
    stride = max(1, num_seq // 2)
    last = blocks - num_seq
    return np.append(np.arange(0, last, stride), last)


def spaced_starts(blocks: int, num_seq: int, count: int) -> np.ndarray:
    """First blocks, int64 [K], of `count` test clips evenly spaced over `blocks` blocks, from the first to the last; of
    one clip, the middle. K is smaller where the video has fewer positions for a clip.

    >>> spaced_starts(17, num_seq=8, count=4)
    array([0, 3, 6, 9])
    """
    last = blocks - num_seq
    if count == 1:
        return np.array([last // 2])
    return np.linspace(0, last, min(count, last + 1)).round().astype(np.int64)


def window_starts(times: np.ndarray, every: float, span: int) -> np.ndarray:
    """First frames, int64 [K], of windows that span `span` frames: at each multiple of `every`, the first frame that is
    shown then or later. The first window that reaches the end of the video is the last one; where windows are shorter
    than `every`, none may.

    times: [F], when each frame is shown, in the unit of `every`

    >>> window_starts(np.arange(50) / 25, every=0.5, span=20)
    array([ 0, 13, 25, 38])
    """
    starts = np.searchsorted(times, every * np.arange(times[-1] // every + 1) - ROUNDING)
    return starts[:np.searchsorted(starts, len(times) - span) + 1]  # of ascending ones: the first that reaches the end


def blocks_of_clips(starts: np.ndarray, num_seq: int, span: int) -> tuple[np.ndarray, np.ndarray]:
    """First frames, int64 [K], of clips of N blocks that span `span` frames each -> (first frames of all their blocks,
    each once, int64 [U], ascending; the blocks of each clip, int64 [K, N], rows of these).

    >>> blocks_of_clips(np.array([0, 30]), num_seq=3, span=15)
    (array([ 0, 15, 30, 45, 60]), array([[0, 1, 2],
           [2, 3, 4]]))
    """
    first = starts[:, None] + span * np.arange(num_seq)
    blocks, rows = np.unique(first, return_inverse=True)
    return blocks, rows.reshape(first.shape)


def published_stride(dataset: str, num_seq: int) -> int:
    """Blocks from one test clip to the next in the published code, whose clips overlap by a half or a quarter.

    >>> published_stride('ucf101', num_seq=8), published_stride('hmdb51', num_seq=8)
    (4, 6)
    """
    return max(1, int(PUBLISHED_STRIDE[dataset] * num_seq))


def training_starts(n_frames: int, span: int, clip: int, clips: int) -> tuple[int, int]:
    """Where training clip number `clip` of the `clips` of a video may start: (first frame, from 0; number of choices).

    A clip spans `span` frames. The video is cut into equal parts, one for each clip, so that clips never overlap. Where
    a part is shorter than a clip, the possible starts are cut into equal parts instead: clips overlap, but still differ
    from epoch to epoch.

    >>> [training_starts(60, span=24, clip=clip, clips=2) for clip in (0, 1)]
    [(0, 7), (30, 7)]
    """
    first, end = n_frames * clip // clips, n_frames * (clip + 1) // clips
    if n_frames >= clips * span:
        return first, end - first - span + 1
    starts = max(1, n_frames - span + 1)
    first, end = starts * clip // clips, starts * (clip + 1) // clips
    return first, max(1, end - first)
