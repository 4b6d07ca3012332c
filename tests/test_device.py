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
from utils.parallel.memory import give_back_freed_memory

def faults_of_one():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

{setup}
for _ in range(30):
    last = faults_of_one()
give_back_freed_memory()
print(last, faults_of_one())
'''


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='other C libraries are left as they are')
def test_freed_memory_is_used_again():
    """A tensor of 64 MB, after some, lies in pages that the process has already, or in new ones of 4 kB (or 2 MB)."""
    def new_pages(setup):
        script = PAGES.format(setup=setup)
        done = subprocess.run([sys.executable, '-c', script], cwd=ROOT, capture_output=True, text=True, check=True)
        return map(int, done.stdout.split())

    kept, after_giving_back = new_pages("choose_device('cpu')")
    by_default, _ = new_pages('')
    assert kept < 10 < 25 < min(by_default, after_giving_back)
