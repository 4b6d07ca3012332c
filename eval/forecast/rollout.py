"""Predictions rolled out beyond the P blocks of pretraining, beside controls; how often each step is right."""
import numpy as np
import torch

from dpc.metrics import control_predictions
from eval.extract.inference import check_finite
from eval.forecast.predictions import encode_clips, ranks
from eval.metrics.intervals import bootstrap_means, by_group

# the true blocks that a predicted location is compared with; the number of locations is the same at every step
CANDIDATES = {'all_steps': 'all predicted steps of all clips of the batch, as in pretraining',
              'own_step': 'the same step of all clips of the batch'}


def roll_out(model, feature, steps, random):
    """Features of all blocks [B, M + K, S, D] of a DPC, K = `steps` of them to predict -> ({curve: predictions
    [B, K, S, D]}, target [B, K, S, D]): of the model and its controls, see dpc.metrics.control_predictions."""
    prediction, target = model.predict(feature, steps)
    controls = control_predictions(model, feature, random, steps)
    return {'model': prediction, **{name.removeprefix('top1_'): each for name, each in controls.items()}}, target


def right_share(prediction, target):
    """prediction, target [B, K, S, D] -> {name in CANDIDATES: float64 [B, K], the share of locations right}."""
    rank = {'all_steps': ranks(prediction, target),
            'own_step': np.concatenate(list(map(ranks, prediction.split(1, dim=1), target.split(1, dim=1))), axis=1)}
    return {name: (each == 0).mean(axis=2) for name, each in rank.items()}


@torch.no_grad()
def evaluate_clips(model, videos, seen, steps, precision, random):
    """The dicts of a VideoDataset, of one clip of M + K blocks each -> (their rows in the list of videos, {name in
    CANDIDATES: {curve: float64 [B, K]}}, locations S). UserError: features that are not finite."""
    _, feature = encode_clips(model, videos, seen + steps, precision)
    predictions, target = roll_out(model, feature, steps, random)
    check_finite('the features', feature, *predictions.values())
    target = target.cpu()
    shares = {curve: right_share(each.cpu(), target) for curve, each in predictions.items()}
    return ([int(video['index']) for video in videos],
            {name: {curve: share[name] for curve, share in shares.items()} for name in CANDIDATES}, target.shape[2])


def curves_of(batches, groups):
    """What `evaluate_clips` gave for batches of equal size -> ([row, …], {name in CANDIDATES: {candidates, chance,
    curves: {curve: {top1 [K], interval [K, 2], top1_of_group, top1_of_clip [V, K]}}}}), plain numbers and lists.

    groups: [group of each video of the list]."""
    index = sum((rows for rows, *_ in batches), [])
    group = np.array([groups[row] for row in index])
    rows, shares, locations = batches[0]
    found = {}
    for name, first in shares.items():
        count = len(rows) * locations * (next(iter(first.values())).shape[1] if name == 'all_steps' else 1)
        found[name] = {'candidates': count, 'chance': 1 / count, 'curves': {
            curve: curve_of(np.concatenate([batch[name][curve] for _, batch, _ in batches]), group)
            for curve in first}}
    return index, found


def curve_of(share, group):
    """float64 [V, K], shares of V clips that are right -> means over clips and 95% intervals over their groups, str
    [V], see `curves_of`. For too few groups an interval is (None, None), and top1_of_group is {name: top1 [K]}."""
    return {'top1': share.mean(axis=0).tolist(), 'interval': bootstrap_means(share, group),
            'top1_of_group': by_group(lambda times: times @ share / times.sum(), group),
            'top1_of_clip': share.tolist()}


def choose_steps(blocks, seen, most, steps=None):
    """K, the steps to predict: `steps` if given, else `most`, or as many as half of the videos have, at least 1.

    blocks int [V]: whole blocks of each video. Two videos at least must have M + K blocks; 0: they don't."""
    def possible(rank):  # steps for which so many videos are long enough
        return int(np.sort(blocks)[::-1][rank - 1]) - seen if len(blocks) >= rank else 0

    if steps is None:
        steps = min(most, max(1, possible(max(2, -(-len(blocks) // 2)))))
    return steps if 0 < steps <= possible(2) else 0
