"""Numbers that describe a pretraining step."""
import torch

from dpc.loss import similarity

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


def top1_by_step(rank, pred_step, places):
    """{'top1_step1': …, 'top1_step2': …}: top-1 of each predicted block, 0-d tensors, from ranks [B·P·S]."""
    right = (rank == 0).float().view(-1, pred_step, places).mean(dim=(0, 2))
    return {f'top1_step{step}': value for step, value in enumerate(right, start=1)}


@torch.no_grad()
def wrong_answers(prediction, target, first=0, clips_per_video=1):
    """What is taken for the true place where the top-1 is wrong: shares of all predictions, which with top-1 add up to 1.

    wrong_video  a place of another video
    wrong_clip   of another clip of the same video (0 with one clip a video)
    wrong_place  of the same clip, but another place of the map, at any time
    wrong_time   the right place of the right clip, at another time

    prediction [B, P, S, D], target [B', P, S, D], of which those of the batch begin with clip `first`.
    clips_per_video: successive clips that are of one video.
    """
    P, S = prediction.shape[1:3]
    rows = prediction.flatten(0, 2).float()
    columns = target.flatten(0, 2).float()
    positive = first * P * S + torch.arange(len(rows), device=rows.device)
    taken = torch.cat([best_negative(part, columns, index) for part, index in
                       zip(rows.split(ROWS_AT_ONCE), positive.split(ROWS_AT_ONCE))])   # -1 where the top-1 is right
    clip, place = taken // (P * S), taken % S
    own_clip, own_place = positive // (P * S), positive % S
    wrong = taken >= 0
    same_video = clip // clips_per_video == own_clip // clips_per_video
    same_clip, same_place = clip == own_clip, place == own_place
    kinds = {'video': ~same_video, 'clip': same_video & ~same_clip, 'place': same_clip & ~same_place,
             'time': same_clip & same_place}
    return {f'wrong_{kind}': (wrong & mask).float().mean() for kind, mask in kinds.items()}


def best_negative(rows, columns, positive):
    """Column [M] of the best-scored negative of each row [M, D]; -1 where all score below the positive."""
    with torch.autocast(rows.device.type, enabled=False):
        score = similarity(rows, columns)                               # [M, K]
    true = score.gather(1, positive.unsqueeze(1)).squeeze(1)
    value, column = score.scatter(1, positive.unsqueeze(1), -torch.inf).max(dim=1)
    return torch.where(value < true, -1, column)
