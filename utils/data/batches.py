"""Batches of clips on the training device: their order, the worker processes that read them, the copy to the device."""
import atexit
import contextlib
import os
import shutil
import sys
import time
from types import SimpleNamespace
from typing import Iterator

import cv2
import numpy as np
import torch

from utils.cli import UserError
from utils.data.clips import ClipDataset
from utils.data.colour import to_block
from utils.parallel.precision import Precision
from utils.parallel.signals import kill_workers, leave_signals_to_parent
from utils.random_streams import stream
from utils.text import first_line

PIECE = 32  # clips per worker task, at most: workers share a large batch, and few clips are in flight
AHEAD = 2   # tasks in flight per worker
LEAST_SHARED = 1e6  # bytes of shared memory that are free where workers start


class EpochSampler:
    """Yields the tasks of an epoch, lists of keys (epoch, index), `pieces` of them for each batch.

    An epoch has the `clips_per_video` clips of each of `videos` videos. The order of the videos is a permutation drawn
    from (seed, epoch); the clips of a video stay together. Process `rank` of `world` takes its contiguous share of
    every batch. With `drop_last` all batches have `batch_size` keys and the rest of the list is left out; without, the
    list is cut into as many batches of nearly equal size: every process has its part in each, nothing counts twice.
    """

    def __init__(self, videos, batch_size, seed, drop_last, rank=0, world=1, clips_per_video=1):
        self.videos, self.clips_per_video, self.seed = videos, clips_per_video, seed
        self.rank, self.world = rank, world
        size = batch_size // clips_per_video  # videos in a batch
        if drop_last:
            self.bounds = np.arange(0, videos + 1, size)
        else:
            batches = min(-(-videos // size), videos // world)
            self.bounds = np.arange(batches + 1) * videos // batches
        largest_share = -(-int(np.diff(self.bounds).max()) // world) * clips_per_video
        self.pieces = -(-largest_share // PIECE)
        self.start(0)

    def start(self, epoch, first_batch=0):
        """Makes the next iteration cover `epoch` from `first_batch` on."""
        self.epoch, self.first_batch = epoch, first_batch

    @property
    def batches(self):
        """Batches of a whole epoch."""
        return len(self.bounds) - 1

    def __iter__(self):
        epoch = self.epoch
        order = stream('order', self.seed, epoch).permutation(self.videos)
        for start, end in zip(self.bounds[self.first_batch:-1], self.bounds[self.first_batch + 1:]):
            size = end - start
            share = order[start + size * self.rank // self.world:start + size * (self.rank + 1) // self.world]
            clips = (share[:, None] * self.clips_per_video + np.arange(self.clips_per_video)).ravel()
            for piece in np.array_split(clips, self.pieces):
                yield [(epoch, int(index)) for index in piece]


class ClipBatches:
    """This process's share of the batches of a ClipDataset, on the training device.

    dataset:     a utils.data.clips.ClipDataset
    batch_size:  clips over all processes; all clips of a video are in one batch of one process
    drop_last:   leave out the rest of the list that doesn't fill a batch (see EpochSampler)
    precision:   utils.parallel.precision.Precision: the device, and the dtype of the blocks
    num_workers: processes that read clips; 0 reads in this process. The clips are the same whatever their number.
    timeout:     seconds without a single frame read after which the workers count as hung (0: never)
    compiled:    compile the colour operations on CUDA
    share:       (rank, number of processes)
    UserError: the batch doesn't divide by the number of processes and into whole videos, there is not one full batch,
    or there are fewer videos than processes.

    >>> from utils.data.clips import Clip
    >>> from utils.data.lists import VideoList
    >>> videos = VideoList.from_rows([f'/frames/run/v{i}' for i in range(10)], [200] * 10)
    >>> dataset, cpu = ClipDataset(videos, Clip(8, 5, 3, 128), 'resized'), Precision('off', torch.device('cpu'))
    >>> len(ClipBatches(dataset, batch_size=4, drop_last=True, precision=cpu))    # .epoch(0) yields them
    2
    """

    def __init__(self, dataset: ClipDataset, batch_size: int, drop_last: bool, precision: Precision,
                 num_workers: int = 0, timeout: int = 0, compiled: bool = False, share: tuple[int, int] = (0, 1)):
        rank, world = share
        if batch_size % world:
            raise UserError(f'--batch_size {batch_size} is the total and does not divide by {world} processes')
        videos, clips = len(dataset.videos), dataset.clips_per_video
        if batch_size // world % clips:
            share = f' in each of {world} processes' if world > 1 else ''
            raise UserError(f'--batch_size {batch_size} is not a whole number of videos of --clips_per_video '
                            f'{clips}{share}')
        if drop_last and len(dataset) < batch_size:
            each = f', {clips} clips of each,' if clips > 1 else ''
            raise UserError(f'{videos} training videos{each} do not fill one batch: lower --batch_size {batch_size}')
        if videos < world:
            raise UserError(f'{videos} videos are fewer than the {world} processes: use fewer')
        self.dataset, self.device, self.dtype = dataset, precision.device, precision.dtype
        self.compiled = compiled
        self.sampler = EpochSampler(videos, batch_size, dataset.seed, drop_last, rank, world, clips)
        self.loader = make_loader(dataset, num_workers, timeout, batch_sampler=self.sampler,
                                  pin_memory=self.device.type == 'cuda')
        self.copies = torch.cuda.Stream(self.device) if self.device.type == 'cuda' else None

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return self.sampler.batches

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[SimpleNamespace]:
        """Yields the batches of an epoch, from its batch number `first_step` on, as namespaces of

        block         [B, N, C, T, H, W] of the precision's dtype, coloured and normalised (utils.data.colour.to_block)
        label, index  int64 [B]: class of each clip (-1: none) on the device, or bool [B, C]; its video, on the CPU
        broken        list of str, a line for each unreadable video that was replaced
        wait_seconds  time spent waiting for the data workers
        """
        self.sampler.start(epoch, first_step)
        items = start_reading(self.loader)
        steps = len(self) - first_step
        coming = self._fetch(items) if steps > 0 else None
        for step in range(1, steps + 1):
            batch = self._finish(coming)
            # On CUDA the copy of the next batch overlaps with the step on this one.
            coming = self._fetch(items) if step < steps else None
            yield batch

    def paths(self, index: torch.Tensor) -> list[str]:
        """Paths of the videos of an `index` tensor."""
        return [self.dataset.videos.path(i) for i in index.tolist()]

    def _fetch(self, items):
        """Waits for the pieces of the next batch and starts their copy to the device."""
        start = time.perf_counter()
        pieces = [next_item(items, self.loader) for _ in range(self.sampler.pieces)]
        wait_seconds = time.perf_counter() - start

        def join(tensors):
            parts = [tensor.to(self.device, non_blocking=True) for tensor in tensors]
            return parts[0] if len(parts) == 1 else torch.cat(parts)

        with torch.cuda.stream(self.copies) if self.copies else contextlib.nullcontext():
            colours = [piece['colour'] for piece in pieces]
            batch = {'frames': join([piece['frames'] for piece in pieces]),
                     'label': join([piece['label'] for piece in pieces]),
                     'colour': colours[0] and {name: join([colour[name] for colour in colours]) for name in colours[0]}}
        return {**batch, 'index': torch.cat([piece['index'] for piece in pieces]), 'wait_seconds': wait_seconds,
                'broken': sum((piece['broken'] for piece in pieces), [])}

    def _finish(self, batch):
        """Makes the block, on the stream that trains."""
        frames, colour = batch.pop('frames'), batch.pop('colour')
        if self.copies:
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(self.copies)
            for tensor in (frames, batch['label'], *(colour or {}).values()):
                tensor.record_stream(current)  # or its memory could be reused by the next copy while it is still read
        block = to_block(frames, colour, self.dataset.num_seq, self.dtype, self.compiled)
        return SimpleNamespace(block=block, **batch)


def make_loader(dataset, num_workers, timeout, **options):
    """A torch DataLoader for a dataset of utils.data.clips, in worker processes; read it with `next_item`.

    timeout: see ClipBatches. options: a `batch_sampler`, or batch_size=None and a `sampler` of single keys.
    """
    workers = {}
    if num_workers:
        atexit.register(kill_workers)  # before multiprocessing's own handler, which asks by SIGTERM and waits
        workers = {'persistent_workers': True, 'prefetch_factor': AHEAD, 'timeout': timeout,
                   'worker_init_fn': start_worker,
                   # Forked workers share the list of videos.
                   'multiprocessing_context': 'fork' if sys.platform == 'linux' else None}
    return torch.utils.data.DataLoader(dataset, num_workers=num_workers, collate_fn=shared, **workers, **options)


def shared(item):
    """The item, a dict; in a worker process with its tensors in shared memory, or {error: str} where that is full.
    PyTorch would move them in a thread of the worker, whose errors reach nobody."""
    if torch.utils.data.get_worker_info() is not None:
        try:
            for value in [*item.values(), *(item.get('colour') or {}).values()]:
                if torch.is_tensor(value):
                    value.share_memory_()
        except RuntimeError as error:
            return {'error': full_shared_memory(first_line(error))}
    return item


def full_shared_memory(said):
    if usage := shared_memory():
        said += f'; /dev/shm has {usage.total / 1e6:.1f} MB, {usage.free / 1e6:.1f} MB are free'
    return (f'the data workers have no room in shared memory ({said}): give a container more with --shm-size 8g, or '
            'use fewer --num_workers')


def shared_memory():
    """shutil.disk_usage of shared memory, None where that is no file system."""
    return shutil.disk_usage('/dev/shm') if os.path.isdir('/dev/shm') else None


def start_worker(_):
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    # By default a batch is received with the worker's help: a stopped worker would block the main process for ever.
    torch.multiprocessing.set_sharing_strategy('file_system')
    leave_signals_to_parent()


def start_reading(loader):
    """iter(loader). UserError: the workers hang, or shared memory is full."""
    usage = shared_memory() if loader.num_workers else None
    if usage and usage.free < LEAST_SHARED:
        raise UserError(full_shared_memory('they cannot start'))
    try:
        return iter(loader)
    except RuntimeError as error:
        raise as_user_error(error, loader) from None


def next_item(items, loader, *default):
    """next(items, *default), for as long as the workers still read frames, as the DataLoader's own timeout is for whole
    items.

    UserError: the workers hang, or a sample can't be read.
    """
    while True:
        frames_read = loader.dataset.progress.value
        try:
            item = next(items, *default)
        except RuntimeError as error:
            error = as_user_error(error, loader)
            if not isinstance(error, UserError) or loader.dataset.progress.value == frames_read:
                raise error from None
        else:
            if item and item.get('error'):
                raise UserError(item['error'])
            return item


def as_user_error(error, loader):
    """A DataLoader's timeout as a line for the user; any other error as it is."""
    if 'timed out' not in str(error):
        return error
    return UserError(f'the data workers have not read a frame for {loader.timeout:g} s: look at the disk, or allow '
                     'more with --timeout')
