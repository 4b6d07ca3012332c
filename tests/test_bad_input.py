"""Mistakes of the user: each ends in one line `error: …` that names the file and the remedy, status 2, no traceback."""
import errno
import os
import shutil
from pathlib import Path

import pytest
import torch

from dpc import main as pretraining
from eval import predict
from eval import test as classifier
from tests import forked
from tests.test_checkpoint import Malicious, published_file
from tests.test_golden import published_state
from tests.tiny import CLASSIFIER, PRETRAINING, ROOT, run, write_rows

SCRIPTS = {'dpc/main.py': (pretraining, PRETRAINING), 'eval/test.py': (classifier, CLASSIFIER)}


@pytest.fixture
def own_lists(csv_root, tmp_path):
    """A csv_root whose lists of ucf101 a test may break, but not its frames."""
    shutil.copytree(csv_root / 'ucf101', tmp_path / 'csv' / 'ucf101')
    return tmp_path / 'csv'


@pytest.fixture
def own_root(csv_root, tmp_path):
    """A csv_root whose ucf101 a test may break; its frames are copied too."""
    for name in ('train_split01.csv', 'test_split01.csv'):
        rows = []
        for line in (csv_root / 'ucf101' / name).read_text().splitlines():
            path, count = line.rsplit(',', 1)
            copy = tmp_path / 'frames' / Path(path).parent.name / Path(path).name
            shutil.copytree(path, copy)
            rows.append((copy, count))
        write_rows(tmp_path / 'csv' / 'ucf101' / name, rows)
    shutil.copy(csv_root / 'ucf101' / 'classInd.txt', tmp_path / 'csv' / 'ucf101')
    return tmp_path / 'csv'


def error_of(script, csv_root, log_dir, capsys, *flags):
    """The one line that a failing command prints; nothing else may be on stderr."""
    module, tiny = SCRIPTS[script]
    assert run(module, [*tiny, '--csv_root', csv_root, '--log_dir', log_dir, *flags]) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if not line.startswith('warning: ')]
    assert len(lines) == 1 and lines[0].startswith('error: '), error
    return lines[0]


def rows_of(csv):
    return [line.rsplit(',', 1) for line in csv.read_text().splitlines()]


both = pytest.mark.parametrize('script', SCRIPTS)


@both
def test_no_such_data_set(script, csv_root, tmp_path, capsys):
    error = error_of(script, csv_root, tmp_path, capsys, '--dataset', 'ucf11')
    assert str(csv_root / 'ucf11') in error and 'ucf101' in error and 'write_csv.py' in error


@both
def test_no_csv(script, own_lists, tmp_path, capsys):
    (own_lists / 'ucf101' / 'train_split01.csv').unlink()
    error = error_of(script, own_lists, tmp_path, capsys)
    assert 'ucf101/train_split01.csv' in error and 'write_csv.py' in error


@both
def test_an_empty_csv(script, own_lists, tmp_path, capsys):
    (own_lists / 'ucf101' / 'train_split01.csv').write_text('')
    assert 'train_split01.csv' in error_of(script, own_lists, tmp_path, capsys)


ROWS = ['/x/A/v,', '/x/A/v', '/x/A/v,many', '/x/A/v,12,3', '/x/A/v,-4', '/x/A/v\0,12', '/x/A/v,2147483647', '/,12', 'x' * 200_000]


@both
def test_a_row_that_does_not_parse(script, own_lists, tmp_path, capsys):
    csv = own_lists / 'ucf101' / 'train_split01.csv'
    lines = csv.read_text().splitlines()
    for row in ROWS:
        csv.write_text('\n'.join([*lines[:2], row, *lines[2:]]) + '\n')
        assert f'{csv}:3' in error_of(script, own_lists, tmp_path, capsys)


def test_a_quote_that_is_never_closed(own_lists, tmp_path, capsys):
    """It swallows the rest of the file; the file is named, with the line where that was noticed."""
    csv = own_lists / 'ucf101' / 'train_split01.csv'
    csv.write_text('"' + csv.read_text())
    assert f'{csv}:' in error_of('dpc/main.py', own_lists, tmp_path, capsys)


@both
def test_a_relative_row_without_its_root(script, own_root, tmp_path, capsys):
    csv = own_root / 'ucf101' / 'train_split01.csv'
    csv.write_text(csv.read_text().replace(str(tmp_path / 'frames') + '/', ''))
    assert '--frame_root' in error_of(script, own_root, tmp_path, capsys)
    module, tiny = SCRIPTS[script]
    argv = [*tiny, '--csv_root', own_root, '--log_dir', tmp_path, '--frame_root', tmp_path / 'frames']
    assert run(module, argv) == 0


@both
def test_no_frame_folder(script, own_root, tmp_path, capsys):
    path, _ = rows_of(own_root / 'ucf101' / 'train_split01.csv')[0]
    shutil.rmtree(path)
    error = error_of(script, own_root, tmp_path, capsys)
    assert path in error and 'write_csv.py' in error


@both
def test_more_frames_listed_than_there(script, own_lists, tmp_path, capsys):
    csv = own_lists / 'ucf101' / 'train_split01.csv'
    rows = rows_of(csv)
    rows[3][1] = 500
    write_rows(csv, rows)
    error = error_of(script, own_lists, tmp_path, capsys)
    assert rows[3][0] in error and '500' in error and 'check_frames.py' in error


@both
def test_an_empty_split_after_filtering(script, own_lists, tmp_path, capsys):
    """Clips of 240 frames: no video is that long."""
    error = error_of(script, own_lists, tmp_path, capsys, '--num_seq', 8, '--ds', 6, '--short_videos', 'drop')
    assert '240' in error and '--ds' in error and '--short_videos pad' in error


@both
def test_fewer_videos_than_a_batch(script, own_lists, tmp_path, capsys):
    assert '--batch_size 64' in error_of(script, own_lists, tmp_path, capsys, '--batch_size', 64)


@pytest.mark.parametrize('damage,names', [
    (lambda path: path.unlink(), ['classInd.txt', 'write_csv.py']),
    (lambda path: path.write_text(''), ['classInd.txt', 'write_csv.py']),
    (lambda path: path.write_text('1 Archery\nYoYo\n'), ['classInd.txt:2', "'YoYo'"]),
    (lambda path: path.write_text('1 Archery\n2 YoYo\n'), ['ApplyEyeMakeup', 'classInd.txt', 'write_csv.py']),
    (lambda path: path.write_text('1 Archery\n2 YoYo\n2 ApplyEyeMakeup\n'), ['classInd.txt:3', "'2'", 'line 2']),
    (lambda path: path.write_text('1 Archery\n2 YoYo\n3 YoYo\n'), ['classInd.txt:3', "'YoYo'", 'line 2']),
    (lambda path: path.write_bytes('1 Café\n'.encode('latin-1')), ['classInd.txt', 'UTF-8'])])
def test_a_bad_class_list(damage, names, own_lists, tmp_path, capsys):
    damage(own_lists / 'ucf101' / 'classInd.txt')
    error = error_of('eval/test.py', own_lists, tmp_path, capsys)
    assert all(name in error for name in names), error


@pytest.mark.parametrize('script,flag', [
    ('dpc/main.py', '--pretrain'), ('dpc/main.py', '--resume'),
    ('eval/test.py', '--pretrain'), ('eval/test.py', '--resume'), ('eval/test.py', '--test')])
def test_a_bad_checkpoint(script, flag, csv_root, tmp_path, capsys):
    """Missing, cut short, of another net, and one that would run code; no run folder is left behind."""
    folder = tmp_path / 'run'
    (folder / 'model').mkdir(parents=True)
    (folder / 'args.json').write_text('{}')
    path = folder / 'model' / 'epoch3.pth.tar'
    logs = tmp_path / 'logs'
    assert str(path) in error_of(script, csv_root, logs, capsys, flag, path)
    path.write_bytes(b'PK\x03\x04 and no more')
    assert str(path) in error_of(script, csv_root, logs, capsys, flag, path)
    torch.save({'state_dict': {}, 'best_acc': Malicious(tmp_path / 'it ran')}, path)
    assert str(path) in error_of(script, csv_root, logs, capsys, flag, path)
    assert not (tmp_path / 'it ran').exists()
    kind = 'classifier, 101 classes' if script == 'eval/test.py' else 'pretraining'
    published_file(path, published_state(kind, 'resnet34'), net='resnet34')
    error = error_of(script, csv_root, logs, capsys, '--net', 'resnet18', flag, path)
    assert str(path) in error and ('--net resnet34' in error or '--pretrain' in error)
    assert not list(logs.glob('*/*')) and not (folder / 'args-2.json').exists()


def test_a_run_is_not_gone_on_with_as_another_one(csv_root, pretrained, tmp_path, capsys):
    folder = tmp_path / 'renamed'
    shutil.copytree(pretrained, folder)
    checkpoint = folder / 'model' / 'epoch1.pth.tar'
    error = error_of('dpc/main.py', csv_root, tmp_path, capsys, '--resume', checkpoint, '--pred_step', 2)
    assert '--pred_step 2 (was 1)' in error and '--pretrain' in error
    (folder / 'args.json').write_text('{"cut sh')
    assert f'{folder}/args.json' in error_of('dpc/main.py', csv_root, tmp_path, capsys, '--resume', checkpoint)
    assert not (folder / 'args-2.json').exists()
    shutil.copy(pretrained / 'args.json', folder)
    flags = [*PRETRAINING, '--csv_root', csv_root, '--resume', checkpoint, '--epochs', 2]
    assert run(pretraining, flags) == 0, 'the same run under another name'


@both
def test_flags_that_do_not_go_together(script, csv_root, tmp_path, capsys):
    assert '--epochs 1' in error_of(script, csv_root, tmp_path, capsys, '--start-epoch', '1')
    assert not list(tmp_path.iterdir())


def test_compilation_without_a_compiler(csv_root, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shutil, 'which', lambda name: None)
    assert 'g++' in error_of('dpc/main.py', csv_root, tmp_path, capsys, '--compile', 'all')


def test_a_single_place_has_no_negatives(capsys):
    with pytest.raises(SystemExit):
        pretraining.parse_args(['--batch_size', '1', '--pred_step', '1', '--img_dim', '32'])
    assert 'no negatives' in capsys.readouterr().err
    pretraining.parse_args(['--batch_size', '1', '--pred_step', '1', '--img_dim', '33'])


def test_a_folder_that_may_not_be_written_to(csv_root, tmp_path, capsys, monkeypatch):
    def forbidden(folder, flags):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder / 'args.json'))

    monkeypatch.setattr('dpc.main.save_arguments', forbidden)
    error = error_of('dpc/main.py', csv_root, tmp_path, capsys)
    assert 'args.json: Permission denied' in error and 'another folder' in error


def parser_error(module, capsys, *flags):
    with pytest.raises(SystemExit) as end:
        module.parse_args(list(flags))
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.startswith('error: ') and error.count('\n') == 1
    return error


@both
def test_flags_that_the_parser_refuses(script, capsys):
    """It names the flag, and the choices or the one that was meant."""
    module, _ = SCRIPTS[script]
    for flags in ('--net resnet19', '--batch_size 0', '--batch_size four', '--no_such_flag', '--train_what some',
                  '--amp int8', '--flip 2', '--model x'):
        assert flags.split()[0] in parser_error(module, capsys, *flags.split())
    for flag, meant in (('--bath_size', '--batch_size'), ('--nett', '--net'), ('--zzz', None), ('--batch', '--batch_size')):
        error = parser_error(module, capsys, flag, '3')
        assert f'there is no flag {flag}' in error and (f'did you mean {meant}?' in error) == (meant is not None)
    assert parser_error(module, capsys, '--recipe').startswith('error: argument --recipe: expected one argument')


def test_flags_of_one_script_that_the_parser_refuses(capsys):
    for flag in ('--wieghts', '--weight'):
        assert parser_error(predict, capsys, 'a.mp4', flag, 'x').startswith(
            f'error: there is no flag {flag}; did you mean --weights?')
    assert '--pred_step 4' in parser_error(pretraining, capsys, '--num_seq', '4', '--pred_step', '4')


@both
def test_a_gpu_that_is_none(script, csv_root, tmp_path, capsys):
    for gpu in ('x', '0,0', '', '-1'):
        assert '--gpu' in error_of(script, csv_root, tmp_path, capsys, f'--gpu={gpu}')


@both
def test_a_gpu_that_is_not_there(script, csv_root, tmp_path, capsys, monkeypatch):
    """With one GPU, 0, asking for number 3 is an error that counts them."""
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.device_count', lambda: 1)
    error = error_of(script, csv_root, tmp_path, capsys, '--gpu', '3')
    assert '--gpu 3' in error and '1' in error


@pytest.mark.parametrize('flags', [['--num_workers', 1], ['--num_procs', 2]])
def test_unreadable_videos_do_not_end_a_test(flags, own_root, tmp_path, capfd):
    """A truncated frame, a folder that is gone, and more frames listed than memory holds: these videos are skipped,
    counted and named beside the result, which is that of the others."""
    listed = own_root / 'ucf101' / 'test_split01.csv'
    rows = rows_of(listed)
    frame = Path(rows[3][0]) / 'image_00007.jpg'
    frame.write_bytes(frame.read_bytes()[:150])
    shutil.rmtree(rows[5][0])
    rows[8][1] = 9_999_999
    write_rows(listed, rows)
    argv = [*CLASSIFIER, '--csv_root', own_root, '--log_dir', tmp_path, '--test', 'random', *flags]
    assert run(classifier, argv) == 0
    said, warned = capfd.readouterr()
    folder, = tmp_path.glob('log_*/*')
    log = (folder / 'test_log.md').read_text()
    assert 'every video: 9 videos' in said and '| every video | 9 |' in log
    for text in (warned, log):
        assert all(str(name) in text for name in (frame, rows[5][0], rows[8][0]))
    assert all('skipped 3 unreadable videos' in text for text in (said, log))
    written = (folder / 'predictions.csv').read_text()
    assert [row[0] in written for row in rows] == [i not in (3, 5, 8) for i in range(12)]


def test_no_readable_video_ends_a_test(own_root, tmp_path, capsys):
    for path, _ in rows_of(own_root / 'ucf101' / 'test_split01.csv'):
        shutil.rmtree(path)
    assert run(classifier, [*CLASSIFIER, '--csv_root', own_root, '--log_dir', tmp_path, '--test', 'random']) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('error: none of the 12 videos can be read') and 'check_frames.py' in error


def test_broken_frames_in_every_training_video_stop_the_run(own_root, tmp_path, capsys):
    """Replacing them all would never end."""
    for path, _ in rows_of(own_root / 'ucf101' / 'train_split01.csv'):
        for frame in list(Path(path).glob('*.jpg'))[:-1]:
            frame.write_bytes(b'no JPEG')
    error = error_of('dpc/main.py', own_root, tmp_path, capsys)
    assert '.jpg' in error and 'check_frames.py' in error


@both
def test_as_a_program(script, tmp_path):
    """In a shell: one line, status 2, no traceback."""
    done = forked.run([ROOT / script, '--csv_root', tmp_path / 'none', '--gpu', 'cpu', '--pretrain', 'random'])
    assert done.returncode == 2
    assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1 and str(tmp_path / 'none') in done.stderr
