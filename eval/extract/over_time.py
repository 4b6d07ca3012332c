"""Features along videos: a row for each window, one every so many seconds."""
import json
from pathlib import Path

import numpy as np

from eval.extract.cache import fingerprint
from eval.extract.inference import SHOWN_BROKEN, broken_of_all, outputs_of
from eval.extract.inputs import stems_of
from eval.extract.resources import resources_of
from eval.extract.vectors import load_representation
from eval.extract.written import check_out, refuse_others, replacing
from utils.cli import UserError
from utils.data.clip_starts import window_starts
from utils.data.clips import VideoDataset
from utils.parallel import distributed
from utils.parallel.distributed import lists_of_all
from utils.run.log import say, warn
from utils.run.setup import clip_settings
from utils.text import ENCODING, counted
from utils.video.reader import VideoError
from utils.video.times import frame_times

POOLS = 'mean', 'none'


class Windows(VideoDataset):
    """Clips of whole videos that start every `every` seconds, instead of with every N//2-th block.

    times: [float64 [F] of each video, …], see frame_times. The last window reaches the end of the video, unless windows
    are shorter than `every`; the last frame is repeated as needed."""
    unit = 1

    def __init__(self, videos, clip, times, every):
        super().__init__(videos, clip)
        self.times, self.every, self.span = times, every, clip.num_seq * clip.seq_len * clip.ds

    def starts(self, index):
        return window_starts(self.times[index], self.every, self.span)

    def about(self, index):
        """Also fps, frames a second on average, and seconds float64 [K, 2]: when each window starts and ends, at the
        latest with the video, whose last frame is shown for as long as the others on average."""
        times, starts = self.times[index], self.starts(index)
        each = times[-1] / (len(times) - 1) if times[-1] else 0
        ends = np.append(times, times[-1] + each)[np.minimum(starts + self.span, len(times))]
        return {**super().about(index), 'fps': 1 / each if each else 0., 'seconds': np.stack([times[starts], ends], 1)}


def times_of(videos, frame_rate):
    """({row: times of its frames float64 [F]} of a VideoList, {row: error} of the videos whose frames have no times).
    frame_rate: see frame_times."""
    times, failed = {}, {}
    for row, (path, n_frames) in enumerate(zip(videos.paths(), videos.n_frames.tolist())):
        try:
            times[row] = frame_times(path, n_frames, videos.fps, frame_rate)
        except VideoError as error:
            failed[row] = str(error)
    return times, failed


def rows_of(model, feature, pool):
    """A Representation as a function of the maps of windows [B, N, S, D]: their `context` or `block`, as
    eval.extract.vectors has them, [B, D]; pool 'none': without the mean over locations, [B, S, D]."""
    def summarise(maps):
        blocks, _, state = model.all_states(maps)                               # [B, N, S, D], [B, S, D]
        locations = state if feature == 'context' else blocks.mean(dim=1)       # [B, S, D]
        return locations if pool == 'none' else locations.mean(dim=1)

    return summarise


def write_over_time(args, checkpoint, listed, precision, seen=None):
    """Writes {video}.npy, float32 [K, D] or [K, S, D], and {video}.json to --out for each of the LabelledVideos
    `listed`; those that are there for the same weights, settings and list stay. Warns of each that can't be used.

    seen: a sentence on what the network has seen of them, for the .json; None if none is known of.

    Returns ([what is in the .json of each video, …], [(path, error) of each unreadable one, …]), the same on every
    process. UserError: none can be read; a file can't be written, or would replace a user's own."""
    clip, folder = clip_settings(args), Path(args.out)
    check_out(folder, listed.videos.paths())
    times, untimed = times_of(listed.videos, args.frame_rate)
    failed = [(listed.videos.path(row), error) for row, error in untimed.items()]
    for path, error in failed if distributed.is_main() else ():
        warn(f'skipped {path}: {error}')
    if not times:
        raise UserError(f'none of the {counted(len(failed), "video")} has usable times; the first: {failed[0][1]}')
    videos, times = listed.videos.select([*times]), [*times.values()]
    names = stems_of(videos.paths())
    known = {name: read_about(folder / name) for name in names}
    refuse_others(file for name, about in known.items() if not about for file in files_of(folder / name))
    settings = fingerprint(args.weights, args.seed, args.net, clip, listed, precision.name)
    facts = {'weights': args.weights, 'feature': args.feature, 'pool': args.pool, 'every': args.every,
             'frame_rate': args.frame_rate,
             'sha256': settings.pop('weights'), 'settings': settings}
    found = distributed.from_main([about if is_of(about, facts) and files_of(folder / name)[0].is_file() else None
                                   for name, about in known.items()])
    missing = np.flatnonzero([each is None for each in found])
    if len(missing) < len(found):
        say(f'{len(found) - len(missing)} of {counted(len(found), "video")} are in {folder} already')
    if not len(missing):
        return found, failed

    resources, written, broken = resources_of(args, precision), [], []
    model = load_representation(args.net, checkpoint, args.weights, args.seed, listed, clip, resources)
    windows = Windows(videos.select(missing), clip, [times[row] for row in missing], args.every)
    warn_of_short(windows)
    say_block(windows)
    for video, rows in outputs_of(model.encode, rows_of(model, args.feature, args.pool), windows, resources,
                                  'videos', broken):
        path = folder / names[missing[video['index']]]
        about = {'video': windows.videos.path(video['index']), 'rows': len(rows), 'fps': video['fps'],
                 'seconds': video['seconds'].mean(axis=1).tolist(), 'span': video['seconds'].tolist(),
                 'window': windows.span / video['fps'] if video['fps'] else None, 'seen': seen, **facts}
        write_rows(path, rows.numpy(), about)
        written.append(about)
    broken = broken_of_all(broken, len(names))
    failed += [(windows.videos.path(index), error) for index, error in broken]
    for _, error in broken[SHOWN_BROKEN:] if distributed.is_main() else ():
        warn(f'skipped a video: {error}')
    return [*filter(None, found), *lists_of_all(written)], failed


def say_block(windows):
    """Says how long a block is, where windows don't share blocks: of the first such video."""
    for times in windows.times:
        block = windows.span / windows.num_seq * times[-1] / max(1, len(times) - 1)
        if block and abs(windows.every / block - max(1, round(windows.every / block))) > 0.01:
            say(f'a block is {block:.2f} s: multiples of it are fastest for --every')
            return


def warn_of_short(windows):
    short = np.flatnonzero(windows.videos.n_frames < windows.span)
    for index in short[:SHOWN_BROKEN] if distributed.is_main() else ():
        warn(f'{windows.videos.path(index)} is shorter than a window of {windows.span} frames: its last frame repeats')
    if len(short) > SHOWN_BROKEN and distributed.is_main():
        warn(f'so are {len(short) - SHOWN_BROKEN} other videos')


def files_of(path):
    """(.npy, .json)"""
    return tuple(path.with_name(f'{path.name}.{ending}') for ending in ('npy', 'json'))


def read_about(path):
    """What {path}.json says, {} where it is not there or something else."""
    try:
        about = json.loads(files_of(path)[1].read_text(**ENCODING))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) and {'rows', 'sha256', 'settings'} <= about.keys() else {}


def is_of(about, facts):
    """Whether what a .json says has these `facts`."""
    return {name: about.get(name) for name in facts} == facts


def write_rows(path, rows, about):
    """The .json vouches for the .npy, and is taken away before it changes."""
    npy, text = files_of(path)
    try:
        with replacing(text) as new_text, replacing(npy) as new_npy:     # the .json last
            np.save(new_npy, rows)
            new_text.write_text(json.dumps(about, indent=1), **ENCODING)
            text.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f'{npy}: cannot write it ({error.strerror}); make room or choose another --out') from error
