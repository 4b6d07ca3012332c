"""Runs a network over the clips of whole videos."""
import signal

import torch

from eval.extract.walk import Walk
from utils.cli import UserError
from utils.data.batches import make_loader, next_item, start_reading
from utils.parallel.distributed import any_process, lists_of_all, rank, world
from utils.parallel.signals import Stopped, StopSignals
from utils.run.log import progress_bar, warn
from utils.text import counted

SHOWN_BROKEN = 10  # unreadable videos that each process names on the screen, as it meets them


def outputs_of(encode, summarise, dataset, resources, title, broken, on_piece=None):
    """Runs a network over this process's share of a VideoDataset: yields (video, output) of each readable video, in
    order. `video` has index, label and n_frames, see VideoDataset.about, and start [V·K]; `output`, float32 [V·K, …] on
    the CPU, is what the network makes of its clips, in the first view, then in the second …

    Each block is encoded once, however many clips it is in. Memory doesn't depend on the length of a video, but for its
    outputs.

    encode:    blocks as clips [B, 1, C, T, H, W] -> maps [B, 1, …], each on its own
    summarise: maps of clips [B, N, …] -> outputs [B, …]
    broken:    gets (index, error) of each unreadable video
    on_piece:  called with each piece that is read, see VideoDataset
    UserError: an output that is not finite."""
    walk = Walk(encode, summarise, dataset, resources.precision, resources.clips_at_once)
    for piece in read_pieces(dataset, resources, title, broken):
        walk.add(piece)
        if on_piece and 'broken' not in piece:
            on_piece(piece)
        yield from finished(walk)
    walk.encode_rest()
    yield from finished(walk)


def finished(walk):
    """The videos that are finished, and their outputs, which are checked."""
    for video, output in walk.finished():
        check_finite(f'the outputs for {walk.dataset.videos.path(video["index"])}', output)
        yield video, output


def read_pieces(dataset, resources, title, broken):
    """Yields what is read of this process's share of a VideoDataset, dicts as its items are; of an unreadable video the
    error, and nothing more.

    broken: gets (index, error) of each unreadable video.
    Every process of a group must iterate to the end. Stopped: a signal asked for it."""
    share, unreadable = range(rank(), len(dataset.videos), world()), set()
    wanted = (piece for index in share for piece in dataset.pieces(index) if index not in unreadable)
    loader = make_loader(dataset, resources.num_workers, resources.timeout, batch_size=None, sampler=wanted)
    items, more = start_reading(loader), True
    with StopSignals() as signals, progress_bar(None, title, total=len(share)) as bar:
        while True:
            # also keeps the processes in step: none waits long for another
            signum, others = any_process([signals.received, int(more)])
            if signum:
                raise Stopped(signum, f'stopped by {signal.Signals(signum).name}; what is written so far stays, the '
                                      'rest is not saved')
            if not others:
                break
            piece = next_item(items, loader, None) if more else None
            more = piece is not None
            if not more or (index := int(piece['index'])) in unreadable:
                continue
            if 'broken' in piece:
                unreadable.add(index)
                if len(broken) < SHOWN_BROKEN:
                    warn(f'skipped a video: {piece["broken"]}')
                broken.append((index, piece['broken']))
            if 'broken' in piece or piece['last']:
                bar.update()
            yield piece


def check_finite(what, *tensors):
    """UserError: a tensor holds a value that is not finite. what: name of the tensors."""
    if not all(torch.isfinite(each).all() for each in tensors):
        raise UserError(f'{what} are not finite: the weights are unusable, or too large for this precision (try '
                        '--amp off)')


def broken_of_all(broken, count):
    """The unreadable videos [(index, error), …] of all processes, sorted. UserError: all `count` videos are."""
    broken = sorted(lists_of_all(broken))
    if len(broken) == count:
        raise UserError(f'none of the {counted(count, "video")} can be read; the first: {broken[0][1]}. Check '
                        '--frame_root, or look for broken videos with process_data/check_frames.py')
    return broken
