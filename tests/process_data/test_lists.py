"""Writing csv lists for each kind of data set, checking them, packing frames."""
import csv
import errno
import io
import json
import os
import shutil
import struct
import time
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from process_data import check_frames, write_csv
from process_data.annotations import kinetics_lists
from process_data.dataset_kinds import Given
from process_data.split_files import ucf101_lists
from tests import forked
from tests.process_data.tiny_videos import command, cut, extract, run, tree_bytes, write_video
from utils.cli import UserError, run_cli
from utils.data.held_out import hold_out
from utils.data.lists import VideoList, check_on_disk
from utils.data.random_split import random_split
from utils.video import files
from utils.video.files import find_frame_folders


def rows_of(path):
    with open(path, newline='') as file:
        return [(os.path.join(*row[0].split('/')[-2:]), int(row[1])) for row in csv.reader(file)]


def one_error_line(done):
    assert done.returncode == 2 and done.stderr.startswith('error: ') and done.stderr.count('\n') == 1, done.stderr
    return done.stderr


def make_frames(root, videos):
    """Frame folders with empty frames: {folder: number of frames}; enough for lists, which never decode."""
    for folder, n_frames in videos.items():
        os.makedirs(root / folder)
        for i in range(1, n_frames + 1):
            (root / folder / f'image_{i:05d}.jpg').touch()


# ---- UCF101

@pytest.fixture
def ucf(tmp_path):
    make_frames(tmp_path / 'frames', {f'{c}/v_{c}_g{g:02d}_c01': 3 + g
                                      for c in ('Archery', 'Surfing') for g in (1, 2, 3)})
    splits = tmp_path / 'splits'
    splits.mkdir()
    (splits / 'classInd.txt').write_bytes(b'1 Archery\r\n2 Surfing\r\n')
    for k in (1, 2, 3):
        train = [f'{c}/v_{c}_g{g:02d}_c01.avi {i}' for i, c in enumerate(('Archery', 'Surfing'), 1)
                 for g in (1, 2, 3) if g != k]
        (splits / f'trainlist{k:02d}.txt').write_bytes('\r\n'.join(train + ['', '']).encode())
        (splits / f'testlist{k:02d}.txt').write_bytes(
            f'Archery/v_Archery_g{k:02d}_c01.avi\r\nSurfing/v_Surfing_g{k:02d}_c01.avi\r\n'.encode())
    return tmp_path


def write_ucf(root, *flags):
    return run('write_csv', '--dataset', 'ucf101', '--frame_root', root / 'frames', '--split_root', root / 'splits',
               '--csv_root', root / 'csv', *flags)


def test_ucf101_lists_from_crlf_files(ucf):
    done = write_ucf(ucf)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count('warning') == 1 and 'warning: 2 classes, not 101' in done.stderr
    assert sorted(os.listdir(ucf / 'csv/ucf101')) == ['classInd.txt', 'dataset.json'] + sorted(
        f'{half}_split{k:02d}.csv' for half in ('train', 'test') for k in (1, 2, 3))
    assert (ucf / 'csv/ucf101/classInd.txt').read_text() == '1 Archery\n2 Surfing\n'
    assert rows_of(ucf / 'csv/ucf101/test_split02.csv') == [('Archery/v_Archery_g02_c01', 5),
                                                            ('Surfing/v_Surfing_g02_c01', 5)]
    first = (ucf / 'csv/ucf101/train_split01.csv').read_text().splitlines()[0]
    assert first == f'{ucf}/frames/Archery/v_Archery_g02_c01,5,,v_Archery_g02'


def test_ucf101_label_missing_class_file_missing_video_missing(ucf):
    (ucf / 'splits/trainlist01.txt').write_text('Archery/v_Archery_g02_c01.avi\nSurfing/v_Surfing_g09_c01.avi 2\n')
    os.remove(ucf / 'splits/classInd.txt')
    done = write_ucf(ucf)
    assert done.returncode == 0
    assert rows_of(ucf / 'csv/ucf101/train_split01.csv') == [('Archery/v_Archery_g02_c01', 5)]
    assert 'train_split01.csv: 1 videos, 1 missing' in done.stdout
    assert 'missing: Surfing/v_Surfing_g09_c01' in done.stdout
    assert (ucf / 'csv/ucf101/classInd.txt').read_text() == '1 Archery\n2 Surfing\n'


@pytest.mark.parametrize('break_it, message', [
    (lambda r: (r / 'splits/trainlist02.txt').write_text('Archery 1\n'), 'trainlist02.txt:1'),
    (lambda r: (r / 'splits/classInd.txt').write_text('Archery\n'), 'classInd.txt:1'),
    (lambda r: (r / 'splits/classInd.txt').write_text('1 Archery\n1 Surfing\n'), ":2: the id '1' is on line 1"),
    (lambda r: (r / 'splits/classInd.txt').write_text('1 Archery\n2 Archery\n'),
     "classInd.txt:2: the class 'Archery' is on line 1"),
    (lambda r: (r / 'splits/classInd.txt').write_text('1' * 5000 + ' Archery\n'), 'classInd.txt:1: expected "id name"'),
    (lambda r: shutil.rmtree(r / 'splits'), 'no such folder'),
    (lambda r: [os.remove(p) for p in (r / 'splits').glob('t*.txt')], 'such as trainlist01.txt, testlist01.txt, …;'),
    (lambda r: [os.remove(p) for p in (r / 'splits').glob('test*.txt')], 'testlist01.txt: missing'),
    (lambda r: (r / 'splits/trainlist03.txt').unlink(), 'trainlist03.txt: missing'),
    (lambda r: (r / 'splits/testlist01.txt').write_text('\n'), 'testlist01.txt: empty'),
    (lambda r: shutil.rmtree(r / 'frames'), 'no such folder'),
    (lambda r: [shutil.rmtree(p) for p in (r / 'frames').iterdir()], 'no frame folder'),
    (lambda r: [p.rename(str(p) + '_') for p in (r / 'frames').glob('*/*g01*')], 'of the 2 videos of test_split01'),
    (lambda r: (r / 'csv').write_text(''), 'cannot write it')])
def test_ucf101_mistakes_are_one_line(ucf, break_it, message):
    break_it(ucf)
    assert message in [line for line in one_error_line_after_warning(write_ucf(ucf))][-1]


def one_error_line_after_warning(done):
    lines = [line for line in done.stderr.replace('\r', '\n').split('\n')
             if line and not line.startswith('warning') and 'counting' not in line]
    assert done.returncode == 2 and len(lines) == 1 and lines[0].startswith('error: '), done.stderr
    return lines


def test_frame_counts_come_from_the_report_where_there_is_one(ucf):
    (ucf / 'frames/extract_report.csv').write_text(
        'video,frames,announced,width,height,fps,seconds,status,reason\n'
        'Archery/v_Archery_g01_c01.avi,77,77,8,8,25,1,ok,\nArchery/v_Archery_g02_c01.avi,9')    # an incomplete last row
    assert write_ucf(ucf).returncode == 0
    assert rows_of(ucf / 'csv/ucf101/test_split01.csv')[0] == ('Archery/v_Archery_g01_c01', 77)
    assert rows_of(ucf / 'csv/ucf101/test_split02.csv')[0] == ('Archery/v_Archery_g02_c01', 5)


def test_reports_that_were_edited(ucf):
    header = 'video,frames,announced,width,height,fps,seconds,status,reason\n'
    (ucf / 'frames/extract_report.csv').write_text(header + 'Archery/v_Archery_g01_c01.avi,x,77,8,8,25,1,ok,\n')
    assert write_ucf(ucf).returncode == 0
    assert rows_of(ucf / 'csv/ucf101/test_split01.csv')[0] == ('Archery/v_Archery_g01_c01', 4)
    (ucf / 'frames/extract_report.csv').write_text(header + 'x' * 200_000)
    assert 'extract_report.csv: not a report' in one_error_line_after_warning(write_ucf(ucf))[0]


def test_other_zips_and_names_that_are_not_utf8(ucf):
    (ucf / 'frames/notes.zip').write_bytes(b'no zip')
    with zipfile.ZipFile(ucf / 'frames/Archery/empty.zip', 'w'):
        pass
    with open(ucf / 'splits/trainlist01.txt', 'ab') as file:
        file.write(b'Archery/v_Caf\xe9.avi 1\n')
    name = os.fsdecode(b'v_Caf\xe9')
    make_frames(ucf / 'frames', {f'Archery/{name}': 3})
    with open(ucf / 'splits/trainlist02.txt', 'ab') as file:
        file.write(b'Archery/v_gone\xe9.avi 1\n')
    done = write_ucf(ucf)
    assert done.returncode == 0 and 'Traceback' not in done.stderr, done.stderr
    assert 'notes: no video that can be read, its zip is broken' in done.stderr and 'empty: no video: ' in done.stderr
    assert b'v_Caf\xe9,3,,\n' in (ucf / 'csv/ucf101/train_split01.csv').read_bytes()
    assert r'missing: Archery/v_gone\udce9' in done.stdout
    done = run('check_frames', '--jobs', 1, '--decode', 'none', '--csv', ucf / 'csv/ucf101/train_split01.csv')
    assert done.returncode == 0, done.stderr
    (ucf / 'splits/classInd.txt').unlink()
    (ucf / 'splits/classInd.txt').mkdir()
    with pytest.raises(UserError, match='classInd.txt: cannot be read'):
        ucf101_lists(Given('', dict, str(ucf / 'splits')))


@pytest.mark.parametrize('folder', ['frames/Surfing', 'frames/Surfing/v_Surfing_g02_c01', 'splits'])
def test_a_folder_that_cannot_be_listed_is_one_line(ucf, monkeypatch, capsys, folder):
    """As without permission. It is simulated, since root, who often runs tests, has every permission."""
    scandir = os.scandir

    def refuse(path):
        if str(path) == str(ucf / folder):
            raise PermissionError(errno.EACCES, 'Permission denied', path)
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    args = write_csv.parse_args(['--dataset', 'ucf101', '--frame_root', str(ucf / 'frames'), '--split_root',
                                 str(ucf / 'splits'), '--csv_root', str(ucf / 'csv')])
    with pytest.raises(SystemExit) as end:
        run_cli(write_csv.main, args)
    error = f'error: {ucf / folder}: cannot be listed (Permission denied); fix that and run again\n'
    assert end.value.code == 2 and capsys.readouterr().err.endswith(error)


def test_links_to_a_folder_above_are_not_followed(tmp_path):
    make_frames(tmp_path / 'frames', {'a/one': 3, 'a/two': 3, 'b/three': 3})
    (tmp_path / 'frames/a/up').symlink_to(tmp_path / 'frames')
    (tmp_path / 'frames/a/above').symlink_to(tmp_path)
    (tmp_path / 'frames/a/one/up').symlink_to(tmp_path / 'frames')
    (tmp_path / 'frames/a/itself').symlink_to('itself')
    (tmp_path / 'frames/c').symlink_to('b')
    assert find_frame_folders(str(tmp_path / 'frames')) == ['a/one', 'a/two', 'b/three', 'c/three']
    # and through another link: only the real path of the frame root is inside `disk`
    (tmp_path / 'disk').mkdir()
    (tmp_path / 'frames').rename(tmp_path / 'disk/frames')
    (tmp_path / 'frames').symlink_to('disk/frames')
    (tmp_path / 'frames/b/disk').symlink_to(tmp_path / 'disk')
    assert find_frame_folders(str(tmp_path / 'frames')) == ['a/one', 'a/two', 'b/three', 'c/three']


def test_a_link_that_cannot_be_followed_is_one_line(tmp_path, monkeypatch):
    class Entry(SimpleNamespace):
        def is_dir(self):
            raise PermissionError(errno.EACCES, 'Permission denied', self.path)

    monkeypatch.setattr(files, 'entries_of', lambda folder: [Entry(name='link', path=f'{folder}link')])
    with pytest.raises(UserError, match=r'link: cannot be read \(Permission denied\)'):
        find_frame_folders(str(tmp_path))


# ---- HMDB51

def test_hmdb51_lists(tmp_path):
    names = {'brush_hair': ['Aussie #1 (a)_b_f_nm_np1_ba_goo_0', 'two', 'three'], 'wave': ['one', 'two', 'three']}
    make_frames(tmp_path / 'frames', {f'{c}/{name}': 4 for c in names for name in names[c]})
    (tmp_path / 'splits').mkdir()
    for k in (1, 2, 3):
        for c in names:
            lines = [f'{name}.avi {flag} ' for name, flag in zip(names[c], '120')]
            (tmp_path / f'splits/{c}_test_split{k}.txt').write_bytes('\r\n'.join(lines + ['no_label.avi']).encode())
    done = run('write_csv', '--dataset', 'hmdb51', '--frame_root', tmp_path / 'frames', '--split_root',
               tmp_path / 'splits', '--csv_root', tmp_path, '--relative')
    assert done.returncode == 0, done.stderr
    assert 'warning: 2 classes, not 51' in done.stderr and 'wave_test_split2.txt:4' in done.stderr
    assert (tmp_path / 'hmdb51/train_split03.csv').read_text() == (
        'brush_hair/Aussie #1 (a)_b_f_nm_np1_ba_goo_0,4,,Aussie #1 (a)_b\nwave/one,4,,\n')
    assert (tmp_path / 'hmdb51/test_split03.csv').read_text() == 'brush_hair/two,4,,\nwave/two,4,,\n'
    assert (tmp_path / 'hmdb51/classInd.txt').read_text() == '1 brush_hair\n2 wave\n'
    for c in names:
        (tmp_path / f'splits/{c}_test_split3.txt').write_text('one.avi 1\n')
    done = run('write_csv', '--dataset', 'hmdb51', '--frame_root', tmp_path / 'frames', '--split_root',
               tmp_path / 'splits', '--csv_root', tmp_path)
    assert 'test_split03: no video belongs to it' in one_error_line_after_warning(done)[0]


# ---- Kinetics

HEADER = 'label,youtube_id,time_start,time_end,split\n'


def write_k400(root, *flags):
    return run('write_csv', '--dataset', 'k400', '--frame_root', root / 'frames', '--annotations', root / 'train.csv',
               root / 'val.csv', '--csv_root', root / 'csv', *flags)


@pytest.fixture
def k400(tmp_path):
    make_frames(tmp_path / 'frames', {'train_256/abseiling/-aaaaaaaaaa_000003_000013': 3,
                                      'train_256/air_drumming/bbbbbbbbbbb': 4,
                                      'val_256/abseiling/ccccccccccc': 5,
                                      'val_256/air_drumming/ddddddddddd_000100_000110': 6})
    (tmp_path / 'train.csv').write_text(HEADER + 'abseiling,-aaaaaaaaaa,3,13,train\n'
                                        'air drumming,bbbbbbbbbbb,0,10,train\n'
                                        'air drumming,missing____,1,11,train\n"yoga, hot",missing2___,1,11,train\n')
    (tmp_path / 'val.csv').write_text('\ufeff' + HEADER + 'abseiling,ccccccccccc,5,15,validate\r\n'
                                      'air drumming,ddddddddddd,100,110,val\r\nabseiling,eeeeeeeeeee,1,11,test\r\n')
    return tmp_path


def test_kinetics_lists_with_both_namings(k400):
    done = write_k400(k400, '--relative', '--short_side', 256)
    assert done.returncode == 0, done.stderr
    out = k400 / 'csv/k400_256'
    assert (out / 'train_split.csv').read_text() == (
        'train_256/abseiling/-aaaaaaaaaa_000003_000013,3,,-aaaaaaaaaa\ntrain_256/air_drumming/bbbbbbbbbbb,4,,\n')
    assert (out / 'val_split.csv').read_text() == (
        'val_256/abseiling/ccccccccccc,5,,\nval_256/air_drumming/ddddddddddd_000100_000110,6,,ddddddddddd\n')
    assert 'train_split.csv: 2 videos, 2 missing' in done.stdout
    assert (out / 'classInd.txt').read_text() == '1,abseiling\n2,air_drumming\n3,yoga,_hot\n'


def test_kinetics_label_folders_with_spaces(k400):
    for half in ('train_256', 'val_256'):
        os.rename(k400 / f'frames/{half}/air_drumming', k400 / f'frames/{half}/air drumming')
    assert write_k400(k400).returncode == 0
    out = k400 / 'csv/k400_150'
    assert rows_of(out / 'train_split.csv')[1] == ('air drumming/bbbbbbbbbbb', 4)
    assert '2,air drumming\n' in (out / 'classInd.txt').read_text()


@pytest.mark.parametrize('extracted, flag, name, warned', [
    (None, (), 'k400_150', False), (256, (), 'k400_256', False), (256, ('--short_side', '150'), 'k400_150', True),
    (150, ('--short_side', '150'), 'k400_150', False), (240, (), 'k400_150', True)])
def test_kinetics_lists_are_named_by_what_was_extracted(tmp_path, capsys, extracted, flag, name, warned):
    if extracted:
        (tmp_path / 'extract_settings.json').write_text(json.dumps({'short_side': extracted}))
    args = write_csv.parse_args(['--dataset', 'k400', '--frame_root', str(tmp_path), '--annotations', 'a.csv', *flag])
    assert write_csv.list_name(args) == name
    assert (f'--short_side {extracted}' in capsys.readouterr().err) == warned


def test_incomplete_settings_are_one_line(tmp_path):
    (tmp_path / 'extract_settings.json').write_text('{"short_si')
    args = write_csv.parse_args(['--dataset', 'k400', '--frame_root', str(tmp_path), '--annotations', 'a.csv'])
    with pytest.raises(UserError, match='extract_settings.json: not readable; remove it'):
        write_csv.list_name(args)


def test_kinetics_videos_outside_class_folders_are_named(tmp_path, capsys):
    (tmp_path / 'train.csv').write_text(HEADER + 'yoga,aaaaaaaaaaa,3,13,train\nyoga,bbbbbbbbbbb,3,13,train\n')
    there = {'train/aaaaaaaaaaa': 3, 'yoga/bbbbbbbbbbb': 3}
    kinetics_lists(Given('', lambda: there, annotations=[str(tmp_path / 'train.csv')]))
    assert 'found train/aaaaaaaaaaa, but not in a class folder yoga' in capsys.readouterr().err


@pytest.mark.parametrize('flags', [('--name', 'a/b'), ('--name', '..'), ('--jobs', '0'), ('--seed', '-1'),
                                   ('--test_share', '1')])
def test_flags_that_make_no_sense(tmp_path, capsys, flags):
    with pytest.raises(SystemExit) as end:
        write_csv.parse_args(['--dataset', 'folder', '--frame_root', str(tmp_path), *flags])
    said = capsys.readouterr().err
    assert end.value.code == 2 and flags[0] in said
    assert said.startswith('error: ') and said.endswith(' (--help explains every flag)\n') and said.count('\n') == 1


@pytest.mark.parametrize('break_it, message', [
    (lambda r: (r / 'val.csv').unlink(), 'val.csv: cannot be read'),
    (lambda r: (r / 'val.csv').write_text('id,label\n'), 'val.csv: its first line'),
    (lambda r: (r / 'val.csv').write_text('x' * 200_000), 'val.csv: not a csv file'),
    *((lambda r, time=time: (r / 'train.csv').write_text(HEADER + f'abseiling,a,{time},13,train\n'),
       'train.csv:2: time_start and time_end are not numbers') for time in ('x', 'inf', 'nan')),
    (lambda r: os.rename(r / 'frames/val_256/air_drumming', r / 'frames/val_256/air drumming'),
     'give them the same name')])
def test_kinetics_mistakes_are_one_line(k400, break_it, message):
    break_it(k400)
    assert message in one_error_line_after_warning(write_k400(k400))[0]


# ---- A folder of your own

def test_random_split_is_stratified_seeded_and_keeps_groups_together():
    frames = {f'{c}/v_g{i // 4:02d}_c{i % 4}': 9 for c in 'abc' for i in range(40)}
    grouped = {folder: folder[:7] for folder in frames}
    lists, class_names = random_split(grouped, 0.25, seed=3)
    assert class_names == ['a', 'b', 'c']
    train, test = lists['train_split01'], lists['test_split01']
    assert sorted(train + test) == sorted(frames)
    for c in 'abc':
        assert 8 <= sum(name.startswith(c) for name in test) <= 12
    assert not {name[:7] for name in train} & {name[:7] for name in test}
    assert random_split(dict(reversed(grouped.items())), 0.25, seed=3)[0] == lists
    assert random_split(grouped, 0.25, seed=4)[0] != lists
    by_video = random_split(dict.fromkeys(frames, ''), 0.25, seed=3)[0]['test_split01']
    assert len(by_video) == 30 and len({name[:7] for name in by_video}) > 12


@pytest.mark.parametrize('n_videos, n_test', [(1, 0), (2, 1), (3, 1), (8, 2)])
def test_small_classes_are_for_training_first(n_videos, n_test):
    folders = [*(f'c/{i}' for i in range(n_videos)), 'other/1', 'other/2']
    lists, _ = random_split(dict.fromkeys(folders, ''), 0.25, seed=0)
    count = {name: sum(folder.startswith('c/') for folder in folders) for name, folders in lists.items()}
    assert count == {'train_split01': n_videos - n_test, 'test_split01': n_test}


def test_folder_from_videos_to_checked_lists(tmp_path):
    for c in ('run', 'jump, high'):
        for i in range(4):
            write_video(tmp_path / f'videos/{c}/clip {i}.avi', n_frames=4, seed=len(c) * 10 + i)
    cut(tmp_path / 'videos/run/clip 0.avi', 0.02)
    assert extract(tmp_path / 'videos', tmp_path / 'frames', '--allow_failures').returncode == 0
    done = run('write_csv', '--dataset', 'folder', '--frame_root', tmp_path / 'frames', '--csv_root', tmp_path / 'csv',
               '--name', 'mine')
    assert done.returncode == 0, done.stderr
    lists = [tmp_path / 'csv/mine' / name for name in ('train_split01.csv', 'test_split01.csv')]
    assert sum(len(rows_of(path)) for path in lists) == 7
    assert run('check_frames', '--jobs', 1, '--dataset', 'mine', '--csv_root', tmp_path / 'csv').returncode == 0
    assert (tmp_path / 'csv/mine/classInd.txt').read_text() == '1 jump, high\n2 run\n'
    assert run('check_frames', '--jobs', 1, '--csv', *lists, '--decode', 'all').returncode == 0


def write_folder(root, *flags):
    return run('write_csv', '--dataset', 'folder', '--frame_root', root / 'frames', '--csv_root', root / 'csv',
               '--name', 'mine', *flags)


def test_unlabelled_videos_from_a_flat_folder_to_pretraining_lists(tmp_path):
    for i in range(8):
        write_video(tmp_path / f'videos/clip {i}.avi', n_frames=3 + i, seed=i)
    assert extract(tmp_path / 'videos', tmp_path / 'frames').returncode == 0
    (tmp_path / 'csv/mine').mkdir(parents=True)
    (tmp_path / 'csv/mine/classInd.txt').write_text('1 from an earlier run\n')
    for flags, root in ((), None), (('--relative',), str(tmp_path / 'frames')):
        done = write_folder(tmp_path, *flags)
        assert done.returncode == 0 and not done.stderr, done.stderr
        assert 'no class list: the videos are unlabelled, for pretraining only\n' in done.stdout
        assert sorted(os.listdir(tmp_path / 'csv/mine')) == ['dataset.json', 'test_split01.csv', 'train_split01.csv']
        lists = [VideoList.read_csv(str(tmp_path / f'csv/mine/{subset}_split01.csv'), root)
                 for subset in ('train', 'test')]
        assert [len(videos) for videos in lists] == [6, 2]
        found = dict(zip(sum((videos.paths() for videos in lists), []),
                         np.concatenate([videos.n_frames for videos in lists]).tolist()))
        assert found == {str(tmp_path / f'frames/clip {i}'): 3 + i for i in range(8)}
        for videos in lists:
            check_on_disk(videos)
        kept, held = hold_out(lists[0], 0.2, seed=0)
        assert len(kept) == 5 and len(held) == 1
    flags = ['--jobs', 1, '--dataset', 'mine', '--csv_root', tmp_path / 'csv', '--frame_root', tmp_path / 'frames']
    assert run('check_frames', *flags).returncode == 0


def test_videos_above_the_class_folders_are_left_out_and_named(tmp_path):
    make_frames(tmp_path / 'frames', {'run/a': 3, 'run/b': 3, 'stray': 3, 'above': 3})
    done = write_folder(tmp_path)
    assert done.returncode == 0
    assert ('warning: videos in no class folder: 2 (first above); left out of the lists: move them into class folders\n'
            ) in done.stderr
    rows = rows_of(tmp_path / 'csv/mine/train_split01.csv') + rows_of(tmp_path / 'csv/mine/test_split01.csv')
    assert sorted(rows) == [('run/a', 3), ('run/b', 3)]
    assert (tmp_path / 'csv/mine/classInd.txt').read_text() == '1 run\n'


@pytest.mark.parametrize('videos, flags, warned, remedy', [
    (['c/0'], [], 'class c has one video only', 'some class must have two videos, one for'),
    (['c/0'], ['--group_regex', 'x'], 'class c has one video only', 'some class must have two videos, one for'),
    ([f'c/v_g01_{i}' for i in range(6)], ['--group_regex', 'g..'], 'class c has 6 videos in one group only',
     'some class must have two videos in different groups, one for'),
    (['0'], [], None, 'there must be two videos, one for'),
    ([f'v_g01_{i}' for i in range(6)], ['--group_regex', 'g..'], None,
     'there must be two videos in different groups, one for')])
def test_nothing_left_to_test_on(tmp_path, videos, flags, warned, remedy):
    make_frames(tmp_path / 'frames', {folder: 1 for folder in videos})
    done = write_folder(tmp_path, *flags)
    assert f'error: test_split01: no video belongs to it; {remedy}' in one_error_line_after_warning(done)[0]
    warnings = [line for line in done.stderr.replace('\r', '\n').split('\n') if line.startswith('warning')]
    assert warnings == ([f'warning: {warned}: used for training, not for testing'] if warned else [])
    assert not (tmp_path / 'csv').exists()


# ---- Checking

@pytest.fixture(scope='module')
def extracted(tmp_path_factory):
    root = tmp_path_factory.mktemp('extracted')
    for name in 'abcdef':
        write_video(root / f'videos/class/{name}.avi', n_frames=6, seed=ord(name))
    assert extract(root / 'videos', root / 'frames').returncode == 0
    return root / 'frames'


@pytest.mark.parametrize('packed', [False, True])
def test_check_finds_what_is_wrong_and_repairs_it(tmp_path, extracted, packed):
    frames = tmp_path / 'frames'
    shutil.copytree(extracted, frames)
    os.remove(frames / 'class/b/image_00004.jpg')
    cut(frames / 'class/c/image_00006.jpg', 0.5)
    if packed:
        assert run('pack_frames', '--jobs', 1, '--frame_root', frames, '--remove_loose').returncode == 0
        assert not os.path.exists(frames / 'class/a')
    (tmp_path / 'train_split01.csv').write_text('class/a,6\nclass/b,6\nclass/c,6\nclass/gone,6\nclass/d,5\nclass/a,6\n'
                                                'no number\nclass/e,6\n')
    (tmp_path / 'test_split01.csv').write_text('class/e,6\nclass/f,6\n')
    lists = tmp_path / 'train_split01.csv', tmp_path / 'test_split01.csv'
    done = run('check_frames', '--jobs', 1, '--csv', *lists, '--frame_root', frames, '--repair')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    for line, finding in ((2, 'fewer frames than listed'), (3, 'unreadable frames'), (4, 'missing folder'),
                          (5, 'more frames than listed'), (6, 'listed twice'), (7, 'bad row'),
                          (8, 'in train and test')):
        assert f'train_split01.csv:{line}: {finding}' in done.stdout
    assert 'test_split01.csv:' not in done.stdout.replace('test_split01.repaired.csv:', '')
    assert (tmp_path / 'train_split01.repaired.csv').read_text() == 'class/a,6\nclass/b,3\nclass/d,6\n'
    assert (tmp_path / 'test_split01.repaired.csv').read_text() == 'class/e,6\nclass/f,6\n'
    repaired = [tmp_path / (path.stem + '.repaired.csv') for path in lists]
    assert run('check_frames', '--jobs', 1, '--csv', *repaired, '--frame_root', frames, '--decode', 'all'
               ).returncode == 0


def test_the_same_video_under_another_name_is_found(tmp_path, extracted):
    frames = tmp_path / 'frames'
    shutil.copytree(extracted, frames)
    shutil.copytree(frames / 'class/a', frames / 'class/copy')
    cut(frames / 'class/d/image_00006.jpg', 0.5)
    with open(frames / 'class/e/image_00006.jpg', 'ab') as file:
        file.write(bytes(100))                                  # training accepts it, too
    (tmp_path / 'train_split01.csv').write_text('class/copy,6\nclass/./b,6\nclass//c,6\nclass/c,6\nclass/d,6\n'
                                                'class/e,6\n')
    (tmp_path / 'test_split01.csv').write_text('class/a,6\nclass/b,6\n')
    done = run('check_frames', '--jobs', 1, '--csv', tmp_path / 'train_split01.csv', tmp_path / 'test_split01.csv',
               '--frame_root', frames, '--repair')
    assert 'in train and test: class/copy,6 (the same as class/a)' in done.stdout
    assert 'in train and test: class/./b,6 (the same as class/b)' in done.stdout
    assert 'listed twice: class/c,6' in done.stdout
    assert 'unreadable frames: class/d,6 (first image_00006.jpg)' in done.stdout
    assert (tmp_path / 'train_split01.repaired.csv').read_text() == 'class//c,6\nclass/e,6\n'


@pytest.mark.parametrize('rows, flags, message', [
    ('class/a,6\n', (), 'train_split01.csv:1: class/a is relative; say where it starts from with --frame_root'),
    ('\n', (), 'train_split01.csv: empty'),
    ('/nowhere/a,6\n', (), 'train_split01.csv: none of its rows can be kept'),
    ('class/a,6\n', ('--frame_root', '/nowhere'), '/nowhere: no such folder'),
    ('class/a,²\n', (), 'train_split01.csv: not a csv list, none of its rows'),
    ('x' * 200_000, (), 'train_split01.csv: not a csv list')])
def test_a_repair_never_empties_a_list(tmp_path, rows, flags, message):
    (tmp_path / 'train_split01.csv').write_text(rows)
    args = ['--jobs', '1', '--csv', str(tmp_path / 'train_split01.csv'), '--repair', *flags]
    with pytest.raises(UserError, match=message):
        check_frames.main(check_frames.parse_args(args))
    assert os.listdir(tmp_path) == ['train_split01.csv']


def test_rows_that_no_file_can_match(tmp_path, extracted):
    rows = ['class/a,6', f'class/c,{"9" * 5000}', f'class/{"x" * 300},6', 'class/a/image_00001.jpg/d,6']
    (tmp_path / 'list.csv').write_text('\n'.join(rows) + '\n')
    done = run('check_frames', '--jobs', 1, '--csv', tmp_path / 'list.csv', '--frame_root', extracted)
    assert done.returncode == 1 and 'error' not in done.stderr, done.stderr
    for line, finding in ((2, 'bad row'), (3, 'missing folder'), (4, 'missing folder')):
        assert f'list.csv:{line}: {finding}' in done.stdout
    assert 'list.csv:1:' not in done.stdout
    assert check_frames.row_of(1, ['class/b\0', '6'])['path'] == ''     # csv of Python 3.10 refuses such a file


def test_frames_that_no_decoder_should_try(tmp_path):
    """A JPEG whose header announces 65500 x 65500 px, and zips that are encrypted or of an unknown method."""
    write_video(tmp_path / 'videos/c/a.avi', n_frames=2)
    assert extract(tmp_path / 'videos', tmp_path / 'frames').returncode == 0
    frames = tmp_path / 'frames/c/a'
    jpeg = bytearray((frames / 'image_00002.jpg').read_bytes())
    size = jpeg.index(b'\xff\xc0') + 5
    jpeg[size:size + 4] = struct.pack('>HH', 65500, 65500)
    (frames / 'image_00002.jpg').write_bytes(jpeg)
    assert check_frames.inspect_frames(str(frames), 'ends') == (2, ['image_00002.jpg'], None)

    whole = io.BytesIO()
    with zipfile.ZipFile(whole, 'w') as packed:
        packed.write(frames / 'image_00001.jpg', 'image_00001.jpg')
    for offsets, value in ((6, 8), 1), ((8, 10), 99):           # flags, compression method: in the entry, in the index
        data = bytearray(whole.getvalue())
        for offset, start in zip(offsets, (data.index(b'PK\3\4'), data.index(b'PK\1\2'))):
            data[start + offset] = value
        (tmp_path / 'frames/c/bad.zip').write_bytes(data)
        assert check_frames.inspect_frames(str(tmp_path / 'frames/c/bad'), 'ends') == (1, ['image_00001.jpg'], None)


def test_check_of_a_zip_that_cannot_be_read(tmp_path):
    (tmp_path / 'video.zip').mkdir()
    with pytest.raises(UserError, match='video.zip: cannot be read'):
        check_frames.inspect_frames(str(tmp_path / 'video'), 'none')


def test_check_of_a_missing_list(tmp_path):
    (tmp_path / 'k400_150').mkdir()
    (tmp_path / 'k400_150/train_split.csv').touch()
    message = one_error_line(run('check_frames', '--dataset', 'k400', '--csv_root', tmp_path))
    assert 'no csv list' in message and 'existing data set: k400_150' in message
    assert 'write_csv.py' in one_error_line(run('check_frames', '--jobs', 1, '--csv', tmp_path / 'train_split01.csv'))


def test_the_progress_bar_of_the_check_reaches_the_end(tmp_path, extracted):
    (tmp_path / 'list.csv').write_text(''.join(f'class/{name},6\n' for name in 'abcdef'))
    done = run('check_frames', '--jobs', 1, '--csv', tmp_path / 'list.csv', '--frame_root', extracted)
    assert done.returncode == 0 and '6/6' in done.stderr.splitlines()[-1], done.stderr


# ---- Packing

def test_packed_frames_are_the_same_bytes_and_give_the_same_lists(tmp_path, extracted):
    done = run('pack_frames', '--frame_root', extracted, '--packed_root', tmp_path / 'packed')
    assert done.returncode == 0 and '36 frames in 6 zips' in done.stdout, done.stderr
    for name in 'abcdef':
        with zipfile.ZipFile(tmp_path / f'packed/class/{name}.zip') as packed:
            assert all(entry.compress_type == zipfile.ZIP_STORED for entry in packed.infolist())
            assert {entry: packed.read(entry) for entry in packed.namelist()} == tree_bytes(extracted / 'class' / name)
    for name, root in (('loose', extracted), ('packed', tmp_path / 'packed')):
        assert run('write_csv', '--dataset', 'folder', '--frame_root', root, '--csv_root', tmp_path / 'csv', '--name',
                   name, '--relative').returncode == 0
    loose, packed = (tree_bytes(tmp_path / 'csv' / name) for name in ('loose', 'packed'))
    assert loose.pop('dataset.json') != packed.pop('dataset.json') and loose == packed


def test_extraction_straight_into_zips_gives_the_zips_of_packing(tmp_path, extracted):
    assert extract(extracted.parent / 'videos', tmp_path / 'straight', '--packed').returncode == 0
    assert run('pack_frames', '--frame_root', extracted, '--packed_root', tmp_path / 'packed').returncode == 0
    assert tree_bytes(tmp_path / 'straight') == tree_bytes(tmp_path / 'packed')
    assert '0 to do' in extract(extracted.parent / 'videos', tmp_path / 'straight', '--packed').stdout


def test_packing_resumes_a_killed_run_and_never_trusts_a_differing_zip(tmp_path, extracted):
    frames = tmp_path / 'frames'
    shutil.copytree(extracted, frames)
    assert run('pack_frames', '--frame_root', frames).returncode == 0
    os.remove(frames / 'class/a/image_00006.jpg')               # an earlier removal, killed
    cut(frames / 'class/b/image_00006.jpg', 0.9)
    (frames / 'class/c.zip').write_bytes(b'no zip')
    for name in 'bc':
        done = run('pack_frames', '--frame_root', frames, '--remove_loose', '--jobs', 1)
        assert done.returncode == 2 and f'{name}.zip: differs' in done.stderr and 'Traceback' not in done.stderr
        assert os.path.exists(frames / 'class' / name)
        os.remove(frames / f'class/{name}.zip')
    for message in ('frames in 4 zips', 'all 6 packed'):
        done = run('pack_frames', '--frame_root', frames, '--remove_loose', '--jobs', 1)
        assert done.returncode == 0 and message in done.stdout, done.stderr
    assert sorted(os.listdir(frames / 'class')) == [f'{name}.zip' for name in 'abcdef']
    assert len(zipfile.ZipFile(frames / 'class/a.zip').namelist()) == 6


def test_a_kill_while_a_loose_folder_is_removed_leaves_the_zip_only(tmp_path):
    flags = ['--frame_root', tmp_path, '--remove_loose', '--jobs', 1]
    for _ in range(10):
        shutil.rmtree(tmp_path / 'class', ignore_errors=True)
        make_frames(tmp_path, {'class/' + 'x' * 245: 4000})
        process = forked.Command(command('pack_frames', *flags))
        while process.poll() is None and not list((tmp_path / 'class').glob('.gone-*')):
            time.sleep(0.001)
        process.kill()
        process.wait()
        half_removed = list((tmp_path / 'class').glob('.gone-*'))
        if half_removed:
            break
    left, = half_removed
    assert 0 < len(os.listdir(left)) <= 4000
    assert sorted(os.listdir(tmp_path / 'class')) == [left.name, 'x' * 245 + '.zip']
    done = run('pack_frames', *flags)
    assert done.returncode == 0 and 'all 1 packed' in done.stdout, done.stderr
    assert os.listdir(tmp_path / 'class') == ['x' * 245 + '.zip']
    assert len(zipfile.ZipFile(tmp_path / 'class' / ('x' * 245 + '.zip')).namelist()) == 4000


def test_an_extraction_skips_what_is_packed(tmp_path, extracted):
    frames = tmp_path / 'frames'
    shutil.copytree(extracted, frames)
    assert run('pack_frames', '--jobs', 1, '--frame_root', frames, '--remove_loose').returncode == 0
    before = tree_bytes(frames)
    os.remove(frames / 'extract_report.csv')
    done = extract(extracted.parent / 'videos', frames)
    assert done.returncode == 0, done.stderr
    assert tree_bytes(frames) == before


@pytest.mark.parametrize('flags, told', [
    (('--packed_root', 'packed', '--remove_loose'), True), (('--packed_root', 'packed'), False),
    (('--packed_root', 'frames/', '--remove_loose'), False), (('--remove_loose',), False)])
def test_packing_tells_when_lists_become_invalid(tmp_path, extracted, flags, told):
    shutil.copytree(extracted, tmp_path / 'frames')
    done = run('pack_frames', '--frame_root', 'frames', '--jobs', 1, *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ('write_csv.py --frame_root packed\n' in done.stdout) == ('are now invalid' in done.stdout) == told


def test_nothing_to_pack(tmp_path):
    assert 'no loose frame folder' in one_error_line(run('pack_frames', '--frame_root', tmp_path))
