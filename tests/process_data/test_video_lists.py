"""Lists of video files: their counts, in every kind of split, and what can't be used."""
import os

import numpy as np
import pytest

from process_data import write_csv
from tests.films import decoded, film, write_film
from tests.process_data.tiny_videos import cut, run
from tests.test_video import B_FRAMES, KINDS, write_kind
from utils.data.lists import VideoList
from utils.video.reader import VideoFile


def lines(path):
    return open(path).read().splitlines()


def write_lists(root, dataset, *flags):
    return run('write_csv', '--dataset', dataset, '--videos', root / 'videos', '--csv_root', root / 'csv', '--jobs', 2,
               *flags)


def write_ucf_splits(folder, names):
    folder.mkdir()
    (folder / 'trainlist01.txt').write_text(''.join(f'{name} 1\n' for name in names[:-1]))
    (folder / 'testlist01.txt').write_text(names[-1] + '\n')


def test_ucf101(tmp_path):
    """Counts of the files as they are, in the places of the split files; unusable files are named and left out."""
    names = [f'Archery/v_Archery_g{i:02d}_c01.avi' for i in range(1, 8)]
    counts = [12, 31, 8, 20]
    for name, count in zip(names, counts):
        write_film(tmp_path / 'videos' / name, film(count, seed=count), 'mpeg4', options={'bf': '2', 'b': '3000000'})
    write_film(tmp_path / 'videos' / names[4], film(40, 128, 96), 'mpeg4', options={'b': '3000000'})
    cut(tmp_path / 'videos' / names[4], 0.5)
    (tmp_path / 'videos' / names[5]).write_text('no video')
    write_film(tmp_path / 'videos' / names[6], film(9), 'mpeg4')
    write_film((tmp_path / 'videos' / names[6]).with_suffix('.mp4'), film(5))
    write_ucf_splits(tmp_path / 'splits', names)
    done = write_lists(tmp_path, 'ucf101', '--split_root', tmp_path / 'splits')
    assert done.returncode == 0, done.stderr
    short = len(decoded(tmp_path / 'videos' / names[4]))
    assert 5 < short < 35
    assert lines(tmp_path / 'csv/ucf101/train_split01.csv') == [
        f'{tmp_path}/videos/{name},{count},,{name[8:21]}' for name, count in zip(names, [*counts, short])]
    assert lines(tmp_path / 'csv/ucf101/test_split01.csv') == [f'{tmp_path}/videos/{names[6]},9,,v_Archery_g07']
    assert f'warning: {tmp_path}/videos/{names[5]}: no video that the decoder can read' in done.stderr
    assert f'{names[6][:-4]}.mp4: {names[6]} has the same name, left out' in done.stderr
    assert 'train_split01.csv: 5 videos, 1 missing' in done.stdout and 'counting frames: 100%' in done.stderr
    videos = VideoList.read_csv(str(tmp_path / 'csv/ucf101/train_split01.csv'))
    assert videos.class_name(0) == 'Archery'
    check = run('check_frames', '--dataset', 'ucf101', '--csv_root', tmp_path / 'csv', '--jobs', 1, '--decode', 'all')
    assert check.returncode == 0, check.stdout


def test_hmdb51_and_kinetics(tmp_path):
    for name in ('wave/a.avi', 'wave/b.avi'):
        write_film(tmp_path / 'videos' / name, film(7), 'mpeg4')
    for seed, name in enumerate(('riding a_bike/abc_000001_000011.mp4', 'riding a_bike/def.mp4')):
        write_film(tmp_path / 'videos' / name, film(6, seed=seed))
    (tmp_path / 'splits').mkdir()
    (tmp_path / 'splits/wave_test_split1.txt').write_text('a.avi 1\nb.avi 2\nc.avi 1\n')
    assert write_lists(tmp_path, 'hmdb51', '--split_root', tmp_path / 'splits').returncode == 0
    assert lines(tmp_path / 'csv/hmdb51/train_split01.csv') == [f'{tmp_path}/videos/wave/a.avi,7']
    (tmp_path / 'a.csv').write_text('label,youtube_id,time_start,time_end,split\nriding a bike,abc,1,11,train\n'
                                    'riding a bike,def,3,13,validate\n')
    assert write_lists(tmp_path, 'k400', '--annotations', tmp_path / 'a.csv', '--relative').returncode == 0
    assert lines(tmp_path / 'csv/k400/train_split.csv') == ['riding a_bike/abc_000001_000011.mp4,6']
    assert lines(tmp_path / 'csv/k400/val_split.csv') == ['riding a_bike/def.mp4,6']
    check = run('check_frames', '--dataset', 'k400', '--csv_root', tmp_path / 'csv', '--jobs', 1,
                '--frame_root', tmp_path / 'videos')
    assert check.returncode == 0, check.stdout


@pytest.mark.parametrize('labelled', [False, True])
def test_plain_folders(tmp_path, labelled):
    for i, name in enumerate('abcdefgh'):
        write_film(tmp_path / 'videos' / (f'class{i % 2}' if labelled else '') / f'{name}.mp4', film(3 + i))
    (tmp_path / 'videos/.hidden.mp4').touch()
    (tmp_path / 'videos/readme.txt').touch()
    done = write_lists(tmp_path, 'folder')
    assert done.returncode == 0, done.stderr
    train, test = (lines(tmp_path / f'csv/videos/{part}_split01.csv') for part in ('train', 'test'))
    assert len(test) == 2 and sorted(int(line.split(',')[1]) for line in train + test) == list(range(3, 11))
    assert os.path.exists(tmp_path / 'csv/videos/classInd.txt') == labelled


def test_every_kind_is_counted_as_decoded(tmp_path):
    """Also where the container's own number is wrong or missing."""
    for i, kind in enumerate(KINDS):
        write_kind(tmp_path / f'videos/v{i:02d}', kind, count=25)
    for name in ('a.mp4', 'a.mkv', 'a.ts', 'a.avi'):
        path = write_film(tmp_path / f'videos/cut in {name[2:]}' / name, film(40, 128, 96), options=B_FRAMES,
                          muxing={'movflags': 'faststart'} if name == 'a.mp4' else None)
        cut(path, 0.6)
    names = sorted(str(path.relative_to(tmp_path / 'videos')) for path in (tmp_path / 'videos').glob('*/*'))
    found = write_csv.index_videos(str(tmp_path / 'videos'), jobs=2)
    frames, files = ({folder: video[i] for folder, video in found.items()} for i in (1, 0))
    missing = {name for name in names if name not in files.values()}
    assert missing == {'v%02d/a.h264' % list(KINDS).index('no container')}     # an extension of no video
    for folder, name in files.items():
        with VideoFile(str(tmp_path / 'videos' / name)) as video:
            assert frames[folder] == sum(1 for _ in video.all_frames()), name
        if 'cut' not in name:
            assert frames[folder] == len(decoded(tmp_path / 'videos' / name)), name


def test_check_frames_finds_broken_files(tmp_path):
    good = write_film(tmp_path / 'c/good.mp4', film(9))
    bad = write_film(tmp_path / 'c/bad.mp4', film(4), matrix=8)
    (tmp_path / 'list.csv').write_text(f'{good},9\n{good[:-8]}none.mp4,3\n{bad},4\n')
    done = run('check_frames', '--csv', tmp_path / 'list.csv', '--jobs', 1, '--repair')
    assert done.returncode == 1 and 'missing folder: ' in done.stdout
    assert f'unreadable frames: {bad},4 (first bad.mp4: its pictures cannot be converted' in done.stdout
    assert lines(tmp_path / 'list.repaired.csv') == [f'{good},9']
    (tmp_path / 'list.csv').write_text(f'{good},12\n')
    done = run('check_frames', '--csv', tmp_path / 'list.csv', '--jobs', 1)
    assert done.returncode == 1 and f'fewer frames than listed: {good},12' in done.stdout


def test_mistakes_are_one_line(tmp_path):
    def error(*flags):
        done = run('write_csv', '--dataset', 'folder', '--csv_root', tmp_path / 'csv', *flags)
        assert done.returncode == 2 and done.stderr.count('error: ') == 1 and 'Traceback' not in done.stderr
        return done.stderr

    (tmp_path / 'empty').mkdir()
    assert 'no video in it; check --videos' in error('--videos', tmp_path / 'empty')
    assert 'no such folder; name an existing one with --videos' in error('--videos', tmp_path / 'none')
    assert 'not allowed with' in error('--videos', tmp_path, '--frame_root', tmp_path)
    assert '--frame_root or --videos is needed' in error()
    write_film(tmp_path / 'one/a.mp4', [np.zeros((48, 64, 3), np.uint8)])
    assert 'there must be two videos' in error('--videos', tmp_path / 'one')


def test_unusable_videos_are_counted(tmp_path, capsys):
    for i in range(15):
        (tmp_path / f'{i:02d}.mp4').write_text('no video')
    found = write_csv.index_videos(str(tmp_path), jobs=1)
    said = capsys.readouterr().err
    assert found == {} and said.count('no video that the decoder can read') == 10
    assert '15 videos in all cannot be used' in said
