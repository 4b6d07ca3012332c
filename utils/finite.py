"""Notices non-finite losses without making the training loop wait for the device."""
import torch


class FiniteCheck:
    """`watch` a number of each step; `bad_step` is then (place, indices of the clips) of a non-finite step, or None.

    On CUDA it is the step before that is looked at: by then the device has long computed it.
    """

    def __init__(self):
        self.pending = None
        self.bad_step = None

    def watch(self, value, index, place):
        """value: 0-d tensor, non-finite when the step is; index: the batch's videos [B]; place: where in the run."""
        step = (*copy_to_host(torch.isfinite(value)), index, place)
        if value.device.type == 'cuda':
            step, self.pending = self.pending, step
        self.bad_step = None
        if step is not None:
            finite, arrived, index, place = step
            if arrived is not None:
                arrived.synchronize()
            if not finite.item():
                self.bad_step = (place, index.tolist())


def copy_to_host(flag):
    """(the flag on the host, an event to wait for before it is read; None on the CPU)."""
    if flag.device.type != 'cuda':
        return flag, None
    host = torch.empty(flag.shape, dtype=flag.dtype, pin_memory=True)
    host.copy_(flag, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()
    return host, arrived
