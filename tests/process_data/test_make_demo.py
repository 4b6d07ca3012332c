"""The demo data set: one appearance for all videos; motion reveals the class, single frames do not."""
import os

import cv2
import numpy as np
import pytest

from experiments.data.make_demo import main, parse_args
from experiments.data.sprites import MOTIONS, render
from experiments.data.synthetic import labelled_videos

CHANCE = 1 / len(MOTIONS)


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    root = tmp_path_factory.mktemp('demo')
    main(parse_args(['--video_root', str(root / 'videos'), '--split_root', str(root / 'splits'), '--unlabelled', '0']))
    return root


def listed(demo, name):
    """Lines of a split file, as lists of words."""
    return [line.split() for line in (demo / 'splits' / name).read_text().splitlines()]


def load(demo, path):
    """Grey frames of a video, float32 [n, 40, 40]."""
    capture, frames = cv2.VideoCapture(str(demo / 'videos' / path)), []
    while True:
        more, frame = capture.read()
        if not more:
            return np.stack(frames)
        frames.append(cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), (40, 40)).astype(np.float32))


@pytest.fixture(scope='module')
def videos(demo):
    """({class: frames float32 [videos, n, 40, 40]} of the training half, the same of the test half) of split 1."""
    halves = []
    for name in ('trainlist01.txt', 'testlist01.txt'):
        halves.append({c: np.stack([load(demo, words[0]) for words in listed(demo, name)
                                    if words[0].startswith(c + '/')]) for c in MOTIONS})
    return halves


def test_layout_is_that_of_ucf101(demo):
    names = [words[1] for words in listed(demo, 'classInd.txt')]
    assert [int(words[0]) for words in listed(demo, 'classInd.txt')] == list(range(1, 9))
    tested = set()
    for split in ('01', '02', '03'):
        train, test = listed(demo, f'trainlist{split}.txt'), listed(demo, f'testlist{split}.txt')
        assert len(train) == 8 * 24 and len(test) == 8 * 8
        assert all(names[int(label) - 1] == path.split('/')[0] for path, label in train)
        assert all(os.path.exists(demo / 'videos' / words[0]) for words in train + test)
        groups = [{words[0].split('_')[-2] for words in half} for half in (train, test)]
        assert not groups[0] & groups[1]
        assert not tested & groups[1]
        tested |= groups[1]


def test_the_group_picks_the_appearance():
    """The median over all classes of a group is its background: each pixel is covered in less than half of the frames.
    Every class appears with it."""
    def backgrounds(appearances):
        args = parse_args(['--appearances', str(appearances), '--videos_per_class', '8', '--size', '32',
                           '--frames', '16'])
        by_group = {}
        for video in labelled_videos(list(MOTIONS), args.videos_per_class):
            by_group.setdefault(video.group, []).extend(render(args, video))
        assert len(by_group) == 4
        return [np.median(frames, axis=0) for _, frames in sorted(by_group.items())]

    def differs(a, b):
        return (np.abs(a - b) > 1).mean()

    same, two = backgrounds(1), backgrounds(2)
    assert max(differs(same[0], other) for other in same[1:]) < 0.1
    assert differs(two[0], two[2]) < 0.1 and differs(two[1], two[3]) < 0.1 and differs(two[0], two[1]) > 0.9


def test_no_single_frame_reveals_the_class(videos):
    """Nearest neighbours of test frames among training frames, by pixels and by shape without brightness."""
    train, test = ({c: half[c][:, ::8] for c in MOTIONS} for half in videos)
    for subtract in (0, 1):
        def features(x, subtract=subtract):
            return np.abs(x - subtract * np.median(x, (-2, -1), keepdims=True)).reshape(-1, 1600)

        known = np.concatenate([features(train[c]) for c in MOTIONS])
        labels = np.repeat(np.arange(8), len(known) // 8)
        hits = []
        for label, c in enumerate(MOTIONS):
            asked = features(test[c])
            distance = (known ** 2).sum(1) - 2 * asked @ known.T
            hits.append(labels[distance.argmin(1)] == label)
        # The 512 frames come from 64 videos with similar frames: 64 draws at chance stay below 0.25 (3 sigma).
        assert np.mean(hits) < 2 * CHANCE


def test_first_and_last_frames_show_no_difference_between_classes(videos):
    """The size of the sprite in the first and last frames is the same for all classes, within its scatter."""
    for end in (0, -1):
        sizes = {}
        for c in MOTIONS:
            frames = np.concatenate([half[c] for half in videos])
            # Only the sprite changes within a video: this is its share of the frame.
            background = np.median(frames, axis=1)
            sizes[c] = (np.abs(frames[:, end] - background) > 20).mean((1, 2))
        moving = np.array([sizes[c].mean() for c in ('MoveRight', 'MoveLeft', 'MoveUp', 'MoveDown')])
        assert moving.max() < 1.5 * moving.min()
        grown, shrunk = sizes['Grow'].mean(), sizes['Shrink'].mean()
        assert abs(grown - shrunk) < 0.4 * (grown + shrunk)


def mean_flow(frames):
    """[n, 40, 40] -> mean (x, y), curl and divergence of the optical flow, weighted by speed."""
    statistics = []
    for before, after in zip(frames[:24:2], frames[1:25:2]):
        flow = cv2.calcOpticalFlowFarneback(before.astype(np.uint8), after.astype(np.uint8), None,
                                            0.5, 2, 9, 3, 5, 1.1, 0)
        x_x, x_y = np.gradient(flow[..., 0], axis=1), np.gradient(flow[..., 0], axis=0)
        y_x, y_y = np.gradient(flow[..., 1], axis=1), np.gradient(flow[..., 1], axis=0)
        weight = np.linalg.norm(flow, axis=-1) + 1e-6
        total = weight.sum()
        statistics.append([(flow[..., 0] * weight).sum() / total, (flow[..., 1] * weight).sum() / total,
                           ((y_x - x_y) * weight).sum() / total * 4, ((x_x + y_y) * weight).sum() / total * 4])
    return np.median(statistics, axis=0)


def test_motion_reveals_the_class(videos):
    """The sign of one mean flow statistic identifies each class far above chance."""
    sign = {'MoveRight': (0, 1), 'MoveLeft': (0, -1), 'MoveDown': (1, 1), 'MoveUp': (1, -1), 'TurnClockwise': (2, 1),
            'TurnCounterclockwise': (2, -1), 'Grow': (3, 1), 'Shrink': (3, -1)}
    right = {}
    for c, (statistic, direction) in sign.items():
        flows = np.stack([mean_flow(frames) for frames in videos[1][c]])
        right[c] = np.mean(direction * flows[:, statistic] > 0)
    assert min(right.values()) >= 0.75, right


def test_flags_that_make_no_sense(capsys):
    for flags in (['--seed', '-1'], ['--seed', 'x'], ['--size', '8'], ['--videos_per_class', '4'],
                  ['--appearances', '0'],
                  ['--unlabelled', '-1'], ['--frames', '0']):
        with pytest.raises(SystemExit) as end:
            parse_args(flags)
        said = capsys.readouterr().err
        assert end.value.code == 2 and said.startswith('error: ') and flags[0] in said and said.count('\n') == 1


def test_the_unlabelled_part_is_ten_times_the_labelled_one():
    args = parse_args([])
    assert args.unlabelled == 10 * len(MOTIONS) * args.videos_per_class
    assert parse_args(['--videos_per_class', '8']).unlabelled == 640
    assert parse_args(['--unlabelled', '5']).unlabelled == 5
