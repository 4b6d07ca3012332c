"""Batches on the training device, brought there ahead of time."""
import time
from types import SimpleNamespace

import torch

from utils.colour import to_block


class DevicePrefetcher:
    """Iterates a clip_loader's batches on the training device, the next one on its way there during the current.

    Yields namespaces of
        block         [B, N, C, T, H, W] of `dtype`, coloured and normalised (utils.colour.to_block)
        label, index  int64 [B], on the device
        broken        list of str, a line for each broken video that was replaced
        wait_seconds  time that the device has stood still for data: this batch's, on CUDA that of the batch before
    `compiled` fuses the colour operations on CUDA (torch.compile)."""

    def __init__(self, loader, device, num_seq, dtype=torch.float32, compiled=True):
        self.loader, self.device = loader, torch.device(device)
        self.num_seq, self.dtype, self.compiled = num_seq, dtype, compiled
        self.stream = torch.cuda.Stream(self.device) if self.device.type == 'cuda' else None
        self.idle = None  # events around the device's last wait for data

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        batches = iter(self.loader)
        coming = self._fetch(batches)
        while coming is not None:
            yield self._finish(coming)
            # The caller has only queued its work on CUDA when it comes back: the copy runs beside it.
            coming = self._fetch(batches)

    def _fetch(self, batches):
        """Waits for the next batch and starts its copy to the device; None after the last."""
        if self.stream is None:
            start = time.perf_counter()
            batch = next(batches, None)
            return batch and {**batch, 'wait_seconds': time.perf_counter() - start}
        wait_seconds = self._idle_seconds()
        step_ends = torch.cuda.Event(enable_timing=True)
        step_ends.record(torch.cuda.current_stream(self.device))
        batch = next(batches, None)
        if batch is None:
            return None
        with torch.cuda.stream(self.stream):
            batch = _to_device(batch, self.device)
        return {**batch, 'wait_seconds': wait_seconds, 'step_ends': step_ends}

    def _idle_seconds(self):
        """How long the device stood still between a step and the next batch; the host's own waiting says little, as it
        runs ahead. Of the last batch, whose events have long come by."""
        if self.idle is None or not self.idle[1].query():
            return 0.
        return self.idle[0].elapsed_time(self.idle[1]) / 1000

    def _finish(self, batch):
        """Makes the block, on the caller's stream."""
        if self.stream is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(self.stream)
            arrived = torch.cuda.Event(enable_timing=True)
            arrived.record(current)
            self.idle = batch.pop('step_ends'), arrived
            # Else the memory could be given to the next copy while this stream still reads it.
            for tensor in (batch['frames'], batch['label'], batch['index'], *(batch['colour'] or {}).values()):
                tensor.record_stream(current)
        block = to_block(batch.pop('frames'), batch.pop('colour'), self.num_seq, self.dtype, self.compiled)
        return SimpleNamespace(block=block, **batch)


def _to_device(batch, device):
    """A copy of a (pinned) batch with its tensors, also those one dict deeper, on the device; doesn't wait for it."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {name: _to_device(value, device) for name, value in batch.items()}
    return batch
