"""--fps: frames of video files by time, in lists, training, test and prediction."""
import json
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from eval import features as features_cli
from eval import predict
from eval import test as classifier_cli
from tests import tiny
from tests.films import film, write_film
from tests.tiny import checkpoint, pretrain, run
from tests.whole_videos import whole_video
from utils.cli import UserError
from utils.data.clips import Clip, ClipDataset, VideoDataset
from utils.data.lists import VideoList
from utils.data.splits import at_frame_rate
from utils.video.frame_rate import at_rate
from utils.video.frames import frame_name
from utils.video.reader import VideoError, VideoFile
from utils.video.sources import count_frames, has_frame

FLAGS = ['--num_workers', '0', '--gpu', 'cpu', '--amp', 'off']
UNEVEN = np.cumsum([0] + [33, 100, 33, 234] * 12)[:48].tolist()   # ms
# name: (codec, ms of each frame, None for 25 a second)
FILMS = {'even.mp4': ('libx264', None), 'uneven.mkv': ('libx264', UNEVEN), 'slow.mp4': ('libx264', range(0, 3500, 77)),
         'fast.mp4': ('libx264', range(0, 1000, 8)), 'timed.avi': ('mpeg4', None), 'untimed.avi': ('libx264', None),
         'stream.ts': ('libx264', None)}


@pytest.fixture(scope='module')
def films(tmp_path_factory):
    """{name: path} of films of all kinds and rates."""
    root = tmp_path_factory.mktemp('films')
    return {name: write_film(root / 'c' / name, film(len(times or range(50)), seed=i), codec=codec,
                             options={'g': '12', 'bf': '2'}, times=times and list(times))
            for i, (name, (codec, times)) in enumerate(FILMS.items())}


def extracted(path, folder, fps):
    """The frames of a video file at `fps`, as extract_frames.py writes them, but in JPEGs of the best quality."""
    folder.mkdir(parents=True)
    best = [cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    with VideoFile(path, 'bgr24', short_side=240, rate=fps) as video:
        for number, frame in enumerate(video.all_frames(), 1):
            cv2.imwrite(str(folder / frame_name(number)), frame, best)
    return str(folder)


@pytest.mark.parametrize('name', FILMS)
def test_a_film_at_a_rate_is_a_film_of_the_frames_taken(films, name):
    """By a twin that takes of all decoded frames; any numbers, as `frames` seeks to them, and their count."""
    with VideoFile(films[name]) as video:
        whole = list(video.all_frames())
        timed = [frame.time for frame in video._from_start()]
    for fps in (6, 10, 25, 59.94):
        expected = list(at_rate(zip(timed, whole), fps))
        with VideoFile(films[name], rate=fps) as video:
            assert video.n_frames == len(expected), fps
            assert all(map(np.array_equal, video.all_frames(), expected)), fps
            for numbers in (range(1, 1 + len(expected)), range(2, len(expected), 7), [len(expected)]):
                for number, frame in zip(numbers, video.frames(numbers), strict=True):
                    assert np.array_equal(frame, expected[number - 1]), (fps, number)
            with pytest.raises(VideoError, match=f'{len(expected)} frames.*frame {len(expected) + 1} was asked for'):
                list(video.frames([len(expected) + 1]))
        assert count_frames(films[name], fps) == len(expected)
        assert has_frame(films[name], len(expected), fps) and not has_frame(films[name], len(expected) + 1, fps)


def test_clips_of_files_are_those_of_frames_extracted_at_that_rate(films, tmp_path):
    files = at_frame_rate(VideoList.from_rows(list(films.values()), [9] * len(films)), 10)
    folders = [extracted(path, tmp_path / 'c' / name, 10) for name, path in films.items()]
    frames = VideoList.from_rows(folders, [count_frames(folder) for folder in folders])
    assert files.n_frames.tolist() == frames.n_frames.tolist() and files.select([0]).fps == files.fps == 10
    clip = Clip(num_seq=3, seq_len=2, ds=2, img_dim=32)
    pairs = [(ClipDataset(videos, clip, crop='resized', seed=1), VideoDataset(videos, clip))
             for videos in (files, frames)]
    for index in range(len(films)):
        for ours, theirs in zip(*[(train[3, index], whole_video(test, index)) for train, test in pairs], strict=True):
            assert np.abs(ours['frames'].numpy().astype(int) - theirs['frames'].numpy()).mean() < 1
    assert pairs[0][1].about(3)['n_frames'] == files.n_frames[3]


def test_lists_that_have_no_rate(films, tmp_path, capsys):
    """Without --fps a list stays as it is, and differing rates are named; frames have no rate; a broken file waits."""
    videos = VideoList.from_rows(list(films.values()), [50] * len(films))
    assert at_frame_rate(videos, 0) is videos
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and 'warning: frame rates differ, from 13.1 to 121 a second' in said
    at_frame_rate(VideoList.from_rows([films['even.mp4'], films['timed.avi']], [50, 50]), 0)
    assert not capsys.readouterr().err
    folder = extracted(films['even.mp4'], tmp_path / 'c/v', 10)
    with pytest.raises(UserError, match=f'--fps 12.5 .*{folder} is extracted frames.*extract_frames.py'):
        at_frame_rate(VideoList.from_rows([films['even.mp4'], folder], [50, 20]), 12.5)
    (tmp_path / 'broken.mp4').write_text('no video')
    kept = at_frame_rate(VideoList.from_rows([films['even.mp4'], str(tmp_path / 'broken.mp4')], [50, 33]), 5)
    assert kept.n_frames.tolist() == [10, 33]


def test_write_csv_names_rates_that_differ(films, tmp_path):
    done = subprocess.run([sys.executable, tiny.ROOT / 'process_data/write_csv.py', '--dataset', 'folder', '--videos',
                           str(films['even.mp4']).rsplit('/', 2)[0], '--csv_root', tmp_path, '--name', 'mine'],
                          capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.count('warning: frame rates differ, from 1') == 1 and ' to 125 a' in done.stderr


@pytest.fixture(scope='module')
def rates(tmp_path_factory):
    """A list folder `mine` of a csv root: of each video an encoding at 15 frames a second and one at 30, in `slow` and
    `fast`; the lists name alternating ones."""
    root, rows = tmp_path_factory.mktemp('rates'), []
    for i in range(12):
        pictures = film(32, 48, 40, seed=i)
        for name, step in (('fast', 1), ('slow', 2)):
            times = [round(1000 * number / 30) for number in range(0, 32, step)]
            write_film(root / name / 'ab'[i % 2] / f'{i:02d}.mp4', pictures[::step], times=times, options={'qp': '0'})
        rows.append((root / ('fast' if i % 4 < 2 else 'slow') / 'ab'[i % 2] / f'{i:02d}.mp4', 32 if i % 4 < 2 else 16))
    tiny.write_rows(root / 'mine' / 'train_split01.csv', rows[:8])
    tiny.write_rows(root / 'mine' / 'test_split01.csv', rows[8:])
    (root / 'mine' / 'classInd.txt').write_text('1 a\n2 b\n')
    return root


@pytest.fixture(scope='module')
def trained(rates, tmp_path_factory):
    """A classifier trained with --fps 15."""
    return tiny.classify(rates, tmp_path_factory.mktemp('runs'), '--dataset', 'mine', '--fps', '15', '--train_what',
                         'all', '--num_seq', '2')


def test_training_stores_the_rate_and_evaluation_follows_it(rates, trained, tmp_path, capsys):
    weights = trained / 'model/epoch1.pth.tar'
    assert checkpoint(trained)['settings']['fps'] == 15 and '_ds1_fps15_seq2' in trained.name
    hashes = []
    for flags in ([], ['--fps', '30', '--allow_other_settings']):
        tiny.run_folder(classifier_cli, ['--csv_root', rates, '--dataset', 'mine', *FLAGS, '--test', weights, *flags],
                        tmp_path)
        said = capsys.readouterr().out
        assert f'fps {"30.0 (given)" if flags else "15.0 (checkpoint)"}' in said
        hashes.extend(re.findall('hash ([0-9a-f]{8})', said))
    assert len(set(hashes)) == len(hashes) == 2
    argv = ['--csv_root', rates, '--dataset', 'mine', *FLAGS, '--weights', weights, '--out', tmp_path / 'f.npz']
    for flags, made in ([], True), ([], False), (['--fps', '30', '--allow_other_settings'], True):
        assert run(features_cli, [*argv, *flags]) == 0
        assert ('already' not in capsys.readouterr().out) == made
    assert run(features_cli, [*argv, '--fps', '30']) == 2
    assert 'was trained with --fps 15.0, but the flags say --fps 30.0' in capsys.readouterr().err


def test_two_encodings_are_predicted_alike(rates, trained, capsys):
    def probabilities(*flags):
        found = []
        for name in ('slow', 'fast'):
            capsys.readouterr()
            assert run(predict, [*sorted(rates.glob(f'{name}/*/*'))[::3], '--weights', trained / 'model/epoch1.pth.tar', '--json', *FLAGS,
                                 *flags]) == 0
            tops = [json.loads(line)['top'] for line in capsys.readouterr().out.splitlines()]
            found.append([[one['probability'] for one in sorted(top, key=lambda one: one['class'])] for top in tops])
        return np.array(found)

    slow, fast = probabilities()
    assert slow.shape == (4, 2) and np.abs(slow - fast).max() < 1e-5
    slow, fast = probabilities('--fps', '0', '--allow_other_settings')
    assert np.abs(slow - fast).max() > 1e-3


def test_pretraining(rates, tmp_path, capsys):
    settings, losses = [], []
    for flags in ([], ['--fps', '15']):
        folder = pretrain(rates, tmp_path, '--dataset', 'mine', *flags)
        settings.append(checkpoint(folder)['settings'])
        losses.append(tiny.read_log(folder, 'train')[0]['loss'])
        assert ('frame rates differ, from 15.4 to 29.8 a second' in capsys.readouterr().err) == (not flags)
        assert ('_fps15_' in folder.name) == bool(flags)
    assert 'fps' not in settings[0] and settings[1]['fps'] == 15 and losses[0] != losses[1]
