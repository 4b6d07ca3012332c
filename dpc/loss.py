"""The dense InfoNCE loss (paper, section 3.2, equation 5)."""
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint


def dense_info_nce(prediction, target, chunk=None):
    """Tells the true future feature of every place from all others of the batch.

    Every predicted vector (b, p, s) is scored against every target vector (b', p', s') by the plain dot product; the
    positive of row i is column i and all other columns are negatives. Always float32.

    prediction, target: [B, P, S, D]. `chunk`: rows scored at a time; they are scored anew in the backward pass, so
    that memory grows with the batch and not with its square. None scores all rows at once.
    Returns (loss, rank): the mean cross-entropy, and rank [B·P·S], how many negatives score above the positive.
    """
    rows = prediction.flatten(0, 2).float()
    columns = target.flatten(0, 2).float()
    with torch.autocast(rows.device.type, enabled=False):
        if chunk is None:
            loss, rank = score_rows(rows, columns, 0)
        else:
            parts = [checkpoint(score_rows, part, columns, i * chunk, use_reentrant=False)
                     for i, part in enumerate(rows.split(chunk))]
            loss = sum(loss for loss, _ in parts)
            rank = torch.cat([rank for _, rank in parts])
    return loss / len(rows), rank


def score_rows(rows, columns, first_positive):
    """Summed cross-entropy and ranks of `rows` [R, D] whose positives are the columns first_positive … + R - 1."""
    score = rows @ columns.t()
    positive = torch.arange(first_positive, first_positive + len(rows), device=rows.device)
    loss = F.cross_entropy(score, positive, reduction='sum')
    rank = (score > score.gather(1, positive.unsqueeze(1))).sum(dim=1)
    return loss, rank


def top_k(rank, k):
    """Number of rows whose positive is among the k best scores, as a 0-d tensor."""
    return (rank < k).sum()
