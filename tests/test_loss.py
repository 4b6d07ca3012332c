"""The loss against the definition, and its chunks against the whole."""
import pytest
import torch
import torch.nn.functional as F

from dpc.loss import dense_info_nce, top_k

B, P, S, D = 3, 2, 5, 8
ROWS = B * P * S


def vectors(count=B, seed=0):
    return torch.randn(count, P, S, D, generator=torch.Generator().manual_seed(seed))


def obvious_loss(prediction, target, first_positive=0):
    """Term by term, with autograd."""
    rows, columns = prediction.reshape(-1, D), target.reshape(-1, D)
    losses, ranks = [], []
    for i, row in enumerate(rows):
        scores = torch.stack([row @ column for column in columns])
        positive = scores[first_positive + i]
        losses.append(scores.logsumexp(0) - positive)
        ranks.append(sum(score.item() > positive.item() for score in scores))
    return sum(losses) / len(losses), ranks


def with_gradients(function, prediction, target, *args, **kwargs):
    prediction, target = prediction.clone().requires_grad_(), target.clone().requires_grad_()
    loss, rank = function(prediction, target, *args, **kwargs)
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


def test_only_one_side_may_need_gradients():
    prediction, target = vectors().requires_grad_(), vectors(seed=1)
    dense_info_nce(prediction, target)[0].backward()
    assert prediction.grad is not None
    assert not dense_info_nce(prediction.detach(), target)[0].requires_grad


def test_float32_whatever_comes_in_and_around_it():
    prediction, target = vectors(), vectors(seed=1)
    expected, _ = dense_info_nce(prediction.bfloat16().float(), target.bfloat16().float())
    precision = torch.get_float32_matmul_precision()
    with torch.autocast('cpu', torch.bfloat16):
        loss, _ = dense_info_nce(prediction.bfloat16(), target.bfloat16())
    assert loss.dtype == torch.float32
    assert loss.item() == expected.item()
    assert torch.get_float32_matmul_precision() == precision


def test_top_k_counts_ranks_below_k():
    rank = torch.tensor([0, 0, 1, 2, 4, 9])
    assert [top_k(rank, k).item() for k in (1, 3, 5)] == [2, 4, 5]
