"""How a process is set up for its device."""
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PAGES = '''
import resource
import torch
from utils.device import choose_device

{setup}
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(50_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
'''


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='other C libraries are left as they are')
def test_freed_memory_is_used_again():
    """The third tensor of 200 MB is written to pages that the process has already, or to new ones of 4 kB (or 2 MB)."""
    def new_pages(setup):
        script = PAGES.format(setup=setup)
        done = subprocess.run([sys.executable, '-c', script], cwd=ROOT, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert new_pages("choose_device('cpu')") < 20 < 90 < new_pages('')
