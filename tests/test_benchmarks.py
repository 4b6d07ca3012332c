"""The benchmarks run: in miniature on the CPU, through the command that runs all of them on a GPU."""
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from benchmarks import gpu, input_pipeline, sources
from tests import forked


@pytest.mark.soak
def test_all_benchmarks_in_miniature(tmp_path):
    """Each of them leaves figures; a second call finds them all and runs nothing."""
    command = [sys.executable, '-m', 'benchmarks.gpu', '--out', str(tmp_path), '--miniature']
    for seconds in (500, 30):
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('\n') == 1
    results = json.loads((tmp_path / 'results.json').read_text())
    assert results['failed'] == {}
    assert results['figures'].keys() == {*gpu.PARTS[1], *gpu.PARTS[2]}
    assert (tmp_path / 'tables.md').read_text().count('## ') == len(results['figures'])


def run_forked(command, cwd, stdout, stderr, timeout):
    """In place of subprocess.run."""
    done = forked.run(command[1:], cwd=cwd, timeout=timeout)
    stdout.write(done.stdout + done.stderr)
    return done


def test_quick_benchmarks_in_miniature(tmp_path, monkeypatch):
    """Those that take seconds; a second call runs nothing."""
    monkeypatch.setattr(gpu, 'subprocess', SimpleNamespace(run=run_forked, STDOUT=None, TimeoutExpired=TimeoutError))
    quick = {name: gpu.PARTS[2][name] for name in ('step_memory', 'volume_conv')}
    monkeypatch.setattr(gpu, 'PARTS', {2: quick})
    args = gpu.parse_args(['--out', str(tmp_path), '--miniature'])
    assert gpu.main(args) == 0
    results = json.loads((tmp_path / 'results.json').read_text())
    assert results['figures'].keys() == quick.keys() and results['failed'] == {}
    assert (tmp_path / 'tables.md').read_text().count('## ') == len(quick)
    monkeypatch.setattr(gpu, 'run', None)
    assert gpu.main(args) == 0


def test_sources_in_miniature(tmp_path, capsys):
    out = tmp_path / 'figures.json'
    input_pipeline.main(input_pipeline.parse_args([
        '--source', 'frames', 'packed', 'video', '--videos', '1', '--frames', '121', '--rounds', '1', '--clips', '1',
        '--json', str(out)]))
    figures = json.loads(out.read_text())['sources']
    assert list(figures) == ['frames', 'packed', *sources.FILES]
    assert all(figures[name]['of PyAV alone'] > 0 for name in sources.FILES)
    assert all(row['clips/s'] > 0 and row['kB a frame'] > 0.1 for row in figures.values())
    assert capsys.readouterr().out.count('\n') == 6


def test_every_part_fits_into_nine_minutes():
    for part in gpu.PARTS.values():
        assert sum(seconds for seconds, _, _ in part.values()) <= 9 * 60


def test_a_benchmark_that_fails_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, 'PARTS', {1: {'none': (60, [], [])}})
    assert gpu.main(gpu.parse_args(['--out', str(tmp_path), '--miniature'])) == 1
    assert 'none' in (said := capsys.readouterr().out) and 'ended with status 1' in said
    assert json.loads((tmp_path / 'results.json').read_text())['failed'] == {'none': 'ended with status 1'}


def test_it_says_that_there_is_no_gpu(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(SystemExit):
        gpu.parse_args(['--out', str(tmp_path)])
    assert 'give --miniature' in capsys.readouterr().err
