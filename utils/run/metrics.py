"""Averages over samples, kept on the device so that collecting them never waits for it."""
import math
import time

import torch

from utils.parallel.device import copy_to_host
from utils.parallel.distributed import sum_over_processes, world


class Averages:
    """Sample-weighted averages of named numbers over a window of batches or a whole epoch, of all processes."""

    def __init__(self):
        self.sums = {}
        self.weight = 0.

    def add(self, weight, values):
        """Adds `values` {name: 0-d tensor}, each a mean over `weight` samples. Leaves out a batch that isn't finite."""
        stacked = torch.stack([value.detach().double() for value in values.values()])
        finite = torch.isfinite(stacked).all()
        stacked = torch.where(finite, stacked, 0.) * weight
        for name, value in zip(values, stacked):
            self.sums[name] = self.sums.get(name, 0.) + value
        self.weight = self.weight + finite * weight

    def read(self):
        """{name: average}; waits for the device and, in a group, for the other processes."""
        return self.start_reading()()

    def start_reading(self):
        """Like `read`, but doesn't wait: the function returned does."""
        totals = self._start_totals()

        def finish():
            sums, weight = totals()
            return {name: total / weight if weight else math.nan for name, total in sums.items()}

        return finish

    def _start_totals(self):
        """A function that gives ({name: sum}, weight) over all processes, as numbers."""
        if not self.sums:
            return lambda: ({}, 0)
        names = list(self.sums)
        host = copy_to_host(sum_over_processes(torch.stack([*self.sums.values(), self.weight.double()])))

        def finish():
            *totals, weight = host().tolist()
            return dict(zip(names, totals)), weight

        return finish

    def state_dict(self):
        """The averages so far of all processes together, as plain numbers."""
        sums, weight = self._start_totals()()
        return {'sums': sums, 'weight': weight}

    def load_state_dict(self, state, device):
        """Goes on from `state`, each process from an equal part of it."""
        self.sums = {name: torch.tensor(total / world(), dtype=torch.float64, device=device)
                     for name, total in state['sums'].items()}
        self.weight = torch.tensor(state['weight'] / world(), dtype=torch.float64, device=device)


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
