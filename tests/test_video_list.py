"""csv lists: what survives, what is refused and with which words, and how a training list is split."""
import csv
import os
import pickle

import numpy as np
import pytest

from tests.numbered import write_videos
from utils.cli import UserError
from utils.data.lists import VideoList, check_on_disk, csv_file, fits, hold_out, labels_of, read_class_list


def write_csv(path, rows):
    with open(path, 'w', newline='', encoding='utf-8', errors='surrogateescape') as file:
        csv.writer(file).writerows(rows)
    return str(path)


def videos_of(*paths):
    return VideoList.from_rows(list(paths), [10] * len(paths))


def test_any_path_survives(tmp_path):
    paths = ['/data/a, b/"c"', '/data/naïve 滑雪/v', "/data/it's/-v", '/data/x/nan', '/data/x/007', '/data/byte\udcff/v',
             '/data/ends with space /v ']
    file = write_csv(tmp_path / 'list.csv', [(path, i + 1) for i, path in enumerate(paths)])
    videos = VideoList.read_csv(file)
    assert videos.paths() == paths == [videos.path(i) for i in range(len(videos))]
    assert videos.n_frames.tolist() == list(range(1, len(paths) + 1)) and videos.n_frames.dtype == np.int32
    assert videos.class_name(0) == 'a, b' and videos.class_name(1) == 'naïve 滑雪'
    assert pickle.loads(pickle.dumps(videos)).paths() == paths  # as a spawned worker gets it


def test_windows_line_ends_blank_lines_and_byte_order_mark(tmp_path):
    file = tmp_path / 'list.csv'
    file.write_bytes(b'\xef\xbb\xbf/data/a/v1,12\r\n\r\n/data/a/v2/,13\r\n')
    videos = VideoList.read_csv(str(file))
    assert videos.paths() == ['/data/a/v1', '/data/a/v2'] and videos.n_frames.tolist() == [12, 13]


def test_relative_paths(tmp_path):
    file = write_csv(tmp_path / 'list.csv', [('a/v1', 5), ('/else/b/v2', 6)])
    assert VideoList.read_csv(file, '/frames').paths() == ['/frames/a/v1', '/else/b/v2']
    with pytest.raises(UserError, match=r"list\.csv: path 'a/v1' is relative.*--frame_root"):
        VideoList.read_csv(file)


def test_select_shares_the_text():
    videos = videos_of('/d/a/v0', '/d/a/v1', '/d/b/v2')
    chosen = videos.select(np.array([2, 0]))
    assert chosen.paths() == ['/d/b/v2', '/d/a/v0'] and chosen.text is videos.text
    assert videos.select(np.array([False, True, False])).paths() == ['/d/a/v1']


@pytest.mark.parametrize('row', ['/d/a/v', '/d/a/v,', '/d/a/v,ten', '/d/a/v,10.5', '/d/a/v,0', '/d/a/v,-3', ',10',
                                 '/d/a,b/v,10', '/d/a/v,10,11,12', 'path,n_frames', '/d/a/v,99999999999', '"/d/a/v,10'])
@pytest.mark.parametrize('place', [1, 3])
def test_bad_rows_are_named(tmp_path, row, place):
    lines = ['/d/a/v1,10', '/d/a/v2,20', '/d/a/v3,30']
    lines.insert(place - 1, row)
    file = tmp_path / 'list.csv'
    file.write_text('\n'.join(lines) + '\n')
    with pytest.raises(UserError) as error:
        VideoList.read_csv(str(file))
    message = str(error.value)
    if row.startswith('"'):  # an open quote swallows the lines after it
        assert message.startswith(f'{file}:4: ')
    else:
        assert message == f'{file}:{place}: expected "path,n_frames" with n_frames above 0, got {row!r}'


@pytest.mark.parametrize('content', [None, b'', b'\n\n'])
def test_missing_and_empty_files(tmp_path, content):
    file = tmp_path / 'list.csv'
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r'list\.csv: (no such file|empty).*write_csv\.py'):
        VideoList.read_csv(str(file))


def test_csv_file(tmp_path):
    for name in ('ucf101/train_split01.csv', 'ucf101/test_split03.csv', 'k400_150/train_split.csv',
                 'k400_150/val_split.csv', 'k400_256/train_split.csv', 'mine/test_split.csv'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def found(*args):
        return os.path.relpath(csv_file(str(tmp_path), *args), tmp_path)

    assert found('ucf101', 1, 'train', 128) == 'ucf101/train_split01.csv'
    assert found('ucf101', 3, 'test', 128) == 'ucf101/test_split03.csv'
    assert found('ucf101', 2, 'test', 128) == 'ucf101/test_split02.csv'  # isn't there: read_csv says so
    assert found('k400', 1, 'train', 140) == 'k400_150/train_split.csv'
    assert found('k400', 1, 'train', 141) == 'k400_256/train_split.csv'
    assert found('k400', 1, 'test', 128) == 'k400_150/val_split.csv'
    assert found('mine', 1, 'test', 128) == 'mine/test_split.csv'
    with pytest.raises(UserError, match=r'hmdb51: no such data set \(there are: k400_150, k400_256, mine, ucf101\)'):
        csv_file(str(tmp_path), 'hmdb51', 1, 'train', 128)
    with pytest.raises(UserError, match='there are: none'):
        csv_file(str(tmp_path / 'nowhere'), 'k400', 1, 'train', 128)


def test_plain_k400_folder(tmp_path):
    (tmp_path / 'k400').mkdir()
    (tmp_path / 'k400' / 'train_split.csv').touch()
    assert csv_file(str(tmp_path), 'k400', 1, 'train', 224) == str(tmp_path / 'k400' / 'train_split.csv')


@pytest.mark.parametrize('text', ['1 ApplyMakeup\n2 Archery\n3 riding a bike\n',
                                  '0,ApplyMakeup\n1,Archery\n2,riding a bike\n',
                                  '2 Archery\r\n1 ApplyMakeup\r\n\r\n3 riding a bike\r\n'])
def test_class_list_and_labels(tmp_path, text):
    (tmp_path / 'classInd.txt').write_bytes(text.encode())
    names = read_class_list(str(tmp_path))
    assert names == ['ApplyMakeup', 'Archery', 'riding a bike']
    videos = videos_of('/d/riding_a_bike/v', '/d/ApplyMakeup/v', '/d/riding a bike/w')
    labels = labels_of(videos, names)
    assert labels.tolist() == [2, 0, 2] and labels.dtype == np.int64
    with pytest.raises(UserError, match="/d/Swim/v: its class 'Swim' is not in classInd.txt"):
        labels_of(videos_of('/d/Archery/v', '/d/Swim/v'), names)


def test_class_list_errors(tmp_path):
    with pytest.raises(UserError, match=r'classInd\.txt: no such file.*write_csv\.py'):
        read_class_list(str(tmp_path))
    (tmp_path / 'classInd.txt').write_text('1 Archery\nSwim\n')
    with pytest.raises(UserError, match=r"classInd\.txt:2: .*'Swim'"):
        read_class_list(str(tmp_path))


def test_fits():
    videos = VideoList.from_rows(['/d/a/1', '/d/a/2', '/d/a/3'], [119, 120, 121])
    assert fits(videos, 120).tolist() == [False, True, True]


def test_hold_out_keeps_groups_together():
    paths = [f'/d/{name}/v_{name}_g{group:02d}_c{clip:02d}'
             for name in ('Archery', 'Swim') for group in range(8, 26) for clip in range(1, 5)]
    videos = videos_of(*np.random.default_rng(0).permutation(paths).tolist())
    train, held = hold_out(videos, 0.1, seed=1)
    assert np.array_equal(np.sort(np.concatenate([train, held])), np.arange(len(videos)))

    def groups(rows):
        return {videos.path(i).rsplit('_c', 1)[0] for i in rows}

    assert not groups(train) & groups(held)
    # 2 of the 18 groups of each class, the same in both
    assert sorted(groups(held)) == [f'/d/{name}/v_{name}_g{number}' for name in ('Archery', 'Swim')
                                    for number in sorted({group[-2:] for group in groups(held)})]
    assert len(groups(held)) == 4
    assert np.array_equal(hold_out(videos, 0.1, seed=1)[1], held)
    assert not np.array_equal(hold_out(videos, 0.1, seed=2)[1], held)


def test_hold_out_by_video_leaves_each_class_some():
    videos = videos_of('/d/a/v1', '/d/a/v2', '/d/b/only', *(f'/d/c/v{i}' for i in range(10)))
    train, held = hold_out(videos, 0.9, seed=0)
    assert {videos.class_name(i) for i in train} == {'a', 'b', 'c'}
    assert [sum(videos.class_name(i) == name for i in held) for name in 'abc'] == [1, 0, 9]
    with pytest.raises(UserError, match='--val_on test'):
        hold_out(videos_of('/d/a/v1', '/d/b/v2'), 0.5, seed=0)


def test_check_on_disk(tmp_path):
    videos = write_videos(tmp_path, [5, 6, 7])
    check_on_disk(videos)
    with pytest.raises(UserError, match=r'video01: the csv lists 8 frames.*check_frames\.py'):
        check_on_disk(VideoList.from_rows(videos.paths(), [5, 8, 7]))
    with pytest.raises(UserError, match=r'elsewhere: no such frame folder.*write_csv\.py'):
        check_on_disk(VideoList.from_rows([*videos.paths(), '/d/a/elsewhere'], [5, 6, 7, 5]))
