"""Where the run computes and in which precision."""
import contextlib
import sys

import torch

from utils.errors import UserError


def choose_device(gpu):
    """The torch.device for `--gpu`: None (what the machine has), 'cpu', or a list such as '0' or '0,1'.

    Without CUDA any list runs on the CPU after one warning. UserError for what isn't there.
    """
    if gpu == 'cpu' or (gpu is None and not torch.cuda.is_available()):
        return torch.device('cpu')
    ids = parse_gpu_list(gpu)
    if not torch.cuda.is_available():
        print(f'warning: --gpu {gpu}: this machine has no CUDA device, running on the CPU', file=sys.stderr)
        return torch.device('cpu')
    count = torch.cuda.device_count()
    absent = [i for i in ids if i >= count]
    if absent:
        raise UserError(f'--gpu {gpu}: there is no GPU {absent[0]}, this machine has {count} (0 to {count - 1})')
    if len(ids) > 1:
        raise UserError(f'--gpu {gpu}: training on several GPUs is not supported yet, give one')
    return torch.device('cuda', ids[0])


def parse_gpu_list(gpu):
    """'0,1' -> [0, 1]; None -> [0]. UserError for anything else."""
    if gpu is None:
        return [0]
    ids = [part.strip() for part in gpu.split(',')]
    if not all(part.isdigit() for part in ids) or len(set(ids)) != len(ids):
        raise UserError(f'--gpu {gpu}: give the number of a GPU (0), several (0,1), or cpu')
    return [int(part) for part in ids]


class Precision:
    """Autocast and gradient scaling for `--amp`: 'bf16', 'fp16', 'off', or 'auto' for what the device is fast at."""

    def __init__(self, amp, device):
        if amp == 'auto':
            amp = automatic_precision(device)
        if amp == 'fp16' and device.type == 'cpu':
            raise UserError('--amp fp16 needs a GPU: on the CPU give bf16 or off')
        self.name = amp
        self.device = device
        self.dtype = {'bf16': torch.bfloat16, 'fp16': torch.float16, 'off': torch.float32}[amp]
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == 'fp16')

    def autocast(self):
        if self.name == 'off':
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def automatic_precision(device):
    """bf16 where the hardware multiplies in it, fp16 on older GPUs, otherwise float32."""
    if device.type == 'cuda':
        return 'bf16' if torch.cuda.is_bf16_supported(including_emulation=False) else 'fp16'
    return 'bf16' if torch.cpu.get_capabilities().get('avx512_bf16', False) else 'off'
