"""The dense InfoNCE loss (paper, section 3.2, equation 5).

>>> feature = torch.eye(4).view(2, 1, 2, 4)                 # [B, P, S, D], all different
>>> loss, rank = dense_info_nce(10 * feature, feature)      # each prediction points at its own target
>>> rank.tolist()
[0, 0, 0, 0]
"""
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint


def similarity(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Scores [M, K] of predicted vectors [M, D] against target vectors [K, D]: the plain dot product.

    The line to edit for a cosine, a temperature or another contrast: chunks, ranks and gradients follow.
    """
    return rows @ columns.t()


def dense_info_nce(prediction: torch.Tensor, target: torch.Tensor, chunk: int | None = None,
                   first_positive: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Contrastive loss: matches each predicted location to its own future feature, against all others of the batch.

    Every predicted vector (b, p, s) is scored against every target vector (b', p', s'); the loss is the cross-entropy
    with the same (b, p, s) as the one positive and all others as negatives. In float32, also under autocast.

    prediction [B, P, S, D], target [B', P, S, D]: the targets may include clips of other processes (B' >= B); the
    positive of row i is column `first_positive` + i.
    chunk: score this many rows at a time and recompute the scores in the backward pass, so that memory is linear in
    the batch; None scores all rows at once.
    Returns (loss, rank): the mean cross-entropy, and rank [B·P·S], how many negatives don't score below the positive.
    """
    rows = prediction.flatten(0, 2).float()         # [B·P·S, D]
    columns = target.flatten(0, 2).float()          # [B'·P·S, D]
    positive = first_positive + torch.arange(len(rows), device=rows.device)
    with torch.autocast(rows.device.type, enabled=False):
        if chunk is None:
            loss, rank = contrast(rows, columns, positive)
        else:
            parts = [checkpoint(contrast, part, columns, index, use_reentrant=False)
                     for part, index in zip(rows.split(chunk), positive.split(chunk))]
            losses, ranks = zip(*parts)
            loss, rank = torch.stack(losses).sum(), torch.cat(ranks)
    return loss / len(rows), rank


def contrast(rows: torch.Tensor, columns: torch.Tensor,
             positive: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows [M, D], columns [K, D], the column of each row's positive [M] -> (summed cross-entropy, rank [M])."""
    score = similarity(rows, columns)               # [M, K]
    loss = F.cross_entropy(score, positive, reduction='sum')
    score = score.detach()
    # Ties and NaN count against the positive: collapsed features must not look perfect.
    below = score < score.gather(1, positive.unsqueeze(1))
    # int32: on the CPU sum() first casts the whole matrix to the type of its result.
    return loss, score.shape[1] - 1 - below.sum(dim=1, dtype=torch.int32).long()
