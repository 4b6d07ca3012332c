"""csv lists: what survives, what is refused and with which words, and how a training list is split."""
import csv
import multiprocessing
import os
import pickle

import numpy as np
import pytest

from tests.numbered import write_videos
from utils.cli import UserError
from utils.data.classes import labels_of, read_class_list
from utils.data.held_out import hold_out
from utils.data.lists import VideoList, check_on_disk, csv_file, is_kinetics, list_folder
from utils.data.splits import fits, train_and_validation


def write_csv(path, rows):
    with open(path, 'w', newline='', encoding='utf-8', errors='surrogateescape') as file:
        csv.writer(file).writerows(rows)
    return str(path)


def videos_of(*paths):
    return VideoList.from_rows(list(paths), [10] * len(paths))


def test_any_path_survives(tmp_path):
    paths = ['/data/a, b/"c"', '/data/naïve 滑雪/v', "/data/it's/-v", '/data/x/nan', '/data/x/007',
             '/data/byte\udcff/v', '/data/ends with space /v ']
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


def test_select():
    videos = videos_of('/d/a/v0', '/d/a/v1', '/d/b/a longer name')
    chosen = videos.select(np.array([2, 0]))
    assert chosen.paths() == ['/d/b/a longer name', '/d/a/v0']
    assert videos.select(np.array([False, True, False])).paths() == ['/d/a/v1']
    assert videos.select(np.array([], int)).paths() == [] and videos_of().paths() == []


def test_no_object_for_each_row():
    """Only arrays, which forked workers share: the rest doesn't grow with the list."""
    short, long = videos_of('/d/a/v'), videos_of(*(f'/d/a/v{i:04d}' for i in range(1000)))
    for videos in (short, long):
        held = list(vars(videos).values())
        arrays = [value for value in held if isinstance(value, np.ndarray)]
        assert sorted(array.dtype.kind for array in arrays) == ['S', 'S', 'i']
        assert all(value is None for value in held if not isinstance(value, np.ndarray))
    assert long.encoded.nbytes == 1000 * len('/d/a/v0000') and long.n_frames.nbytes == 4000


def test_a_forked_worker_reads_the_same_list():
    videos = videos_of('/d/naïve/v', '/d/b/byte\udcff')
    context = multiprocessing.get_context('fork')
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=lambda: sender.send((videos.paths(), videos.path(1), videos.class_name(0))))
    worker.start()
    assert receiver.recv() == (['/d/naïve/v', '/d/b/byte\udcff'], '/d/b/byte\udcff', 'naïve')
    worker.join()


@pytest.mark.parametrize('row', ['/d/a/v', '/d/a/v,', '/d/a/v,ten', '/d/a/v,10.5', '/d/a/v,0', '/d/a/v,-3', ',10',
                                 '/d/a,b/v,10', '/d/a/v,10,11,12,13', 'path,n_frames', '/d/a/v,99999999999', '"/d/a/v,10'])
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
        assert message == (f'{file}:{place}: expected "path,n_frames[,label[,group]]", with n_frames from 1 to '
                           f'10000000, got {row!r}')


def one_line(call, *args):
    """The UserError that a call ends in: one line, and not a long one."""
    with pytest.raises(UserError) as error:
        call(*args)
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 600
    return str(error.value)


@pytest.mark.parametrize('row', [
    b'/d/a/v\0,10', b'/d/a\0b/v,10', b'/d/a/v,10000001', b'/d/a/v,2147483647', b'/d/a/v,' + b'9' * 5000, b'/,10',
    b'//,10', b'/d/a/..,10', b'/d/a/.,10', b'.,10', b'..,10', b'/d/' + b'a' * 5000 + b',10',
    b'/d/' + b'a/' * 3000 + b'v,10', '/d/{}/v,10'.format('滑' * 1400).encode(), b'x' * 200_000,
    b'/d/a/' + b'x' * 200_000 + b',10', b'\xff\xd8\xff\xe0', b'"/d/a\nb/v",10', b'/d/a/v,10,' + b'11,' * 3000])
def test_a_row_far_behind_the_first(tmp_path, row):
    """Every row is looked at: the line is named and quoted in short, not the one before."""
    lines = [b'/d/a/video%03d,10' % i for i in range(100)]
    lines.insert(90, row)
    file = tmp_path / 'list.csv'
    file.write_bytes(b'\n'.join(lines) + b'\n')
    message = one_line(VideoList.read_csv, str(file))
    number = 92 if b'\n' in row else 91
    assert message.startswith(f'{file}:{number}: ') and 'video0' not in message
    quoted = row.decode(errors='surrogateescape').strip('"').partition(',')[0][:3]
    assert repr(quoted)[1:-1] in message


def test_the_longest_paths_and_counts(tmp_path):
    longest = '/d/' + 'a' * 200 + '/' + 'b' * (4096 - 204)
    file = write_csv(tmp_path / 'list.csv', [(longest, 10_000_000), ('/d/滑/v', 1)])
    videos = VideoList.read_csv(file)
    assert videos.paths() == [longest, '/d/滑/v'] and videos.n_frames.tolist() == [10_000_000, 1]


def test_a_csv_that_is_none(tmp_path):
    """A file without line ends isn't read whole to say so."""
    file = tmp_path / 'list.csv'
    with open(file, 'wb') as sparse:
        sparse.truncate(2 ** 36)
    assert one_line(VideoList.read_csv, str(file)).startswith(f'{file}:1: ')
    assert f'{file}:' in one_line(read_rows_of_quotes, file)


def read_rows_of_quotes(file):
    """A quote in the first line that is never closed, before many more lines."""
    file.unlink()
    file.write_text('"' + '/d/a/video,10\n' * 20_000)
    VideoList.read_csv(str(file))


@pytest.mark.parametrize('content', [None, b'', b'\n\n'])
def test_missing_and_empty_files(tmp_path, content):
    file = tmp_path / 'list.csv'
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r'list\.csv: (no such file|empty).*write_csv\.py'):
        VideoList.read_csv(str(file))


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_csv_file(tmp_path):
    touch(tmp_path, 'ucf101/train_split01.csv', 'ucf101/test_split03.csv', 'k400_150/train_split.csv',
          'k400_150/val_split.csv', 'k400_256/train_split.csv', 'mine/test_split.csv')

    def found(dataset, split, subset, img_dim):
        return os.path.relpath(csv_file(list_folder(tmp_path, dataset, img_dim), split, subset), tmp_path)

    assert found('ucf101', 1, 'train', 128) == 'ucf101/train_split01.csv'
    assert found('ucf101', 3, 'test', 128) == 'ucf101/test_split03.csv'
    assert found('ucf101', 2, 'test', 128) == 'ucf101/test_split02.csv'  # isn't there: read_csv says so
    assert found('k400', 1, 'train', 140) == 'k400_150/train_split.csv'
    assert found('k400', 1, 'train', 141) == 'k400_256/train_split.csv'
    assert found('k400', 1, 'test', 128) == 'k400_150/val_split.csv'
    assert found('mine', 1, 'test', 128) == 'mine/test_split.csv'
    with pytest.raises(UserError, match=r'hmdb51: no such data set \(there are: k400_150, k400_256, mine, ucf101\)'):
        list_folder(str(tmp_path), 'hmdb51', 128)
    with pytest.raises(UserError, match='there are: none'):
        list_folder(str(tmp_path / 'nowhere'), 'k400', 128)


@pytest.mark.parametrize('folders,img_dim,wanted', [
    (['kinetics400', 'kinetics400_256'], 128, 'kinetics400'),
    (['kinetics400', 'kinetics400_256'], 224, 'kinetics400_256'),
    (['k400'], 128, 'k400'), (['k400'], 224, 'k400'), (['k400_150', 'kinetics400', 'k400'], 128, 'k400_150'),
    (['k400_256', 'kinetics400_256'], 224, 'k400_256'), (['kinetics400'], 224, None), (['k400_256'], 128, None)])
def test_folders_of_kinetics(tmp_path, folders, img_dim, wanted):
    """By the size of their frames, under our names and the published ones; `k400` alone serves both sizes."""
    touch(tmp_path, *(f'{folder}/train_split.csv' for folder in folders))
    if wanted is None:
        assert folders[0] in one_line(list_folder, tmp_path, 'k400', img_dim)
    else:
        assert list_folder(tmp_path, 'k400', img_dim) == str(tmp_path / wanted)


def test_a_data_set_given_by_its_path(tmp_path):
    touch(tmp_path, 'elsewhere/lists/train_split01.csv')
    folder = tmp_path / 'elsewhere' / 'lists'
    assert csv_file(list_folder(tmp_path / 'csv', str(folder), 128), 1, 'train') == str(folder / 'train_split01.csv')
    assert str(tmp_path / 'nowhere') in one_line(list_folder, tmp_path, str(tmp_path / 'nowhere'), 128)


@pytest.mark.parametrize('name,kinetics', [
    ('k400', True), ('k400_150', True), ('k400_256', True), ('kinetics400', True), ('kinetics400_256', True),
    ('kinetics-400', True), ('k600', True), ('/data/lists/kinetics400_256/', True), ('K400', True), ('ucf101', False),
    ('hmdb51', False), ('demo', False), ('/data/k400/ucf101', False), ('k4000', False), ('mykinetics', False)])
def test_which_data_sets_are_kinetics(name, kinetics):
    assert is_kinetics(name) == kinetics


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


@pytest.mark.parametrize('text,said', [
    ('1 Archery\n2 YoYo\n\n3 Archery\n', [":4: the class 'Archery' is on line 1"]),
    ('0,riding_a_bike\n1,riding a bike\n', [":2: the class 'riding a bike' is on line 1"]),
    ('1 Archery\n2 YoYo\n1 Swim\n', [":3: the id '1' is on line 1"]),
    ('1 Archery\n01 Swim\n', [":2: the id '1' is on line 1"]),
    ('1 Archery\n2 Caf\u00e9\n'.encode('latin-1'), ['not in UTF-8', 'iconv']),
    ('1 Archery\n' + '9' * 5000 + ' YoYo\n', [':2: expected "id name"']),
    ('1 Archery\n' + '9' * 10 + ' YoYo\n', [':2: expected "id name"']),
    ('\u0661 Archery\n', [':1: expected']),
    ('1 ' + 'a' * 200_000 + '\n', [':1: a line of']),
    (''.join(f'{i} class {i}\n' for i in range(10_001)), ['more than 10000 classes']),
    ('\0' * 100, [':1: expected']), (b'\x89PNG\r\n\x1a\n\0\0\0', ['not in UTF-8'])])
def test_class_lists_that_are_none(tmp_path, text, said):
    (tmp_path / 'classInd.txt').write_bytes(text if isinstance(text, bytes) else text.encode())
    message = one_line(read_class_list, str(tmp_path))
    assert str(tmp_path / 'classInd.txt') in message and all(words in message for words in said), message


def test_a_class_list_of_the_largest_size(tmp_path):
    names = [f'class {i}' for i in range(10_000)]
    (tmp_path / 'classInd.txt').write_text(''.join(f'{i} {name}\n' for i, name in enumerate(names)))
    assert read_class_list(str(tmp_path)) == names


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


def test_hold_out_of_one_folder_with_labels():
    """Groups of UCF101's names in no class folders are told apart by the class in the name."""
    names = [name for name in ('Archery', 'Swim', 'Yo') for _ in range(20)]
    paths = [f'/d/v_{name}_g{i % 20 // 2:02d}_c0{i % 2}' for i, name in enumerate(names)]
    videos = VideoList.from_rows(paths, [50] * 60, label=names)
    _, held = hold_out(videos, 0.2, seed=0)
    groups = {videos.path(i).rsplit('_c', 1)[0].removeprefix('/d/v_') for i in held}
    numbers = {group[-2:] for group in groups}
    assert len(numbers) == 2 and groups == {f'{name}_g{number}' for name in set(names) for number in numbers}


def test_hold_out_by_video_leaves_each_class_some():
    videos = videos_of('/d/a/v1', '/d/a/v2', '/d/b/only', *(f'/d/c/v{i}' for i in range(10)))
    train, held = hold_out(videos, 0.9, seed=0)
    assert {videos.class_name(i) for i in train} == {'a', 'b', 'c'}
    assert [sum(videos.class_name(i) == name for i in held) for name in 'abc'] == [1, 0, 9]
    with pytest.raises(UserError, match='--val_on test'):
        hold_out(videos_of('/d/a/v1', '/d/b/v2'), 0.5, seed=0)


@pytest.mark.parametrize('paths,said', [
    ([f'/d/Archery/v_Archery_g01_c{i:02d}' for i in range(1, 7)], 'of one group'),
    ([f'/d/{name}/v_{name}_g0{k}_c0{i}' for k, name in enumerate(('Archery', 'Swim')) for i in (1, 2, 3)],
     'of one group'),
    (['/d/a/v1', '/d/b/v2'], 'no class has more than one video'), (['/d/a/v1'], 'no class has more than one video')])
def test_why_nothing_can_be_held_out(paths, said):
    """Six clips of one recording are more than one video, but stay together."""
    message = one_line(hold_out, videos_of(*paths), 0.5, 0)
    assert said in message and '--val_on test' in message and f'{len(paths)} videos' in message
    assert ('no class has more' in message) == (said != 'of one group')


def test_videos_without_class_folders(tmp_path):
    """Pretraining needs no labels: a flat list is held out from as one class, and only labels ask for more."""
    file = tmp_path / 'lists' / 'train_split.csv'
    file.parent.mkdir()
    write_csv(file, [(f'video {i:02d}', 20) for i in range(20)])
    for root in (str(tmp_path / 'frames'), '/'):
        train, held = train_and_validation(str(file.parent), 1, root, 'train', 0.1, seed=0)
        assert len(train) == 18 and len(held) == 2 and not set(train.paths()) & set(held.paths())
        message = one_line(labels_of, train, ['Archery', 'YoYo'])
        assert 'not in classInd.txt' in message and train.path(0) in message


def test_check_on_disk(tmp_path):
    videos = write_videos(tmp_path, [5, 6, 7])
    check_on_disk(videos)
    with pytest.raises(UserError, match=r'video01: the csv lists 8 frames.*check_frames\.py'):
        check_on_disk(VideoList.from_rows(videos.paths(), [5, 8, 7]))
    with pytest.raises(UserError, match=r'elsewhere: no such frame folder.*write_csv\.py'):
        check_on_disk(VideoList.from_rows([*videos.paths(), '/d/a/elsewhere'], [5, 6, 7, 5]))
