"""Batches: their order, shares of several processes, resumption, and failures inside worker processes."""
import gc
import os
import signal
import subprocess
import sys
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.numbered import write_videos
from utils.data.colour import PRETRAINING, to_block
from utils.data.clips import ClipDataset, VideoDataset
from utils.cli import UserError
from utils.data.frames import frame_name
from utils.data.batches import EpochSampler, Loader, clip_loader, video_loader, worker_errors
from utils.data.prefetcher import DevicePrefetcher, pin, put_together


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    videos = write_videos(tmp_path_factory.mktemp('videos'), [30] * 10)
    return ClipDataset(videos, 2, 3, 2, 'resized', 16, colour=PRETRAINING, labels=np.arange(10))


def keys_of(sampler, epoch, step=0):
    sampler.set_position(epoch, step)
    batches = list(sampler)
    assert len(batches) == len(sampler) - step
    return batches


def test_an_epoch_is_a_permutation_and_a_resumed_one_goes_on():
    sampler = EpochSampler(23, 4, seed=0, drop_last=False)
    first, second = keys_of(sampler, 0), keys_of(sampler, 1)
    for epoch, batches in enumerate((first, second)):
        keys = sum(batches, [])
        assert sorted(keys) == [(epoch, i) for i in range(23)]
        assert max(map(len, batches)) <= 4
    assert [i for _, i in sum(first, [])] != [i for _, i in sum(second, [])]
    assert keys_of(sampler, 0) == first
    assert keys_of(sampler, 0, step=2) == first[2:]
    assert keys_of(sampler, 1, step=len(sampler)) == []
    other = EpochSampler(23, 4, seed=1, drop_last=False)
    assert keys_of(other, 0) != first


def test_drop_last_gives_full_batches_only():
    batches = keys_of(EpochSampler(23, 4, seed=0, drop_last=True), 0)
    assert [len(batch) for batch in batches] == [4] * 5
    assert len(set(sum(batches, []))) == 20


@pytest.mark.parametrize('world', [2, 4])
def test_shares_make_up_the_batches_of_one_process(world):
    one = keys_of(EpochSampler(45, 8, seed=0, drop_last=True), 0)
    shares = [keys_of(EpochSampler(45, 8, 0, True, rank, world), 0) for rank in range(world)]
    assert [sum(parts, []) for parts in zip(*shares)] == one
    assert {len(part) for share in shares for part in share} == {8 // world}


@pytest.mark.parametrize('length', [4, 5, 7, 8, 9, 45])
def test_validation_counts_nothing_twice(length):
    shares = [sum(keys_of(EpochSampler(length, 8, 0, False, rank, 4), 0), []) for rank in range(4)]
    assert sorted(sum(shares, [])) == [(0, i) for i in range(length)]


def batches_of(dataset, num_workers, epoch, step=0, batch_size=3):
    loader = clip_loader(dataset, batch_size, num_workers, seed=0, drop_last=True)
    return whole_batches(loader, epoch, step)


def whole_batches(loader, epoch, step=0):
    loader.sampler.set_position(epoch, step)
    return [put_together(pieces, 'cpu') for pieces in loader]


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in ('frames', 'label', 'index')) and all(
        torch.equal(value, b['colour'][name]) for name, value in a['colour'].items())


def test_the_same_clips_whatever_the_number_of_workers(clips):
    expected = batches_of(clips, 0, epoch=1)
    assert len(expected) == 3
    for num_workers, step in ((1, 0), (2, 0), (2, 2), (0, 1)):
        found = batches_of(clips, num_workers, epoch=1, step=step)
        assert len(found) == 3 - step and all(map(equal, found, expected[step:]))


def test_epochs_and_an_abandoned_epoch_with_persistent_workers(clips):
    loader = clip_loader(clips, 3, 2, seed=0, drop_last=True)
    for epoch, step in ((0, 0), (1, 0), (0, 1)):
        loader.sampler.set_position(epoch, step)
        next(iter(loader))  # and no more of this one
        assert all(map(equal, whole_batches(loader, epoch, step), batches_of(clips, 0, epoch, step)))


@pytest.mark.parametrize('drop_last, num_workers', [(True, 0), (True, 2), (False, 2)])
def test_a_batch_in_pieces_is_that_of_the_plain_loop(clips, monkeypatch, drop_last, num_workers):
    """Batches of at most 5 in pieces of 2: workers fill every slot of the ring many times."""
    monkeypatch.setattr('utils.data.batches.PIECE', 2)
    clips = ClipDataset(clips.videos.select(np.arange(42) % 10), 2, 3, 2, 'resized', 16, colour=PRETRAINING)
    loader = clip_loader(clips, 5, num_workers, seed=0, drop_last=drop_last)
    for epoch in range(2):
        loader.sampler.set_position(epoch)
        lists = list(loader.sampler)
        count = 0
        for keys, pieces in zip(lists, loader):
            assert max(len(piece['index']) for piece in pieces) <= 2
            time.sleep(0.05)  # time for the workers to overwrite what they may
            batch = put_together(pieces, 'cpu')
            for i, key in enumerate(keys):
                clip = clips[key]
                assert torch.equal(batch['frames'][i], clip['frames']) and batch['index'][i] == clip['index']
                assert all(torch.equal(batch['colour'][name][i], clip['colour'][name]) for name in clip['colour'])
            count += 1
        assert count == len(lists) == (8 if drop_last else 9)


def test_frames_do_not_go_through_dev_shm(clips):
    """Containers often have 64 MB of it."""
    loader = clip_loader(clips, 3, 2, seed=0, drop_last=True)
    mapped = [line for line in open('/proc/self/maps') if int(line.split('-')[0], 16) == loader.ring.data_ptr()]
    assert len(mapped) == 1 and '/dev/zero' in mapped[0]


def test_device_prefetcher(clips):
    loader = clip_loader(clips, 3, 0, seed=0, drop_last=False)
    loader.sampler.set_position(2)
    batches = list(DevicePrefetcher(loader, 'cpu', num_seq=2, dtype=torch.bfloat16))
    loader.sampler.set_position(2)
    for batch, pieces in zip(batches, loader):
        raw = put_together(pieces, 'cpu')
        assert batch.block.shape == (len(raw['frames']), 2, 3, 3, 16, 16) and batch.block.dtype == torch.bfloat16
        assert torch.equal(batch.block, to_block(raw['frames'], raw['colour'], 2, torch.bfloat16))
        assert torch.equal(batch.label, raw['label']) and torch.equal(batch.label, batch.index)
        assert batch.broken == [] and batch.wait_seconds > 0
    assert sum(len(batch.label) for batch in batches) == 10


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_device_prefetcher_on_cuda(clips):
    loader = clip_loader(clips, 3, 2, seed=0, drop_last=True)
    loader.sampler.set_position(0)
    expected = [batch.block for batch in DevicePrefetcher(loader, 'cpu', 2)]
    loader.sampler.set_position(0)
    for batch, block in zip(DevicePrefetcher(loader, 'cuda', 2, compiled=False), expected):
        assert batch.label.is_cuda
        assert (batch.block.cpu() - block).abs().max() < 2 / 255 / 0.224


def test_pinned_memory_is_never_freed(monkeypatch):
    """CUDA would take what comes to lie there later for pinned, and copy from where the ring was."""
    runtime = SimpleNamespace(cudaHostRegister=lambda address, size, flags: 0)
    monkeypatch.setattr(torch.cuda, 'cudart', lambda: runtime)
    monkeypatch.setattr('utils.data.prefetcher._pinned', [])
    ring = torch.zeros(100, dtype=torch.uint8)
    alive = weakref.ref(ring)
    pin(ring)
    del ring
    gc.collect()
    assert alive() is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_memory_is_pinned_on_cuda():
    memory = torch.zeros(1 << 20, dtype=torch.uint8)
    pin(memory.view(-1))
    assert memory.is_pinned()


def test_videos_over_processes_and_workers(clips):
    dataset = VideoDataset(clips.videos, 2, 3, 2, 16, labels=np.arange(10))
    seen = [int(video['index']) for rank in range(3) for video in video_loader(dataset, 2, rank, 3)]
    assert sorted(seen) == list(range(10))
    video = next(iter(video_loader(dataset, 0)))
    assert video['frames'].shape == (4, 6, 16, 16, 3)  # 15 frames, 5 blocks


def test_wrong_batch_sizes(clips):
    with pytest.raises(UserError, match='--batch_size 5 .* 2 processes'):
        clip_loader(clips, 5, 0, 0, True, rank=0, world=2)
    with pytest.raises(UserError, match='10 .*videos do not fill one batch: lower --batch_size 11'):
        clip_loader(clips, 11, 0, 0, True)


@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_broken_frame_of_a_tested_video_is_one_line_in_its_place(tmp_path, num_workers):
    videos = write_videos(tmp_path, [20, 20, 20])
    broken = f'{videos.path(1)}/{frame_name(5)}'
    with open(broken, 'r+b') as file:
        file.truncate(200)
    items = list(video_loader(VideoDataset(videos, 2, 3, 2, 16), num_workers))
    assert [item.get('broken') for item in items] == [None, f'{broken}: not a whole JPEG', None]


@pytest.mark.parametrize('num_workers', [0, 2])
def test_broken_training_videos_are_reported(tmp_path, num_workers):
    videos = write_videos(tmp_path, [30] * 4)
    for entry in os.scandir(videos.path(2)):
        os.remove(entry.path)
    dataset = ClipDataset(videos, 2, 3, 2, 'resized', 16)
    batches = batches_of(dataset, num_workers, epoch=0, batch_size=2)
    messages = sum((batch['broken'] for batch in batches), [])
    assert messages and all(message.startswith(videos.path(2)) for message in messages)
    assert all(2 not in batch['index'] for batch in batches)


class Endless(torch.utils.data.Dataset):
    """Reads on, slowly, so that a worker can be hit while it works."""

    def __getitem__(self, key):
        time.sleep(0.02)
        return {'pid': os.getpid()}


def test_a_killed_worker_is_one_line():
    loader = Loader(Endless(), range(10 ** 6), num_workers=2)
    with pytest.raises(UserError, match='worker .*(killed|exited).*fewer --num_workers'):
        with worker_errors():  # torch's signal handler raises wherever the main process is
            for i, batch in enumerate(loader):
                if i == 10:
                    os.kill(batch['pid'], signal.SIGKILL)
                assert i < 1000


def test_workers_leave_signals_to_the_main_process():
    loader = Loader(Endless(), range(10 ** 6), num_workers=2)
    for i, batch in enumerate(loader):
        if i in (4, 5):
            for name in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
                # From another process, as a scheduler sends it: the main process's own SIGTERM does end a worker.
                subprocess.run(['kill', f'-{int(name)}', str(batch['pid'])], check=True)
        if i == 60:
            break


SCRIPT = '''
import sys
from tests.test_loader import Endless
from utils.data.batches import Loader
batches = iter(Loader(Endless(), range(10 ** 6), num_workers=2))
print(next(batches)['pid'], next(batches)['pid'], flush=True)
raise RuntimeError('something else')
'''


def test_workers_end_with_a_main_process_that_fails():
    start = time.monotonic()
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run([sys.executable, '-c', SCRIPT], cwd=root, capture_output=True, text=True, timeout=60)
    assert 'something else' in done.stderr and time.monotonic() - start < 50
    for pid in done.stdout.split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
