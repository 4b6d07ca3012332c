"""Features along videos: eval/features.py --every, and over_time of the hub."""
import json
import shutil

import numpy as np
import pytest

import hubconf
from eval import features
from tests.films import decoded, film, write_film
from tests.test_features import extract
from tests.tiny import make_frames, run
from utils.cli import UserError
from utils.data.clip_starts import window_starts

SPAN = 15  # frames of a window of the tiny networks: 3 blocks of 5
UNEVEN = np.cumsum(np.random.default_rng(0).integers(20, 90, 40)).tolist()  # ms


@pytest.mark.parametrize('length', [1, 14, 15, 16, 40])
@pytest.mark.parametrize('every', [0.01, 0.1, 0.5, 0.9])
def test_windows_start_at_every_tick_and_cover_the_end(length, every):
    """Against a loop, at an even and at an uneven rate; with gaps between windows, too."""
    uneven = np.cumsum(np.random.default_rng(length).uniform(.01, .2, length))
    for times in (np.arange(length) / 25, uneven - uneven[0]):
        expected, tick = [], 0.
        while tick <= times[-1] + 1e-9 and (not expected or expected[-1] + SPAN < length):
            expected.append(next(i for i in range(length) if times[i] >= tick - 1e-6))
            tick += every
        assert window_starts(times, every, SPAN).tolist() == expected


@pytest.fixture(scope='module')
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp('films')
    return {'even': write_film(folder / 'even.mp4', film(70, seed=1)),
            'uneven': write_film(folder / 'uneven.mp4', film(40, seed=2), times=UNEVEN),
            'short': write_film(folder / 'short.mp4', film(9, seed=3))}


@pytest.fixture(scope='module')
def weights(pretrained):
    return pretrained / 'model' / 'epoch1.pth.tar'


def over_time(capsys, out, *words):
    """(exit status, the objects that --json prints, stderr)"""
    capsys.readouterr()
    status = run(features, [*words, '--out', out, '--json', '--gpu', 'cpu', '--amp', 'off', '--num_workers', 0])
    said = capsys.readouterr()
    return status, [json.loads(line) for line in said.out.splitlines()], said.err


def test_a_row_is_the_vector_of_its_window(films, weights, tmp_path, capsys):
    """As the hub gives it for the frames of the window alone; times are those of the file."""
    status, found, err = over_time(capsys, tmp_path / 'out', *films.values(), '--weights', weights, '--every', 0.3)
    assert status == 0 and [each['video'] for each in found] == [*films.values()]
    assert err.count('a block is 0.20 s: multiples of it are fastest for --every') == 1
    assert err.count(f'{films["short"]} is shorter than a window of 15 frames: its last frame repeats') == 1
    model = hubconf.dpc_features(weights=str(weights)).requires_grad_(False)
    for name, about in zip(films, found):
        frames, rows = np.stack(decoded(films[name])), np.load(tmp_path / 'out' / f'{name}.npy')
        times = (np.array(UNEVEN) - UNEVEN[0]) / 1000 if name == 'uneven' else np.arange(len(frames)) / 25
        starts = window_starts(times, 0.3, SPAN)
        expected = [model(model.transform(frames[start:start + SPAN])).numpy()[0] for start in starts]
        assert rows.dtype == np.float32 and rows == pytest.approx(np.array(expected), abs=1e-5)
        assert json.loads((tmp_path / 'out' / f'{name}.json').read_text()) == about
        length = times[-1] + times[-1] / (len(times) - 1)
        ends = [times[start + SPAN] if start + SPAN < len(times) else length for start in starts]
        assert np.array(about['span']) == pytest.approx(np.stack([times[starts], ends], axis=1), abs=1e-3)
        assert about['seconds'] == pytest.approx(np.mean(about['span'], axis=1))
        assert about['fps'] == pytest.approx(len(times) / length, abs=1e-3) and about['rows'] == len(rows)
        assert about['settings']['num_seq'] == 3 and len(about['sha256']) == 64
        if name == 'even':
            assert model.over_time(frames, every=7.5).numpy() == pytest.approx(rows, abs=1e-5)
    with pytest.raises(UserError, match='frames are uint8'):
        model.over_time(frames.astype(np.float32))
    with pytest.raises(UserError, match='a number above 0'):
        model.over_time(frames, every=0)


def test_kinds_of_rows_are_those_of_clips(csv_root, weights, tmp_path, capsys):
    """A window a block: the rows of clips that start there; locations average to them."""
    videos = [csv_root.parent / 'frames/ucf101/YoYo' / name for name in ('v_YoYo_g04_c02', 'v_YoYo_g03_c02')]
    clips = extract(csv_root, tmp_path / 'f.npz', *videos, '--per_clip', weights=weights)
    flags = [*videos, '--weights', weights, '--frame_rate', 25, '--every', 0.2]
    for kind in ('context', 'block'):
        assert over_time(capsys, tmp_path / kind, *flags, '--feature', kind, '--pool', 'none')[0] == 0
    for row, video in enumerate(videos):
        own = clips['clip_video'] == row
        for kind in ('context', 'block'):
            maps = np.load(tmp_path / kind / f'{video.name}.npy')
            assert maps.ndim == 3
            assert maps[clips['clip_start'][own]].mean(axis=1) == pytest.approx(clips[f'clip_{kind}'][own], abs=1e-5)


def test_what_is_there_stays(csv_root, weights, tmp_path, capsys):
    """A second call completes; two processes write what one does; other settings replace it."""
    flags = ['--dataset', 'hmdb51', '--csv_root', csv_root, '--weights', weights, '--frame_rate', 25, '--every', 0.6]
    _, found, _ = over_time(capsys, tmp_path, *flags)
    files = sorted(tmp_path.glob('*.npy'))
    rows, before = np.load(files[1]), files[0].stat().st_mtime_ns
    files[1].unlink()
    status, again, err = over_time(capsys, tmp_path, *flags, '--num_procs', 2)
    assert status == 0 and f'{len(found) - 1} of {len(found)} videos are in' in err
    assert files[0].stat().st_mtime_ns == before and np.load(files[1]) == pytest.approx(rows, abs=1e-6)
    assert sorted(map(json.dumps, again)) == sorted(map(json.dumps, found))
    over_time(capsys, tmp_path, *flags, '--pool', 'none')
    assert np.load(files[0]).ndim == 3


def test_a_broken_video_is_named_each_time(films, weights, tmp_path, capsys):
    """Also where all the others are there already."""
    folder = tmp_path / 'broken'
    make_frames(folder, 20, seed=0)
    (folder / 'image_00010.jpg').write_bytes(b'no picture')
    for _ in range(2):
        status, (found, error), _ = over_time(capsys, tmp_path / 'out', films['short'], folder, '--weights', weights,
                                              '--every', 1, '--frame_rate', 25)
        assert status == 1 and found['video'] == films['short'] and 'image_00010.jpg' in error['error']


def test_what_cannot_be_used_is_named_and_the_others_go_on(films, weights, tmp_path, capsys):
    jump = write_film(tmp_path / 'jump.mp4', film(30), times=[40 * i + 20_000 * (i >= 20) for i in range(30)])
    frames, notes = tmp_path / 'frames', tmp_path / 'notes.mp4'
    make_frames(frames, 20, seed=0)
    notes.write_text('no video')
    shutil.copytree(frames, tmp_path / 'else' / 'frames')
    given = jump, frames, notes, films['even'], tmp_path / 'else' / 'frames'
    status, found, _ = over_time(capsys, tmp_path / 'out', *given, '--weights', weights, '--every', 1)
    errors = {each['video']: each['error'] for each in found if 'error' in each}
    assert status == 1 and errors.keys() == {str(path) for path in (*given[:3], given[4])}
    assert 'time stamps jump by 20.0 s at frame 21' in errors[jump]
    assert '--frame_rate F' in errors[str(frames)] and 'no video that the decoder can read' in errors[str(notes)]
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['even.json', 'even.npy']

    status, found, _ = over_time(capsys, tmp_path / 'out', frames, given[4], '--weights', weights, '--every', 1,
                                 '--frame_rate', 10)
    assert status == 0 and [each['fps'] for each in found] == [pytest.approx(10)] * 2
    assert {'frames.npy', 'frames_2.npy'} <= {path.name for path in (tmp_path / 'out').iterdir()}
    capsys.readouterr()
    assert run(features, [*given[1:4], '--weights', weights, '--every', .6, '--out', tmp_path / 'text', '--gpu', 'cpu',
                          '--amp', 'off', '--num_workers', 0]) == 1
    said = capsys.readouterr()
    assert [said.err.count(f'{path}:') for path in given[1:3]] == [1, 1] and '2 videos skipped' in said.out
    assert 'a block is' not in said.out
    for words, said in ((['--every', 0], '--every'), (['--every', 1, '--out', 'f.npz'], 'give a folder'),
                        (['--every', 1, '--per_clip'], 'leave out --per_clip'), (['--pool', 'none'], '--every SECONDS')):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            features.parse_args([films['even'], '--weights', str(weights), '--out', 'f', *map(str, words)])
        assert end.value.code == 2 and said in capsys.readouterr().err


def test_no_file_of_a_user_is_replaced(films, weights, tmp_path, capsys):
    folder, notes = tmp_path / 'own', tmp_path / 'notes'
    for place in (folder, notes):
        place.mkdir()
        (place / 'short.json').write_text('{"rows": "mine"}')
    shutil.copy(films['short'], folder)
    for out in folder, notes:
        status, found, err = over_time(capsys, out, folder / 'short.mp4', '--weights', weights, '--every', 1)
        assert status == 2 and not found and 'short.json is there already' in err and not (out / 'short.npy').exists()
        assert (out / 'short.json').read_text() == '{"rows": "mine"}'
    (folder / 'short.json').unlink()
    assert over_time(capsys, folder, folder / 'short.mp4', '--weights', weights, '--every', 1)[0] == 0, 'beside the video'
