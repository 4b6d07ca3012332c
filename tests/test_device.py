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
from utils.parallel.device import choose_device

def faults_of_one():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

{setup}
for _ in range(30):
    last = faults_of_one()
print(last)
'''


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='other C libraries are left as they are')
def test_freed_memory_is_used_again():
    """A tensor of 64 MB, after some others, reuses pages of the process; by default it gets new ones of 4 kB or 2 MB."""
    def new_pages(setup):
        script = PAGES.format(setup=setup)
        done = subprocess.run([sys.executable, '-c', script], cwd=ROOT, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert new_pages("choose_device('cpu')") < 10 < 25 < new_pages('')
