"""The files of the synthetic data sets, the same for both makers: layout, determinism, stopped runs, bad folders."""
import csv
from collections import Counter

import pytest

from experiments.data.sprites import MOTIONS
from experiments.data.synthetic import unlabelled_videos
from tests.process_data.tiny_videos import run, tree_bytes

SMALL = ('--videos_per_class', 8, '--unlabelled', 21, '--frames', 4, '--size', 24)
CLASSES = {'make_demo': 8, 'make_puppets': 10}
MAKERS = sorted(CLASSES)


def make(maker, root, *flags):
    return run(maker, '--video_root', root / 'videos', '--split_root', root / 'splits',
               '--unlabelled_root', root / 'unlabelled', *SMALL, *flags)


@pytest.fixture(scope='module', params=MAKERS)
def made(request, tmp_path_factory):
    """(maker, folder of its small data set, the content of its files)"""
    root = tmp_path_factory.mktemp(request.param)
    done = make(request.param, root, '--jobs', 2)
    assert done.returncode == 0, done.stderr
    return request.param, root, tree_bytes(root)


def test_the_seed_determines_the_bytes(made, tmp_path):
    maker, _, content = made
    assert len(content) == 8 * CLASSES[maker] + 7 + 21 + 2
    for seed, name in ((0, 'same'), (1, 'other')):
        done = make(maker, tmp_path / name, '--jobs', 1, '--seed', seed)
        assert done.returncode == 0, done.stderr
    assert tree_bytes(tmp_path / 'same') == content
    other = tree_bytes(tmp_path / 'other')
    assert other.keys() == content.keys()
    assert not any(other[name] == content[name] for name in content if name.endswith('.avi'))


def test_every_video_differs(made):
    videos = [content for name, content in made[2].items() if name.endswith('.avi')]
    assert len(set(videos)) == len(videos)


def test_a_stopped_run_continues_and_other_flags_replace_nothing(made):
    maker, root, content = made
    for name in [name for name in content if name.endswith('.avi')][::3]:
        (root / name).unlink()
    assert make(maker, root).returncode == 0
    assert tree_bytes(root) == content
    for flags, folder in ((('--seed', 5), 'videos'), (('--unlabelled', 20), 'unlabelled')):
        done = make(maker, root, *flags)
        assert done.returncode == 2 and done.stderr.startswith(f'error: {root / folder}: ')
        assert 'other flags' in done.stderr and done.stderr.count('\n') == 1
    assert make(maker, root, '--unlabelled', 0).returncode == 0     # the labelled videos are the same
    assert tree_bytes(root) == content


def test_the_pipeline_reads_both_parts(made, tmp_path):
    """Frames and lists of both parts; all unlabelled videos but a twentieth are for training."""
    maker, root, _ = made
    dataset = maker.removeprefix('make_')
    for name, videos in ((dataset, 'videos'), (f'{dataset}_unlabelled', 'unlabelled')):
        done = run('extract_frames', '--dataset', name, '--video_root', root / videos, '--frame_root', tmp_path / name)
        assert done.returncode == 0 and 'warning: ' not in done.stderr and 'skipped' not in done.stdout, done.stderr
        splits = ('--split_root', root / 'splits') if videos == 'videos' else ()
        done = run('write_csv', '--dataset', name, '--frame_root', tmp_path / name, '--csv_root', tmp_path / 'lists',
                   *splits)
        assert done.returncode == 0 and 'warning: ' not in done.stderr, done.stderr
    rows = {}
    for path in sorted((tmp_path / 'lists').glob('*/*.csv')):
        with open(path, newline='') as file:
            rows[path.parent.name, path.stem] = list(csv.reader(file))
    assert {row[1] for part in rows.values() for row in part} == {'4'}
    lengths = {name: len(part) for name, part in rows.items()}
    assert lengths == {
        **{(dataset, f'train_split0{k}'): 6 * CLASSES[maker] for k in (1, 2, 3)},
        **{(dataset, f'test_split0{k}'): 2 * CLASSES[maker] for k in (1, 2, 3)},
        (f'{dataset}_unlabelled', 'train_split01'): 20, (f'{dataset}_unlabelled', 'test_split01'): 1}
    assert not (tmp_path / 'lists' / f'{dataset}_unlabelled' / 'classInd.txt').exists()


def test_unlabelled_videos_show_each_class_equally_often_and_do_not_name_it():
    names = list(MOTIONS)
    videos = unlabelled_videos(names, 804, seed=0, first_group=17)
    counts = Counter(video.class_name for video in videos)
    assert sorted(counts.values()) == [100] * 4 + [101] * 4
    assert not any(name in video.path for name in names for video in videos)
    assert [video.path for video in videos] == sorted({video.path for video in videos})
    assert {video.group for video in videos} == set(range(17, 17 + 804))      # a scene of its own for each
    # nor does the number in the name: neighbours and numbers of equal rest agree as often as chance, within 3 sigma
    for step in (1, len(names)):
        agree = sum(a.class_name == b.class_name for a, b in zip(videos, videos[step:])) / (len(videos) - step)
        assert abs(agree - 1 / 8) < 3 * (1 / 8 * 7 / 8 / 800) ** 0.5


@pytest.mark.parametrize('maker', MAKERS)
def test_a_folder_that_cannot_be_made_is_one_line(maker, tmp_path):
    (tmp_path / 'file').touch()
    done = run(maker, '--video_root', tmp_path / 'file/videos', '--split_root', tmp_path, '--unlabelled', 0)
    assert done.returncode == 2 and done.stderr.startswith('error: ') and done.stderr.count('\n') == 1


@pytest.mark.parametrize('maker', MAKERS)
def test_a_folder_with_other_videos_is_refused(maker, tmp_path):
    (tmp_path / 'videos').mkdir()
    (tmp_path / 'videos/mine.avi').touch()
    done = make(maker, tmp_path)
    assert done.returncode == 2 and done.stderr.startswith(f'error: {tmp_path}/videos: ')
    assert done.stderr.count('\n') == 1 and not (tmp_path / 'splits').exists()
