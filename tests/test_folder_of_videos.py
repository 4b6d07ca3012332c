"""--dataset FOLDER_OF_VIDEOS: pretraining and features straight from video files."""
import numpy as np
import pytest

from dpc import main as pretraining
from eval import features
from tests.films import film, write_film
from tests.forked import NARROW_WIDTHS
from tests.tiny import CLIP, PRETRAINING, checkpoint, equal, pretrain, read_log, run
from utils.data.splits import train_and_validation, videos_below

B_FRAMES = {'g': '10', 'bf': '2'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Twelve videos and what a user's folder also has."""
    root = tmp_path_factory.mktemp('mine')
    for i in range(12):
        write_film(root / f'{"ab"[i % 2]}/{i:02d}.mp4', film(20 + i, 48, 40, seed=i), options=B_FRAMES)
    (root / 'a/broken.mp4').write_text('half a download')
    (root / 'notes.txt').touch()
    return root


@pytest.fixture(scope='module')
def trained(folder, tmp_path_factory):
    """An undisturbed run of two epochs."""
    return pretrain(tmp_path_factory.mktemp('csv'), tmp_path_factory.mktemp('runs'), '--dataset', folder, '--epochs', 2)


def test_one_command_pretrains(folder, trained, tmp_path, capsys):
    run_folder = pretrain(tmp_path / 'csv', tmp_path, '--dataset', folder)
    said = capsys.readouterr()
    assert f'{folder}/a/broken.mp4: no video that the decoder can read' in said.err
    assert f'12 of 13 video files below {folder} can be used' in said.out
    assert '8 videos to train on, 4 to validate on' in said.out and 'counting frames: 100%' in said.err
    assert checkpoint(run_folder)['epoch'] == 1 and run_folder.name.startswith(f'{folder.name}-32_r18_dpc-rnn')
    assert not (tmp_path / 'csv').exists()


def test_the_list_is_sorted_and_counted(folder):
    videos = videos_below(str(folder))
    paths = [f'{folder}/{c}/{i:02d}.mp4' for c, start in (('a', 0), ('b', 1)) for i in range(start, 12, 2)]
    assert videos.paths() == paths
    assert videos.n_frames.tolist() == [20 + i for start in (0, 1) for i in range(start, 12, 2)]
    train, held = train_and_validation(str(folder), 1, None, 'train', 0.25, seed=0)
    assert sorted(train.paths() + held.paths()) == paths and {held.class_name(i) for i in range(len(held))} == {'a', 'b'}


@pytest.mark.parametrize('num_workers', [0, 2])
def test_resumed_run_is_bit_exact_whatever_the_number_of_workers(folder, trained, tmp_path, num_workers):
    first = pretrain(tmp_path / 'csv', tmp_path, '--dataset', folder, '--num_workers', num_workers)
    path = first / 'model' / 'epoch1.pth.tar'
    assert run(pretraining, [*PRETRAINING, '--csv_root', tmp_path / 'csv', '--dataset', folder, '--log_dir', tmp_path,
                             '--num_workers', num_workers, '--epochs', 2, '--resume', path]) == 0
    ours, undisturbed = checkpoint(first, 'epoch2'), checkpoint(trained, 'epoch2')
    for part in ('state_dict', 'optimizer', 'iteration'):
        assert equal(ours[part], undisturbed[part]), part
    losses = [[record['loss'] for record in read_log(run_folder, 'epoch')] for run_folder in (first, trained)]
    assert losses[0] == losses[1]


def test_a_second_command_gives_the_features(folder, trained, tmp_path):
    out = tmp_path / 'features.npz'
    assert run(features, [*CLIP, '--batch_size', '4', '--num_workers', '0', '--gpu', 'cpu', '--amp', 'off', '--dataset', folder,
                          '--csv_root', tmp_path, '--weights', trained / 'model' / 'epoch2.pth.tar', '--out', out]) == 0
    stored = np.load(out)
    assert stored['context'].shape == (12, NARROW_WIDTHS[-1]) and set(stored['label']) == {-1}
    assert f'{folder}/a/00.mp4' in stored['path']


def test_a_file_that_cannot_be_opened_is_stored_as_skipped(folder, trained, tmp_path, capsys):
    """And what is stored is taken again, as it lacks nothing that could be read."""
    for again in (False, True):
        argv = [folder / 'a', *CLIP, '--num_workers', '0', '--gpu', 'cpu', '--amp', 'off', '--weights',
                trained / 'model' / 'epoch2.pth.tar', '--out', tmp_path / 'f.npz']
        assert run(features, argv) == 1
        printed = capsys.readouterr().out
        assert ('f.npz already' in printed) == again and 'skipped 1 unreadable videos' in printed
        skipped, = np.load(tmp_path / 'f.npz')['skipped']
        assert f'{folder}/a/broken.mp4: ' in skipped


def test_mistakes_are_one_line(tmp_path, capsys):
    def error(dataset, *flags):
        assert run(pretraining, [*PRETRAINING, '--csv_root', tmp_path / 'csv', '--log_dir', tmp_path, '--dataset', dataset,
                                 *flags]) == 2
        said = capsys.readouterr().err
        assert said.count('error: ') == 1 and 'Traceback' not in said
        return said

    (tmp_path / 'empty').mkdir()
    assert 'has neither lists nor video files' in error(tmp_path / 'empty')
    (tmp_path / 'empty/a.mp4').write_text('no video')
    assert 'none of its 1 video files can be used' in error(tmp_path / 'empty')
    assert 'no such folder' in error(tmp_path / 'none')
    assert 'a.mp4 is a file: give the folder' in error(tmp_path / 'empty/a.mp4')
    assert 'no such data set' in error('none')
    write_film(tmp_path / 'one/a.mp4', film(20))
    assert 'nothing can be held out of 1 videos' in error(tmp_path / 'one')
    assert 'test_split01.csv: no such file' in error(tmp_path / 'one', '--val_on', 'test')
