"""A backbone and an aggregator as a user would write them, with names and layers of their own."""
import torch
import torch.nn as nn


class R2Plus1D(nn.Module):
    """Convolutions in space and in time by turns, with plain nn.BatchNorm3d."""

    def __init__(self):
        super().__init__()
        self.feature_size = 24
        self.stem = nn.Sequential(nn.Conv3d(3, 16, (1, 7, 7), (1, 4, 4), (0, 3, 3)), nn.BatchNorm3d(16), nn.ReLU())
        self.space = nn.Sequential(nn.Conv3d(16, 20, (1, 3, 3), (1, 2, 2), (0, 1, 1)), nn.BatchNorm3d(20), nn.ReLU())
        self.time = nn.Sequential(nn.Conv3d(20, 24, (3, 1, 1), (2, 1, 1), (1, 0, 0)), nn.BatchNorm3d(24))

    def forward(self, block):
        return self.time(self.space(self.stem(block)))


class RunningMean(nn.Module):
    """The state is the mean of what was seen, projected."""

    def __init__(self, size, dropout=0.1):
        super().__init__()
        self.projection = nn.Linear(size, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, sequence, state=None):
        states = []
        for step in sequence.unbind(1):
            state = self.projection(step) if state is None else (state + self.projection(step)) / 2
            states.append(self.dropout(state))
        return torch.stack(states, dim=1), states[-1]
