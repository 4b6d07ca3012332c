"""What a pretrained network predicts for the clips of a batch: the true place that each future place is taken for."""
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from backbone.blocks import encode_blocks, full_precision
from backbone.predictor import make_predictors, predict_blocks
from eval.model import Representation
from utils.checkpoint import load_weights, parameters_among
from utils.cli import UserError
from utils.data.colour import to_block

OUTCOMES = ('right', 'same place, another time', 'another place of the clip', 'another clip')


class PredictiveNetwork(Representation):
    """Encoder, aggregator and predictor as pretraining trains them. pred_step: P; see dpc.model.DPC for the others.

    BN normalises by the batch, as in pretraining and its validation."""

    def __init__(self, network='resnet18', pred_step=3, prediction='sequential', feature_map='dense'):
        super().__init__(network)
        self.pred_step, self.pooled, self.parallel = pred_step, feature_map == 'pooled', prediction == 'parallel'
        self.network_pred = make_predictors(self.backbone.feature_size, pred_step, prediction)

    def forward(self, block):
        """Clips [B, N, C, T, H, W] -> (signed features of all blocks [B, N, S, D], predictions of the last P of them
        [B, P, S, D])."""
        feature = self.encode(block)
        return feature, self.predict(feature[:, :-self.pred_step], self.pred_step)

    def encode(self, block):
        """Clips [B, N, C, T, H, W] -> signed features [B, N, S, D]; S = 1 if pooled."""
        feature = encode_blocks(self.backbone, block, by_batch=True)
        return feature.mean(dim=2, keepdim=True) if self.pooled else feature

    def predict(self, seen, steps):
        """Features of M seen blocks [B, M, S, D] -> predictions of the next K = `steps` [B, K, S, D]. K may
        be larger than P, unless predictions are parallel."""
        with full_precision(seen):
            _, state = self.agg(F.relu(seen))
            return predict_blocks(self.agg, self.network_pred, state, steps)[:, :steps]  # parallel: always P


@dataclass
class Answers:
    """What is made of the predicted places (p, s) of V clips, each clip beside those of its batch.

    rank     int64 [V, P, S]     how many of the other candidates don't score below the true place; 0 is right
    taken    int64 [V, P, S, 3]  (clip in the batch, p', s') of the place with the highest score
    outcome  int64 [V, P, S]     index in OUTCOMES
    """
    rank: np.ndarray
    taken: np.ndarray
    outcome: np.ndarray


@dataclass
class Batch:
    """What is predicted for B clips of a batch.

    index    list of B rows in the list of videos
    answers  their Answers
    motion   float64 [B, P, S], see motion_of
    feature, prediction: float32 [B, N, S, D] and [B, P, S, D], or None where they are no longer needed
    """
    index: list
    answers: Answers
    motion: np.ndarray
    feature: torch.Tensor
    prediction: torch.Tensor


def load_network(weights, checkpoint, net, pred_step):
    """The PredictiveNetwork of a pretraining checkpoint, frozen; of random weights if `checkpoint` is {}.

    weights: what messages call it. UserError: another net, or a checkpoint without a predictor."""
    settings = checkpoint.get('settings', {})
    kinds = {name: settings[name] for name in ('prediction', 'feature_map') if name in settings}
    model = PredictiveNetwork(net, pred_step, **kinds)
    if checkpoint:
        lacking = parameters_among(load_weights(model, checkpoint, origin=weights).missing)
        if lacking:
            raise UserError(f'{weights} has no {lacking[0]}: it is not a checkpoint of pretraining with --pred_step '
                            f'{pred_step} (a classifier\'s has no predictor); give one of dpc/main.py')
    return model.requires_grad_(False).eval()


@torch.no_grad()
def predict_batch(model, videos, num_seq, size, precision):
    """The Batch of some dicts of a VideoDataset, of one clip each. size: (h, w) of the feature map.

    UserError: features that are not finite."""
    frames = torch.cat([video['frames'] for video in videos])           # uint8 [B, N·T, H, W, 3]
    block = to_block(frames.to(precision.device), None, num_seq)
    with precision.autocast():
        feature, prediction = (output.float().cpu() for output in model(block))
    check_finite(feature, prediction)
    answers = answers_of(prediction, feature[:, -model.pred_step:])
    return Batch([int(video['index']) for video in videos], answers, motion_of(frames, num_seq, model.pred_step, size),
                 feature, prediction)


def check_finite(*features):
    """UserError: a tensor holds a value that is not finite."""
    if not all(torch.isfinite(each).all() for each in features):
        raise UserError('the features are not finite: the weights are unusable, or too large for this precision (try '
                        '--amp off)')


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


def in_batches(videos, batch_size, judge):
    """([judge(list of `batch_size` clips), …], count of clips left over) of what `read_videos` yields.

    Clips that don't fill a batch are left out, unless they are all there are: with fewer candidates it would be easier
    to be right."""
    judged, waiting = [], []
    for video in videos:
        waiting.append(video)
        if len(waiting) == batch_size:
            judged.append(judge(waiting))
            waiting = []
    if waiting and not judged:
        judged.append(judge(waiting))
        waiting = []
    return judged, len(waiting)


def answers_of(prediction, target):
    """prediction, target [B, P, S, D] -> Answers of these B clips. Candidates are all B·P·S targets; the score is the
    dot product, as in pretraining, and a tie counts against the true place."""
    B, P, S, _ = target.shape
    columns = target.flatten(0, 2)                                  # [B·P·S, D]
    ranks, taken = [], []
    for clip, rows in enumerate(prediction.flatten(1, 2)):          # [P·S, D]
        score = rows @ columns.t()                                  # [P·S, B·P·S]
        own = clip * P * S + torch.arange(P * S)
        rank = len(columns) - 1 - (score < score.gather(1, own.unsqueeze(1))).sum(dim=1)
        wrong = score.scatter(1, own.unsqueeze(1), -torch.inf).argmax(dim=1)
        ranks.append(rank)
        taken.append(torch.where(rank == 0, own, wrong))
    rank, taken = (torch.stack(rows).view(B, P, S).numpy() for rows in (ranks, taken))
    clip, step, place = np.unravel_index(taken, (B, P, S))
    own_clip, own_place = clip == np.arange(B)[:, None, None], place == np.arange(S)
    outcome = np.where(rank == 0, 0, np.where(~own_clip, 3, np.where(own_place, 1, 2)))
    return Answers(rank, np.stack([clip, step, place], axis=-1), outcome)


def match_of(prediction, target):
    """prediction, target [P, S, D] of one clip -> float32 [P, S, P, S]: the softmax of the scores of each predicted
    place (p, s) over the true places (p', s')."""
    score = prediction.flatten(0, 1) @ target.flatten(0, 1).t()
    return score.softmax(dim=1).view(*target.shape[:2], *target.shape[:2]).numpy()


def motion_of(frames, num_seq, pred_step, size):
    """Speed of motion at the predicted places: the mean absolute difference of successive frames in grey levels
    (0 to 255), over the block and the pixels of the place.

    frames uint8 [B, N·T, H, W, 3]; size: (h, w) of the feature map -> float64 [B, P, h·w]. The difference of a block's
    first frame to the one before it counts to the block."""
    future = frames.unflatten(1, (num_seq, -1))[:, -pred_step:].flatten(1, 2)
    steps = future.shape[1]
    grey = frames[:, -steps - 1:].double().mean(dim=-1)             # [B, P·T + 1, H, W]
    change = (grey[:, 1:] - grey[:, :-1]).abs().unflatten(1, (pred_step, -1)).mean(dim=2)     # [B, P, H, W]
    return F.adaptive_avg_pool2d(change, size).flatten(2).numpy()
