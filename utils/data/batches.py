"""Batches: which clips in which order, read by worker processes."""
import contextlib
import itertools
import math
import mmap
import os
import signal
import sys
import threading

import cv2
import numpy as np
import torch

from utils.cli import UserError
from utils.parallel.memory import give_back_freed_memory

PIECE = 32  # clips (2 or more) that a worker reads for a batch, at most: workers share it, and little is under way
AHEAD = 2   # pieces, or videos, that each worker has to do


class EpochSampler:
    """Yields the batches of an epoch as lists of keys (epoch, index).

    The order of an epoch is a permutation drawn from (seed, epoch). Process
    `rank` of `world` takes its contiguous share of every batch. With `drop_last` all batches have `batch_size` keys and
    the rest of the list is left out; without, the list is cut into as many batches of nearly equal size, so that every
    process has its part in each and nothing is counted twice."""

    def __init__(self, length, batch_size, seed, drop_last, rank=0, world=1):
        self.length, self.seed = length, seed
        self.rank, self.world = rank, world
        if drop_last:
            self.bounds = np.arange(0, length + 1, batch_size)
        else:
            batches = min(-(-length // batch_size), length // world)
            self.bounds = np.arange(batches + 1) * length // batches
        self.set_position(0)

    def set_position(self, epoch, step=0):
        """The next iteration is over `epoch` from its batch number `step` on (0: the first)."""
        self.epoch, self.step = epoch, step

    def __len__(self):
        """Batches of a whole epoch."""
        return len(self.bounds) - 1

    @property
    def largest(self):
        """Keys of the longest list that a process gets."""
        return -(-int(np.diff(self.bounds).max()) // self.world)

    def __iter__(self):
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        epoch = self.epoch
        for start, end in zip(self.bounds[self.step:-1], self.bounds[self.step + 1:]):
            size = end - start
            share = order[start + size * self.rank // self.world:start + size * (self.rank + 1) // self.world]
            yield [(epoch, int(index)) for index in share]


class Loader:
    """Iterates dataset[key] for the keys of a sampler, in order, read by worker processes.

    A failure in a worker arrives as a UserError of one line. timeout: seconds to wait for a worker that hangs (0: for
    ever)."""

    def __init__(self, dataset, sampler, num_workers, timeout=0):
        self.dataset = dataset
        self.forks = num_workers > 0  # at the next iteration; the workers then stay
        self.items = torch.utils.data.DataLoader(
            _Reported(dataset), batch_size=None, sampler=sampler, num_workers=num_workers,
            persistent_workers=num_workers > 0, prefetch_factor=AHEAD if num_workers > 0 else None, collate_fn=_as_is,
            pin_memory=torch.cuda.is_initialized(), worker_init_fn=_start_worker,
            timeout=timeout if num_workers > 0 else 0,
            # forked workers share the list of videos and the memory for frames, and inherit which signals are blocked
            multiprocessing_context='fork' if num_workers > 0 and sys.platform == 'linux' else None)

    def __iter__(self):
        if self.forks:
            # What this process has freed would stay in the workers' hands, and be copied here when it is used again.
            give_back_freed_memory()
            self.forks = False
        with worker_errors():
            with _sigterm_blocked():  # the workers inherit it, see _start_worker
                items = iter(self.items)
            for item in items:
                if isinstance(item, UserError):
                    # Not `raise item`: this frame would hold an exception that holds this frame, and workers that only
                    # the garbage collector finds take torch 5 s each to end.
                    raise UserError(str(item))
                yield item


class ClipLoader:
    """Iterates the batches of a ClipDataset as lists of pieces: a sampler's lists of keys, cut up among the workers.

    A piece is a dict as ClipDataset.read_clips gives, with `frames` uint8 [k, N·T, H, W, 3], k at most 32. The frames
    lie in a ring of memory that the workers fill without end: those of a batch are good until the next is asked for."""

    def __init__(self, dataset, sampler, num_workers, timeout=0):
        self.dataset, self.sampler = dataset, sampler
        self.count = -(-sampler.largest // PIECE)  # pieces of a batch
        ahead = min(AHEAD * num_workers, (len(sampler) - 1) * self.count)
        slots = ahead + self.count  # those that workers may be filling, and a batch
        self.ring = _shared_bytes(slots, -(-sampler.largest // self.count), dataset.num_frames, dataset.img_dim,
                                  dataset.img_dim, 3)
        tasks = _RingTasks(sampler, self.count, slots)
        self.pieces = Loader(_RingWriter(dataset, self.ring), tasks, num_workers, timeout)

    def __len__(self):
        return len(self.sampler)

    def __iter__(self):
        pieces = iter(self.pieces)
        for _ in range(self.sampler.step, len(self.sampler)):
            yield [self._with_frames(next(pieces)) for _ in range(self.count)]

    def _with_frames(self, piece):
        return {**piece, 'frames': self.ring[piece['slot'], :len(piece['index'])]}


def clip_loader(dataset, batch_size, num_workers, seed, drop_last, rank=0, world=1, timeout=0):
    """ClipLoader of a ClipDataset, `batch_size` clips over all `world` processes; this one has rank `rank`.

    Call `loader.sampler.set_position(epoch, step)` before each epoch. The same clips come whatever `num_workers`;
    0 reads them in this process. timeout: as for Loader. UserError: the batch doesn't divide by `world`, there is not
    one full batch, or there are fewer videos than processes."""
    if batch_size % world:
        raise UserError(f'--batch_size {batch_size} is the total and does not divide by {world} processes')
    if drop_last and len(dataset) < batch_size:
        raise UserError(f'{len(dataset)} training videos do not fill one batch: lower --batch_size {batch_size}')
    if len(dataset) < world:
        raise UserError(f'{len(dataset)} videos are fewer than the {world} processes: use fewer')
    sampler = EpochSampler(len(dataset), batch_size, seed, drop_last, rank, world)
    return ClipLoader(dataset, sampler, num_workers, timeout)


def video_loader(dataset, num_workers, rank=0, world=1, timeout=0):
    """Loader of a VideoDataset's items, one video at a time; process `rank` of `world` has every world-th video."""
    return Loader(dataset, range(rank, len(dataset), world), num_workers, timeout)


def _shared_bytes(*shape):
    """A uint8 tensor in memory that forked processes share. It takes room when it is written to."""
    if sys.platform == 'linux':  # not of /dev/shm, of which a container has often no more than 64 MB
        return torch.frombuffer(mmap.mmap(-1, math.prod(shape)), dtype=torch.uint8).view(shape)
    return torch.empty(shape, dtype=torch.uint8).share_memory_()


class _RingTasks:
    """A sampler's lists of keys in `count` pieces each, as tasks for workers: (slot of the ring, keys)."""

    def __init__(self, sampler, count, slots):
        self.sampler, self.count, self.slots = sampler, count, slots

    def __iter__(self):
        slots = itertools.cycle(range(self.slots))
        for keys in self.sampler:
            edges = [len(keys) * i // self.count for i in range(self.count + 1)]
            for start, end in zip(edges, edges[1:]):
                yield next(slots), keys[start:end]


class _RingWriter:
    """Reads the clips of a task into their slot."""

    def __init__(self, dataset, ring):
        self.dataset, self.ring = dataset, ring

    def __getitem__(self, task):
        slot, keys = task
        return {**self.dataset.read_clips(keys, self.ring[slot, :len(keys)]), 'slot': slot}


@contextlib.contextmanager
def worker_errors():
    """Turns the death of a worker process, which torch raises wherever the main process is then, into a UserError."""
    try:
        yield
    except RuntimeError as error:
        if 'DataLoader' not in str(error):
            raise
        reason = str(error).splitlines()[0]
        remedy = ('If it was killed, memory has often run out: try fewer --num_workers or a smaller --batch_size. '
                  'If it timed out, look at the disk, or allow more with --timeout')
        raise UserError(f'{reason} {remedy}') from None


class _Reported(torch.utils.data.Dataset):
    """A dataset that returns its UserErrors: raised in a worker they would arrive with a traceback for a message."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __getitem__(self, key):
        try:
            return self.dataset[key]
        except UserError as error:
            return error


def _as_is(batch):
    return batch


def _start_worker(_):
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    # A scheduler may signal every process of a job. To stop is the main process's decision: it finishes its step, for
    # which it needs the workers, and ends them then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == 'linux':
        threading.Thread(target=_end_when_told_by_parent, daemon=True).start()
    else:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


@contextlib.contextmanager
def _sigterm_blocked():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_when_told_by_parent():
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)
