"""Blocks encoded once, however many clips they are in: the outputs are those of whole clips."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eval.extract.inference import outputs_of, read_pieces
from eval.extract.walk import Walk
from eval.model import ContextEncoder
from tests.numbered import write_videos
from tests.whole_videos import whole_video
from utils.data.clips import Clip, VideoDataset
from utils.data.colour import to_block
from utils.data.crops import views_of
from utils.parallel.precision import Precision
from utils.video.frames import frame_name

PRECISION = Precision('off', torch.device('cpu'))
COUNTS = 40, 5, 23, 64, 12  # frames; a clip has 12


def walk(encode, summarise, dataset, clips_at_once=3, num_workers=0, broken=None):
    resources = SimpleNamespace(precision=PRECISION, num_workers=num_workers, timeout=0, clips_at_once=clips_at_once)
    return list(outputs_of(encode, summarise, dataset, resources, '', [] if broken is None else broken))


def pixels(block):
    """An encoder that tells its input: [B, 1, C, T, H, W] -> [B, 1, T]."""
    return block.mean(dim=(2, 4, 5))


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp('videos'), COUNTS)


@pytest.mark.parametrize('clips_at_once', [1, 3, 50])
@pytest.mark.parametrize('most', [1, 4, 100])
def test_clips_are_put_together_from_blocks(videos, clips_at_once, most):
    """Of every view and video in order, whatever the batches and pieces; with clips that leave blocks out, too."""
    for starts_of in (None, lambda n_frames: np.array([0, 5]) if n_frames == 64 else np.array([0])):
        dataset = VideoDataset(videos, Clip(3, 2, 2, 16), np.arange(5), starts_of, views_of(3), most)
        encoded = []

        def encode(block):
            encoded.append(len(block))
            return pixels(block)

        found = walk(encode, lambda maps: maps.flatten(1), dataset, clips_at_once)
        assert [video['index'] for video, _ in found] == [0, 1, 2, 3, 4]
        for index, (video, output) in enumerate(found):
            whole = whole_video(dataset, index)
            assert output.numpy() == pytest.approx(pixels(to_block(whole['frames'], None, 3)).flatten(1).numpy())
            assert video['start'].tolist() == whole['start'].tolist() and video['n_frames'] == COUNTS[index]
            assert video['label'] == index
        assert sum(encoded) == sum(3 * len(dataset.plan(index).first) for index in range(5))
        assert set(encoded[:-1]) <= {3 * clips_at_once} and max(encoded) <= 3 * clips_at_once


@torch.no_grad()
def test_a_network_gives_the_context_of_whole_clips(videos):
    torch.manual_seed(0)
    model = ContextEncoder('resnet18').eval()
    for module in model.modules():  # statistics that are far from 0 and 1, or BN would not be seen
        if hasattr(module, 'running_var'):
            module.running_mean.normal_(0, .1)
            module.running_var.uniform_(.5, 2)
    dataset = VideoDataset(videos.select([0, 1]), Clip(3, 2, 2, 32))
    for index, (_, output) in enumerate(walk(model.encode, model.summarise, dataset)):
        expected = model(to_block(whole_video(dataset, index)['frames'], None, 3))
        assert output.numpy() == pytest.approx(expected.numpy(), abs=1e-5, rel=1e-4)


def test_memory_does_not_grow_with_the_video(tmp_path):
    """Few maps and blocks are kept at any time; an unreadable video's are dropped, and the others go on."""
    videos = write_videos(tmp_path, [120, 60, 60])
    with open(f'{videos.path(1)}/{frame_name(50)}', 'r+b') as file:
        file.truncate(100)
    dataset = VideoDataset(videos, Clip(4, 2, 1, 16), most=5)
    kept, broken = [], []
    resources = SimpleNamespace(precision=PRECISION, num_workers=0, timeout=0, clips_at_once=2)
    one = Walk(pixels, lambda maps: maps.flatten(1), dataset, PRECISION, 2)
    finished = []
    for piece in read_pieces(dataset, resources, '', broken):
        one.add(piece)
        kept.append(len(one.blocks) + sum(len(track.maps) for _, tracks in one.videos.values() for track in tracks))
        finished += [video['index'] for video, _ in one.finished()]
    one.encode_rest()
    finished += [video['index'] for video, _ in one.finished()]
    assert finished == [0, 2] and [index for index, _ in broken] == [1] and not one.videos
    assert max(kept) <= 5 + 8 + 4  # a piece, less than a batch, and a clip
