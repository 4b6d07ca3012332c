"""The table of the kinds of data sets: both scripts take each of them, with the flags that it needs and no others."""
import pytest

from process_data import extract_frames, write_csv
from process_data.dataset_kinds import KINDS, Kind
from process_data.extract_frames import report_unlabelled
from tests.process_data.tiny_videos import run, write_video
from utils.data.classes import read_class_list

GIVEN = {'split_root': ['--split_root', 'splits'], 'annotations': ['--annotations', 'a.csv'], 'labels': ['--labels', 'l']}


@pytest.mark.parametrize('name', KINDS)
def test_both_scripts_take_a_kind(name, capsys):
    kind = KINDS[name]
    extract_frames.parse_args(['--dataset', name, '--video_root', 'videos', '--frame_root', 'frames'])
    args = write_csv.parse_args(['--dataset', name, '--videos', 'videos',
                                 *sum((GIVEN[flag] for flag in kind.needs), [])])
    assert args.test_share == kind.test_share
    for lacking in kind.needs if not kind.own_folders else ():
        with pytest.raises(SystemExit):
            write_csv.parse_args(['--dataset', name, '--videos', 'videos',
                                  *sum((GIVEN[flag] for flag in kind.needs if flag != lacking), [])])
        assert f'--{lacking} is needed for {name}' in capsys.readouterr().err


def test_a_new_kind_is_one_entry(tmp_path, monkeypatch):
    """An entry with a reader, and nothing else, gives lists, a class list and defaults."""
    for name in ('a1', 'a2', 'b1'):
        write_video(tmp_path / f'videos/{name}.avi', n_frames=3)

    def read(given):
        labels = {folder: f'class {folder[0]}' for folder in given.index()}
        return {'train_split01': ['a1', 'b1'], 'test_split01': ['a2']}, sorted(set(labels.values())), labels

    monkeypatch.setitem(KINDS, 'mine', Kind(read, separator=',', class_folders=False))
    write_csv.main(write_csv.parse_args(['--dataset', 'mine', '--videos', str(tmp_path / 'videos'), '--relative',
                                         '--csv_root', str(tmp_path)]))
    assert (tmp_path / 'mine/train_split01.csv').read_text() == 'a1.avi,3,class a\nb1.avi,3,class b\n'
    assert (tmp_path / 'mine/test_split01.csv').read_text() == 'a2.avi,3,class a\n'
    assert read_class_list(str(tmp_path / 'mine')) == ['class a', 'class b']


def test_videos_of_a_csv_need_no_class_folders(tmp_path, capsys):
    report_unlabelled(['a.mp4'], str(tmp_path), KINDS['csv'].class_folders)
    assert 'unless a csv file has their labels' in capsys.readouterr().out
    for name in ('a', 'more/b'):
        write_video(tmp_path / f'videos/{name}.avi', n_frames=3)
    done = run('extract_frames', '--dataset', 'csv', '--video_root', tmp_path / 'videos', '--frame_root',
               tmp_path / 'frames', '--jobs', 1)
    assert done.returncode == 0 and (tmp_path / 'frames/a/image_00003.jpg').exists(), done.stderr
    assert 'no class folder' not in done.stdout + done.stderr
