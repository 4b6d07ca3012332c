"""How a process is set up for its device."""
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dpc import main as pretraining
from tests.groups import in_group
from tests.tiny import PRETRAINING, checkpoint, pretrain, run
from utils.parallel import distributed
from utils.parallel import precision as precision_module
from utils.parallel.precision import automatic_precision, convolution_seconds

CPU = torch.device('cpu')
ROOT = Path(__file__).resolve().parent.parent

PAGES = '''
import resource
import torch
from utils.parallel.gpus import choose_device

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


# ---- precision

def set_speed(monkeypatch, bf16, listed=True):
    """A CPU on which a convolution takes 1 s in float32 and `bf16` seconds in bfloat16."""
    monkeypatch.setattr('torch.cpu.get_capabilities', lambda: {'avx512_bf16': listed})
    monkeypatch.setattr(precision_module, 'convolution_seconds', {torch.float32: 1., torch.bfloat16: bf16}.get)


@pytest.mark.parametrize('bf16, expected', [(0.38, 'bf16'), (0.99, 'bf16'), (1.01, 'off'), (2.2, 'off')])
def test_the_measured_times_decide(monkeypatch, bf16, expected):
    set_speed(monkeypatch, bf16)
    assert automatic_precision(CPU) == (expected, f"a convolution in bf16 takes {bf16:.2f} of float32's time")


def test_a_cpu_without_bf16_is_not_measured(monkeypatch):
    """Emulated convolutions may take seconds."""
    set_speed(monkeypatch, None, listed=False)
    assert automatic_precision(CPU)[0] == 'off'


@pytest.mark.parametrize('bf16, expected', [(True, 'bf16'), (False, 'fp16')])
def test_a_gpu_has_bf16_or_not(monkeypatch, bf16, expected):
    monkeypatch.setattr('torch.cuda.is_bf16_supported', lambda including_emulation: bf16)
    assert automatic_precision(torch.device('cuda'))[0] == expected


def test_the_measurement_leaves_no_trace():
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    assert 0 < convolution_seconds(torch.float32) < 10
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


def precision_of_group(world):
    """In a process that would choose bf16 on its own if it is the first, float32 if not."""
    precision_module.automatic_precision = lambda device: (['bf16', 'off'][distributed.rank()], 'for a test')
    return precision_module.choose_precision('auto', CPU).name


def test_the_first_process_chooses_for_all():
    assert in_group(precision_of_group, 2) == ['bf16', 'bf16']


def test_a_resumed_run_keeps_its_precision(csv_root, tmp_path, monkeypatch, capsys):
    """Also where --amp auto would choose differently today; a checkpoint from before it was stored is measured."""
    set_speed(monkeypatch, 0.5)
    folder = pretrain(csv_root, tmp_path, '--amp', 'auto')
    assert "--amp auto: bf16, a convolution in bf16 takes 0.50 of float32's time" in capsys.readouterr().out
    assert checkpoint(folder)['precision'] == 'bf16'

    set_speed(monkeypatch, 2.)
    resume = [*PRETRAINING, '--csv_root', csv_root, '--log_dir', tmp_path, '--amp', 'auto', '--resume', 'auto',
              '--epochs']
    assert run(pretraining, [*resume, 2]) == 0
    assert '--amp auto: bf16, as in the run so far' in capsys.readouterr().out
    assert checkpoint(folder, 'epoch2')['precision'] == 'bf16'

    old = checkpoint(folder, 'epoch2')
    del old['precision']
    torch.save(old, folder / 'model' / 'epoch2.pth.tar')
    assert run(pretraining, [*resume, 3]) == 0
    assert "--amp auto: off, a convolution in bf16 takes 2.00 of float32's time" in capsys.readouterr().out
