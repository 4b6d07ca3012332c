"""Averages over samples and throughput against plain arithmetic."""
import numpy as np
import pytest
import torch

from utils.run.metrics import Averages, Throughput


def test_averages_are_weighted_by_samples():
    """A small last batch counts for its samples, not as much as a full one."""
    rng = np.random.default_rng(0)
    averages, samples = Averages(), []
    for size in (8, 8, 8, 3):
        values = rng.normal(size=size)
        samples.extend(values)
        averages.add(size, {'loss': torch.tensor(values.mean()), 'top1': torch.tensor(np.mean(values > 0))})
    assert averages.read() == pytest.approx({'loss': np.mean(samples), 'top1': np.mean(np.array(samples) > 0)})
    assert averages.weight == len(samples)


def test_averages_continue_after_a_resumption():
    """Bit for bit: sums are stored in double precision."""
    values = [torch.rand((), generator=torch.Generator().manual_seed(i)) for i in range(6)]
    whole, first, second = Averages(), Averages(), Averages()
    for value in values:
        whole.add(3, {'loss': value})
    for value in values[:4]:
        first.add(3, {'loss': value})
    second.load_state_dict(first.state_dict(), torch.device('cpu'))
    for value in values[4:]:
        second.add(3, {'loss': value})
    assert second.read() == whole.read()


def test_averages_keep_small_differences():
    """A million equal values average to that value: the sum isn't kept in float32."""
    averages = Averages()
    for _ in range(1000):
        averages.add(1000, {'loss': torch.tensor(4.1)})
    assert averages.read()['loss'] == pytest.approx(torch.tensor(4.1).item(), rel=1e-12)


def test_throughput(monkeypatch):
    """30 clips in 2 s, half a second of it spent waiting; then a new window."""
    clock = [100.]
    monkeypatch.setattr('time.perf_counter', lambda: clock[0])
    speed = Throughput()
    speed.add(10, 0.2)
    speed.add(20, 0.3)
    clock[0] += 2
    assert speed.read() == pytest.approx({'clips_per_s': 15, 'data_wait': 0.25})
    speed.add(8, 0)
    clock[0] += 4
    assert speed.read() == pytest.approx({'clips_per_s': 2, 'data_wait': 0})
