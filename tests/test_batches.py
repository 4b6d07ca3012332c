"""Batches: their order, shares of several processes, resumption, and failures inside worker processes."""
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eval.extract import inference
from tests.numbered import write_videos
from utils.cli import UserError
from utils.data.batches import ClipBatches, EpochSampler, make_loader, next_item
from utils.data.clips import Clip, ClipDataset, VideoDataset
from utils.data.colour import PRETRAINING, to_block
from utils.parallel.precision import Precision
from utils.parallel.signals import kill_workers
from utils.video.frames import frame_name

CPU = Precision('off', torch.device('cpu'))


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    videos = write_videos(tmp_path_factory.mktemp('videos'), [30] * 10)
    return ClipDataset(videos, Clip(2, 3, 2, 16), 'resized', colour=PRETRAINING, labels=np.arange(10))


# ---- order

def keys_of(sampler, epoch, first_batch=0):
    """The keys of each batch; each of these samplers has one piece per batch."""
    sampler.start(epoch, first_batch)
    batches = list(sampler)
    assert sampler.pieces == 1 and len(batches) == sampler.batches - first_batch
    return batches


def test_an_epoch_is_a_permutation_and_resumes_anywhere():
    sampler = EpochSampler(23, 4, seed=0, drop_last=False)
    first, second = keys_of(sampler, 0), keys_of(sampler, 1)
    for epoch, batches in enumerate((first, second)):
        keys = sum(batches, [])
        assert sorted(keys) == [(epoch, i) for i in range(23)]
        assert max(map(len, batches)) <= 4
    assert [i for _, i in sum(first, [])] != [i for _, i in sum(second, [])]
    assert keys_of(sampler, 0) == first
    assert keys_of(sampler, 0, first_batch=2) == first[2:]
    assert keys_of(sampler, 1, first_batch=sampler.batches) == []
    assert keys_of(EpochSampler(23, 4, seed=1, drop_last=False), 0) != first


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


@pytest.mark.parametrize('drop_last', [True, False])
def test_the_clips_of_a_video_stay_together(drop_last):
    """3 clips of each of 23 videos, 12 clips in a batch: whole videos, each once, in the order of one clip a video."""
    one = EpochSampler(23, 4, seed=0, drop_last=drop_last)
    several = EpochSampler(23, 12, seed=0, drop_last=drop_last, clips_per_video=3)
    assert several.batches == one.batches
    for epoch in (0, 1):
        expected = [[(epoch, 3 * video + clip) for _, video in keys for clip in range(3)]
                    for keys in keys_of(one, epoch)]
        assert keys_of(several, epoch) == expected
        assert keys_of(several, epoch, first_batch=2) == expected[2:]
        shares = [keys_of(EpochSampler(23, 12, 0, drop_last, rank, 2, clips_per_video=3), epoch) for rank in range(2)]
        for parts in zip(*shares):
            videos = [{index // 3 for _, index in part} for part in parts]
            assert [3 * len(each) for each in videos] == [len(part) for part in parts] and not videos[0] & videos[1]
        if drop_last:
            assert [sum(parts, []) for parts in zip(*shares)] == expected


# ---- batches

def expected_batches(dataset, batch_size, epoch, drop_last=True, dtype=torch.float32):
    """(block, keys) of each batch by a plain loop over single clips."""
    clips_per_video = dataset.clips_per_video
    sampler = EpochSampler(len(dataset.videos), batch_size, 0, drop_last, clips_per_video=clips_per_video)
    for keys in keys_of(sampler, epoch):
        items = [dataset[key] for key in keys]
        colour = {name: torch.stack([item['colour'][name] for item in items]) for name in items[0]['colour']}
        yield to_block(torch.stack([item['frames'] for item in items]), colour, dataset.num_seq, dtype), keys


def assert_expected(batches, expected, clips_per_video=1):
    expected = list(expected)
    assert len(batches) == len(expected)
    for batch, (block, keys) in zip(batches, expected):
        assert torch.equal(batch.block, block)
        assert batch.index.tolist() == [index // clips_per_video for _, index in keys]
        assert batch.broken == [] and batch.wait_seconds >= 0


def test_the_same_clips_whatever_the_number_of_workers(clips):
    for num_workers, first_step in ((0, 0), (1, 0), (2, 0), (2, 2), (0, 1)):
        batches = list(ClipBatches(clips, 3, True, CPU, num_workers).epoch(1, first_step))
        assert_expected(batches, list(expected_batches(clips, 3, epoch=1))[first_step:])
        assert all(torch.equal(batch.label, batch.index) for batch in batches)


@pytest.mark.parametrize('drop_last', [True, False])
def test_clips_of_a_video_whatever_the_number_of_workers(clips, monkeypatch, drop_last):
    """4 clips of each of 10 videos, 12 in a batch, read in pieces of at most 5 that cut a video's clips apart."""
    clips = ClipDataset(clips.videos, Clip(2, 3, 1, 16), 'resized', colour=PRETRAINING, labels=np.arange(10),
                        clips_per_video=4)
    expected = list(expected_batches(clips, 12, 1, drop_last))
    assert len(expected) == (3 if drop_last else 4)
    monkeypatch.setattr('utils.data.batches.PIECE', 5)
    for num_workers, first_step in ((0, 0), (2, 0), (2, 1)):
        batches = list(ClipBatches(clips, 12, drop_last, CPU, num_workers).epoch(1, first_step))
        assert_expected(batches, expected[first_step:], clips_per_video=4)
        assert all(torch.equal(batch.label, batch.index) for batch in batches)


def test_epochs_and_an_abandoned_epoch_with_persistent_workers(clips):
    batches = ClipBatches(clips, 3, True, CPU, num_workers=2)
    for epoch in (0, 1, 0):
        next(batches.epoch(epoch))  # and no more of this one
        assert_expected(list(batches.epoch(epoch)), expected_batches(clips, 3, epoch))


@pytest.mark.parametrize('drop_last, num_workers', [(True, 0), (True, 2), (False, 2)])
def test_a_batch_in_pieces_is_that_of_the_plain_loop(clips, monkeypatch, drop_last, num_workers):
    """Batches of at most 5, read in pieces of at most 2."""
    clips = ClipDataset(clips.videos.select(np.arange(42) % 10), Clip(2, 3, 2, 16), 'resized', colour=PRETRAINING)
    expected = list(expected_batches(clips, 5, 1, drop_last))
    monkeypatch.setattr('utils.data.batches.PIECE', 2)
    batches = ClipBatches(clips, 5, drop_last, CPU, num_workers)
    assert batches.sampler.pieces == 3 and len(batches) == (8 if drop_last else 9)
    assert max(map(len, batches.sampler)) <= 2
    assert_expected(list(batches.epoch(1)), expected)


def test_blocks_have_the_dtype_of_the_precision(clips):
    batches = list(ClipBatches(clips, 3, False, Precision('bf16', torch.device('cpu'))).epoch(2))
    assert_expected(batches, expected_batches(clips, 3, 2, drop_last=False, dtype=torch.bfloat16))
    for batch in batches:
        assert batch.block.shape == (len(batch.index), 2, 3, 3, 16, 16) and batch.block.dtype == torch.bfloat16
    assert sum(len(batch.label) for batch in batches) == 10


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_batches_on_cuda(clips):
    batches = ClipBatches(clips, 3, True, Precision('off', torch.device('cuda')), num_workers=2)
    for batch, (block, _) in zip(batches.epoch(0), expected_batches(clips, 3, 0)):
        assert batch.label.is_cuda
        assert (batch.block.cpu() - block).abs().max() < 2 / 255 / 0.224


def test_paths_of_a_batch(clips):
    batches = ClipBatches(clips, 3, True, CPU)
    batch = next(batches.epoch(0))
    assert batches.paths(batch.index) == [clips.videos.path(int(i)) for i in batch.index]


def test_wrong_batch_sizes(clips):
    with pytest.raises(UserError, match='--batch_size 5 .* 2 processes'):
        ClipBatches(clips, 5, True, CPU, share=(0, 2))
    with pytest.raises(UserError, match='10 .*videos do not fill one batch: lower --batch_size 11'):
        ClipBatches(clips, 11, True, CPU)
    several = ClipDataset(clips.videos, Clip(2, 3, 2, 16), 'resized', clips_per_video=4)
    with pytest.raises(UserError, match='--batch_size 10 is not a whole number of videos of --clips_per_video 4$'):
        ClipBatches(several, 10, True, CPU)
    with pytest.raises(UserError, match='--batch_size 12 .* --clips_per_video 4 in each of 2 processes'):
        ClipBatches(several, 12, True, CPU, share=(0, 2))
    with pytest.raises(UserError, match='10 training videos, 4 clips of each, do not fill one batch'):
        ClipBatches(several, 44, True, CPU)
    assert len(ClipBatches(several, 40, True, CPU)) == 1


# ---- whole videos

def read_all(dataset, num_workers, broken, monkeypatch, rank=0, world=1):
    """What `read_pieces` yields in one of `world` processes."""
    monkeypatch.setattr(inference, 'rank', lambda: rank)
    monkeypatch.setattr(inference, 'world', lambda: world)
    return list(inference.read_pieces(dataset, SimpleNamespace(num_workers=num_workers, timeout=0), '', broken))


def test_videos_over_processes_and_workers(clips, monkeypatch):
    dataset = VideoDataset(clips.videos, Clip(2, 3, 1, 16), most=4)  # 30 frames, 10 blocks
    seen = [int(piece['index']) for rank in range(3) for piece in read_all(dataset, 2, [], monkeypatch, rank, 3)]
    assert sorted(seen) == sorted([*range(10)] * 3)
    shapes = [piece['blocks'].shape for piece in read_all(dataset, 0, [], monkeypatch)[:3]]
    assert shapes == [(1, 4, 3, 16, 16, 3)] * 2 + [(1, 2, 3, 16, 16, 3)]


@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_broken_frame_of_a_tested_video_is_one_line(tmp_path, num_workers, monkeypatch, capsys):
    """Said once, and nothing more is read of the video, also where it comes in its middle."""
    videos = write_videos(tmp_path, [20, 20, 20])
    broken = f'{videos.path(1)}/{frame_name(5)}'
    with open(broken, 'r+b') as file:
        file.truncate(200)
    found = []
    items = read_all(VideoDataset(videos, Clip(1, 2, 1, 16), most=2), num_workers, found, monkeypatch)
    assert [int(item['index']) for item in items if 'broken' not in item] == [0] * 5 + [1] + [2] * 5
    (index, message), = found
    assert index == 1 and message.startswith(f'{broken}: not a whole JPEG') and '\n' not in message
    assert capsys.readouterr().err.count('warning: skipped') == 1


# ---- failures

@pytest.mark.parametrize('num_workers', [0, 2])
def test_broken_training_videos_are_replaced_and_reported(tmp_path, num_workers):
    videos = write_videos(tmp_path, [30] * 4)
    for entry in os.scandir(videos.path(2)):
        os.remove(entry.path)
    batches = list(ClipBatches(ClipDataset(videos, Clip(2, 3, 2, 16), 'resized'), 2, True, CPU, num_workers).epoch(0))
    messages = sum((batch.broken for batch in batches), [])
    assert messages and all(message.startswith(videos.path(2)) for message in messages)
    assert all(2 not in batch.index for batch in batches)


@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_list_of_broken_videos_is_one_line(tmp_path, num_workers):
    videos = write_videos(tmp_path, [30] * 2)
    for path in videos.paths():
        os.remove(f'{path}/{frame_name(1)}')
    dataset = ClipDataset(videos, Clip(2, 3, 10, 16), 'centre')
    with pytest.raises(UserError, match=r'^[^\n]*10 broken videos in a row[^\n]*$'):
        next(ClipBatches(dataset, 2, True, CPU, num_workers).epoch(0))


class Endless(torch.utils.data.Dataset):
    """A dataset whose items take `seconds` each, in which one frame is read every `frame_seconds`."""

    def __init__(self, seconds=0.02, frame_seconds=0.02):
        self.seconds, self.frame_seconds = seconds, frame_seconds
        self.progress = multiprocessing.RawValue('L')

    def __getitem__(self, key):
        for _ in range(round(self.seconds / self.frame_seconds)):
            time.sleep(self.frame_seconds)
            self.progress.value += 1
        return {'pid': os.getpid()}


def endless_loader(timeout=0, **settings):
    return make_loader(Endless(**settings), 2, timeout, batch_size=None, sampler=range(10 ** 6))


def test_a_slow_worker_that_reads_frames_is_alive():
    """Items take longer than the timeout, their frames don't."""
    loader = endless_loader(timeout=1, seconds=3, frame_seconds=0.25)
    assert 'pid' in next_item(iter(loader), loader)
    kill_workers()


def test_full_shared_memory_is_told_by_the_worker(clips, monkeypatch):
    def full(self):
        raise RuntimeError('unable to allocate shared memory(shm): No space left on device (28)\nat MapAllocator.cpp')

    monkeypatch.setattr(torch.Tensor, 'share_memory_', full)
    batches = ClipBatches(clips, 2, True, CPU, num_workers=1, timeout=60)
    with pytest.raises(UserError, match=r'^the data workers have no room in shared memory \(unable to allocate[^\n]*; '
                                        r'/dev/shm has [\d.]+ MB[^\n]* --shm-size [^\n]* --num_workers$'):
        next(batches.epoch(0))
    kill_workers()


def test_full_shared_memory_when_the_workers_start(clips, monkeypatch):
    """No DataLoader is begun: where a semaphore, a file in shared memory, finds no room, its end prints a traceback."""
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(total=65536, free=20480))
    for workers in (2, 0):
        batches = ClipBatches(clips, 2, True, CPU, num_workers=workers)
        with pytest.raises(UserError, match='no room in shared memory .*/dev/shm has 0.1 MB') if workers else nullcontext():
            next(batches.epoch(0))


def test_a_stopped_worker_is_one_line_and_does_not_hold_up_the_exit():
    loader = endless_loader(timeout=1)
    items = iter(loader)
    os.kill(next_item(items, loader)['pid'], signal.SIGSTOP)
    with pytest.raises(UserError, match=r'^the data workers have not read a frame for 1 s[^\n]*--timeout$'):
        for _ in range(1000):
            next_item(items, loader)
    start = time.monotonic()
    kill_workers()
    del items
    assert multiprocessing.active_children() == [] and time.monotonic() - start < 4


def test_a_killed_worker_is_noticed():
    loader = endless_loader()
    items = iter(loader)
    with pytest.raises(RuntimeError, match='DataLoader worker .*(killed|exited)'):
        for i in range(1000):
            item = next_item(items, loader)
            if i == 10:
                os.kill(item['pid'], signal.SIGKILL)


def test_workers_leave_signals_to_the_main_process():
    loader = endless_loader()
    items = iter(loader)
    for i in range(60):
        item = next_item(items, loader)
        if i in (4, 5):
            for signum in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT):
                os.kill(item['pid'], signum)
    kill_workers()


SCRIPT = '''
from tests.test_batches import endless_loader
items = iter(endless_loader())
print(next(items)['pid'], next(items)['pid'], flush=True)
raise RuntimeError('something else')
'''


def test_workers_end_with_a_main_process_that_fails():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run([sys.executable, '-c', SCRIPT], cwd=root, capture_output=True, text=True, timeout=50)
    assert 'something else' in done.stderr
    for pid in done.stdout.split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
