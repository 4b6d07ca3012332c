"""The puppets: what is fixed is the same in all videos; only the order of frames tells the actions of a pair apart."""
import itertools

import cv2
import numpy as np
import pytest

from experiments.data import puppets
from experiments.data.make_puppets import parse_args
from experiments.data.puppets import ACTIONS, NUISANCES, render
from experiments.data.synthetic import Video, labelled_videos

PAIRS = list(zip(*[iter(ACTIONS)] * 2))


def frames_of(video, frames=4, size=32, fixed=()):
    """[frames, size, size, 3]"""
    return np.stack(list(render(parse_args(['--frames', str(frames), '--size', str(size), '--fixed', *fixed]), video)))


# ---- what varies

@pytest.fixture
def standing(monkeypatch):
    """No action moves."""
    monkeypatch.setattr(puppets, 'ACTIONS', {name: (lambda phase: {}, *rest) for name, (_, *rest) in ACTIONS.items()})


@pytest.mark.parametrize('varies', [None, *NUISANCES])
def test_only_what_is_not_fixed_varies(standing, varies):
    """look and place with the group, size and view with every video, drift over time as well."""
    fixed = [name for name in NUISANCES if name != varies]
    videos = {(group, clip, name): frames_of(Video('', name, group, clip), fixed=fixed)
              for group in (1, 2) for clip in (1, 2) for name in ('OpenArms', 'Walk')}
    for (one, a), (other, b) in itertools.combinations(videos.items(), 2):
        same = {None: True, 'appearance': one[0] == other[0], 'position': one[0] == other[0]}.get(varies, False)
        assert np.array_equal(a[0], b[0]) == same
    for frames in videos.values():
        assert all(np.array_equal(frames[0], frame) == (varies != 'drift') for frame in frames[1:])


@pytest.mark.parametrize('name', NUISANCES)
def test_fixing_one_leaves_the_others_as_they_are(standing, monkeypatch, name):
    """With one thing the same by other means, fixing it too changes nothing."""
    if name == 'appearance':
        appearance = puppets.make_appearance(0, 1, 32)
        monkeypatch.setattr(puppets, 'make_appearance', lambda seed, group, size: appearance)
    else:
        middle = {'position': ('POSITIONS', tuple((np.mean(p),) * 2 for p in puppets.POSITIONS)),
                  'size': ('HEIGHTS', (np.mean(puppets.HEIGHTS),) * 2), 'drift': ('DRIFTS', (0, 0))}
        if name == 'view':
            monkeypatch.setattr(puppets, 'ROLL', 0)
            monkeypatch.setattr(puppets, 'SQUEEZE', 1)
        else:
            monkeypatch.setattr(puppets, *middle[name])
    same = []
    for group in range(1, 9):
        video = Video('', 'Walk', group, 1)
        same.append(np.array_equal(frames_of(video, fixed=[name]), frames_of(video)))
    # half of the puppets face the other way unless the view is fixed
    assert all(same) if name != 'view' else any(same) and not all(same)


# ---- what tells the action

def test_the_second_of_a_pair_is_the_first_backwards():
    for first, second in PAIRS:
        (pose, direction, cycle), (other_pose, other_direction, other_cycle) = ACTIONS[first], ACTIONS[second]
        assert (pose, cycle) == (other_pose, other_cycle) and {direction, other_direction} == {1, -1}


def test_every_pose_runs_in_a_smooth_cycle():
    """No joint jumps, neither within a cycle nor from its end to its start."""
    phase = np.arange(401) / 400
    for pose, _, _ in ACTIONS.values():
        angles = {name: np.broadcast_to(angle, phase.shape) for name, angle in {**puppets.REST, **pose(phase)}.items()}
        for name, joint in puppets.skeleton(angles).items():
            assert np.abs(np.diff(joint, axis=0)).max() < 0.05, name
            np.testing.assert_allclose(joint[0], joint[-1], atol=1e-9, err_msg=name)


@pytest.fixture(scope='module')
def grey():
    """{class: float32 [videos, 2, 24·24]}: the first frame of each video and how it changes within four frames."""
    args = parse_args(['--frames', '5', '--size', '48', '--fixed', *NUISANCES, '--videos_per_class', '120'])
    videos = {name: [] for name in ACTIONS}
    for video in labelled_videos(list(ACTIONS), args.videos_per_class):
        first, *_, last = (cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), (24, 24), interpolation=cv2.INTER_AREA)
                           .astype(np.float32).ravel() for frame in render(args, video))
        videos[video.class_name].append([first, last - first])
    return {name: np.array(pictures) for name, pictures in videos.items()}


def nearest_neighbour(train, test):
    """Share of test rows of two classes whose nearest training row is of their class; each [2, videos, features]."""
    known = train.reshape(-1, train.shape[-1])
    hits = []
    for label, asked in enumerate(test):
        distance = (known ** 2).sum(1) - 2 * asked @ known.T
        hits.append(distance.argmin(1) // train.shape[1] == label)
    return np.mean(hits)


def linear(train, test):
    """The same for the sign of a ridge regression on all training rows."""
    known = train.reshape(-1, train.shape[-1])
    mean, target = known.mean(0), np.repeat([-1, 1], train.shape[1])
    kernel = (known - mean) @ (known - mean).T
    dual = np.linalg.solve(kernel + 0.01 * np.trace(kernel) / len(kernel) * np.eye(len(kernel)), target)
    score = (test - mean) @ ((known - mean).T @ dual)
    return np.mean([score[0] < 0, score[1] > 0])


@pytest.mark.parametrize('pair', PAIRS)
def test_order_tells_the_actions_of_a_pair_and_single_frames_do_not(grey, pair):
    videos = np.stack([grey[name] for name in pair])
    train, test = videos[:, ::2], videos[:, 1::2]       # the clips of a group are in different halves
    for classifier in (nearest_neighbour, linear):
        # 120 independent frames: chance stays below 0.64 (3 sigma)
        assert classifier(train[:, :, 0], test[:, :, 0]) < 0.64
    assert nearest_neighbour(train.reshape(2, 60, -1), test.reshape(2, 60, -1)) > 0.75


# ---- flags

def test_flags_that_make_no_sense(capsys):
    for flags in (['--fixed', 'colour'], ['--seed', '-1'], ['--size', '8'], ['--videos_per_class', '4'],
                  ['--unlabelled', 'x'], ['--frames', '0'], ['--jobs', '0']):
        with pytest.raises(SystemExit) as end:
            parse_args(flags)
        said = capsys.readouterr().err
        assert end.value.code == 2 and said.startswith('error: ') and flags[0] in said and said.count('\n') == 1


def test_defaults():
    args = parse_args([])
    assert args.fixed == [] and (args.unlabelled, args.frames) == (2000, 96)
    assert len(labelled_videos(list(ACTIONS), args.videos_per_class)) == 900
    assert parse_args(['--fixed']).fixed == []
    assert parse_args(['--fixed', 'view', 'appearance']).fixed == ['appearance', 'view']
