"""Numbers of many predictions: how often they are right by block, location and motion; feature maps as colours."""
import numpy as np
import torch
import torch.nn.functional as F

from eval.metrics.intervals import bootstrap_means

QUARTERS = 4  # groups of locations by motion


def summarise(batches, size, groups):
    """The numbers of some eval.forecast.predictions.Batch as a dict of plain numbers and lists; top-1 from 0 to 1.

    size: (h, w) of the feature map. groups: [group of each video of the list]; intervals over too few of them are
    (None, None)."""
    group = np.array([groups[row] for batch in batches for row in batch.index])
    rank = np.concatenate([batch.rank for batch in batches])            # [V, P, S]
    motion = np.concatenate([batch.motion for batch in batches])
    right, candidates = rank == 0, batches[0].rank.size
    by_step = right.mean(axis=2)                                        # [V, P]
    return {'clips': len(rank), 'groups': len(np.unique(group)),
            'predictions': rank.size, 'candidates': candidates, 'chance': 1 / candidates,
            **{f'top{k}': float((rank < k).mean()) for k in (1, 3, 5)},
            'top1_by_step': by_step.mean(axis=0).tolist(),
            'top1_by_step_interval': bootstrap_means(by_step, group),
            'top1_by_location': right.mean(axis=(0, 1)).reshape(size).tolist(),
            'top1_by_motion': by_motion(right.ravel(), motion.ravel()),
            'taken_for': {name: float(np.mean([batch.outcomes[name] for batch in batches]))
                          for name in batches[0].outcomes}}


def easiest_first(batches):
    """[(row in the list of videos, its top-1, its mean rank from 1), …] of all clips, the easiest first."""
    clips = [(row, float((rank == 0).mean()), 1 + float(rank.mean()))
             for batch in batches for row, rank in zip(batch.index, batch.rank)]
    return sorted(clips, key=lambda clip: (-clip[1], clip[2]))


def by_motion(right, motion):
    """Quarters of M predictions from the slowest to the fastest location: [{low, high, predictions, top1}, …].

    right bool [M], motion [M]. Fewer than four where there are fewer predictions."""
    order = np.argsort(motion, kind='stable')
    return [{'low': float(motion[rows[0]]), 'high': float(motion[rows[-1]]), 'predictions': len(rows),
             'top1': float(right[rows].mean())} for rows in np.array_split(order, QUARTERS) if len(rows)]


def principal_colours(feature):
    """Feature maps [V, N, S, D] -> colours float [V, N, S, 3] from 0 to 1.

    They are the three principal components of the difference from the mean feature of the same location, which mostly
    encodes the location itself. Values beyond the 1st and 99th percentile are clipped."""
    vectors = (feature - feature.mean(dim=(0, 1))).flatten(0, 2)
    _, _, axes = torch.linalg.svd(vectors, full_matrices=False)
    parts = vectors @ axes[:3].t()                                      # [V·N·S, 3], fewer for fewer vectors
    low, high = parts.quantile(torch.tensor([0.01, 0.99]), dim=0)
    scaled = ((parts - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    return F.pad(scaled, (0, 3 - parts.shape[1])).view(*feature.shape[:3], 3).numpy()
