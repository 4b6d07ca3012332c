"""Where the run computes and in which precision."""
import contextlib
import os
import shutil
import sys
import sysconfig
from pathlib import Path

import torch

from utils.cli import UserError
from utils.parallel.memory import keep_freed_memory

TRITON_CAPABILITY = 7, 0  # Volta: what torch.compile generates code for


def uses_cuda(gpu):
    """Whether a run with this `--gpu` computes on GPUs."""
    return gpu != 'cpu' and torch.cuda.is_available()


def count_processes(gpu, num_procs):
    """Processes that `--gpu` and `--num_procs` ask for on this machine: one for each GPU, `num_procs` on the CPU."""
    if not uses_cuda(gpu):
        return num_procs
    if num_procs > 1:
        raise UserError(f'--num_procs {num_procs} is for --gpu cpu: on GPUs there is a process for each of --gpu 0,1,…')
    return len(parse_gpu_list(gpu))


def choose_device(gpu, local_rank=0):
    """The torch.device of this process for `--gpu`: None (what the machine has), 'cpu', or a list such as '0' or '0,1'.

    Process `local_rank` of this machine takes that entry of the list. Without CUDA any list runs on the CPU after one
    warning. UserError for what isn't there. The process is set up to be fast on the device.
    """
    device = find_device(gpu, local_rank)
    if device.type == 'cuda':
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision('high')  # TF32 for what stays float32; the loss asks for more itself
        torch.backends.cudnn.benchmark = True  # training has few shapes: the fastest kernels are searched for once
    else:
        keep_freed_memory()
    return device


def find_device(gpu, local_rank):
    if gpu == 'cpu' or (gpu is None and not torch.cuda.is_available()):
        return torch.device('cpu')
    if gpu is not None:
        parse_gpu_list(gpu)
    if not torch.cuda.is_available():
        if local_rank == 0:
            print(f'warning: --gpu {gpu}: this machine has no CUDA device, running on the CPU', file=sys.stderr)
        return torch.device('cpu')
    count = torch.cuda.device_count()
    ids = list(range(count)) if gpu is None else parse_gpu_list(gpu)
    absent = [i for i in ids if i >= count]
    if absent:
        raise UserError(f'--gpu {gpu}: there is no GPU {absent[0]}, this machine has {count} (0 to {count - 1})')
    if local_rank >= len(ids):
        raise UserError(f'{len(ids)} GPUs for more processes of the group on this machine: start one process '
                        'for each GPU')
    return torch.device('cuda', ids[local_rank])


def parse_gpu_list(gpu):
    """'0,1' -> [0, 1]; None -> [0]. UserError for anything else."""
    if gpu is None:
        return [0]
    ids = [part.strip() for part in gpu.split(',')]
    if not all(part.isdigit() for part in ids) or len(set(ids)) != len(ids):
        raise UserError(f'--gpu {gpu}: give the number of a GPU (0), several (0,1), or cpu')
    return [int(part) for part in ids]


def copy_to_host(tensor):
    """Starts to copy a tensor from the device; the function returned waits for the copy and gives it."""
    if tensor.device.type != 'cuda':
        return lambda: tensor
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()

    def wait():
        arrived.synchronize()
        return host

    return wait


def obstacle_to_compilation(on_cuda):
    """What keeps torch.compile from working on this machine, in words; None if nothing does."""
    language, compilers = ('C', ('CC', 'cc', 'gcc', 'clang')) if on_cuda else ('C++', ('CXX', 'c++', 'g++', 'clang++'))
    variable, *known = compilers
    if not any(map(shutil.which, (os.environ.get(variable, ''), *known))):
        return f'no {language} compiler ({", ".join(known)})'
    if not Path(sysconfig.get_path('include', 'posix_prefix'), 'Python.h').is_file():
        return 'no Python.h (Debian and Ubuntu: apt install python3-dev)'
    if on_cuda and torch.cuda.get_device_capability() < TRITON_CAPABILITY:
        return f'{torch.cuda.get_device_name()} is too old for Triton'
    return None


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
        # Besides scaling fp16's gradients, the scaler leaves out a step whose gradients aren't finite, without waiting
        # for the device. In the other precisions its scale stays 1.
        self.scaler = torch.amp.GradScaler(device.type, **({} if amp == 'fp16' else {'init_scale': 1.}))

    def update_scale(self):
        self.scaler.update(None if self.name == 'fp16' else 1.)

    def autocast(self):
        if self.name == 'off':
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def automatic_precision(device):
    """bf16 where the hardware multiplies in it, fp16 on older GPUs, otherwise float32."""
    if device.type == 'cuda':
        return 'bf16' if torch.cuda.is_bf16_supported(including_emulation=False) else 'fp16'
    return 'bf16' if torch.cpu.get_capabilities().get('avx512_bf16', False) else 'off'
