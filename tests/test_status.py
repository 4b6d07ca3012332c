"""The table of runs: progress, accuracy, statistics of validation, and whether each is alive."""
import csv
import json
import math
import os
import subprocess

import pytest

from utils.cli import run_cli
from utils.run import status


def write_log(folder, *records):
    folder.mkdir(parents=True)
    lines = [*map(json.dumps, records), '[1]', '{"a": 1}', '{"kind": "st']
    (folder / 'log.jsonl').write_text('\n'.join(lines))


def test_status(tmp_path, capsys, pretrained):
    dead = subprocess.Popen(['true'])
    dead.wait()
    host = os.uname().nodename
    steps = [{'kind': 'step', 'time': 100. * i, 'iteration': i, 'epoch': 1, 'epochs': 3, 'step': i, 'steps': 10,
              'loss': 1.25, 'top1': 0.5, 'clips_per_s': 12.} for i in (1, 2)]
    write_log(tmp_path / 'log_a' / 'alive', {'kind': 'start', 'host': host, 'pid': os.getpid()}, *steps)
    write_log(tmp_path / 'log_a' / 'dead', {'kind': 'start', 'host': host, 'pid': dead.pid}, *steps)
    newest = tmp_path / 'log_a' / 'dead' / 'model' / 'epoch10.pth.tar'
    newest.parent.mkdir()
    for name in ('epoch9.pth.tar', newest.name, 'epoch_of_mine.pth.tar'):
        (newest.parent / name).touch()
    write_log(tmp_path / 'log_b' / 'ended', {'kind': 'start', 'host': host, 'pid': dead.pid}, *steps,
              {'kind': 'end', 'how': 'stopped by SIGTERM in epoch 2 after step 3. Resume with the same command and --resume a'})
    saved = tmp_path / 'log_b' / 'ended' / 'model' / 'last.pth.tar'
    saved.parent.mkdir()
    saved.touch()
    status.main(status.parse_args([str(tmp_path)]))
    lines = capsys.readouterr().out.splitlines()
    states = [line.split('  ')[-1].strip() for line in lines[1:4]]
    assert states == ['running', 'killed', 'stopped by SIGTERM']
    assert lines[4:] == [f'log_a/dead: resume with --resume {newest}', f'log_b/ended: resume with --resume {saved}']
    # 28 steps left at 100 s each
    assert ' 0.2/3 ' in lines[1] and '1.250' in lines[1] and '46m' in lines[1]

    status.main(status.parse_args([str(pretrained.parent.parent)]))
    assert 'finished' in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        run_cli(status.main, status.parse_args([str(tmp_path / 'log_a' / 'alive' / 'img')]))
    assert end.value.code == 2 and 'no log.jsonl' in capsys.readouterr().err


def test_the_time_between_stop_and_resumption_is_no_part_of_the_pace(tmp_path, capsys):
    def steps(numbers, started):
        return [{'kind': 'step', 'time': started + 100. * i, 'iteration': i, 'epoch': 1, 'epochs': 3, 'step': i, 'steps': 10,
                 'loss': 1., 'top1': 0.5, 'clips_per_s': 12.} for i in numbers]

    start = {'kind': 'start', 'host': os.uname().nodename, 'pid': os.getpid()}
    write_log(tmp_path / 'a', start, *steps((1, 2), 0), {'kind': 'end', 'how': 'stopped'}, start, *steps((3, 4), 1e6))
    status.main(status.parse_args([str(tmp_path), '--csv', '--columns', 'ETA']))
    assert capsys.readouterr().out.splitlines()[1] == '2600,3'  # 26 steps of 100 s


def test_status_sorts_fits_and_writes_csv(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv('COLUMNS', raising=False)
    long = 'ucf101-128-sp1_r18_lc_bs128_lr0.001_wd0.001_ds3_seq8_len5_dp0.5_train-ft_pt=model_best_epoch'
    for name, accuracies in {'a': (0.2, 0.6, 0.5), long: (0.7,), 'without': ()}.items():
        write_log(tmp_path / 'log_x' / name, {'kind': 'train', 'epoch': 3, 'epochs': 300, 'loss': 12.5, 'top1': 0.25,
                                              'clips_per_s': 1234.5, 'memory_gb': 71.25},
                  *({'kind': 'val', 'top1': accuracy} for accuracy in accuracies), {'kind': 'end', 'how': 'e' * 300})

    def printed(*flags):
        status.main(status.parse_args([str(tmp_path), *flags]))
        return capsys.readouterr().out.splitlines()

    assert f'log_x/{long} ' in printed('--sort', 'best')[1]  # no terminal
    monkeypatch.setenv('COLUMNS', '100')
    head, *rows = printed('--sort', 'best')
    assert all(len(line) <= 100 for line in (head, *rows))
    assert '0.700' in rows[0] and [line.split()[0] for line in rows[1:]] == ['log_x/a', 'log_x/without']
    assert head.split() == ['run', 'epoch', 'loss', 'top1', 'val', 'best', 'clips/s', 'GB', 'quiet', 'state']
    monkeypatch.setenv('COLUMNS', '200')  # as of a wide terminal
    assert f'log_x/{long}' in printed('--sort', 'best')[1]
    assert rows[1].split()[1:8] == ['3/300', '12.500', '0.250', '0.500', '0.600', '1234.5', '71.2']
    whole = list(csv.DictReader(printed('--csv', '--sort', 'loss')))
    assert f'log_x/{long}' in {row['run'] for row in whole} and whole[0]['state'] == 'e' * 300
    assert {(row['epoch'], row['epochs'], row['GB']) for row in whole} == {('3', '300', '71.25')}


def test_status_lists_tests(tmp_path, capsys):
    """With the accuracy over all videos; where these have several labels without."""
    write_log(tmp_path / 'log_a' / 'trained', {'kind': 'train', 'epoch': 1, 'epochs': 1, 'loss': 1.}, {'kind': 'val', 'top1': .5})
    for name, rows in (('x', ['"a,b",run,run,0.9', 'b,run,jump,0.5', 'c,jump,jump,0.5', 'd,jump,jump,0.5']), ('y', None)):
        folder = tmp_path / 'log_test' / name
        folder.mkdir(parents=True)
        (folder / 'test_log.md').touch()
        if rows:
            (folder / 'predictions.csv').write_text('\n'.join(['path,label,prediction,probability', *rows]))
    status.main(status.parse_args([str(tmp_path), '--sort', 'test', '--columns', 'val', 'test', 'state']))
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ['run', 'val', 'test', 'state'], ['log_test/x', '-', '0.750', 'tested'], ['log_a/trained', '0.500', '-', 'running'],
        ['log_test/y', '-', '-', 'tested']]
    status.main(status.parse_args([str(tmp_path), '--csv']))
    assert 'log_test/y,' in capsys.readouterr().out


def test_status_sorts_beside_runs_that_diverged(tmp_path, capsys):
    for name, loss in {'a': 0.3, 'b': math.nan, 'c': 0.1, 'd': 0.2}.items():
        write_log(tmp_path / name, {'kind': 'train', 'epoch': 1, 'epochs': 2, 'loss': loss})
    status.main(status.parse_args([str(tmp_path), '--sort', 'loss']))
    assert [line[0] for line in capsys.readouterr().out.splitlines()[1:]] == ['c', 'd', 'a', 'b']


def test_status_watches(tmp_path, capsys, monkeypatch):
    write_log(tmp_path / 'a', {'kind': 'end', 'how': 'finished'})
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(status.time, 'sleep', sleep)
    status.main(status.parse_args([str(tmp_path), '--watch', '2']))
    assert naps == [2, 2, 2] and capsys.readouterr().out.count('finished') == 3


def test_status_shows_statistics_of_the_latest_validation(tmp_path, capsys):
    for name, ranks in {'a': (9., 50.), 'b': (80., 7.123456), 'c': ()}.items():
        write_log(tmp_path / name, *({'kind': 'val', 'top1': 0.5, 'effective_rank': rank} for rank in ranks))

    def printed(*flags):
        status.main(status.parse_args([str(tmp_path), *flags]))
        return [line.split() for line in capsys.readouterr().out.splitlines()]

    assert printed('--columns', 'val', 'effective_rank', '--sort', 'effective_rank') == [
        ['run', 'val', 'effective_rank'], ['a', '0.500', '50'], ['b', '0.500', '7.12'], ['c', '-', '-']]
    assert printed('--columns', 'effective_rank', '--csv')[2] == ['7.123456,']
    for flag in '--columns', '--sort':
        with pytest.raises(SystemExit) as end:
            run_cli(status.main, status.parse_args([str(tmp_path), flag, 'efective_rank']))
        said = capsys.readouterr().err
        assert end.value.code == 2 and said.startswith("error: no run has 'efective_rank'") and 'effective_rank' in said
