"""BN statistics estimated from training clips: equal to an obvious computation, for any number of processes."""
import numpy as np
import pytest
import torch
import torch.nn as nn

from eval.networks.bn_statistics import (
    choose_batches,
    estimate_bn_statistics,
    layers_without_statistics,
    training_blocks,
)
from tests.groups import in_group
from tests.numbered import write_videos
from utils.data.clips import Clip, ClipDataset
from utils.data.colour import FINETUNING
from utils.parallel import distributed
from utils.parallel.precision import Precision

CPU = torch.device('cpu')


class Foreign(nn.Module):
    """PyTorch's own BN layers under names of their own, in two and three dimensions, one of them never called."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 4, 3)
        self.norm_a = nn.BatchNorm3d(4, momentum=0.3)
        self.noise = nn.Dropout(0.5)
        self.linear = nn.Linear(4, 5)
        self.norm_b = nn.BatchNorm1d(5)
        self.kept = nn.BatchNorm1d(5)
        self.unused = nn.BatchNorm1d(2)
        nn.init.constant_(self.kept.running_mean, 7)

    def forward(self, block):
        x = self.noise(self.norm_a(self.conv(block)).relu())
        return self.kept(self.norm_b(self.linear(x.mean(dim=(2, 3, 4)))))


def model_and_batches():
    torch.manual_seed(0)
    model = Foreign().train()
    noise = torch.Generator().manual_seed(1)
    return model, [torch.randn(4, 3, 3, 6, 6, generator=noise) * (i + 1) for i in range(5)]


def estimate(world, count=5):
    model, batches = model_and_batches()
    layers = [model.norm_a, model.norm_b, model.unused]
    estimate_bn_statistics(model, layers, batches[:count][distributed.rank()::world], Precision('off', CPU))
    return {name: buffer.numpy() for name, buffer in model.named_buffers()}


def estimate_twice(world):
    """In three processes: 2, 2 and 1 of five batches; and 1, 1 and none of two."""
    return estimate(world, 5), estimate(world, 2)


def test_estimates_are_averages_over_batches():
    model, batches = model_and_batches()
    model.eval()
    means, variances, normalised = [], [], []
    with torch.no_grad():
        for batch in batches:
            x = model.conv(batch)
            means.append(x.mean(dim=(0, 2, 3, 4)))
            variances.append(x.var(dim=(0, 2, 3, 4)))
            shape = (1, -1, 1, 1, 1)
            biased = x.var(dim=(0, 2, 3, 4), correction=0)
            x = (x - means[-1].view(shape)) / (biased.view(shape) + 1e-5).sqrt()
            normalised.append(model.linear(x.relu().mean(dim=(2, 3, 4))))  # without dropout
    found = estimate(1)
    expected = {'norm_a.running_mean': means, 'norm_a.running_var': variances,
                'norm_b.running_mean': [x.mean(dim=0) for x in normalised],
                'norm_b.running_var': [x.var(dim=0) for x in normalised]}
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], torch.stack(values).mean(dim=0), rtol=1e-4, atol=1e-6, err_msg=name)
    assert (found['kept.running_mean'] == 7).all() and found['kept.num_batches_tracked'] == 0
    assert (found['unused.running_mean'] == 0).all() and (found['unused.running_var'] == 1).all()


def test_several_processes_estimate_the_same():
    alone = estimate_twice(1)
    for estimates in in_group(estimate_twice, 3):
        for found, expected in zip(estimates, alone):
            for name in expected:
                np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_model_is_as_before_but_for_its_statistics():
    model, batches = model_and_batches()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    estimate_bn_statistics(model, [model.norm_a], batches, Precision('off', CPU))
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert model.norm_a.momentum == 0.3 and not any(module.training for module in model.modules())


def test_layers_are_found_by_their_missing_tensors():
    model = Foreign()
    missing = ['norm_a.running_mean', 'norm_a.running_var', 'linear.weight', 'unused.running_mean']
    assert layers_without_statistics(model, missing) == [model.norm_a, model.unused]
    assert layers_without_statistics(model, ['norm_a.weight', 'head.running_mean']) == []


def test_batches_are_distinct_clips_in_bounded_number():
    batches = choose_batches(1000, 16, seed=0)
    assert batches.shape == (62, 16) and len(np.unique(batches)) == 62 * 16 and batches.max() < 1000
    assert (choose_batches(1000, 16, seed=0) == batches).all() and (choose_batches(1000, 16, seed=1) != batches).any()
    assert choose_batches(10 ** 5, 512, seed=0).shape == (200, 32)
    assert choose_batches(9, 1, seed=0).shape == (4, 2)  # a BN layer over vectors needs two clips
    assert choose_batches(3, 4, seed=0).shape == (1, 3)


@pytest.mark.parametrize('world', [1, 2])
def test_blocks_are_the_training_clips_of_the_own_batches(tmp_path, monkeypatch, world):
    """Only those are read."""
    videos = write_videos(tmp_path, [30] * 7)
    dataset = ClipDataset(videos, Clip(2, 3, 2, 16), 'resized', colour=FINETUNING)
    batches = choose_batches(7, 2, seed=3)
    monkeypatch.setattr('eval.networks.bn_statistics.world', lambda: world)
    for rank in range(world):
        monkeypatch.setattr('eval.networks.bn_statistics.rank', lambda rank=rank: rank)
        read = []
        monkeypatch.setattr(ClipDataset, '__getitems__',
                            lambda self, keys, read=read, original=ClipDataset.__getitems__: (
                                read.extend(index for _, index in keys), original(self, keys))[1])
        blocks = list(training_blocks(dataset, batches, Precision('off', CPU), num_workers=0, timeout=0))
        monkeypatch.undo()
        monkeypatch.setattr('eval.networks.bn_statistics.world', lambda: world)
        own = batches[rank::world]
        assert read == own.ravel().tolist() and len(blocks) == len(own)
        assert all(block.shape == (2, 2, 3, 3, 16, 16) for block in blocks)
