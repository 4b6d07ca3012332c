"""Memory of the machine and of this process."""
import contextlib
import ctypes
import os
import platform
import resource
from pathlib import Path

import torch


def keep_freed_memory():
    """Has glibc keep freed memory for the next step. Without it a float32 training step on the CPU takes a third
    longer: every large tensor gets new pages, which the kernel clears one by one. Costs 10 to 25% more memory at the
    peak."""
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
