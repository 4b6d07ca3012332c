"""How probable the true next block is to a DPC, along a video: its surprise in bits, beside that of a copy.

The probability is that of pretraining's loss: the softmax of the scores of the prediction with the true feature and
with candidates. Here the candidates of a location are features of the same location in other blocks, of a bank or of
the video itself, and never depend on the batch.

Letters: U blocks of a video, M of them seen before each prediction, K candidates.
"""
import math

import numpy as np
import torch

from dpc import loss
from utils.random_streams import stream

CANDIDATES = 1000  # of a video's own blocks
AT_ONCE = 256      # predictions; bounds the memory of windows and scores


@torch.no_grad()
def surprise_along(model, feature, seen, bank=None):
    """Signed maps of a video [U, S, D], U ≥ 2 -> (bits, copy_bits: float32 [U − 1, S]; seen: int64 [U − 1]; K).

    bits of the prediction, and of the last seen block as one, for the blocks 1 … U − 1 from 0. Each is predicted from
    `seen` of them, M or fewer at the start. bank: maps [K, S, D] to compare with (None: `own_candidates`)."""
    device = next(model.parameters()).device
    candidates, allowed = (bank, None) if bank is not None else own_candidates(feature, seen)
    candidates = candidates.to(device)
    bits, copy_bits, first = [], [], 1
    for prediction in predictions_along(model, feature, seen):
        end = first + len(prediction)
        target, last = feature[first:end].to(device), feature[first - 1:end - 1].to(device)
        mask = None if allowed is None else allowed[first:end].to(device)
        bits.append(bits_of(prediction, target, candidates, mask).cpu())
        copy_bits.append(bits_of(last, target, candidates, mask).cpu())
        first = end
    count = len(candidates) if allowed is None else int(allowed[0].sum())
    return torch.cat(bits).numpy(), torch.cat(copy_bits).numpy(), np.minimum(np.arange(1, len(feature)), seen), count


def predictions_along(model, feature, seen):
    """Yields the predictions of blocks 1, 2, … U − 1 from the `seen` blocks before each, fewer at the start, [B, S, D].

    model: a DPC. feature: [U, S, D]."""
    device = next(model.parameters()).device
    for block in range(1, min(seen, len(feature))):
        yield model.predict(feature[None, :block + 1].to(device), steps=1)[0][:, 0]
    if len(feature) > seen:
        for windows in feature.unfold(0, seen + 1, 1).split(AT_ONCE):                   # [B, S, D, M + 1]
            yield model.predict(windows.permute(0, 3, 1, 2).to(device), steps=1)[0][:, 0]


def bits_of(prediction, target, candidates, allowed=None):
    """−log2 of the softmax probability of each true feature among itself and the candidates of its location.

    prediction, target [B, S, D], candidates [K, S, D] -> float32 [B, S], from 0. Without information, where all scores
    are equal, it is log2(K + 1). allowed: bool [B, K], the candidates of each row (None: all)."""
    bits = []
    for s in range(target.shape[1]):
        true = loss.similarity(prediction[:, s], target[:, s]).diagonal()               # [B]
        others = loss.similarity(prediction[:, s], candidates[:, s])                    # [B, K]
        if allowed is not None:
            others = others.masked_fill(~allowed, -torch.inf)
        total = torch.cat([true.unsqueeze(1), others], dim=1).logsumexp(dim=1)
        bits.append((total - true) / math.log(2))
    return torch.stack(bits, dim=1)


def own_candidates(feature, seen):
    """The blocks of a video [U, S, D] that its own blocks are compared with: (candidates [K', S, D], allowed bool
    [U, K']). Each block has equally many, K: CANDIDATES drawn at random, or U − M − 1 if there are no more.

    The target and the M blocks before it are never its own candidates: a copy would find itself among them."""
    blocks = len(feature)
    count = min(CANDIDATES, blocks - seen - 1)
    drawn = stream('bank', 0).permutation(blocks)[:CANDIDATES + seen + 1]
    target = np.arange(blocks)[:, None]
    outside = (drawn < target - seen) | (drawn > target)                                # [U, K']
    allowed = outside & (outside.cumsum(axis=1) <= count)
    return feature[torch.from_numpy(drawn)], torch.from_numpy(allowed)
