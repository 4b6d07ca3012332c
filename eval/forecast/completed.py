"""A video of which the first part was seen, completed by a prediction or by a copy of the last seen block: the maps of
its blocks, and their context."""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from backbone.predictor import predict_blocks
from eval.forecast.observed import Parts
from utils.data.clip_starts import clip_starts
from utils.parallel.distributed import sum_over_processes

# What is given to the classifier: the seen part, or the video completed by the prediction as it is, by the prediction
# that a linear map takes to features, or by the last seen block.
SEEN, PREDICTED, MAPPED, REPEATED = 'seen', 'predicted', 'mapped', 'repeated'
WINDOWS_AT_ONCE = 256  # in the aggregator, which bounds the memory
RIDGE = 1e-2  # of the mean square of the predictions


def seen_parts(maps: torch.Tensor, parts: Parts) -> list[torch.Tensor]:
    """maps [K, 2, S, D] of a video's distinct blocks, rectified and signed -> rectified maps [n, S, D] of each part."""
    return [maps[rows, 0] for rows in parts.rows]


def roll_out(agg: nn.Module, predictor: nn.Module, num_seq: int, maps: torch.Tensor, parts: Parts) -> torch.Tensor:
    """The prediction after each part to the length of the video, [F, n, S, D] signed; of a part that lacks fewer than n
    blocks the first ones count.

    It is that of pretraining: the aggregator runs over the last `num_seq` seen blocks or fewer, φ predicts the next
    one, which is aggregated, and so on."""
    state = last_states(agg, [F.relu(maps[rows[-num_seq:], 1]) for rows in parts.rows])             # [F, S, D]
    return predict_blocks(agg, predictor, state, parts.blocks - min(map(len, parts.rows)))


def completed_parts(seen: Sequence[torch.Tensor], futures: Sequence[torch.Tensor],
                    blocks: int) -> list[list[torch.Tensor]]:
    """For each part [its rectified maps [n, S, D], those of the whole video [U, S, D], completed by each of the futures
    and by the last seen block].

    futures: rectified maps [F, at least U - n, S, D]. blocks: U."""
    return [[each, *(torch.cat([each, future[f, :blocks - len(each)]]) for future in futures),
             torch.cat([each, each[-1:].expand(blocks - len(each), -1, -1)])] for f, each in enumerate(seen)]


class LinearMaps:
    """Take predictions to features, one for each of F parts: a ridge regression of true rectified maps on predicted
    signed ones, over all locations and steps ahead of the training videos, without labels.

    The contrastive loss stays the same when all true features move by the same vector, and when they shrink as the
    predictions grow: a prediction has neither the mean nor the scale of the features that it stands for."""

    def __init__(self, count: int, size: int, device: torch.device):
        """count: F. size: D."""
        self.size = size
        self.moments = torch.zeros(count, size + 1, 2 * size + 1, dtype=torch.float64, device=device)
        self.weight = None

    def add(self, prediction: torch.Tensor, maps: torch.Tensor, parts: Parts) -> None:
        """A video, whose last part is all of it. prediction: of `roll_out`; maps: see `seen_parts`."""
        *seen, whole = seen_parts(maps, parts)
        for f, part in enumerate(seen):
            target = whole[len(part):].flatten(0, 1).double()                   # [M, D], M locations of U - n blocks
            x = F.pad(prediction[f, :len(whole) - len(part)].flatten(0, 1), (0, 1), value=1).double()
            self.moments[f] += x.T @ torch.cat([x, target], dim=1)

    def fit(self) -> None:
        """After the last video, in all processes."""
        square, mixed = sum_over_processes(self.moments).split([self.size + 1, self.size], dim=2)
        mean_square = square.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]                    # [F, 1, 1]
        ridge = RIDGE * mean_square * torch.eye(self.size + 1, dtype=square.dtype, device=square.device)
        self.weight = (torch.linalg.pinv(square + ridge, hermitian=True) @ mixed).float()           # [F, D + 1, D]

    def __call__(self, prediction: torch.Tensor) -> torch.Tensor:
        """[F, n, S, D] -> [F, n, S, D]"""
        return F.pad(prediction, (0, 1), value=1) @ self.weight[:, None]


def mean_contexts(agg: nn.Module, sequences: Sequence[torch.Tensor], num_seq: int) -> torch.Tensor:
    """Rectified maps [n, S, D] of each sequence -> contexts [len(sequences), D], means over locations and clips: those
    of a test, which cover the sequence and overlap by half; one of n blocks where n < num_seq."""
    windows = [[each[start:start + num_seq] for start in clip_starts(max(len(each), num_seq), num_seq)]
               for each in sequences]
    flat = sum(windows, [])
    vectors = torch.cat([last_states(agg, flat[i:i + WINDOWS_AT_ONCE]).mean(dim=1)
                         for i in range(0, len(flat), WINDOWS_AT_ONCE)])
    return torch.stack([each.mean(dim=0) for each in vectors.split([len(each) for each in windows])])


def last_states(agg: nn.Module, sequences: Sequence[torch.Tensor]) -> torch.Tensor:
    """Maps [n, S, D] of each sequence -> the aggregator's state after its last block, [len(sequences), S, D].

    Shorter ones are padded, and their state is that before the padding."""
    states, _ = agg(nn.utils.rnn.pad_sequence(sequences, batch_first=True))     # [len(sequences), n, S, D]
    last = torch.tensor([len(each) - 1 for each in sequences], device=states.device)
    return states[torch.arange(len(sequences), device=states.device), last]
