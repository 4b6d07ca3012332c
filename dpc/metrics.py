"""Numbers that describe a pretraining step."""
import math

import torch

from backbone.copy_baselines import copies, shuffled
from dpc import loss
from utils.parallel.distributed import sum_over_processes

ROWS_AT_ONCE = 4096  # bounds the memory of the scores


def top_k(rank, k):
    """Number of rows whose positive is among the k best scores, as a 0-d tensor."""
    return (rank < k).sum()


@torch.no_grad()
def spread(feature):
    """How different the vectors of feature [..., D] are, as a 0-d float32 tensor from 0 to 1, whatever their scale.

    Their standard deviation (the root mean squared distance to the mean vector) relative to their root mean square:
    0 when all vectors are equal (collapsed features, zeros included), 1 when their mean is zero.
    """
    vectors = feature.flatten(0, -2).float()
    deviation = (vectors - vectors.mean(dim=0)).square().mean().sqrt()
    scale = vectors.square().mean().sqrt()
    return deviation / scale.clamp_min(torch.finfo(torch.float32).tiny)


class Moments:
    """Mean and covariance of vectors [..., D] over many batches and all processes."""

    def __init__(self):
        self.sums = None  # count, sum [D] and sum of outer products [D, D], side by side

    @torch.no_grad()
    def add(self, vectors):
        vectors = vectors.flatten(0, -2).double()
        ones = vectors.new_ones(len(vectors), 1)
        extended = torch.cat([ones, vectors], dim=1)
        sums = extended.t() @ extended                                  # [1 + D, 1 + D]
        self.sums = sums if self.sums is None else self.sums + sums

    def read(self):
        """(spread, effective rank) of all vectors so far.

        spread: as the function of this name. Effective rank: the exponential of the entropy of the singular values of
        the centred vectors (Roy and Vetterli, 2007): how many directions they spread over, from 1 to D."""
        sums = sum_over_processes(self.sums)
        if not torch.isfinite(sums).all():
            return math.nan, math.nan
        sums = sums / sums[0, 0]
        mean, square = sums[0, 1:], sums[1:, 1:]
        scale = square.trace()
        variance = torch.linalg.eigvalsh(square - torch.outer(mean, mean))
        variance = variance[variance > 1e-12 * scale]                   # the others are rounding errors
        if not len(variance):
            return 0., 1.
        share = variance.sqrt() / variance.sqrt().sum()
        return (variance.sum() / scale).sqrt().item(), (-(share * share.log()).sum()).exp().item()

    def count(self):
        """Vectors so far, of all processes."""
        return int(sum_over_processes(self.sums[0, 0]))


def top1_by_step(rank, pred_step, locations):
    """{'top1_step1': …, 'top1_step2': …}: top-1 of each predicted block, 0-d tensors, from ranks [B·P·S]."""
    right = (rank == 0).float().view(-1, pred_step, locations).mean(dim=(0, 2))
    return {f'top1_step{step}': value for step, value in enumerate(right, start=1)}


def top1(prediction, target, first=0):
    """Share of the predictions [B, P, S, D] that score higher with their own target than with all others, as a 0-d
    tensor. target: see wrong_answers."""
    return (taken_for(prediction, target, first) < 0).float().mean()


def control_predictions(model, feature, random, steps=None):
    """Predictions [B, P, S, D] that a DPC should beat, from features [B, N, S, D]: the last seen block, the mean of the
    seen blocks, and what the model predicts from the seen blocks in another order, if there are several.

    random: torch.Generator of that order, one for all clips. steps: see DPC.predict."""
    steps = steps or model.pred_step
    seen, target = feature[:, :-steps], feature[:, -steps:]
    controls = copies(seen, steps)
    if seen.shape[1] > 1:
        controls['top1_shuffled'], _ = model.predict(torch.cat([shuffled(seen, random), target], dim=1), steps)
    return controls


@torch.no_grad()
def taken_for(prediction, target, first=0):
    """Column [B·P·S] among the targets [B'·P·S] that each prediction is taken for where its top-1 is wrong, else -1."""
    rows = prediction.flatten(0, 2).float()
    columns = target.flatten(0, 2).float()
    positive = first_row(prediction, first) + torch.arange(len(rows), device=rows.device)
    return torch.cat([best_negative(part, columns, index) for part, index in
                      zip(rows.split(ROWS_AT_ONCE), positive.split(ROWS_AT_ONCE))])


def first_row(prediction, first):
    """Row of clip `first` among the targets, for predictions [B, P, S, D]."""
    return first * prediction.shape[1] * prediction.shape[2]


def guesses(target, clips_per_video):
    """What the shares of wrong_answers would be for an answer drawn at random within the group that is known: among all
    videos, the clips of the right video, the locations of the right clip, the times of the right location.

    target [B', P, S, D] -> {'guess_video': …, 'guess_clip': …, 'guess_location': …, 'guess_time': …}, 0-d tensors."""
    B, P, S = target.shape[:3]
    choices = {'video': B / clips_per_video, 'clip': clips_per_video, 'location': S, 'time': P}
    return {f'guess_{kind}': target.new_tensor(1 - 1 / count) for kind, count in choices.items()}


@torch.no_grad()
def wrong_answers(prediction, target, first=0, clips_per_video=1):
    """What is taken for the true location where the top-1 is wrong: shares of all predictions, which with top-1 add up
    to 1.

    wrong_video     a location of another video
    wrong_clip      of another clip of the same video (0 with one clip a video)
    wrong_location  of the same clip, but another location of the map, at any time
    wrong_time      the right location of the right clip, at another time

    prediction [B, P, S, D], target [B', P, S, D], of which those of the batch begin with clip `first`.
    clips_per_video: successive clips that are of one video.
    """
    B, P, S = prediction.shape[:3]
    taken = taken_for(prediction, target, first)
    positive = first_row(prediction, first) + torch.arange(B * P * S, device=taken.device)
    clip, location = taken // (P * S), taken % S
    own_clip, own_location = positive // (P * S), positive % S
    wrong = taken >= 0
    same_video = clip // clips_per_video == own_clip // clips_per_video
    same_clip, same_location = clip == own_clip, location == own_location
    kinds = {'video': ~same_video, 'clip': same_video & ~same_clip, 'location': same_clip & ~same_location,
             'time': same_clip & same_location}
    return {f'wrong_{kind}': (wrong & mask).float().mean() for kind, mask in kinds.items()}


def best_negative(rows, columns, positive):
    """Column [M] of the best-scored negative of each row [M, D]; -1 where all score below the positive."""
    with torch.autocast(rows.device.type, enabled=False):
        score = loss.similarity(rows, columns)                          # [M, K]
    true = score.gather(1, positive.unsqueeze(1)).squeeze(1)
    value, column = score.scatter(1, positive.unsqueeze(1), -torch.inf).max(dim=1)
    return torch.where(value < true, -1, column)
