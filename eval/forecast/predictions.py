"""What a pretrained network predicts for clips: the true location that each predicted location is taken for."""
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from dpc import loss
from dpc.metrics import ROWS_AT_ONCE, taken_for, wrong_answers
from eval.extract.inference import check_finite
from utils.data.colour import to_block

MISTAKES = {'same location, another time': 'wrong_time', 'another location of the clip': 'wrong_location',
            'another clip': 'wrong_video'}  # as in dpc.metrics.wrong_answers, with one clip a video


@dataclass
class Batch:
    """The predictions for the locations (p, s) of B clips. Each is compared with all B·P·S true locations of the batch.

    index     list of B rows in the list of videos
    rank      int64 [B, P, S]     how many of the negatives don't score below the true location; 0 is right
    taken     int64 [B, P, S, 3]  (clip in the batch, p', s') of the location with the highest score
    outcomes  {'right' or a kind of MISTAKES: share of the predictions}
    motion    float64 [B, P, S], see motion_of
    feature, prediction: float32 [B, N, S, D] and [B, P, S, D], or None where they are no longer needed
    """
    index: list
    rank: np.ndarray
    taken: np.ndarray
    outcomes: dict
    motion: np.ndarray
    feature: torch.Tensor
    prediction: torch.Tensor


@torch.no_grad()
def encode_clips(model, videos, num_seq, precision):
    """The dicts of a VideoDataset, of one clip each -> (frames uint8 [B, N·T, H, W, 3] on the CPU, their features
    [B, N, S, D] of a DPC on its device)."""
    frames = torch.cat([video['blocks'].flatten(1, 2) for video in videos])
    with precision.autocast():
        return frames, model.encode(to_block(frames.to(precision.device), None, num_seq))


@torch.no_grad()
def predict_batch(model, videos, num_seq, size, precision):
    """The Batch of some dicts of a VideoDataset, of one clip each. size: (h, w) of the feature map.

    UserError: features that are not finite."""
    frames, feature = encode_clips(model, videos, num_seq, precision)
    prediction, target, feature = (each.cpu() for each in (*model.predict(feature), feature))
    check_finite('the features', feature, prediction)
    rank, taken = ranks(prediction, target), best_answers(prediction, target)
    shares = wrong_answers(prediction, target)
    outcomes = {'right': float((rank == 0).mean()), **{text: shares[name].item() for text, name in MISTAKES.items()}}
    return Batch([int(video['index']) for video in videos], rank, taken, outcomes,
                 motion_of(frames, num_seq, model.pred_step, size), feature, prediction)


def predict_clips(model, videos, num_seq, size, precision, batch_size, keep):
    """Batches of `batch_size` clips of what `read_videos` yields: ([Batch, …], count of clips left over).

    keep: features of so many clips at least are kept. See `in_batches`."""
    kept = 0

    def predict(clips):
        nonlocal kept
        batch = predict_batch(model, clips, num_seq, size, precision)
        if kept >= keep:
            batch.feature = batch.prediction = None
        kept += len(clips)
        return batch

    return in_batches(videos, batch_size, predict)


def in_batches(videos, batch_size, evaluate):
    """([evaluate(list of `batch_size` clips), …], count of clips left over) of what `read_videos` yields.

    Clips that don't fill a batch are left out, unless they are all there are: with fewer negatives it would be easier
    to be right."""
    results, waiting = [], []
    for video in videos:
        waiting.append(video)
        if len(waiting) == batch_size:
            results.append(evaluate(waiting))
            waiting = []
    if waiting and not results:
        results.append(evaluate(waiting))
        waiting = []
    return results, len(waiting)


def ranks(prediction, target):
    """prediction, target [B, P, S, D] -> int64 [B, P, S]: how many negatives don't score below the positive."""
    _, rank = loss.dense_info_nce(prediction, target, chunk=ROWS_AT_ONCE)
    return rank.view(target.shape[:3]).numpy()


def best_answers(prediction, target):
    """prediction, target [B, P, S, D] -> int64 [B, P, S, 3]: (clip, p', s') of the location with the highest score."""
    taken = taken_for(prediction, target)
    taken = torch.where(taken < 0, torch.arange(len(taken)), taken).view(target.shape[:3])
    return np.stack(np.unravel_index(taken.numpy(), taken.shape), axis=-1)


def match_of(prediction, target):
    """prediction, target [P, S, D] of one clip -> float32 [P, S, P, S]: the softmax of the scores of each predicted
    location (p, s) over the true locations (p', s')."""
    score = loss.similarity(prediction.flatten(0, 1), target.flatten(0, 1))
    return score.softmax(dim=1).view(*target.shape[:2], *target.shape[:2]).numpy()


def motion_of(frames, num_seq, pred_step, size):
    """Speed of motion at the predicted locations: the mean absolute difference of successive frames in grey levels
    (0 to 255), over the block and the pixels of the location.

    frames uint8 [B, N·T, H, W, 3]; size: (h, w) of the feature map -> float64 [B, P, h·w]. The difference of a block's
    first frame to the one before it counts to the block."""
    future = frames.unflatten(1, (num_seq, -1))[:, -pred_step:].flatten(1, 2)
    steps = future.shape[1]
    grey = frames[:, -steps - 1:].double().mean(dim=-1)             # [B, P·T + 1, H, W]
    change = (grey[:, 1:] - grey[:, :-1]).abs().unflatten(1, (pred_step, -1)).mean(dim=2)     # [B, P, H, W]
    return F.adaptive_avg_pool2d(change, size).flatten(2).numpy()
