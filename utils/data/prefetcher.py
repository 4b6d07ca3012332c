"""Batches on the training device, brought there ahead of time."""
import contextlib
import sys
import time
from collections import deque
from types import SimpleNamespace

import torch

from utils.data.colour import to_block


class DevicePrefetcher:
    """Iterates a ClipLoader's batches on the training device, the next one on its way there during the current.

    Yields namespaces of
        block         [B, N, C, T, H, W] of `dtype`, coloured and normalised (utils.data.colour.to_block)
        label, index  int64 [B], on the device
        broken        list of str, a line for each broken video that was replaced
        wait_seconds  time that the device has stood still for data: this batch's, on CUDA that of batches before
    `compiled` fuses the colour operations on CUDA (torch.compile)."""

    def __init__(self, loader, device, num_seq, dtype=torch.float32, compiled=True):
        self.loader, self.device = loader, torch.device(device)
        self.num_seq, self.dtype, self.compiled = num_seq, dtype, compiled
        self.idle = deque()  # pairs of events around the device's waits for data that are not yet known
        self.stream = self.copied = None
        if self.device.type == 'cuda':
            self.stream, self.copied = torch.cuda.Stream(self.device), torch.cuda.Event()
            self.pinned = False

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
            pieces = next(batches, None)
            return pieces and {**put_together(pieces, self.device), 'wait_seconds': time.perf_counter() - start}
        step_ends = torch.cuda.Event(enable_timing=True)
        step_ends.record(torch.cuda.current_stream(self.device))
        self.copied.synchronize()  # of the batch before: its frames are overwritten from now on
        pieces = next(batches, None)
        if pieces is None:
            return None
        if not self.pinned:  # now that the workers that fill it have been forked
            pin(self.loader.ring)
            self.pinned = True
        with torch.cuda.stream(self.stream):
            batch = put_together(pieces, self.device)
            self.copied.record()
        return {**batch, 'wait_seconds': self._idle_seconds(), 'step_ends': step_ends}

    def _idle_seconds(self):
        """How long the device stood still between steps and the batches after them, as far as it has come since the
        last time. The host's own waiting says little, as it runs ahead."""
        seconds = 0.
        while self.idle and self.idle[0][1].query():
            step_ends, arrived = self.idle.popleft()
            seconds += step_ends.elapsed_time(arrived) / 1000
        return seconds

    def _finish(self, batch):
        """Makes the block, on the caller's stream."""
        if self.stream is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(self.stream)
            arrived = torch.cuda.Event(enable_timing=True)
            arrived.record(current)
            self.idle.append((batch.pop('step_ends'), arrived))
            # Else the memory could be given to the next copy while this stream still reads it.
            for tensor in (batch['frames'], batch['label'], batch['index'], *(batch['colour'] or {}).values()):
                tensor.record_stream(current)
        block = to_block(batch.pop('frames'), batch.pop('colour'), self.num_seq, self.dtype, self.compiled)
        return SimpleNamespace(block=block, **batch)


def put_together(pieces, device):
    """The pieces of a batch (see ClipLoader) as one, its tensors on the device; doesn't wait for pinned memory."""
    def join(parts):
        whole = parts[0].new_empty((sum(map(len, parts)), *parts[0].shape[1:]), device=device)
        for part, place in zip(parts, whole.split([len(part) for part in parts])):
            place.copy_(part, non_blocking=True)
        return whole

    colours = [piece['colour'] for piece in pieces]
    return {**{name: join([piece[name] for piece in pieces]) for name in ('frames', 'label', 'index')},
            'colour': colours[0] and {name: join([colour[name] for colour in colours]) for name in colours[0]},
            'broken': sum((piece['broken'] for piece in pieces), [])}


_pinned = []  # CUDA would take whatever came to lie there for what it has locked; to unlock waits for the GPU


def pin(tensor):
    """Locks a tensor's memory in place, for copies to CUDA that run beside everything else. It is never freed."""
    status = int(torch.cuda.cudart().cudaHostRegister(tensor.data_ptr(), tensor.nbytes, 0))
    if status:
        with contextlib.suppress(RuntimeError):
            torch.zeros(1, device='cuda')  # CUDA reports the error once more, to whoever comes next
        print(f'warning: memory for frames cannot be pinned (CUDA error {status}): copies to the GPU will be slower',
              file=sys.stderr)
    else:
        _pinned.append(tensor)
