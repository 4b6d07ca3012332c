"""Averages over samples and throughput against plain arithmetic."""
import math

import numpy as np
import pytest

from utils.run.averages import Averages, Throughput


def test_averages_are_weighted_by_samples():
    """A small last batch counts for its samples, not as much as a full one."""
    rng = np.random.default_rng(0)
    averages, samples = Averages(), []
    for size in (8, 8, 8, 3):
        values = rng.normal(size=size)
        samples.extend(values)
        averages.add(size, {'loss': values.mean(), 'top1': np.mean(values > 0)})
    assert averages.read() == pytest.approx({'loss': np.mean(samples), 'top1': np.mean(np.array(samples) > 0)})
    assert averages.weight == len(samples)


def test_averages_after_resuming():
    """Bit for bit: what is stored is the sum in double precision."""
    values = np.random.default_rng(0).random(6).tolist()
    whole, first, second = Averages(), Averages(), Averages()
    for value in values:
        whole.add(3, {'loss': value})
    for value in values[:4]:
        first.add(3, {'loss': value})
    second.load_state_dict(first.state_dict())
    for value in values[4:]:
        second.add(3, {'loss': value})
    assert second.read() == whole.read()


def test_averages_keep_small_differences():
    """A million equal values average to that value: the sum isn't float32."""
    averages = Averages()
    for _ in range(1000):
        averages.add(1000, {'loss': 4.1})
    assert averages.read()['loss'] == pytest.approx(4.1, rel=1e-12)


def test_averages_leave_out_what_is_not_finite():
    """The whole batch, but none of its names: processes exchange the sums by position."""
    averages = Averages()
    averages.add(3, {'loss': math.nan, 'top1': 1.})
    assert math.isnan(averages.read()['loss']) and averages.state_dict()['sums'].keys() == {'loss', 'top1'}
    averages.add(2, {'loss': 2., 'top1': 0.5})
    assert averages.read() == {'loss': 2., 'top1': 0.5}


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
