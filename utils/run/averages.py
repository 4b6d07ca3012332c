"""Averages over samples, and throughput."""
import math
import time

import torch

from utils.parallel.distributed import sum_over_processes, world


class Averages:
    """Sample-weighted averages of named numbers over a window of batches or a whole epoch, of all processes."""

    def __init__(self):
        self.sums = {}
        self.weight = 0.

    def add(self, weight, values):
        """Adds `values` {name: number}, each a mean over `weight` samples, or leaves out a batch that isn't finite.
        Returns whether it is."""
        finite = all(map(math.isfinite, values.values()))
        for name, value in values.items():  # every name, so that all processes exchange the same ones
            self.sums[name] = self.sums.get(name, 0.) + (value * weight if finite else 0.)
        self.weight += weight if finite else 0
        return finite

    def read(self):
        """{name: average} over all processes; NaN without samples."""
        state = self.state_dict()
        return {name: total / state['weight'] if state['weight'] else math.nan for name, total in state['sums'].items()}

    def state_dict(self):
        """Sums and weight over all processes, as plain numbers."""
        totals = torch.tensor([*self.sums.values(), self.weight], dtype=torch.float64)
        *sums, weight = sum_over_processes(totals).tolist()
        return {'sums': dict(zip(self.sums, sums)), 'weight': weight}

    def load_state_dict(self, state):
        """Continues from `state`; each process takes an equal part of it."""
        self.sums = {name: total / world() for name, total in state['sums'].items()}
        self.weight = state['weight'] / world()


class Throughput:
    """Clips per second of all processes, and the share of time that this one waited for data, since the last `read`."""

    def __init__(self):
        self.restart()

    def restart(self):
        self.clips, self.waited, self.started = 0, 0., time.perf_counter()

    def add(self, clips, waited):
        self.clips += clips
        self.waited += waited

    def read(self):
        elapsed = time.perf_counter() - self.started
        stats = {'clips_per_s': self.clips * world() / elapsed, 'data_wait': self.waited / elapsed}
        self.restart()
        return stats
