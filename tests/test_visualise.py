"""eval/visualise.py as a user runs it, and its numbers against slow loops."""
import json
import zipfile

import cv2
import numpy as np
import pytest
import torch

from dpc.loss import dense_info_nce
from dpc.metrics import wrong_answers
from dpc.model import DPC
from eval import horizon, visualise
from eval.forecast.breakdown import by_motion, easiest_first, principal_colours, summarise
from eval.forecast.clip_pictures import ClipView, draw_clip, film_locations, moving_locations
from eval.forecast.predictions import MISTAKES, Batch, best_answers, match_of, motion_of, ranks
from eval.forecast.setup import load_network
from tests.test_features import rows_of, with_a_broken_video
from tests.tiny import checkpoint, make_frames, next_lines, pretrain, resized, run
from utils.checkpoint import load_weights
from utils.data.colour import to_block
from utils.random_streams import stream

DEVICE = ['--num_workers', '0', '--gpu', 'cpu', '--amp', 'off']
CLIP = ['--img_dim', '32', '--num_seq', '3', '--ds', '1', '--pred_step', '1', *DEVICE]


def features(V=3, N=4, P=2, S=6, D=5, seed=0):
    """(features [V, N, S, D], predictions [V, P, S, D]) of which some are right."""
    generator = torch.Generator().manual_seed(seed)
    feature = torch.randn(V, N, S, D, generator=generator)
    return feature, feature[:, -P:] + torch.randn(V, P, S, D, generator=generator)


def batch_of(feature, prediction, motion, rows):
    target = feature[:, -prediction.shape[1]:]
    shares = {'right': (ranks(prediction, target) == 0).mean()}
    shares.update({text: wrong_answers(prediction, target)[name].item() for text, name in MISTAKES.items()})
    return Batch(rows, ranks(prediction, target), best_answers(prediction, target), shares, motion, feature, prediction)


# ---- numbers

@pytest.mark.parametrize('options', [{}, {'prediction': 'parallel'}, {'feature_map': 'pooled'}])
def test_the_network_is_that_of_pretraining(options):
    """The checkpoint says which ablation; the network is loaded without dropout and makes the same predictions."""
    torch.manual_seed(0)
    trained = DPC('resnet18', pred_step=2, **options).eval()
    settings = {'model': 'dpc-rnn', 'net': 'resnet18', 'img_dim': 64, 'num_seq': 4, 'seq_len': 5, 'ds': 1, **options}
    network = load_network('file', {'state_dict': trained.state_dict(), 'settings': settings}, 'resnet18', 2)
    clips = torch.randn(2, 4, 3, 5, 64, 64)
    with torch.no_grad():
        for expected, found in zip(trained(clips), network(clips)):
            assert torch.equal(found, expected)


def test_answers_equal_a_loop_over_all_pairs():
    feature, prediction = features()
    target = feature[:, -2:]
    rank, taken = ranks(prediction, target), best_answers(prediction, target)
    V, P, S, _ = target.shape
    locations = [(v, p, s) for v in range(V) for p in range(P) for s in range(S)]
    for own in locations:
        score = {other: float(prediction[own] @ target[other]) for other in locations}
        best = max(locations, key=score.get)
        assert rank[own] == sum(score[other] >= score[own] for other in locations) - 1
        assert tuple(taken[own]) == best
        future = {other: np.exp(score[other]) for other in locations if other[0] == own[0]}
        match = match_of(prediction[own[0]], target[own[0]])[own[1:]]
        assert match.sum() == pytest.approx(1)
        for other in future:
            assert match[other[1:]] == pytest.approx(future[other] / sum(future.values()), rel=1e-4)


def test_answers_agree_with_the_shares_of_mistakes():
    feature, prediction = features(V=4)
    taken, wrong = best_answers(prediction, feature[:, -2:]), wrong_answers(prediction, feature[:, -2:])
    own = np.stack(np.indices(taken.shape[:3]), axis=-1)
    other_clip, other_time, other_location = np.moveaxis(taken != own, -1, 0)
    kinds = {'wrong_video': other_clip, 'wrong_location': ~other_clip & other_location,
             'wrong_time': ~other_clip & ~other_location & other_time}
    assert set(kinds) == set(MISTAKES.values())
    for name, found in kinds.items():
        assert found.mean() == pytest.approx(wrong[name].item()) and found.any()


def test_equal_features_are_not_right():
    """A collapsed net: all ties, which count against the true location."""
    equal = torch.ones(2, 1, 4, 3)
    assert (ranks(equal, equal) == 7).all()
    own = np.stack(np.indices((2, 1, 4)), axis=-1)
    assert (best_answers(equal, equal) != own).any(axis=-1).all()


def test_nan_counts_against_the_true_location():
    feature, prediction = features()
    prediction[0, 0, 0] = torch.nan
    rank, taken = ranks(prediction, feature[:, -2:]), best_answers(prediction, feature[:, -2:])
    assert rank[0, 0, 0] == rank.size - 1 and taken[0, 0, 0].tolist() != [0, 0, 0]


def test_motion_equals_a_loop_over_pixels():
    """Two blocks of three frames predicted after one that is seen, 2×3 locations of 4×4 px."""
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 9, 8, 12, 3), np.uint8))
    grey = frames[0].numpy().astype(float).mean(axis=-1)
    motion = motion_of(frames, 3, 2, (2, 3))
    assert motion.shape == (1, 2, 6)
    for p in range(2):
        for s in range(6):
            top, left = s // 3 * 4, s % 3 * 4
            cell = grey[:, top:top + 4, left:left + 4]
            change = [np.abs(cell[t] - cell[t - 1]).mean() for t in range(3 + 3 * p, 6 + 3 * p)]
            assert motion[0, p, s] == pytest.approx(np.mean(change))
    still = motion_of(frames[:, :1].expand(-1, 9, -1, -1, -1), 3, 2, (2, 3))
    assert (still == 0).all()


def test_the_summary_equals_a_loop():
    motion = np.random.default_rng(0).random((4, 3, 2, 6))
    batches = [batch_of(*features(seed=i), motion[i], [3 * i, 3 * i + 1, 3 * i + 2]) for i in range(4)]
    summary = summarise(batches, (2, 3), [f'v{row}' for row in range(12)])
    few = summarise(batches, (2, 3), [f'person {row % 3}' for row in range(12)])
    assert few['groups'] == 3 and few['top1_by_step_interval'] == [(None, None)] * 2
    rank = np.concatenate([batch.rank for batch in batches])
    assert (summary['clips'], summary['predictions'], summary['candidates']) == (12, 144, 36)
    assert 0 < summary['top1'] == pytest.approx(sum(r == 0 for r in rank.flat) / 144)
    assert summary['top5'] == pytest.approx(sum(r < 5 for r in rank.flat) / 144)
    for p in range(2):
        assert summary['top1_by_step'][p] == pytest.approx(np.mean([r == 0 for r in rank[:, p].flat]))
        low, high = summary['top1_by_step_interval'][p]
        assert low < summary['top1_by_step'][p] < high
    assert summary['top1_by_location'][1][2] == pytest.approx(np.mean([r == 0 for r in rank[:, :, 5].flat]))
    assert sum(summary['taken_for'].values()) == pytest.approx(1)
    assert summary['taken_for']['right'] == summary['top1']

    pairs = sorted(zip(motion.ravel(), rank.ravel()))
    for i, quarter in enumerate(summary['top1_by_motion']):
        part = pairs[36 * i:36 * (i + 1)]
        assert (quarter['low'], quarter['high'], quarter['predictions']) == (part[0][0], part[-1][0], 36)
        assert quarter['top1'] == pytest.approx(np.mean([r == 0 for _, r in part]))

    ranked = easiest_first(batches)
    assert [row for row, *_ in ranked] == sorted(range(12), key=lambda v: (-(rank[v] == 0).mean(), rank[v].mean()))
    first = rank[ranked[0][0]]
    assert ranked[0][1:] == (pytest.approx((first == 0).mean()), pytest.approx(first.mean() + 1))


def test_few_predictions_have_fewer_quarters():
    quarters = by_motion(np.array([True, False, True]), np.array([3., 1., 2.]))
    assert [(each['low'], each['top1']) for each in quarters] == [(1, 0), (2, 1), (3, 1)]


def test_colours_follow_what_differs_at_a_location():
    """A component common to all clips at a location has no colour; the largest difference is red."""
    feature = torch.zeros(2, 3, 4, 5)
    feature[..., 0] = 100 * torch.arange(4.)            # the same in all clips
    feature[1, :, :, 1] = 10
    feature[:, 1, :, 2] = 1
    colours = principal_colours(feature)
    assert colours.shape == (2, 3, 4, 3) and colours.min() >= 0 and colours.max() <= 1
    assert np.ptp(colours[..., 0], axis=(1, 2)) == pytest.approx([0, 0], abs=1e-4)
    assert abs(colours[1, 0, 0, 0] - colours[0, 0, 0, 0]) == pytest.approx(1, abs=1e-4)
    assert np.ptp(colours, axis=2) == pytest.approx(np.zeros((2, 3, 3)), abs=1e-4)
    assert principal_colours(torch.randn(1, 1, 2, 5)).shape == (1, 1, 2, 3)        # less than three components


def test_locations_that_move_most():
    motion = np.array([[1., 5., 2., 0.], [4., 3., 2., 0.]])
    assert moving_locations(motion, 2) == [(0, 1), (1, 0)]
    assert len(moving_locations(motion, 9)) == 4
    assert film_locations(motion, 3) == [(0, 1), (1, 0), (1, 1)]
    assert film_locations(motion, 48) == [(p, s) for p in range(2) for s in range(4)]


# ---- pictures

def make_view(size=(2, 3), P=2, N=4):
    S = size[0] * size[1]
    frames = np.full((N, 24, 36, 3), 90, np.uint8)
    rank, taken = np.zeros((P, S), int), np.stack(np.indices((1, P, S))[:, 0], axis=-1)
    match = np.tile(np.eye(P * S, dtype=np.float32).reshape(P, S, P, S), 1)
    return ClipView('clip $x$ <b>', frames, size, rank, taken, match, 0, {1: frames + 100}, 2 * P * S, 2)


@pytest.mark.parametrize('size, P, N', [((1, 1), 1, 2), ((2, 3), 2, 4), ((7, 7), 3, 8), ((9, 9), 1, 3)])
def test_a_clip_is_drawn_large_enough_to_read(size, P, N):
    one, two = (draw_clip(make_view(size, P, N), locations) for locations in ([(0, 0)], [(0, 0), (P - 1, size[1] - 1)]))
    assert one.dtype == np.uint8 and one.shape[1] == two.shape[1] >= 900
    assert two.shape[0] > one.shape[0] + 150                    # a row more
    assert one.shape[1] >= 150 * N                              # pixels for each frame of the strip


def count(picture, colour):
    """Pixels of an outline's colour, which frames and captions don't have."""
    return int((np.abs(picture.astype(int) - colour).max(axis=-1) < 30).sum())


def test_outlines_say_what_is_right():
    """Green where right; a wrong answer adds red, in this clip or in another, and the heat moves with the match."""
    green, red, yellow = (0, 224, 75), (255, 32, 32), (215, 180, 40)
    right = make_view()
    picture = draw_clip(right, [(0, 0)])
    assert count(picture, green) > 500
    wrong, elsewhere = make_view(), make_view()
    wrong.rank[0, 0], elsewhere.rank[0, 0] = 3, 3
    wrong.taken[0, 0], elsewhere.taken[0, 0] = (0, 1, 5), (1, 1, 5)
    here, there = (draw_clip(view, [(0, 0)]) for view in (wrong, elsewhere))
    assert count(here, red) > count(there, red) > count(picture, red) + 200
    assert count(here, green) < count(picture, green)
    assert count(picture, yellow) > 2000
    flat = make_view()
    flat.match[:] = 1 / 12
    assert count(draw_clip(flat, [(0, 0)]), yellow) > 6 * count(picture, yellow)


# ---- the command

def draw(csv_root, out, *flags, base=CLIP):
    """A run that succeeds; returns its numbers."""
    assert run(visualise, [*base, '--csv_root', csv_root, '--out', out, *flags]) == 0
    return json.loads((out / 'visualise.json').read_text())


def test_pictures_and_numbers_of_a_list(csv_root, pretrained, tmp_path, capsys):
    """Settings follow the checkpoint; numbers equal those of the pretrained network on the same clips."""
    weights = pretrained / 'model' / 'epoch1.pth.tar'
    found = draw(csv_root, tmp_path, '--weights', weights, '--pictures', '2', '--batch_size', '5', base=DEVICE)
    assert 'pred_step 1 (checkpoint)' in capsys.readouterr().out
    assert (found['clips'], found['left_out'], found['candidates'], found['batch_size']) == (10, 2, 5, 5)
    names = {'overview.png', 'extremes.png', 'colours.png', 'clip1.png', 'clip2.png', 'clip1.mp4', 'clip2.mp4'}
    assert {path.name for path in tmp_path.iterdir()} == {*names, 'visualise.json'}
    for name in names:
        if name.endswith('.png'):
            picture = cv2.imread(str(tmp_path / name))
            assert picture.shape[0] >= 400 and picture.shape[1] >= 600 and picture.std() > 10, name
    film = cv2.VideoCapture(str(tmp_path / 'clip1.mp4'))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 1 and film.read()[0]      # P·S = 1 location

    model = DPC('resnet18', pred_step=1).eval()
    load_weights(model, weights)
    rows = dict(rows_of(csv_root, 'test'))
    right = 0
    order = stream('shown_clips', 0).permutation(12)
    paths = [list(rows)[i] for i in order]
    assert {path for path, _ in found['top1_of_clip']} == set(paths[:10])
    assert list(found['drawn'].values()) == paths[:2]
    for batch in (paths[:5], paths[5:10]):
        with torch.no_grad():
            _, rank = dense_info_nce(*model(torch.cat([middle_clip(path, int(rows[path])) for path in batch])))
        right += (rank == 0).sum().item()
    assert found['top1'] == pytest.approx(right / 10)


def middle_clip(path, n_frames):
    """[1, 3, 3, 5, 32, 32]: the middle three blocks of a video, whose last frame is repeated if it is short."""
    blocks = max(3, n_frames // 5)
    first = (blocks - 3) // 2 * 5
    frames = []
    for number in range(first + 1, first + 16):
        frame = cv2.imread(f'{path}/image_{min(number, n_frames):05d}.jpg')[:, :, ::-1]
        left = (frame.shape[1] - frame.shape[0]) // 2
        frames.append(resized(np.ascontiguousarray(frame[:, left:left + frame.shape[0]]), 32))
    return to_block(torch.from_numpy(np.stack(frames)[None]), None, 3)


def test_frame_folders_are_drawn_in_their_order(csv_root, tmp_path, capsys):
    """Two folders given by name, of which one is shorter than a clip; several locations at 64 px."""
    for name, frames in (('long', 25), ('short', 7)):
        make_frames(tmp_path / name, frames, seed=1, size=(70, 80))
    out = tmp_path / 'out'
    flags = ['--weights', 'random', '--img_dim', '64', '--locations', '2', '--pictures', '1']
    found = draw(csv_root, out, tmp_path / 'long', tmp_path / 'short', *flags)
    assert found['drawn'] == {'clip1': str(tmp_path / 'long')}
    said = capsys.readouterr().out
    assert '1 of 2 videos are shorter than a clip of 15 frames' in said
    horizon.parse_args(next_lines(said)[0][2:])
    assert found['candidates'] == 8 and np.shape(found['top1_by_location']) == (2, 2) and found['dataset'] is None
    film = cv2.VideoCapture(str(out / 'clip1.mp4'))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    with zipfile.ZipFile(tmp_path / 'packed.zip', 'w') as archive:
        for frame in (tmp_path / 'long').iterdir():
            archive.write(frame, frame.name)
    one = draw(csv_root, tmp_path / 'one', tmp_path / 'packed.zip', '--weights', 'random', '--no_film')
    assert one['drawn'] == {'clip1': str(tmp_path / 'packed')} and not list((tmp_path / 'one').glob('*.mp4'))


def test_the_ablations_are_drawn(csv_root, tmp_path):
    """Parallel predictions of pooled features: the checkpoint says so."""
    folder = pretrain(csv_root, tmp_path, '--num_seq', 4, '--pred_step', 2, '--prediction', 'parallel', '--feature_map',
                      'pooled')
    assert checkpoint(folder)['settings'].items() >= {'pred_step': 2, 'prediction': 'parallel',
                                                      'feature_map': 'pooled'}.items()
    flags = ['--no_film', '--pictures', '1', '--clips', '4']
    weights = folder / 'model' / 'epoch1.pth.tar'
    found = draw(csv_root, tmp_path / 'out', '--weights', weights, *flags, base=DEVICE)
    assert np.shape(found['top1_by_location']) == (1, 1) and len(found['top1_by_step']) == 2


def test_an_older_checkpoint_needs_the_flag(csv_root, pretrained, tmp_path, capsys):
    """It doesn't say how many blocks are predicted; the default leaves none to be seen here."""
    stored, path = checkpoint(pretrained), tmp_path / 'old.pth.tar'
    for name in ('pred_step', 'prediction', 'feature_map'):
        del stored['settings'][name]
    torch.save(stored, path)
    assert '--pred_step 3 leaves none of the --num_seq 3 blocks' in error_of(csv_root, tmp_path, capsys, path)
    flags = ['--pred_step', 2, '--clips', 3, '--pictures', 1, '--no_film']
    assert draw(csv_root, tmp_path / 'out', '--weights', path, *flags, base=DEVICE)['pred_step'] == 2


# ---- bad input

def error_of(csv_root, tmp_path, capsys, weights, *flags, base=DEVICE):
    capsys.readouterr()
    assert run(visualise, [*base, '--csv_root', csv_root, '--out', tmp_path / 'out', '--weights', weights, *flags]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith('error: '), lines
    return lines[0]


def test_one_line_for_each_mistake(csv_root, pretrained, classifier, tmp_path, capsys):
    weights = pretrained / 'model' / 'epoch1.pth.tar'

    def error(*flags, **base):
        return error_of(csv_root, tmp_path, capsys, *flags, **base)

    assert 'a classifier\'s has no predictor' in error(classifier / 'model' / 'epoch1.pth.tar')
    assert 'checkpoint of another net' in error(weights, '--net', 'resnet34')
    assert 'was trained with --pred_step 1' in error(weights, '--pred_step', 2)
    assert 'is not there' in error(tmp_path / 'none.pth.tar')
    assert 'no such data set' in error(weights, '--dataset', 'nothing')
    empty = tmp_path / 'empty'
    empty.mkdir()
    assert f'{empty}: no video' in error(weights, empty)
    foreign = tmp_path / 'foreign.pth.tar'
    torch.save({'state_dict': {'conv1.weight': torch.zeros(3)}}, foreign)
    assert 'nothing in it matches' in error(foreign, base=CLIP)
    stored = checkpoint(pretrained)
    stored['settings']['pred_step'] = 'two'
    torch.save(stored, foreign)
    assert 'its settings is not' in error(foreign)
    (tmp_path / 'out').write_text('')
    assert 'cannot make this folder' in error(weights)
    with pytest.raises(SystemExit) as end:
        visualise.parse_args(['video', '--dataset', 'ucf101', '--weights', 'random', '--out', 'out'])
    assert end.value.code == 2 and 'choose one' in capsys.readouterr().err


def test_weights_that_are_not_finite_in_use(csv_root, pretrained, tmp_path, capsys):
    stored, path = checkpoint(pretrained), tmp_path / 'large.pth.tar'
    for name in ('network_pred.0.weight', 'network_pred.2.weight'):
        stored['state_dict'][name] *= 1e30
    torch.save(stored, path)
    assert 'the features are not finite' in error_of(csv_root, tmp_path, capsys, path, '--clips', 2)


def test_an_unreadable_video_is_named_and_left_out(csv_root, tmp_path, capsys):
    lists, broken = with_a_broken_video(csv_root, tmp_path)
    found = draw(lists, tmp_path / 'out', '--weights', 'random', '--no_film', '--pictures', '1')
    assert found['clips'] == 5 and str(broken) in found['skipped'][0]
    assert str(broken) in capsys.readouterr().err
    assert run(visualise, [*CLIP, '--weights', 'random', '--out', tmp_path / 'none', broken]) == 2
    warning, error = capsys.readouterr().err.splitlines()
    assert str(broken) in warning and error.startswith('error: none of the 1 video can be read')


def test_a_checkpoint_says_what_pretraining_predicted(pretrained):
    settings = checkpoint(pretrained)['settings']
    assert (settings['pred_step'], settings['prediction'], settings['feature_map']) == (1, 'sequential', 'dense')
