"""The dense InfoNCE loss (paper, section 3.2, equation 5)."""
import contextlib

import torch
from torch.autograd.function import once_differentiable


def dense_info_nce(prediction, target, chunk=None, first_positive=0):
    """Tells the true future feature of every place from all others of the batch.

    Every predicted vector (b, p, s) is scored against every target vector (b', p', s') by the plain dot product; the
    loss is the cross-entropy with the same (b, p, s) as the one positive and all others as negatives. Always float32.

    prediction [B, P, S, D] and target [B', P, S, D] are of the same clips, or the target is of more of them (those of
    other processes): the positive of row i is column `first_positive` + i.
    chunk: rows scored at a time, so that memory grows with the batch and not with its square; None scores all at once.
    Returns (loss, rank): the mean cross-entropy, and rank [B·P·S], how many negatives score above the positive.
    """
    rows = prediction.flatten(0, 2).float()
    columns = target.flatten(0, 2).float()
    return CrossEntropyOfProducts.apply(rows, columns, chunk or len(rows), first_positive)


class CrossEntropyOfProducts(torch.autograd.Function):
    """Mean cross-entropy of the scores rows·columnsᵀ, and ranks, without ever holding more than `chunk` rows of scores.

    The gradient of a row's cross-entropy by its scores is softmax(scores) − onehot(positive). It is at hand when the
    row has just been scored, so the forward pass already sums up the gradients of rows and columns.
    """

    @staticmethod
    def forward(ctx, rows, columns, chunk, first_positive):
        rows_grad, columns_grad = torch.empty_like(rows), torch.zeros_like(columns)
        ranks, losses = [], []
        with exact_float32(rows.device):
            for start in range(0, len(rows), chunk):
                part = rows[start:start + chunk]
                score = part @ columns.t()                          # [chunk, B'·P·S]
                index = torch.arange(start, start + len(part), device=rows.device).add(first_positive).unsqueeze(1)
                positive = score.gather(1, index)
                ranks.append((score > positive).sum(dim=1))
                log_sum = score.logsumexp(dim=1, keepdim=True)
                losses.append((log_sum - positive).sum())
                if any(ctx.needs_input_grad):
                    score_grad = score.sub_(log_sum).exp_().scatter_add_(1, index, -torch.ones_like(positive))
                    torch.mm(score_grad, columns, out=rows_grad[start:start + chunk])
                    columns_grad.addmm_(score_grad.t(), part)
        ctx.save_for_backward(rows_grad, columns_grad)
        ctx.rows = len(rows)
        return torch.stack(losses).sum() / len(rows), torch.cat(ranks)

    @staticmethod
    @once_differentiable
    def backward(ctx, loss_grad, _):
        rows_grad, columns_grad = ctx.saved_tensors
        scale = loss_grad / ctx.rows
        return rows_grad * scale, columns_grad * scale, None, None


@contextlib.contextmanager
def exact_float32(device):
    """No autocast and no TF32: scores are large and their differences decide."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('highest')
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def top_k(rank, k):
    """Number of rows whose positive is among the k best scores, as a 0-d tensor."""
    return (rank < k).sum()
