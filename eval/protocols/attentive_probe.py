"""Protocol: an attentive head on the tokens of frozen weights, the best of a grid by cross-validation over groups."""
import itertools
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch

from eval.extract.tokens import Tokens
from eval.protocols.attentive_heads import AttentiveHead, logits_of, train_heads
from eval.protocols.protocol import Outcome, Task, first_best
from utils.random_streams import stream
from utils.run.log import progress_bar

FOLDS = 3  # of the training groups, at most: heads take longer to train than the other probes
RATES = tuple(10 ** (-5 + i / 3) for i in range(10))  # 1e-5 … 1e-2
DECAYS = 1., 0.1, 0.01
# Of equally good heads the first is taken: the strongest decay, then the lowest rate.
GRID = tuple((rate, decay) for decay, rate in itertools.product(DECAYS, RATES))
DEFAULT = GRID.index((RATES[6], 0.1))  # 1e-3; where nothing can be held out to choose it
CLIPS_AT_ONCE = 256  # when no gradient is needed


@dataclass
class HeadTraining:
    """How heads are trained. epochs: of one clip of every video. batch_size: videos in a batch.

    >>> HeadTraining(depth=1, epochs=20, batch_size=32, seed=0)
    HeadTraining(depth=1, epochs=20, batch_size=32, seed=0)
    """
    depth: int
    epochs: int
    batch_size: int
    seed: int


@dataclass
class Clips:
    """Rows of one map of Tokens as batches on a device, every channel standardised as over the training clips.

    tokens: float16 [K, M, D]. rows: int64 [V, 2], see Tokens. mean, deviation: float32 [D]."""
    tokens: np.ndarray
    rows: np.ndarray
    device: torch.device
    mean: torch.Tensor | float = 0.
    deviation: torch.Tensor | float = 1.

    def __getitem__(self, clips: np.ndarray) -> torch.Tensor:
        """Row numbers int64 [B] -> float32 [B, M, D]."""
        tokens = torch.from_numpy(self.tokens[clips]).to(self.device, torch.float32)
        return (tokens - self.mean) / self.deviation

    def of(self, videos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers of all clips of some videos, and how many each has."""
        return (np.concatenate([np.arange(*self.rows[video]) for video in videos]),
                self.rows[videos, 1] - self.rows[videos, 0])

    def standardise(self, videos: np.ndarray) -> None:
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


def attentive(task: Task, tokens: Tokens, kind: str, training: HeadTraining, device: torch.device,
              title: str) -> Outcome:
    """One Outcome. A Task whose vectors are numbers of videos in `tokens`; kind: 'context' or 'block'.

    All heads are trained on all but one fold of the training groups, in turn; the one that is best on what was left out
    is trained on all training videos and tested. title: of the progress bar."""
    clips = Clips(tokens.maps[kind], tokens.rows, device)
    folds, found = task.folds(FOLDS), []
    for number, fold in enumerate(folds, 1):
        heads = trained(clips, fold, GRID, training, f'{title}, fold {number} of {len(folds)}')
        found.append(accuracies(probabilities(heads, clips, fold.test), fold.test_label))
    chosen = first_best(found, [len(fold.test) for fold in folds]) if folds else DEFAULT
    head = trained(clips, task, GRID[chosen:chosen + 1], training, title)
    predicted = probabilities(head, clips, task.test)[0].argmax(axis=1)
    rate, decay = GRID[chosen]
    return Outcome('attentive', 'all labels', 'top1', (predicted == task.test_label)[None].astype(float),
                   task.test_group, [f'lr {rate:.2g} wd {decay:g}'], [len(folds)])


def trained(clips: Clips, task: Task, grid: Sequence[tuple[float, float]], training: HeadTraining,
            title: str) -> list[AttentiveHead]:
    """A head for each of `grid`, trained on the training videos of the task; all start from the same weights.

    Sets the mean and deviation of `clips` to those of these videos."""
    clips.standardise(task.train)
    torch.manual_seed(training.seed)
    head = AttentiveHead(clips.tokens.shape[2], int(task.train_label.max()) + 1, training.depth)
    heads = [deepcopy(head).to(clips.device) for _ in grid]
    size = min(training.batch_size, len(task.train))  # a fold may have fewer videos than a batch
    steps = training.epochs * (len(task.train) // size)
    train_heads(heads, grid, progress_bar(batches(clips, task, training, size), title, steps), steps)
    return heads


def batches(clips: Clips, task: Task, training: HeadTraining,
            size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields (tokens [B, M, D], label [B]): one random clip of each video in an epoch; the last videos, too few for a
    batch, are left out."""
    rng = stream('attentive_batches', training.seed)
    for _ in range(training.epochs):
        drawn = rng.integers(*clips.rows[task.train].T)
        order = rng.permutation(len(drawn))
        for part in order[:len(order) // size * size].reshape(-1, size):
            yield clips[drawn[part]], torch.from_numpy(task.train_label[part]).to(clips.device)


@torch.no_grad()
def probabilities(heads: Sequence[AttentiveHead], clips: Clips, videos: np.ndarray) -> np.ndarray:
    """float64 [G, V, C]: the softmax of G heads, averaged over the clips of each of V videos."""
    rows, counts = clips.of(videos)
    each = torch.cat([logits_of(heads, clips[part]).softmax(dim=-1).cpu() for part in split(rows)], dim=1)
    starts = np.cumsum(counts) - counts
    return np.add.reduceat(each.double().numpy(), starts, axis=1) / counts[:, None]


def accuracies(probability: np.ndarray, label: np.ndarray) -> np.ndarray:
    """float64 [G] of heads with probability [G, V, C]; -1 of one that diverged."""
    accuracy = (probability.argmax(axis=2) == label).mean(axis=1)
    accuracy[~np.isfinite(probability).all(axis=(1, 2))] = -1
    return accuracy


def split(clips: np.ndarray) -> list[np.ndarray]:
    return np.split(clips, range(CLIPS_AT_ONCE, len(clips), CLIPS_AT_ONCE))
