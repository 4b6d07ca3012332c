"""What a validation of pretraining reports: mistakes by kind, top-1 by step, and the k-NN, against loops."""
import math

import numpy as np
import pytest
import torch

from dpc.health import Health
from dpc.loss import dense_info_nce
from dpc.metrics import Moments, control_predictions, guesses, spread, taken_for, top1_by_step, wrong_answers
from dpc.model import DPC
from dpc.objective import Objective
from dpc.validation import Validation
from tests import tiny
from utils.cli import UserError
from utils.data.lists import VideoList
from utils.knn_vote import leave_group_out
from utils.run.status import describe


def obvious_mistakes(prediction, target, first, clips_per_video):
    """Loops over every prediction."""
    B, P, S, _ = prediction.shape
    counts = dict.fromkeys(('wrong_video', 'wrong_clip', 'wrong_location', 'wrong_time'), 0)
    for b in range(B):
        for p in range(P):
            for s in range(S):
                score = {(c, q, t): float(prediction[b, p, s] @ target[c, q, t])
                         for c in range(len(target)) for q in range(P) for t in range(S)}
                own = first + b, p, s
                true = score.pop(own)
                best = max(score, key=score.get)
                if score[best] < true:
                    continue
                if best[0] // clips_per_video != own[0] // clips_per_video:
                    counts['wrong_video'] += 1
                elif best[0] != own[0]:
                    counts['wrong_clip'] += 1
                elif best[2] != s:
                    counts['wrong_location'] += 1
                else:
                    counts['wrong_time'] += 1
    return {kind: count / (B * P * S) for kind, count in counts.items()}


@pytest.mark.parametrize('clips_per_video', [1, 2])
@pytest.mark.parametrize('first', [0, 2])
def test_mistakes_equal_a_loop(first, clips_per_video, monkeypatch):
    """In parts of 7 rows; the targets of another process lie before those of this one."""
    monkeypatch.setattr('dpc.metrics.ROWS_AT_ONCE', 7)
    torch.manual_seed(0)
    target = torch.randn(first + 4, 2, 3, 5)
    target[:, 1] = target[:, 0] + 0.1 * target[:, 1]  # other times are easy to mistake
    prediction = target[first:] + torch.randn(4, 2, 3, 5)
    found = {name: value.item() for name, value in wrong_answers(prediction, target, first, clips_per_video).items()}
    assert found == pytest.approx(obvious_mistakes(prediction, target, first, clips_per_video))
    assert min(found[kind] for kind in ('wrong_video', 'wrong_location', 'wrong_time')) > 0
    assert (found['wrong_clip'] > 0) == (clips_per_video > 1)
    _, rank = dense_info_nce(prediction, target, first_positive=first * 6)
    assert sum(found.values()) == pytest.approx(1 - (rank == 0).float().mean().item())


@pytest.mark.parametrize('value', [0., float('nan')])
def test_collapsed_features_are_all_mistakes(value):
    features = torch.full((2, 2, 3, 5), value)
    assert sum(wrong_answers(features, features).values()).item() == pytest.approx(1)


def test_top1_by_step():
    rank = torch.tensor([[[0, 0], [1, 0]], [[0, 3], [2, 5]]])  # [B, P, S]
    found = top1_by_step(rank.flatten(), 2, 2)
    assert {name: value.item() for name, value in found.items()} == {'top1_step1': 0.75, 'top1_step2': 0.25}


def test_leave_group_out_equals_a_loop(monkeypatch):
    monkeypatch.setattr('utils.knn_vote.QUERIES_AT_ONCE', 7)
    rng = np.random.default_rng(0)
    label, group = rng.integers(3, size=40), rng.integers(12, size=40)
    vectors = rng.standard_normal((40, 6)) + np.eye(6)[label]
    right = 0
    for i in range(40):
        votes = np.zeros(3)
        cosine = [(vectors[i] @ vectors[j] / np.linalg.norm(vectors[i]) / np.linalg.norm(vectors[j]), label[j])
                  for j in range(40) if group[j] != group[i]]
        for similarity, other in sorted(cosine, reverse=True)[:10]:
            votes[other] += np.exp(similarity / 0.07)
        right += votes.argmax() == label[i]
    found = leave_group_out([torch.tensor(vector) for vector in vectors], label, group, 10)
    assert found == pytest.approx(right / 40) and 1 / 3 < found < 1


def test_few_others_vote():
    """With fewer than k videos of other groups, those of the own group still weigh nothing."""
    vectors = torch.eye(3)[[0, 0, 1]].double() + 0.1
    assert math.isnan(leave_group_out(vectors, np.array([0, 0, 1]), np.array([0, 0, 1]), 10)), 'no other group to be right'
    assert leave_group_out(vectors, np.array([0, 0, 0]), np.array([0, 0, 1]), 10) == 1


def test_validation_measures_what_training_does(csv_root):
    """The same loss and statistics as the training's objective on the same clips, and more."""
    torch.manual_seed(0)
    model = DPC('resnet18', pred_step=1).eval()
    block = torch.randn(2, 3, 3, 5, 32, 32)
    videos = VideoList.from_rows(['/f/a/x', '/f/b/y'], [9, 9])
    objective = Objective()
    with torch.no_grad():
        scored = objective(*model(block))
        validation = Validation(objective, videos)
        validation.restart()
        loss, statistics = validation(model, block, torch.arange(2))
    assert loss == scored.loss
    assert {name: statistics[name] for name in scored.statistics} == scored.statistics
    mistakes = sum(statistics[f'wrong_{kind}'] for kind in ('video', 'clip', 'location', 'time'))
    assert mistakes + statistics['top1'] == pytest.approx(1)
    assert statistics['top1_step1'] == pytest.approx(statistics['top1'].item())


def test_moments_equal_a_decomposition_of_all_vectors():
    """In three batches: the spread of dpc.metrics.spread, and the entropy of NumPy's singular values."""
    torch.manual_seed(0)
    vectors = torch.randn(60, 5) @ torch.diag(torch.tensor([3., 1., 1., 0.1, 0])) + 2
    moments = Moments()
    for part in vectors.view(3, 4, 5, 5):
        moments.add(part)
    found = moments.read()
    values = np.linalg.svd((vectors - vectors.mean(dim=0)).double().numpy(), compute_uv=False)[:4]
    share = values / values.sum()
    assert found == pytest.approx([spread(vectors).item(), np.exp(-(share * np.log(share)).sum())], rel=1e-5)
    assert 1 < found[1] < 4


@pytest.mark.parametrize('value, expected', [(0., (0, 1)), (3., (0, 1)), (math.nan, (math.nan, math.nan))])
def test_moments_of_collapsed_features(value, expected):
    moments = Moments()
    moments.add(torch.full((4, 3, 8), value))
    assert moments.read() == pytest.approx(expected, nan_ok=True)


class Repeating(torch.nn.Module):
    """In place of a DPC: predicts the block `number` of the seen ones, P times."""

    def __init__(self, number, pred_step=2):
        super().__init__()
        self.number, self.pred_step = number, pred_step

    def predict(self, feature, steps):
        target = feature[:, -steps:]
        return feature[:, :-steps][:, self.number:][:, :1].expand_as(target), target


def test_control_predictions():
    """The last seen block repeats in the future, the first says nothing: copying the last is right, and so is a model
    that does so, until the order is changed."""
    torch.manual_seed(0)
    feature = torch.randn(6, 4, 3, 50)              # [B, N, S, D]
    feature[:, 2:] = feature[:, 1:2] + 0.1 * torch.randn(6, 2, 3, 50)
    target = feature[:, 2:]
    found = {}
    for number in (0, 1):
        controls = control_predictions(Repeating(number), feature, torch.Generator().manual_seed(0))
        found[number] = {name: taken_for(prediction, target) for name, prediction in controls.items()}
        found[number] = {name: (taken // 6 == torch.arange(36) // 6).logical_or(taken < 0).float().mean().item()
                         for name, taken in found[number].items()}       # the right clip, at any time
    assert found[1]['copy_last'] == found[0]['copy_last'] > 0.95 and found[1]['copy_mean'] > 0.5
    assert found[1]['top1_shuffled'] < 0.5 < found[0]['top1_shuffled'], 'of two blocks the other is taken'
    assert 'top1_shuffled' not in control_predictions(Repeating(0, pred_step=3), feature, torch.Generator())


def test_guesses():
    found = guesses(torch.zeros(8, 2, 4, 5), clips_per_video=2)
    assert found == {'guess_video': 0.75, 'guess_clip': 0.5, 'guess_location': 0.75, 'guess_time': 0.5}


HEALTHY = {'top1': 0.4, 'wrong_time': 0.3, 'guess_time': 0.5, 'copy_last': 0.1, 'copy_mean': 0.1, 'top1_shuffled': 0.3,
           'spread': 0.9, 'effective_rank': 60.}


@pytest.mark.parametrize('change, said', [
    ({}, None), ({'spread': 0.001}, 'collapsed'), ({'effective_rank': 1.5}, 'collapsed'), ({'copy_mean': 0.4}, 'repeating'),
    ({'top1': 0.47, 'wrong_time': 0.46}, 'the time is guessed'), ({'top1_shuffled': 0.41}, 'order is not used'),
    ({name: math.nan for name in HEALTHY}, None)])
def test_a_bad_pattern_is_reported_once_when_it_lasts(change, said):
    health, bad = Health(), {**HEALTHY, **change}
    assert not any(health.warnings(stats) for stats in (bad, bad, HEALTHY, bad, bad))
    found = [health.warnings(bad) for _ in range(3)]
    assert found[1:] == [[], []] and len(found[0]) == (said is not None)
    assert said is None or said in found[0][0]


def test_a_collapsed_run_is_reported(csv_root, tmp_path, capsys, monkeypatch):
    """Once on the screen and in the log. As few predictions as these are not checked, which is said once."""
    monkeypatch.setattr('dpc.health.FEW_DIRECTIONS', 1e9)
    flags = '--epochs', 4, '--short_videos', 'pad'
    tiny.pretrain(csv_root, tmp_path / 'few', *flags)
    shown = capsys.readouterr().err
    assert 'collapsed' not in shown and shown.count('too few to check the health of the run') == 1
    monkeypatch.setattr('dpc.validation.FEW_PREDICTIONS', 1)
    folder = tiny.pretrain(csv_root, tmp_path, *flags)
    assert capsys.readouterr().err.count('the features have collapsed') == 1
    logged = [(record['epoch'], record['text'][:17]) for record in tiny.read_log(folder, 'warning')]
    assert (3, 'for 3 validations') in logged and len({text for _, text in logged}) == 1
    names = {'copy_last', 'copy_mean', 'top1_shuffled', 'effective_rank', 'effective_rank_state', 'spread_state',
             'guess_time'}
    assert all(names <= record.keys() for record in tiny.read_log(folder, 'val'))


def test_knn_is_logged_when_due(csv_root, tmp_path):
    """Every second epoch, in the log and the status table; two processes count every clip once."""
    flags = ['--knn_every', 2, '--val_on', 'test', '--short_videos', 'pad', '--epochs', 2]
    for count in (1, 2):
        folder = tiny.pretrain(csv_root, tmp_path / str(count), *flags, '--num_procs', count, '--lr', 0)
        records = tiny.read_log(folder, 'val')
        assert ['knn' in record for record in records] == [False, True]
        found = records[1]['knn']
        assert describe(folder / 'log.jsonl', tmp_path)['knn'] == found
        assert 0 <= found <= 1 and found * 12 == pytest.approx(round(found * 12))


def test_a_knn_of_one_group_a_class_says_so(capsys):
    videos = VideoList.from_rows(['/videos/x/v_x_g01_c01', '/videos/x/v_x_g01_c02', '/videos/y/v_y_g01_c01'], [9, 9, 9])
    Validation(Objective(), videos, knn_every=1)
    assert 'are of one group' in capsys.readouterr().err


def test_a_knn_needs_classes():
    videos = VideoList.from_rows(['/videos/x', '/videos/y'], [9, 9])
    with pytest.raises(UserError, match="--knn_every 1: the validation videos are all of one class, 'videos'"):
        Validation(Objective(), videos, knn_every=1)
    Validation(Objective(), videos)
