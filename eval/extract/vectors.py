"""Features of whole videos by a frozen network: the aggregator's context and the backbone's blocks, in one pass."""
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from eval.extract.cache import read_arrays, write_arrays
from eval.extract.inference import broken_of_all, outputs_of
from eval.networks.bn_statistics import MAX_CLIPS, complete_bn_statistics
from eval.networks.representation import build_representation, check_representation
from eval.networks.weights import net_of
from utils.checkpoint import load_weights
from utils.data.clips import ClipDataset, VideoDataset
from utils.data.lists import VideoList
from utils.parallel.distributed import lists_of_all, sum_over_processes
from utils.run.setup import put_on


@dataclass
class LabelledVideos:
    """The R videos of a training and a test list.

    label: int64 [R], -1 for videos without labels; bool [R, C] if some video has several
    part:  str [R], 'train' or 'test'; for several splits [R, splits], '' where a split doesn't list the video
    unusable: (name, error) of each video that was given and is not among them, as its frames could not be counted
    """
    videos: VideoList
    label: np.ndarray
    part: np.ndarray
    unusable: Sequence[tuple[str, str]] = ()

    def rows_of(self, part):
        """Mask [R] of the 'train' or 'test' videos: of all splits if there are several."""
        return (self.part.reshape(len(self.part), -1) == part).any(axis=1)

    def unusable_lines(self):
        return [f'{name}: {error}' for name, error in self.unusable]

    def training(self):
        """The training videos that no split tests on; those of the first split if there are none."""
        train = self.rows_of('train') & ~self.rows_of('test')
        return self.videos.select(train if train.any() else self.part.reshape(len(self.part), -1)[:, 0] == 'train')


@dataclass
class Features:
    """Vectors of V videos, in the order of their lists; unreadable videos are left out.

    context: float32 [V, D], the aggregator's last state, averaged over locations and clips
    block:   float32 [V, D], the rectified maps of the backbone, averaged over locations, blocks and clips
             (what both are for third-party models: eval/networks/third_party.py)
    path, label, part: [V], see LabelledVideos; several labels are bool [V, C]
    skipped: a line for each video that could not be read
    clips:   arrays of the K clips of all videos, if asked for: context and block [K, D], video [K] (a row of the arrays
             above), start [K] (its first block)
    """
    context: np.ndarray
    block: np.ndarray
    path: np.ndarray
    label: np.ndarray
    part: np.ndarray
    skipped: list
    clips: dict = field(default_factory=dict)


ARRAYS = 'context', 'block', 'path', 'label', 'part'


def read_features(path, expected, per_clip=False, unusable=()):
    """The Features stored at `path`, or None: see `read_arrays`."""
    arrays = read_arrays(path, expected, unusable)
    if arrays is None or per_clip and 'clip_video' not in arrays:
        return None
    clips = {name.removeprefix('clip_'): array for name, array in arrays.items() if name.startswith('clip_')}
    return Features(*(arrays[name] for name in ARRAYS), skipped=[*unusable], clips=clips)


def write_features(path, features, fingerprint, origin):
    """Stores Features. origin: what the weights were called. UserError: they can't be written."""
    arrays = {name: getattr(features, name) for name in ARRAYS}
    clips = {f'clip_{name}': array for name, array in features.clips.items()}
    write_arrays(path, fingerprint, features.skipped, {**arrays, **clips, 'weights': origin})


def load_representation(net, checkpoint, origin, seed, listed, clip, resources):
    """The frozen network of a checkpoint, or of random weights drawn from `seed` if `checkpoint` is {}.

    It is a Representation, or a third-party model if `origin`, what --weights calls it, names one.

    BN statistics that it lacks, as random weights do, are estimated from the training videos of `listed`, the same on
    every process. clip: {num_seq, seq_len, ds, img_dim}. UserError: the checkpoint doesn't fit, the net can't run."""
    net = net_of(origin, net)
    torch.manual_seed(seed)
    model = build_representation(net)
    check_representation(model, net, clip)
    model.requires_grad_(False)
    missing = load_weights(model, checkpoint, strict=True, origin=origin).missing if checkpoint else model.state_dict()
    put_on(model, resources.precision.device)
    training = ClipDataset(listed.training(), clip, crop='centre', flip=0)
    complete_bn_statistics(model, missing, training, MAX_CLIPS, seed, resources.precision, resources.num_workers,
                           resources.timeout)
    return model.eval()


def vectors_of(model):
    """A Representation as a function of the maps of clips [B, N, S, D]: context and block side by side, [B, 2·D]."""
    def summarise(maps):
        feature, _, state = model.all_states(maps)                              # [B, N, S, D], [B, S, D]
        return torch.cat([state.mean(dim=1), feature.mean(dim=(1, 2))], dim=1)

    return summarise


def extract_features(model, listed, clip, resources, title, per_clip=False):
    """Features of the LabelledVideos `listed` by a frozen Representation; the same on every process.

    UserError: no video can be read; features that are not finite."""
    dataset = VideoDataset(listed.videos, clip)
    size = model.backbone.feature_size
    vectors = torch.zeros(len(listed.videos), 2 * size)  # context, then block
    of_clips, broken = [], []
    for video, output in outputs_of(model.encode, vectors_of(model), dataset, resources, title, broken):
        vectors[video['index']] = output.mean(dim=0)
        if per_clip:
            of_clips.append((video['index'], video['start'].numpy(), output.numpy()))

    broken = broken_of_all(broken, len(listed.videos))
    context, block = sum_over_processes(vectors).numpy().reshape(-1, 2, size).swapaxes(0, 1)
    rows = np.setdiff1d(np.arange(len(listed.videos)), [index for index, _ in broken])
    clips = as_arrays(sorted(lists_of_all(of_clips), key=lambda each: each[0]), rows, size) if per_clip else {}
    path = np.array(listed.videos.paths())
    return Features(context[rows], block[rows], path[rows], listed.label[rows], listed.part[rows],
                    [*listed.unusable_lines(), *(error for _, error in broken)], clips)


def as_arrays(of_clips, rows, size):
    """Features.clips from [(index, start [K], output [K, 2·D]), …] of the videos `rows`."""
    index, start, output = zip(*of_clips)
    output = np.concatenate(output)
    video = np.repeat(np.searchsorted(rows, index), [len(each) for each in start])
    return {'context': output[:, :size], 'block': output[:, size:], 'video': video, 'start': np.concatenate(start)}
