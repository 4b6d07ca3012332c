"""Numbers of many predictions: how often they are right by block, place and motion; feature maps as colours."""
import numpy as np
import torch
import torch.nn.functional as F

from eval.prediction import OUTCOMES

QUARTERS = 4  # groups of places by motion


def summarise(batches, size):
    """The numbers of some eval.prediction.Batch as a dict of plain numbers and lists; top-1 from 0 to 1.

    size: (h, w) of the feature map."""
    rank, outcome = (np.concatenate([getattr(batch.answers, name) for batch in batches]) for name in ('rank', 'outcome'))
    motion = np.concatenate([batch.motion for batch in batches])        # [V, P, S]
    right, candidates = rank == 0, batches[0].answers.rank.size
    return {'clips': len(rank), 'predictions': rank.size, 'candidates': candidates, 'chance': 1 / candidates,
            **{f'top{k}': float((rank < k).mean()) for k in (1, 3, 5)},
            'top1_by_step': right.mean(axis=(0, 2)).tolist(),
            'top1_by_place': right.mean(axis=(0, 1)).reshape(size).tolist(),
            'top1_by_motion': by_motion(right.ravel(), motion.ravel()),
            'taken_for': {name: float((outcome == i).mean()) for i, name in enumerate(OUTCOMES)}}


def by_motion(right, motion):
    """Quarters of M predictions from the slowest to the fastest place: [{low, high, predictions, top1}, …].

    right bool [M], motion [M]. Fewer than four where there are fewer predictions."""
    order = np.argsort(motion, kind='stable')
    return [{'low': float(motion[rows[0]]), 'high': float(motion[rows[-1]]), 'predictions': len(rows),
             'top1': float(right[rows].mean())} for rows in np.array_split(order, QUARTERS) if len(rows)]


def principal_colours(feature, prediction):
    """The three principal components of feature maps as colours, the same for all clips given.

    feature [V, N, S, D], prediction [V, P, S, D] -> float [V, N, S, 3] and [V, P, S, 3] from 0 to 1; what exceeds the
    1st or 99th percentile of the features is cut off."""
    vectors = feature.flatten(0, 2)
    mean = vectors.mean(dim=0)
    _, _, axes = torch.linalg.svd(vectors - mean, full_matrices=False)
    axes = axes[:3].t()                                             # [D, 3], fewer for fewer vectors
    low, high = ((vectors - mean) @ axes).quantile(torch.tensor([0.01, 0.99]), dim=0)

    def colours(maps):
        scaled = ((maps - mean) @ axes - low) / (high - low).clamp_min(1e-12)
        return F.pad(scaled.clamp(0, 1), (0, 3 - axes.shape[1])).numpy()

    return colours(feature), colours(prediction)
