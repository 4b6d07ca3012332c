"""The loss against the definition, its chunks against the whole, another contrast in its place; what is reported."""
import math

import pytest
import torch
import torch.nn.functional as F

from benchmarks.step_memory import kept_bytes
from dpc import loss as loss_module
from dpc.loss import dense_info_nce
from dpc.metrics import spread, top_k
from tests.groups import in_group
from utils.parallel import distributed

B, P, S, D = 3, 2, 5, 8
ROWS = B * P * S


def vectors(count=B, seed=0):
    return torch.randn(count, P, S, D, generator=torch.Generator().manual_seed(seed))


def dot_product(row, column):
    return row @ column


def obvious_loss(prediction, target, first_positive=0, score_of=dot_product):
    """Term by term; a negative that isn't below the positive counts against it."""
    rows, columns = prediction.reshape(-1, D), target.reshape(-1, D)
    losses, ranks = [], []
    for i, row in enumerate(rows):
        scores = torch.stack([score_of(row, column) for column in columns])
        positive = scores[first_positive + i]
        losses.append(scores.logsumexp(0) - positive)
        ranks.append(sum(not score.item() < positive.item()
                         for j, score in enumerate(scores) if j != first_positive + i))
    return sum(losses) / len(losses), ranks


def with_gradients(function, prediction, target, *args, autocast=False):
    """As a training step: the backward pass runs outside autocast."""
    prediction, target = prediction.clone().requires_grad_(), target.clone().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        loss, rank = function(prediction, target, *args)
    return loss.item(), list(rank), *torch.autograd.grad(3 * loss, (prediction, target))


@pytest.mark.parametrize('chunk', [None, 1, 7, ROWS, 1000])
@pytest.mark.parametrize('clips, first_positive', [(B, 0), (B + 2, 0), (B + 2, P * S), (B + 2, 2 * P * S)])
def test_loss_rank_and_gradients(chunk, clips, first_positive):
    prediction, target = vectors(), vectors(clips, seed=1)
    loss, rank, *gradients = with_gradients(dense_info_nce, prediction, target, chunk, first_positive)
    expected_loss, expected_rank, *expected = with_gradients(obvious_loss, prediction, target, first_positive)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert rank == expected_rank
    for actual, value in zip(gradients, expected):
        torch.testing.assert_close(actual, value, rtol=1e-5, atol=1e-6)


def test_gradients_are_those_of_cross_entropy_at_size():
    """In many chunks, with scores as large as in training."""
    prediction, target = (torch.randn(16, 3, 16, 256, generator=torch.Generator().manual_seed(i)) for i in range(2))

    def cross_entropy(prediction, target):
        score = prediction.flatten(0, 2) @ target.flatten(0, 2).t()
        return F.cross_entropy(score, torch.arange(len(score))), torch.zeros(0)

    loss, _, *gradients = with_gradients(dense_info_nce, prediction, target, 100)
    expected_loss, _, *expected = with_gradients(cross_entropy, prediction, target)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    for actual, value in zip(gradients, expected):
        assert (actual - value).norm() < 1e-5 * value.norm()


def test_memory_of_chunks_is_linear_in_the_batch():
    """Between the passes no scores are stored; without chunks the whole matrix is."""
    for clips in (10, 20):
        pair = vectors(clips).requires_grad_(), vectors(clips, seed=1).requires_grad_()
        scores = 4 * (clips * P * S) ** 2
        assert kept_bytes(lambda: dense_info_nce(*pair), pair) >= scores
        assert kept_bytes(lambda: dense_info_nce(*pair, 7), pair) < 100 * clips * P * S


@pytest.mark.parametrize('chunk', [None, 7])
def test_only_one_side_may_need_gradients(chunk):
    prediction, target = vectors().requires_grad_(), vectors(seed=1)
    dense_info_nce(prediction, target, chunk)[0].backward()
    assert prediction.grad is not None
    assert not dense_info_nce(prediction.detach(), target, chunk)[0].requires_grad


@pytest.mark.parametrize('chunk', [None, 7])
def test_float32_under_autocast(chunk):
    """Of bfloat16 features and under autocast, forward and backward: as of the same values in float32."""
    prediction, target = vectors().bfloat16(), vectors(seed=1).bfloat16()
    expected, _, *expected_gradients = with_gradients(dense_info_nce, prediction.float(), target.float(), chunk)
    loss, _, *gradients = with_gradients(dense_info_nce, prediction, target, chunk, autocast=True)
    assert loss == expected
    for actual, value in zip(gradients, expected_gradients):
        assert torch.equal(actual, value.bfloat16())


def cosine(rows, columns):
    """What a researcher would write in place of `similarity`: a cosine with temperature."""
    return F.normalize(rows, dim=1) @ F.normalize(columns, dim=1).t() / 0.2


def obvious_cosine(row, column):
    return torch.cosine_similarity(row, column, dim=0) / 0.2


@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('chunk', [None, 1, 7])
@pytest.mark.parametrize('first_positive', [0, P * S])
def test_another_similarity_is_one_line(monkeypatch, chunk, first_positive, autocast):
    """Loss, ranks and gradients follow, with every setting."""
    monkeypatch.setattr(loss_module, 'similarity', cosine)
    prediction, target = vectors(), vectors(B + 2, seed=1)
    if autocast:  # bfloat16 features, as from a backbone under autocast
        prediction, target = prediction.bfloat16(), target.bfloat16()
    loss, rank, *gradients = with_gradients(dense_info_nce, prediction, target, chunk, first_positive,
                                            autocast=autocast)
    expected_loss, expected_rank, *expected = with_gradients(obvious_loss, prediction.float(), target.float(),
                                                             first_positive, obvious_cosine)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert rank == expected_rank
    for actual, value in zip(gradients, expected):
        torch.testing.assert_close(actual, value.to(actual.dtype), rtol=0.01 if autocast else 1e-4, atol=1e-6)


def share_of_the_loss(world):
    """This process's loss, ranks and gradients with the cosine, over the negatives of all processes."""
    loss_module.similarity = cosine
    clips = slice(2 * distributed.rank(), 2 * distributed.rank() + 2)
    prediction, target = vectors(4)[clips].requires_grad_(), vectors(4, seed=1)[clips].requires_grad_()
    everyone, first = distributed.gather(target)
    loss, rank = dense_info_nce(prediction, everyone, 3, first_positive=first * P * S)
    loss.backward()
    return loss.item(), rank.tolist(), prediction.grad.numpy(), target.grad.numpy()


def test_another_similarity_in_a_group_of_processes():
    prediction, target = vectors(4), vectors(4, seed=1)
    expected_loss, expected_rank, *gradients = with_gradients(obvious_loss, prediction, target, 0, obvious_cosine)
    losses, ranks, *its_gradients = zip(*in_group(share_of_the_loss, 2))
    assert sum(losses) / 2 == pytest.approx(expected_loss, rel=1e-5)
    assert sum(ranks, []) == expected_rank
    for parts, expected in zip(its_gradients, gradients):
        # `with_gradients` takes those of 3 times the loss; each process's loss is the mean over half of the rows
        actual = torch.cat([torch.from_numpy(part) for part in parts]) / 2
        torch.testing.assert_close(3 * actual, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('chunk', [None, 7])
@pytest.mark.parametrize('features', [lambda: torch.zeros(B, P, S, D), lambda: torch.full((B, P, S, D), 0.3),
                                      lambda: torch.full((B, P, S, D), math.nan)], ids=['zeros', 'constant', 'NaN'])
def test_collapsed_features_are_never_right(features, chunk):
    """Every negative ties with the positive: the worst rank, not the best."""
    _, rank = dense_info_nce(features(), features(), chunk)
    assert rank.tolist() == [ROWS - 1] * ROWS
    assert top_k(rank, 5).item() == 0


def test_a_tie_and_a_nan_count_against_the_positive():
    target = torch.eye(4).view(4, 1, 1, 4)
    prediction = torch.tensor([[1., 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [math.nan, 0, 0, 1]]).view(4, 1, 1, 4)
    _, rank = dense_info_nce(prediction, target)
    assert rank.tolist() == [1, 0, 1, 3]  # NaN · 0 is NaN: the last row has no score to compare


def test_top_k_counts_ranks_below_k():
    rank = torch.tensor([0, 0, 1, 2, 4, 9])
    assert [top_k(rank, k).item() for k in (1, 3, 5)] == [2, 4, 5]


def test_spread_is_the_relative_deviation_whatever_the_scale():
    feature = vectors(20) + 2
    deviation = feature.reshape(-1, D).double().var(dim=0, unbiased=False).mean().sqrt()
    expected = deviation / feature.double().square().mean().sqrt()
    for scale in (1., 1e-6, 1e6):
        assert spread(scale * feature).item() == pytest.approx(expected.item(), rel=1e-5)
    assert 0 < expected < 1
    assert spread(torch.cat([feature, -feature])).item() == pytest.approx(1)


def test_spread_of_collapsed_features_is_zero():
    assert spread(torch.zeros(B, P, S, D)).item() == 0
    one = torch.randn(D, generator=torch.Generator().manual_seed(0))
    assert spread(one.expand(B, P, S, D)).item() < 1e-6
    assert spread(1e5 * one.bfloat16().expand(B, P, S, D)).item() < 1e-6
    assert math.isnan(spread(torch.full((B, P, S, D), math.nan)).item())
    target = vectors().requires_grad_()
    assert spread(target).dim() == 0 and not spread(target).requires_grad
