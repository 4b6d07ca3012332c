"""Lists from csv files of path,label[,split], as a user writes them."""
import csv
import os

import pytest

from process_data import write_csv
from process_data.annotations import csv_lists
from process_data.dataset_kinds import Given
from tests.process_data.tiny_videos import run, write_video
from utils.cli import UserError
from utils.data.classes import labels_of, read_class_list
from utils.data.lists import VideoList
from utils.data.random_split import random_split

COUNTS = {'a/1.mp4': 3, 'a/2.mp4': 4, 'b/3.avi': 5, 'four.mp4': 6, 'b/five.v2.mp4': 7, 'six.mp4': 8}


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """A folder of video files in no class folders that would name their classes."""
    root = tmp_path_factory.mktemp('csv') / 'mine'
    for name, count in COUNTS.items():
        write_video(root / name, n_frames=count)
    return root


def write_annotations(path, *rows):
    path.write_text('\n'.join(rows) + '\n', encoding='utf-8')
    return path


def write_lists(videos, tmp_path, *rows, flags=()):
    labels = write_annotations(tmp_path / 'labels.csv', *rows)
    return run('write_csv', '--dataset', 'csv', '--videos', videos, '--csv_root', tmp_path / 'lists', '--jobs', 1,
               '--annotations', labels, *flags)


def rows_of(tmp_path, subset, name='mine'):
    with open(tmp_path / 'lists' / name / f'{subset}_split01.csv', newline='', encoding='utf-8') as file:
        return list(csv.reader(file))


def test_a_csv_with_a_split(videos, tmp_path):
    """With and without extension; quoted names, commas, unicode; videos of val are tested on, missing ones listed."""
    done = write_lists(videos, tmp_path, 'split,path,label', 'train,a/1.mp4,"jump, high"', 'train,./a/2,走る',
                       f'val,{videos}/b/3.avi,"say ""hi"""', ' Train ,four, jump over it ', 'validation,b/five.v2,走る',
                       'train,seven.mp4,走る', 'train,a/eight,only missing')
    assert done.returncode == 0, done.stderr
    assert rows_of(tmp_path, 'train') == [[f'{videos}/a/1.mp4', '3', 'jump, high'], [f'{videos}/a/2.mp4', '4', '走る'],
                                          [f'{videos}/four.mp4', '6', 'jump over it']]
    assert rows_of(tmp_path, 'test') == [[f'{videos}/b/3.avi', '5', 'say "hi"'],
                                         [f'{videos}/b/five.v2.mp4', '7', '走る']]
    assert 'train_split01.csv: 3 videos, 2 missing\n  missing: seven\n  missing: a/eight\n' in done.stdout
    assert 'several labels' not in done.stdout
    names = read_class_list(tmp_path / 'lists/mine')
    assert names == ['jump over it', 'jump, high', 'only missing', 'say "hi"', '走る']
    train = VideoList.read_csv(str(tmp_path / 'lists/mine/train_split01.csv'))
    assert labels_of(train, names).tolist() == [1, 4, 0] and not train.has_several_labels()
    assert train.select([2, 1]).classes() == [('jump over it',), ('走る',)]


def test_several_labels(videos, tmp_path):
    done = write_lists(videos, tmp_path, 'path,label,split', 'a/1,run;jump; fall,train', 'a/2,run,train',
                       'b/3,fall,test', 'six,jump;run,test', flags=['--relative', '--name', 'several'])
    assert done.returncode == 0, done.stderr
    assert '2 videos have several labels (first a/1: run;jump;fall); if that is wrong, no class name' in done.stdout
    assert rows_of(tmp_path, 'train', 'several') == [['a/1.mp4', '3', 'run;jump;fall'], ['a/2.mp4', '4', 'run']]
    names = read_class_list(tmp_path / 'lists/several')
    assert names == ['fall', 'jump', 'run']
    test = VideoList.read_csv(str(tmp_path / 'lists/several/test_split01.csv'), str(videos))
    assert test.has_several_labels() and test.classes() == [('fall',), ('jump', 'run')]
    assert labels_of(test, names, multi_label=True).tolist() == [[True, False, False], [False, True, True]]
    with pytest.raises(UserError, match="six.mp4 has several labels, 'jump; run': here a video can have one only"):
        labels_of(test, names)
    check = run('check_frames', '--dataset', 'several', '--csv_root', tmp_path / 'lists', '--jobs', 1,
                '--frame_root', videos)
    assert check.returncode == 0, check.stdout


def test_frame_folders(tmp_path):
    """Frames extracted from the videos, in no class folders; a repaired list keeps its labels."""
    for i in range(4):
        for frame in range(1, 4 + i):
            path = tmp_path / f'frames/v{i}.x/image_{frame:05d}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b'')
    labels = write_annotations(tmp_path / 'labels.csv', 'path,label', 'v0.x,p', 'v1.x.mp4,q', 'v2.x,q', 'v3.x.webm,p')
    done = run('write_csv', '--dataset', 'csv', '--frame_root', tmp_path / 'frames', '--csv_root', tmp_path / 'lists',
               '--annotations', labels)
    assert done.returncode == 0, done.stderr
    listed = sorted(rows_of(tmp_path, 'train', 'frames') + rows_of(tmp_path, 'test', 'frames'))
    assert listed == [[f'{tmp_path}/frames/v{i}.x', str(3 + i), label] for i, label in enumerate('pqqp')]
    assert {row[2] for row in rows_of(tmp_path, 'test', 'frames')} == {'p', 'q'}
    path = tmp_path / 'lists/frames/train_split01.csv'
    path.write_text(path.read_text() + '/gone/v,3,p\n')
    run('check_frames', '--csv', path, '--jobs', 1, '--decode', 'none', '--repair')
    with open(tmp_path / 'lists/frames/train_split01.repaired.csv', newline='') as file:
        assert list(csv.reader(file)) == rows_of(tmp_path, 'train', 'frames')[:-1]


def test_a_random_split_is_that_of_class_folders(tmp_path):
    """Without the column split: stratified by class, whole groups, also where videos are missing. Of several labels the
    first counts."""
    names = [f'{c}/v{i:02d}_part{part}' for c in 'abc' for i in range(9) for part in range(1 + i % 2)]
    expected = {True: random_split({name: name.rpartition('_')[0] for name in names}, 0.3, 7),
                False: random_split(dict.fromkeys(names, ''), 0.3, 7)}
    folder_of = {name: name.replace('/', '_') for name in names}            # a flat folder, with names that sort alike
    rows = [f'{folder_of[name]}.mp4,a;c' if name[0] == 'a' else f'{folder_of[name]},{name[0]}' for name in names]
    labels = write_annotations(tmp_path / 'labels.csv', 'path,label', *rows)
    there = list(folder_of.values())[5:]
    for grouped, (lists, class_names) in expected.items():
        regex = r'^(.*)_part' if grouped else None
        found, found_names, of_folder, _ = csv_lists(
            Given(str(tmp_path), lambda: there, None, [str(labels)], 0.3, regex, 7))
        assert found == {name: sorted(folder_of[folder] for folder in folders) for name, folders in lists.items()}
        assert found_names == class_names == ['a', 'b', 'c'] and of_folder['a_v03_part1'] == 'a;c'


@pytest.mark.parametrize('rows, said', [
    (['video,label', 'a/1,x'], 'labels.csv: its first line must name the columns path,label, and maybe split and '
                               "group, not 'video,label'"),
    (['path,split', 'a/1,train'], "split and group, not 'path,split'"),
    (['path,label,subset', 'a/1,x,train'], "not 'path,label,subset'"),
    (['path,label,label', 'a/1,x,y'], "not 'path,label,label'"),
    (['a/1,x'], "not 'a/1,x'"),
    ([''], "not ''"),
    (['path,label'], 'names no video'),
    (['path,label', 'a/1,x', 'a/2'], 'labels.csv:3: 1 columns, not 2'),
    (['path,label', 'a/1,jump, high'], 'labels.csv:2: 3 columns, not 2; put names with a comma in quotes'),
    (['path,label', 'a/1,"x'], 'not a csv file'),
    (['path,label', 'a/1,x', 'a/2,y', './a/1.mp4,y'], "labels.csv:4: './a/1.mp4' is in "),
    (['path,label', 'gone,x', 'gone.mp4,x'], "labels.csv:3: 'gone.mp4' is in "),
    (['path,label', '../a/1,x'], "labels.csv:2: '../a/1' is no video below "),
    (['path,label', '/elsewhere/a/1.mp4,x'], "'/elsewhere/a/1.mp4' is no video below "),
    (['path,label', ',x'], "labels.csv:2: '' is no video below"),
    (['path,label', 'a/1,'], "labels.csv:2: '' is no label"),
    (['path,label', 'a/1,x;'], "labels.csv:2: 'x;' is no label; give the name of a class in one line, or several "
                               "separated by ';' (which no name may have in it)"),
    (['path,label', 'a/1,x; ;y'], "'x; ;y' is no label"),
    (['path,label', 'a/1,x;y;x'], "'x;y;x' has a label twice"),
    (['path,label', 'a/1,"two', 'lines"'], "'two\\nlines' is no label"),
    (['path,label', 'a/1,x\u2028y'], "'x\\u2028y' is no label"),
    (['path,label', 'a/1,run fast', 'a/2,run_fast'], "labels.csv:3: 'run_fast' is the same class as 'run fast' in "),
    (['path,label,split', 'a/1,x,train', 'a/2,x,later'], "labels.csv:3: 'later' is no split; write train, val or test"),
    (['path,label,split', 'a/1,x,train', 'a/2,x,train'], 'no row has the split test (or val)'),
    (['path,label,split', 'a/1,x,test', 'a/2,x,test'], 'no row has the split train'),
    (['path,label,split', 'a/1,x,train', 'a/2,x,val', 'six,x,test'], 'csv:3: there are videos for val and for test'),
    (['path,label', 'a/1,x', 'a/2,y'], 'test_split01: no video belongs to it; some class must have two videos'),
    (['path,label,split', 'nothing,x,train', 'a/2,x,test'], 'none of the 1 videos of train_split01 is there')])
def test_bad_annotations(videos, tmp_path, rows, said):
    labels = write_annotations(tmp_path / 'labels.csv', *rows)
    args = write_csv.parse_args(['--dataset', 'csv', '--videos', str(videos), '--csv_root', str(tmp_path / 'lists'),
                                 '--jobs', '1', '--annotations', str(labels)])
    with pytest.raises(UserError) as error:
        write_csv.main(args)
    assert said in str(error.value) and len(str(error.value).splitlines()) == 1
    assert not (tmp_path / 'lists').exists()


def test_a_mistake_ends_in_one_line(videos, tmp_path):
    done = write_lists(videos, tmp_path, 'path,label', 'a/1,x', 'a/1.mp4,y')
    lines = [line for line in done.stderr.splitlines() if not line.startswith(('warning', 'counting')) and line]
    assert done.returncode == 2 and len(lines) == 1, done.stderr
    assert lines[0] == (f"error: {tmp_path}/labels.csv:3: 'a/1.mp4' is in {tmp_path}/labels.csv:2 already; give a "
                        "video one row, several labels separated by ';'")


def test_annotations_that_cannot_be_read(videos, tmp_path):
    first, second = tmp_path / 'first.csv', tmp_path / 'second.csv'
    write_annotations(first, 'path,label', 'a/1,x', 'a/2,x')
    for content, said in ((b'path,label\nsix,Caf\xe9\n', 'second.csv:2: not in UTF-8'),
                          (b'path,label,split\nsix,x,test\n', 'second.csv: has the columns path,label,split, but '),
                          (b'path,label\na/2.mp4,x\n', f"second.csv:2: 'a/2.mp4' is in {first}:3 already")):
        second.write_bytes(content)
        with pytest.raises(UserError) as error:
            csv_lists(Given(str(videos), lambda: ['a/1', 'a/2', 'six'], annotations=[str(first), str(second)]))
        assert said in str(error.value)
    with pytest.raises(UserError, match=r'none.csv: cannot be read \(No such file or directory\)'):
        csv_lists(Given(str(videos), list, annotations=[str(tmp_path / 'none.csv')]))
    done = run('write_csv', '--dataset', 'csv', '--videos', videos)
    assert done.returncode == 2 and '--annotations is needed for csv' in done.stderr
    done = run('write_csv', '--dataset', 'folder', '--videos', videos, '--annotations', first)
    assert done.returncode == 2 and '--dataset folder has no --annotations' in done.stderr


@pytest.mark.parametrize('dataset', ['csv', 'k400'])
def test_annotations_are_read_before_frames_are_counted(dataset, videos, tmp_path, monkeypatch):
    monkeypatch.setattr(write_csv, 'index_videos', None)
    labels = write_annotations(tmp_path / 'labels.csv', 'file,class', 'six,x')
    args = write_csv.parse_args(['--dataset', dataset, '--videos', str(videos), '--annotations', str(labels)])
    with pytest.raises(UserError, match='labels.csv: its first line must name the columns'):
        write_csv.main(args)


def test_a_missing_video_is_not_another_one(tmp_path):
    """What follows the last dot of a name is an extension only if it is that of a video."""
    for name in ('s01.avi', 's01.2.avi', 'other.avi'):
        write_video(tmp_path / 'mine' / name, n_frames=3)
    done = write_lists(tmp_path / 'mine', tmp_path, 'path,label,split', 's01.1,b,train', 's01.2,a,train', 's01,b,train',
                       'other,a,test')
    assert done.returncode == 0 and 'missing: s01.1\n' in done.stdout, done.stderr
    assert [os.path.basename(row[0]) for row in rows_of(tmp_path, 'train')] == ['s01.2.avi', 's01.avi']


def test_several_annotation_files_are_one(videos, tmp_path):
    first = write_annotations(tmp_path / 'first.csv', 'path,label,split', 'a/1,x,train')
    second = write_annotations(tmp_path / 'second.csv', 'path,label', 'a/2,y')
    given = Given(str(videos), lambda: ['a/1', 'a/2'], annotations=[str(first), str(second)])
    with pytest.raises(UserError, match='give all files the same'):
        csv_lists(given)
    write_annotations(second, 'label,split,path', 'y,test,a/2')     # in another order
    lists, names, *_ = csv_lists(given)
    assert lists == {'train_split01': ['a/1'], 'test_split01': ['a/2']} and names == ['x', 'y']


# ---- what reads the lists

def test_lists_of_two_columns_mean_what_they_meant(tmp_path):
    path = tmp_path / 'list.csv'
    path.write_text('/d/jump_high/v1,10\n/d/run;fast/v2,20\n')
    videos = VideoList.read_csv(str(path))
    assert videos.label is None and not videos.has_several_labels()
    assert videos.classes() == [('jump_high',), ('run;fast',)] and videos.class_name(1) == 'run;fast'
    assert labels_of(videos, ['run;fast', 'jump high']).tolist() == [1, 0]


@pytest.mark.parametrize('rows, said', [
    (['/d/a/1,10,x', '/d/a/2,10'], ':2: 2 columns, but 3 in the rows before: give all rows a label, or none'),
    (['/d/a/1,10', '/d/a/2,10,x'], ':2: 3 columns, but 2 in the rows before'),
    (['/d/a/1,10,x', '/d/a/2,10,'], ":2: '' is no label"),
    (['/d/a/1,10,x;;y'], ":1: 'x;;y' is no label"),
    (['/d/a/1,10,x,y,z'], ':1: expected "path,n_frames[,label[,group]]"'),
    (['/d/a/1,10,x,y', '/d/a/2,10,x'], ':2: 3 columns, but 4 in the rows before: give all rows a group, or none'),
    (['/d/a/1,10,x,y', '/d/a/2,10,,y'], ':2: give all rows a label, or none')])
def test_labels_that_cannot_be_read(tmp_path, rows, said):
    path = tmp_path / 'list.csv'
    path.write_text('\n'.join(rows) + '\n')
    with pytest.raises(UserError) as error:
        VideoList.read_csv(str(path))
    assert str(error.value).startswith(str(path)) and said in str(error.value)


def test_only_the_label_counts(tmp_path):
    """Not the folder; a space equals an underscore; an unknown class is named with its video."""
    path = tmp_path / 'list.csv'
    path.write_text('/d/run/1,10,jump_high\n/d/run/2,10,run\n')
    videos = VideoList.read_csv(str(path))
    assert labels_of(videos, ['run', 'jump high']).tolist() == [1, 0] and videos.class_name(0) == 'jump_high'
    with pytest.raises(UserError, match="/d/run/1: its class 'jump_high' is not in classInd.txt"):
        labels_of(videos, ['run'])
    assert os.path.basename(videos.path(1)) == '2'
