"""The precision of a run, `--amp`: autocast, gradient scaling, and what `auto` chooses on this machine."""
import contextlib
import time

import torch

from utils.checkpoint import read_checkpoint
from utils.cli import UserError
from utils.parallel import distributed

PRECISIONS = {'bf16': torch.bfloat16, 'fp16': torch.float16, 'off': torch.float32}  # values of --amp, besides auto


class Precision:
    """A device with autocast and gradient scaling for one of PRECISIONS.

    `name`: the precision, `dtype`: that of the backbone's activations.
    """

    def __init__(self, amp, device):
        if amp == 'fp16' and device.type == 'cpu':
            raise UserError('--amp fp16 needs a GPU: on the CPU give bf16 or off')
        self.device = device
        self.use(amp)
        # Also skips a step whose gradients aren't finite. Outside fp16 its scale stays 1.
        self.scaler = torch.amp.GradScaler(device.type, **({} if amp == 'fp16' else {'init_scale': 1.}))

    def use(self, amp):
        self.name, self.dtype = amp, PRECISIONS[amp]

    def update_scale(self):
        self.scaler.update(None if self.name == 'fp16' else 1.)

    def autocast(self):
        if self.name == 'off':
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def choose_precision(amp, device, resumed=None):
    """The Precision of all processes for `--amp`. With auto, a resumed run keeps the one it was trained in."""
    if amp != 'auto':
        return Precision(amp, device)
    choice = None
    if distributed.is_main():
        before = read_checkpoint(resumed, resumable=True).get('precision') if resumed else None
        if before not in [*PRECISIONS] or (before == 'fp16' and device.type == 'cpu'):
            choice = automatic_precision(device)
        else:
            choice = before, 'as in the run so far'
    distributed.wait_for_main()
    name, reason = distributed.from_main(choice)
    print(f'--amp auto: {name}, {reason}')
    return Precision(name, device)


def automatic_precision(device):
    """What `--amp auto` means on this machine: (one of PRECISIONS, the reason).

    On GPUs bf16, or fp16 where they lack it. Many CPUs that list bf16 instructions are slower with them: measured.
    """
    if device.type == 'cuda':
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return 'bf16', 'which this GPU multiplies in'
        return 'fp16', 'as this GPU does not multiply in bf16'
    if not torch.cpu.get_capabilities().get('avx512_bf16', False):
        return 'off', 'as this CPU does not multiply in bf16'
    ratio = convolution_seconds(torch.bfloat16) / convolution_seconds(torch.float32)
    return 'bf16' if ratio < 1 else 'off', f'a convolution in bf16 takes {ratio:.2f} of float32\'s time'


def convolution_seconds(dtype):
    """CPU time of a typical convolution of the backbone, forward and backward, on one core.

    CPU time and a single thread, so that other work on the machine hardly matters. In the memory layout that the
    backbone uses for this dtype.
    """
    layout = torch.contiguous_format if dtype == torch.float32 else torch.channels_last
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    x, weight = (torch.ones(size, dtype=dtype).to(memory_format=layout).requires_grad_()
                 for size in ((4, 64, 32, 32), (64, 64, 3, 3)))
    times = []
    for _ in range(5):
        start = time.thread_time()
        torch.nn.functional.conv2d(x, weight, padding=1).sum().backward()
        times.append(time.thread_time() - start)
    torch.set_num_threads(threads)
    return min(times)  # the first also sets oneDNN up
