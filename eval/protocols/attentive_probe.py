"""Protocol: an attentive head on the tokens of frozen weights, the best of a grid on held-out training groups."""
import itertools
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch

from eval.protocols.attentive_heads import AttentiveHead, logits_of, train_heads
from eval.protocols.protocol import Outcome
from utils.cli import UserError
from utils.run.log import progress_bar

HELD_OUT = 0.1  # part of the training groups on which the head is chosen
RATES = tuple(10 ** (-5 + i / 3) for i in range(10))  # 1e-5 … 1e-2
DECAYS = 0.01, 0.1, 1.
GRID = tuple(itertools.product(RATES, DECAYS))
DEFAULT = GRID.index((RATES[6], 0.1))  # 1e-3; where nothing can be held out to choose it
CLIPS_AT_ONCE = 256  # when no gradient is needed


@dataclass
class Clips:
    """Rows of one map of Tokens as batches on a device, every channel standardised as over the training clips.

    tokens: float16 [K, M, D]. rows: int64 [V, 2], see Tokens. mean, deviation: float32 [D]."""
    tokens: np.ndarray
    rows: np.ndarray
    device: torch.device
    mean: torch.Tensor = 0
    deviation: torch.Tensor = 1

    def __getitem__(self, clips):
        """Row numbers int64 [B] -> float32 [B, M, D]."""
        tokens = torch.from_numpy(self.tokens[clips]).to(self.device, torch.float32)
        return (tokens - self.mean) / self.deviation

    def of(self, videos):
        """Row numbers of all clips of some videos, and how many each has."""
        return (np.concatenate([np.arange(*self.rows[video]) for video in videos]),
                self.rows[videos, 1] - self.rows[videos, 0])

    def standardise(self, videos):
        """Sets mean and deviation to those of these videos."""
        clips, _ = self.of(videos)
        total = squares = count = 0
        for part in split(clips):
            tokens = torch.from_numpy(self.tokens[part]).double().flatten(0, 1)
            total, squares, count = total + tokens.sum(0), squares + tokens.square().sum(0), count + len(tokens)
        mean = total / count
        variance = (squares / count - mean.square()).clamp_min(0)
        self.mean = mean.float().to(self.device)
        self.deviation = variance.sqrt().clamp_min(1e-6).float().to(self.device)


def attentive(task, tokens, kind, depth, epochs, batch_size, seed, device, title):
    """One Outcome. A Task whose vectors are numbers of videos in `tokens`; kind: 'context' or 'block'.

    The heads are trained on all but the held-out training groups; the one that is best there is tested.
    batch_size: videos in a batch; an epoch takes one clip of each. UserError: fewer videos than that."""
    fit = held = task.held_out(HELD_OUT)
    if held is None or len(np.unique(held.train_label)) < 2:
        fit, held = task, None
    if len(fit.train) < batch_size:
        raise UserError(f'--head_batch {batch_size}: there are only {len(fit.train)} videos to train heads on; lower it')
    clips = Clips(tokens.maps[kind], tokens.rows, device)
    clips.standardise(fit.train)
    heads = make_heads(clips.tokens.shape[2], int(task.train_label.max()) + 1, depth, seed, device)
    steps = epochs * (len(fit.train) // batch_size)
    train_heads(heads, GRID, progress_bar(batches(clips, fit, epochs, batch_size, seed), title, steps), steps)
    chosen = DEFAULT if held is None else best(probabilities(heads, clips, held.test), held.test_label)
    predicted = probabilities([heads[chosen]], clips, task.test)[0].argmax(axis=1)
    rate, decay = GRID[chosen]
    return Outcome('attentive', 'all labels', 'top1', (predicted == task.test_label)[None].astype(float),
                   [f'lr {rate:.2g} wd {decay:g}'])


def make_heads(size, num_class, depth, seed, device):
    """A head for each of GRID, with the same initial weights."""
    torch.manual_seed(seed)
    head = AttentiveHead(size, num_class, depth)
    return [deepcopy(head).to(device) for _ in GRID]


def batches(clips, task, epochs, batch_size, seed):
    """Yields (tokens [B, M, D], label [B]): one random clip of each video in an epoch; the rest of the list that doesn't
    fill a batch is left out."""
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        drawn = rng.integers(*clips.rows[task.train].T)
        order = rng.permutation(len(drawn))
        for part in order[:len(order) // batch_size * batch_size].reshape(-1, batch_size):
            yield clips[drawn[part]], torch.from_numpy(task.train_label[part]).to(clips.device)


@torch.no_grad()
def probabilities(heads, clips, videos):
    """float64 [G, V, C]: the softmax of G heads, averaged over the clips of each of V videos."""
    rows, counts = clips.of(videos)
    each = torch.cat([logits_of(heads, clips[part]).softmax(dim=-1).cpu() for part in split(rows)], dim=1)
    starts = np.cumsum(counts) - counts
    return np.add.reduceat(each.double().numpy(), starts, axis=1) / counts[:, None]


def best(probability, label):
    """The index of the head with the highest accuracy, of equals that with the lowest loss. probability [G, V, C]."""
    true = np.take_along_axis(probability, label[None, :, None], axis=2)[..., 0]        # [G, V]
    accuracy = (probability.argmax(axis=2) == label).mean(axis=1)
    accuracy[~np.isfinite(true).all(axis=1)] = -1                                       # diverged
    loss = -np.log(np.maximum(true, 1e-12)).mean(axis=1)
    return int(np.lexsort((loss, -accuracy))[0])


def split(clips):
    return np.split(clips, range(CLIPS_AT_ONCE, len(clips), CLIPS_AT_ONCE))
