"""Where the run computes, in which precision, and with how much memory."""
import contextlib
import ctypes
import os
import platform
import resource
import shutil
import sys
import sysconfig
import time
from pathlib import Path

import torch

from utils.cli import UserError, cpu_cores

TRITON_CAPABILITY = 7, 0  # Volta: what torch.compile generates code for
PRECISIONS = {'bf16': torch.bfloat16, 'fp16': torch.float16, 'off': torch.float32}  # values of --amp, besides auto
PROCESS_BYTES = 5e8       # of a training process beside its model and data, mostly PyTorch itself


def uses_cuda(gpu):
    """Whether a run with this `--gpu` computes on GPUs."""
    return gpu != 'cpu' and torch.cuda.is_available()


def count_processes(gpu, num_procs):
    """Processes that `--gpu` and `--num_procs` ask for on this machine: one per GPU, or `num_procs` on the CPU."""
    if uses_cuda(gpu):
        if num_procs > 1:
            raise UserError(f'--num_procs {num_procs} is for --gpu cpu: on GPUs there is one process for each of --gpu')
        return len(parse_gpu_list(gpu))
    most = max(4, 2 * cpu_cores())
    if num_procs > most:
        raise UserError(f'--num_procs {num_procs}: this machine has {cpu_cores()} cores; give at most {most}')
    if num_procs > 1 and num_procs * PROCESS_BYTES > available_memory():
        raise UserError(f'--num_procs {num_procs} needs at least {num_procs * PROCESS_BYTES / 1e9:.1f} GB of memory; '
                        f'{available_memory() / 1e9:.1f} GB are free')
    return num_procs


def choose_device(gpu, local_rank=0):
    """The torch.device of this process for `--gpu`: None (what the machine has), 'cpu', or a list such as '0' or '0,1'.

    Process `local_rank` of this machine takes that entry of the list. Without CUDA any list runs on the CPU after one
    warning. UserError for a GPU that doesn't exist. Sets the process up to be fast on the device.
    """
    device = find_device(gpu, local_rank)
    if device.type == 'cuda':
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True  # training has few shapes: search for the fastest kernels once
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
        raise UserError(f'{len(ids)} GPUs for more processes of the group on this machine: start one process per GPU')
    return torch.device('cuda', ids[local_rank])


def parse_gpu_list(gpu):
    """'0,1' -> [0, 1]; None -> [0]. UserError for anything else."""
    if gpu is None:
        return [0]
    ids = [part.strip() for part in gpu.split(',')]
    if not all(part.isdecimal() and len(part) < 5 for part in ids) or len(set(map(int, ids))) != len(ids):
        raise UserError(f'--gpu {gpu}: give the number of a GPU (0), several (0,1), or cpu')
    return [int(part) for part in ids]


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
    """A device with autocast and gradient scaling for one of PRECISIONS.

    `name`: the precision, `dtype`: that of the backbone's activations.
    """

    def __init__(self, amp, device):
        if amp == 'fp16' and device.type == 'cpu':
            raise UserError('--amp fp16 needs a GPU: on the CPU give bf16 or off')
        self.name = amp
        self.device = device
        self.dtype = PRECISIONS[amp]
        # Also skips a step whose gradients aren't finite. Outside fp16 its scale stays 1.
        self.scaler = torch.amp.GradScaler(device.type, **({} if amp == 'fp16' else {'init_scale': 1.}))

    def update_scale(self):
        self.scaler.update(None if self.name == 'fp16' else 1.)

    def autocast(self):
        if self.name == 'off':
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


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


def keep_freed_memory():
    """Has glibc keep freed memory for the next step. Without it a float32 training step on the CPU takes a third longer:
    every large tensor gets new pages, which the kernel clears one by one. Costs 10 to 25% more memory at the peak."""
    if platform.libc_ver()[0] == 'glibc':
        libc = ctypes.CDLL(None)
        trim_threshold, mmap_max = -1, -4  # parameter numbers in malloc.h
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, -1)  # the largest size


def available_memory():
    """Bytes of RAM that this process can still take, as the kernel estimates it, within its container's limit."""
    try:
        info = dict(line.split(':') for line in Path('/proc/meminfo').read_text().splitlines())
        free = int(info['MemAvailable'].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    with contextlib.suppress(OSError, ValueError, KeyError):  # no cgroup v2, or no limit ('max')
        cgroup = Path('/sys/fs/cgroup')
        limit, used = (int((cgroup / name).read_text()) for name in ('memory.max', 'memory.current'))
        stat = dict(line.split() for line in (cgroup / 'memory.stat').read_text().splitlines())
        page_cache = int(stat['active_file']) + int(stat['inactive_file'])  # counted as used, but reclaimed on demand
        free = min(free, limit - used + page_cache)
    return free


def peak_gb(device):
    """Highest memory use so far, GB: of the GPU, or of this process on the CPU."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
