"""Notices non-finite losses without making the training loop wait for the step that the device is at."""
import torch

from utils.parallel.device import copy_to_host


class FiniteCheck:
    """`watch` a number of each step; `bad_step` is then (place, indices of the clips) of a non-finite step, or None.

    `delayed`, for CUDA: it is the step before that is looked at. So the device has a step to do while the host queues
    the next, and the host never runs further ahead. `settle` looks at the last one.
    """

    def __init__(self, delayed=False):
        self.delayed = delayed
        self.pending = None
        self.bad_step = None

    def watch(self, value, index, place):
        """value: 0-d tensor, non-finite when the step is; index: the batch's videos [B]; place: where in the run."""
        step = (copy_to_host(torch.isfinite(value)), index, place)
        if self.delayed:
            step, self.pending = self.pending, step
        self.look_at(step)

    def settle(self):
        step, self.pending = self.pending, None
        self.look_at(step)

    def look_at(self, step):
        self.bad_step = None
        if step is not None:
            finite, index, place = step
            if not finite().item():
                self.bad_step = (place, index.tolist())
