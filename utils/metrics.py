"""Averages over samples, kept on the device so that collecting them never waits for it."""
import torch


class Averages:
    """Sample-weighted averages of named numbers over a window of batches or a whole epoch."""

    def __init__(self):
        self.sums = {}
        self.weight = 0

    def add(self, weight, values):
        """Adds `values` {name: 0-d tensor or number}, each a mean over `weight` samples."""
        for name, value in values.items():
            value = torch.as_tensor(value).detach().double() * weight
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.weight += weight

    def read(self):
        """{name: average}; waits for the device."""
        return {name: (total / max(self.weight, 1)).item() for name, total in self.sums.items()}

    def state_dict(self):
        return {'sums': {name: total.item() for name, total in self.sums.items()}, 'weight': self.weight}

    def load_state_dict(self, state, device):
        self.sums = {name: torch.tensor(total, dtype=torch.float64, device=device) for name, total in state['sums'].items()}
        self.weight = state['weight']
