"""Classification of whole videos by a trained classifier (paper, section 4): mean softmax over the clips of a video.

One pass over the videos serves several protocols, which differ in the clips they use and in how they define the loss.
"""
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from eval.extract.inference import broken_of_all, outputs_of
from eval.metrics.average_precision import mean_average_precision
from eval.metrics.intervals import bootstrap, by_group
from eval.metrics.multi_label import is_right, probabilities
from utils.data.clip_starts import PUBLISHED_STRIDE, clip_starts, count_blocks, published_stride, spaced_starts
from utils.parallel.distributed import sum_over_processes

CROPS = {1: 'centre crop', 3: '3 crops along the longer side', 5: 'crops of the corners and the centre',
         10: 'crops of the corners and the centre, and their mirror images'}


@dataclass
class Protocol:
    """Which clips of a video are scored, and its loss.

    starts: frames of a video -> first blocks of its clips, int64 [K]; none if the video is not scored.
    loss: (logits [K, num_class], label, or bool [num_class] of several labels) -> loss of a video, float.

    >>> every_video(num_seq=8, seq_len=5, ds=3).starts(240).tolist()  # 16 blocks of 15 frames
    [0, 4, 8]
    """
    name: str
    about: str
    starts: Callable
    loss: Callable


@dataclass
class VideoScores:
    """Scores of R videos, in list order.

    >>> probability = np.array([[0.7, 0.3], [0.4, 0.6]], np.float32)
    >>> VideoScores(np.arange(2), probability, label=np.array([0, 0]), loss=np.ones(2, np.float32)).prediction.tolist()
    [0, 1]
    """
    index: np.ndarray        # int64 [R], position in the list
    probability: np.ndarray  # float32 [R, num_class], mean over clips; see eval.metrics.multi_label.probabilities
    label: np.ndarray        # int64 [R], or bool [R, num_class] of several labels
    loss: np.ndarray         # float32 [R]

    @property
    def prediction(self) -> np.ndarray:
        return self.probability.argmax(axis=1)


def every_video(num_seq: int, seq_len: int, ds: int, crops: int = 1, flip: bool = False,
                clips: int | str = 'all') -> Protocol:
    """Our protocol: no video is dropped, and by default every block is used. Loss: −log of the mean softmax; for
    several labels binary cross-entropy of the mean sigmoid.

    clips: 'all', or the number of clips of a video. crops, flip: the views of utils.data.crops, for the name only."""
    def starts(n_frames):
        blocks = count_blocks(n_frames, num_seq, seq_len, ds)
        return clip_starts(blocks, num_seq) if clips == 'all' else spaced_starts(blocks, num_seq, clips)

    def loss(logits, label):
        if np.ndim(label):
            return F.binary_cross_entropy(logits.sigmoid().mean(dim=0), torch.as_tensor(label).float()).item()
        return -logits.softmax(dim=1).mean(dim=0)[label].clamp_min(1e-12).log().item()

    where = (f'clips start every {max(1, num_seq // 2)} blocks, the last one ends with the video' if clips == 'all' else
             f'{clips} evenly spaced clips, fewer where the video is too short for so many')
    about = f'{where}; short videos repeat their last frame; {CROPS[crops]}{", each also mirrored" if flip else ""}'
    return Protocol(', '.join(['every video', *special_views(crops, flip, clips)]), about, starts, loss)


def special_views(crops: int, flip: bool, clips: int | str) -> list[str]:
    """Words for differences from the published test, for names of rows and folders."""
    words = {f'{crops} crops': crops > 1, 'mirror images': flip,
             'one clip' if clips == 1 else f'{clips} clips': clips != 'all'}
    return [word for word, differs in words.items() if differs]


def published_protocol(dataset: str, num_seq: int, seq_len: int, ds: int) -> Protocol:
    """The published code's protocol, for UCF101 and HMDB51: videos not longer than a clip are dropped, and so are the
    blocks after the last clip. Loss: cross-entropy of the mean logits."""
    stride = published_stride(dataset, num_seq)
    clip_frames = num_seq * seq_len * ds

    def starts(n_frames):
        last = count_blocks(n_frames, num_seq, seq_len, ds) - num_seq if n_frames > clip_frames else -1
        return np.arange(0, last + 1, stride)

    def loss(logits, label):
        return F.cross_entropy(logits.mean(dim=0), torch.tensor(label)).item()

    return Protocol(f'published protocol (only videos over {clip_frames} frames)',
                    f'clips start every {stride} blocks, none is added at the end; centre crop; loss of the mean '
                    'logits',
                    starts, loss)


def protocols_for(dataset: str, num_seq: int, seq_len: int, ds: int, crops: int = 1, flip: bool = False,
                  clips: int | str = 'all', multi_label: bool = False) -> list[Protocol]:
    """Protocols to report for a data set; the first scores every video. crops, flip, clips: see every_video. The
    published protocol is added where these are as published and videos have one label."""
    protocols = [every_video(num_seq, seq_len, ds, crops, flip, clips)]
    if dataset in PUBLISHED_STRIDE and (crops, flip, clips) == (1, False, 'all') and not multi_label:
        protocols.append(published_protocol(dataset, num_seq, seq_len, ds))
    return protocols


def clips_of_all(protocols: Sequence[Protocol]) -> Callable[[int], np.ndarray]:
    """A function for VideoDataset: frames of a video -> first blocks of the clips of all protocols together."""
    return lambda n_frames: np.unique(np.concatenate([protocol.starts(n_frames) for protocol in protocols]))


def score_videos(model, dataset, protocols, resources, num_class, multi_label=False):
    """Runs the classifier once over a VideoDataset.

    resources: eval.extract.resources.Resources. multi_label: labels of the dataset are bool [R, num_class].
    Returns ([VideoScores of each protocol], [(index, error) of each unreadable video]), the same in all processes.
    UserError: no video can be read; logits that are not finite.
    """
    model.eval()
    label = torch.zeros(len(dataset.videos), *([num_class] if multi_label else []), dtype=torch.long)
    # Per protocol. Each process fills the rows of its own videos; the sum over processes then has all rows.
    probability = torch.zeros(len(protocols), len(dataset.videos), num_class)
    loss = torch.zeros(len(protocols), len(dataset.videos))
    scored = torch.zeros(len(protocols), len(dataset.videos), dtype=torch.long)
    broken = []
    for video, logits in outputs_of(model.encode, model.summarise, dataset, resources, 'test', broken):
        index = video['index']
        label[index] = video['label']                                           # logits [K, num_class]
        for i, protocol in enumerate(protocols):
            chosen = logits[np.isin(video['start'], protocol.starts(video['n_frames']))]
            if len(chosen):
                probability[i, index] = probabilities(chosen, multi_label).mean(dim=0)
                loss[i, index] = protocol.loss(chosen, video['label'] if multi_label else int(video['label']))
                scored[i, index] = 1
    broken = broken_of_all(broken, len(dataset.videos))
    label, probability, loss, scored = (sum_over_processes(tensor).numpy()
                                        for tensor in (label, probability, loss, scored))
    label = label.astype(bool) if multi_label else label
    rows = [np.flatnonzero(mask) for mask in scored]
    return [VideoScores(row, probability[i, row], label[row], loss[i, row]) for i, row in enumerate(rows)], broken


def summarise(scores: VideoScores, group: np.ndarray) -> dict:
    """{videos, loss, top1, top5, mean_class, …}: the mean loss of a video, accuracies from 0 to 1, and `uncertainty`.

    mean_class is the mean accuracy over the classes that have a scored video.
    For several labels: top1, where any label is right, and map, the mean average precision.
    group: str [R], of each video.
    """
    accuracies = (accuracies_of_several if scores.label.ndim == 2 else accuracies_of_one)(scores)
    return {'videos': len(scores.label), 'loss': float(scores.loss.mean(dtype=np.float64)),
            **uncertainty(accuracies, group)}


def uncertainty(accuracies: dict[str, Callable], group: np.ndarray) -> dict:
    """{groups, accuracies, group, interval, by_group} and the value of each accuracy, a statistic of
    eval.metrics.intervals: interval is {accuracy: (low, high)}, 95% over groups, or for too few of them
    (None, None), and by_group then {accuracy: {name of a group: value}}."""
    everything = np.ones(len(group), int)
    return {'groups': len(np.unique(group)), 'accuracies': accuracies, 'group': group,
            **{name: float(accuracy(everything)) for name, accuracy in accuracies.items()},
            'interval': {name: bootstrap(accuracy, group) for name, accuracy in accuracies.items()},
            'by_group': {name: by_group(accuracy, group) for name, accuracy in accuracies.items()}}


def accuracies_of_one(scores: VideoScores) -> dict[str, Callable]:
    """{name: statistic of eval.metrics.intervals} where each video has one label."""
    true = scores.probability[np.arange(len(scores.label)), scores.label]
    correct = scores.prediction == scores.label
    # Ties count against the truth: equal probabilities must not look right.
    among_five = (scores.probability >= true[:, None]).sum(axis=1) <= 5

    def mean_class(times):
        videos, right = np.bincount(scores.label, times), np.bincount(scores.label, times * correct)
        return (right[videos > 0] / videos[videos > 0]).mean()

    return {'top1': lambda times: times @ correct / times.sum(), 'top5': lambda times: times @ among_five / times.sum(),
            'mean_class': mean_class}


def accuracies_of_several(scores: VideoScores) -> dict[str, Callable]:
    """The same where videos have several labels."""
    correct = is_right(scores.prediction, scores.label)
    return {'map': mean_average_precision(scores.probability, scores.label),
            'top1': lambda times: times @ correct / times.sum()}
