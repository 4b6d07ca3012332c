"""Whether torch.compile works on this machine."""
import os
import shutil
import sysconfig
from pathlib import Path

import torch

TRITON_CAPABILITY = 7, 0  # Volta: what torch.compile generates code for


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
