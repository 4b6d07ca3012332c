"""eval/horizon.py as a user runs it, and its numbers against slow loops."""
import csv
import json

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from backbone.predictor import predict_blocks
from dpc.model import DPC
from eval import features, horizon
from eval.forecast.rollout import choose_steps, curve_of, right_share, roll_out
from tests.test_visualise import DEVICE
from tests.tiny import make_frames, next_lines, run


@pytest.fixture(scope='module')
def lists(tmp_path_factory):
    """csv_root of a data set 'long': five test videos of five blocks of five frames, and one of three."""
    root = tmp_path_factory.mktemp('long')
    rows = []
    for i, count in enumerate((25, 25, 26, 25, 29, 15)):
        folder = root / 'frames' / 'class' / f'video{i}'
        make_frames(folder, count, seed=i)
        rows.append((str(folder), count))
    (root / 'long').mkdir()
    for part in ('train', 'test'):
        with open(root / 'long' / f'{part}_split01.csv', 'w', newline='') as file:
            csv.writer(file).writerows(rows)
    return root


def save(path, **options):
    """A pretraining checkpoint of clips of three blocks, of random weights."""
    torch.manual_seed(0)
    model = DPC('resnet18', **{'pred_step': 1, **options})
    settings = {'model': 'dpc-rnn', 'net': 'resnet18', 'img_dim': 32, 'num_seq': 3, 'seq_len': 5, 'ds': 1,
                'pred_step': 1, **options}
    torch.save({'net': 'resnet18', 'state_dict': model.state_dict(), 'settings': settings}, path)
    return path


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return save(tmp_path_factory.mktemp('weights') / 'model.pth.tar')


# ---- numbers

@pytest.mark.parametrize('feature_map', ['dense', 'pooled'])
def test_the_roll_out_begins_as_in_training(feature_map):
    """The first P steps equal pretraining's predictions from the same features; the next ones continue them."""
    torch.manual_seed(0)
    trained = DPC('resnet18', pred_step=2, feature_map=feature_map).eval()
    feature = torch.randn(2, 7, 1 if feature_map == 'pooled' else 4, trained.backbone.feature_size)
    with torch.no_grad():
        curves, target = roll_out(trained, feature, 4, torch.Generator().manual_seed(0))
        ours = curves['model']
        assert torch.equal(target, feature[:, 3:])
        prediction, _ = trained.predict(feature[:, :5])
        _, state = trained.agg(F.relu(feature[:, :3]))
        assert ours.shape[1] == 4 and torch.equal(ours[:, :2], prediction)
        assert torch.equal(ours[:, :2], predict_blocks(trained.agg, trained.network_pred, state, 2))
        for step in range(4):
            assert torch.allclose(ours[:, step], trained.network_pred(state), atol=1e-6)
            _, state = trained.agg(F.relu(ours[:, step:step + 1]), state)


class LastSeen:
    """Predicts the last of the blocks that it sees."""

    def predict(self, feature, steps):
        return feature[:, :-steps][:, -1:].expand(-1, steps, -1, -1), feature[:, -steps:]


def test_where_nothing_moves_a_copy_is_perfect():
    """The future repeats the last seen block: copied, it is right at every step; the shuffled control isn't."""
    torch.manual_seed(0)
    past = torch.randn(4, 2, 3, 64)
    feature = torch.cat([past, past[:, -1:].expand(-1, 3, -1, -1)], dim=1)
    curves, target = roll_out(LastSeen(), feature, 3, torch.Generator().manual_seed(0))
    share = {name: right_share(each, target) for name, each in curves.items()}
    assert (share['copy_last']['own_step'] == 1).all() and (share['model']['own_step'] == 1).all()
    assert share['shuffled']['own_step'].mean() < 0.5
    assert (share['copy_last']['all_steps'] == 0).all(), 'equal blocks of other steps count against it'
    assert 'shuffled' not in roll_out(LastSeen(), feature[:, 1:], 3, torch.Generator())[0]


def test_shares_equal_a_loop_over_candidates():
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(3, 2, 4, 5, generator=generator)
    prediction = target + torch.randn(3, 2, 4, 5, generator=generator)
    found = right_share(prediction, target)
    for b in range(3):
        for k in range(2):
            for name, steps in (('all_steps', range(2)), ('own_step', [k])):
                right = 0
                for s in range(4):
                    score = {(c, j, r): float(prediction[b, k, s] @ target[c, j, r])
                             for c in range(3) for j in steps for r in range(4)}
                    assert len(score) == 12 * len(steps), 'as many at every step'
                    right += max(score, key=score.get) == (b, k, s)
                assert found[name][b, k] == right / 4


def test_steps_follow_the_videos():
    blocks = np.array([9, 9, 6, 5, 3])
    assert choose_steps(blocks, 2, 4) == 4              # half of the videos, rounded up, have 6 blocks
    assert choose_steps(blocks, 2, 6) == 4
    assert choose_steps(blocks, 6, 6) == 1              # they have fewer than 7, but two have
    assert choose_steps(blocks, 2, 6, 7) == 7           # of two videos
    assert choose_steps(blocks, 2, 6, 8) == choose_steps(blocks[:1], 2, 6) == choose_steps(blocks, 9, 2) == 0


# ---- the command

def horizon_of(lists, out, weights, *flags):
    argv = [*DEVICE, '--csv_root', lists, '--dataset', 'long', '--out', out, '--weights', weights, *flags]
    assert run(horizon, argv) == 0
    return json.loads((out / 'horizon.json').read_text())


def test_curves_of_a_list(lists, weights, tmp_path, capsys):
    """Twice the trained step; the short video is left out; figures follow from those of single clips."""
    found = horizon_of(lists, tmp_path, weights, '--batch_size', '2')
    printed = capsys.readouterr().out
    features.parse_args(next_lines(printed)[0][2:])
    assert '1 of 6 videos have fewer than the 2 seen and 2 predicted blocks and are left out' in printed
    assert '1 clips that do not fill a batch of 2 are left out' in printed
    assert (found['seen'], found['steps'], found['clips'], found['too_short'], found['left_out']) == (2, 2, 4, 1, 1)
    assert len(set(found['videos'])) == 4 and not any(path.endswith('video5') for path in found['videos'])
    candidates = {name: table['candidates'] for name, table in found['by_candidates'].items()}
    assert candidates == {'all_steps': 4, 'own_step': 2}
    for table in found['by_candidates'].values():
        assert table['chance'] == 1 / table['candidates'] and f'chance {table["chance"]:.2%}' in printed
        assert list(table['curves']) == ['model', 'copy_last', 'copy_mean', 'shuffled']
        for curve in table['curves'].values():
            clips = np.array(curve['top1_of_clip'])
            assert clips.shape == (4, 2) and curve['top1'] == pytest.approx(clips.mean(axis=0))
            assert curve['interval'] == [[None, None]] * 2, 'of four videos'
            assert sorted(curve['top1_of_group'].values()) == sorted(clips.tolist())
            for k in range(2):
                said = f'{100 * curve["top1"][k]:.1f} {{{100 * clips[:, k].min():.1f} to {100 * clips[:, k].max():.1f}}}'
                assert said in printed
    picture = cv2.imread(str(tmp_path / 'horizon.png'))
    assert picture.shape[0] >= 400 and picture.shape[1] >= 900 and picture.std() > 10


def test_intervals_are_those_of_each_step():
    share = np.array([[0., 1.], [1., 1.]] * 6)
    curve = curve_of(share, np.arange(12))
    assert curve['top1'] == [0.5, 1] and curve['interval'][1] == (1, 1)
    low, high = curve['interval'][0]
    assert low < 0.5 < high


def test_ablations(lists, tmp_path):
    """Pooled maps have one location; parallel predictions have as many steps as trained for, or fewer."""
    pooled = horizon_of(lists, tmp_path, save(tmp_path / 'pooled.pth.tar', feature_map='pooled'), '--img_dim', '64',
                   '--allow_other_settings')
    assert pooled['by_candidates']['own_step']['candidates'] == pooled['clips'] == 5
    parallel = save(tmp_path / 'parallel.pth.tar', prediction='parallel', pred_step=2)
    assert horizon_of(lists, tmp_path, parallel, '--steps', '1')['steps'] == 1


def test_one_line_for_each_mistake(lists, weights, classifier, tmp_path, capsys):
    def error(weights, *flags):
        capsys.readouterr()
        argv = [*DEVICE, '--csv_root', lists, '--out', tmp_path / 'out', '--weights', weights, *flags]
        assert run(horizon, argv) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and lines[0].startswith('error: '), lines
        return lines[0]

    listed = ['--dataset', 'long']
    other = classifier / 'model' / 'epoch1.pth.tar'
    assert 'a classifier\'s has no predictor' in error(other, *listed, '--pred_step', 1)
    parallel = save(tmp_path / 'parallel.pth.tar', prediction='parallel')
    assert 'cannot be rolled out to 2: give --steps 1 or fewer' in error(parallel, *listed, '--steps', 2)
    assert 'long enough for --steps 4: give --steps 3 or fewer' in error(weights, *listed, '--steps', 4)
    videos = lists / 'frames' / 'class'
    assert 'a single video' in error(weights, videos / 'video0')
    assert 'are 40 frames; give longer videos' in error(weights, *listed, '--allow_other_settings', '--num_seq', 8)
    assert not (tmp_path / 'out').exists()
    assert horizon_of(lists, tmp_path / 'out', parallel)['steps'] == 1
