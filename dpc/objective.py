"""The pretraining task on a batch: the loss over the negatives of all processes, and what is logged with it."""
from dataclasses import dataclass

import torch

from dpc.loss import dense_info_nce
from dpc.metrics import spread, top_k
from utils.parallel import distributed


@dataclass
class Scored:
    """loss and statistics {name: 0-d tensor, mean over the batch}; rank int64 [B·P·S] of each prediction's positive.

    target [B', P, S, D]: all candidates, of which those of this batch begin with clip `first`."""
    loss: torch.Tensor
    statistics: dict
    rank: torch.Tensor
    target: torch.Tensor
    first: int


class Objective:
    """negatives: 'all' takes them from the clips of all processes, 'local' from each process's own, as published.
    chunk: see dense_info_nce."""

    def __init__(self, negatives='all', chunk=None):
        self.negatives, self.chunk = negatives, chunk

    def __call__(self, prediction, target):
        """prediction, target [B, P, S, D] -> Scored"""
        first = 0
        if self.negatives == 'all':
            target, first = distributed.gather(target)
        rows = prediction.shape[1] * prediction.shape[2]
        loss, rank = dense_info_nce(prediction, target, self.chunk, first_positive=first * rows)
        statistics = {**{f'top{k}': top_k(rank, k) / len(rank) for k in (1, 3, 5)}, 'spread': spread(target)}
        return Scored(loss, statistics, rank, target, first)
