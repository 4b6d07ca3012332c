"""Predictions rolled out beyond the P blocks of pretraining, beside controls; how often each step is right."""
import numpy as np
import torch

from backbone.copy_baselines import copies, shuffled
from eval.metrics.intervals import bootstrap
from eval.forecast.network import answers_of, check_finite
from utils.data.colour import to_block

# the true blocks that a predicted place is told from; the number of places is the same at every step
CANDIDATES = {'all_steps': 'all predicted steps of all clips of the batch, as in pretraining',
              'own_step': 'the same step of all clips of the batch'}


def roll_out(model, feature, seen, random):
    """Features of all blocks [B, M + K, S, D], of which M = `seen` are seen -> {curve: predictions [B, K, S, D]} of the
    model, the two copies and, with two or more seen blocks, the model that saw them in another order.

    model: an eval.forecast.network.PredictiveNetwork. random: torch.Generator of that order, one for all clips of a batch."""
    past, steps = feature[:, :seen], feature.shape[1] - seen
    curves = {'model': model.predict(past, steps), **copies(past, steps)}
    if seen > 1:
        curves['shuffled'] = model.predict(shuffled(past, random), steps)
    return curves


def right_share(prediction, target):
    """prediction, target [B, K, S, D] -> {name in CANDIDATES: float64 [B, K], the share of places right}."""
    rank = {'all_steps': answers_of(prediction, target).rank,
            'own_step': np.concatenate([answers_of(*pair).rank for pair in zip(prediction.split(1, dim=1),
                                                                               target.split(1, dim=1))], axis=1)}
    return {name: (each == 0).mean(axis=2) for name, each in rank.items()}


@torch.no_grad()
def judge_clips(model, videos, seen, steps, precision, random):
    """The dicts of a VideoDataset, of one clip of M + K blocks each -> (their rows in the list of videos, {name in
    CANDIDATES: {curve: float64 [B, K]}}, places S). UserError: features that are not finite."""
    frames = torch.cat([video['frames'] for video in videos])           # uint8 [B, (M + K)·T, H, W, 3]
    with precision.autocast():
        feature = model.encode(to_block(frames.to(precision.device), None, seen + steps))
    predictions = {name: each.float().cpu() for name, each in roll_out(model, feature, seen, random).items()}
    target = feature[:, seen:].float().cpu()
    check_finite(feature, *predictions.values())
    shares = {curve: right_share(each, target) for curve, each in predictions.items()}
    return ([int(video['index']) for video in videos],
            {name: {curve: share[name] for curve, share in shares.items()} for name in CANDIDATES}, target.shape[2])


def curves_of(batches):
    """What `judge_clips` gave for batches of equal size -> ([row, …], {name in CANDIDATES: {candidates, chance, curves:
    {curve: {top1 [K], interval [K, 2], top1_of_clip [V, K]}}}}), plain numbers and lists."""
    index = sum((rows for rows, *_ in batches), [])
    rows, shares, places = batches[0]
    found = {}
    for name, first in shares.items():
        count = len(rows) * places * (next(iter(first.values())).shape[1] if name == 'all_steps' else 1)
        found[name] = {'candidates': count, 'chance': 1 / count, 'curves': {
            curve: curve_of(np.concatenate([batch[name][curve] for _, batch, _ in batches])) for curve in first}}
    return index, found


def curve_of(share):
    """float64 [V, K], shares of V clips that are right -> means over clips and 95% intervals, see `curves_of`."""
    intervals = [bootstrap(lambda rows: each[rows].mean(), len(each)) for each in share.T]
    return {'top1': share.mean(axis=0).tolist(), 'interval': intervals, 'top1_of_clip': share.tolist()}


def choose_steps(blocks, seen, most, steps=None):
    """K, the steps to predict: `steps` if given, else `most`, or as many as half of the videos have, at least 1.

    blocks int [V]: whole blocks of each video. Two videos at least must have M + K blocks; 0: they don't."""
    def possible(rank):  # steps for which so many videos are long enough
        return int(np.sort(blocks)[::-1][rank - 1]) - seen if len(blocks) >= rank else 0

    if steps is None:
        steps = min(most, max(1, possible(max(2, -(-len(blocks) // 2)))))
    return steps if 0 < steps <= possible(2) else 0
