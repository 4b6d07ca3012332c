"""Runs a network over the clips of whole videos. Clips of several videos share a batch, as most videos have few."""
import signal

import torch

from utils.cli import UserError
from utils.data.batches import make_loader, next_item, start_reading
from utils.data.colour import to_block
from utils.parallel.distributed import any_process, lists_of_all, rank, world
from utils.parallel.signals import Stopped, StopSignals
from utils.run.log import progress_bar, warn

SHOWN_BROKEN = 10  # unreadable videos that each process names on the screen, as it meets them


def outputs_of(network, dataset, resources, title, broken):
    """Runs a network over this process's share of a VideoDataset: yields (index, video, output) of each readable
    video: `video` is the dataset's dict; `output`, float32 [K, …] on the CPU, is what the network makes of its K clips.

    network: clips [B, N, C, T, H, W] -> [B, …]. broken: gets (index, error) of each unreadable video.
    UserError: an output that is not finite."""
    videos = read_videos(dataset, resources, title, broken)
    for video, output in clip_outputs(network, videos, dataset.num_seq, resources.precision, resources.clips_at_once):
        index = int(video['index'])
        check_finite(f'the outputs for {dataset.videos.path(index)}', output)
        yield index, video, output


def read_videos(dataset, resources, title, broken):
    """Yields the readable videos of this process's share of a VideoDataset, dicts as it describes them.

    broken: gets (index, error) of each unreadable video.
    Every process of a group must iterate to the end. Stopped: a signal asked for it."""
    loader = make_loader(dataset, resources.num_workers, resources.timeout, batch_size=None,
                         sampler=range(rank(), len(dataset), world()))
    signals = StopSignals()
    videos = start_reading(loader)
    for step in progress_bar(range(-(-len(dataset) // world())), title):
        signum, = any_process([signals.received])  # also keeps the processes in step: none waits long for another
        if signum:
            raise Stopped(signum, f'stopped by {signal.Signals(signum).name}; nothing is saved before the end')
        if step == len(loader):  # the others have one video more
            continue
        video = next_item(videos, loader)
        if 'broken' not in video:
            yield video
            continue
        if len(broken) < SHOWN_BROKEN:
            warn(f'skipped a video: {video["broken"]}')
        broken.append((int(video['index']), video['broken']))


@torch.no_grad()
def clip_outputs(network, videos, num_seq, precision, clips_at_once):
    """Yields (video, output) for the dicts of a VideoDataset, in their order. network, output: see `outputs_of`.

    clips_at_once: B; only the last batch may be smaller."""
    clips, outputs, waiting = [], [], []  # not yet encoded; encoded but not yet yielded; videos not yet yielded

    def encode(count):
        block = to_block(torch.stack(clips[:count]).to(precision.device), None, num_seq)
        with precision.autocast():
            outputs.extend(network(block).float().cpu())
        del clips[:count]

    def finished():
        while waiting and len(outputs) >= (count := len(waiting[0]['frames'])):
            yield waiting.pop(0), torch.stack(outputs[:count])
            del outputs[:count]

    for video in videos:
        waiting.append(video)
        clips.extend(video['frames'])
        while len(clips) >= clips_at_once:
            encode(clips_at_once)
        yield from finished()
    if clips:
        encode(len(clips))
    yield from finished()


def check_finite(what, *tensors):
    """UserError: a tensor holds a value that is not finite. what: name of the tensors."""
    if not all(torch.isfinite(each).all() for each in tensors):
        raise UserError(f'{what} are not finite: the weights are unusable, or too large for this precision (try '
                        '--amp off)')


def broken_of_all(broken, count):
    """The unreadable videos [(index, error), …] of all processes, sorted. UserError: all `count` videos are."""
    broken = sorted(lists_of_all(broken))
    if len(broken) == count:
        raise UserError(f'none of the {count} videos can be read; the first: {broken[0][1]}. Check --frame_root, or '
                        'look for broken videos with process_data/check_frames.py')
    return broken
