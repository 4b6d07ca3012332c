"""Contexts of a data set's videos of which the first part was seen, extracted and stored."""
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from backbone.predictor import make_predictor
from eval.extract.cache import fingerprint, read_arrays, stored_or_made, write_arrays
from eval.extract.inference import broken_of_all, check_finite, outputs_of
from eval.extract.resources import Resources, resources_of
from eval.extract.vectors import LabelledVideos, load_representation
from eval.forecast.completed import (
    MAPPED,
    PREDICTED,
    REPEATED,
    SEEN,
    LinearMaps,
    completed_parts,
    mean_contexts,
    roll_out,
    seen_parts,
)
from eval.forecast.observed import ObservedBlocks
from eval.forecast.video_maps import maps_only
from eval.model import Representation
from eval.networks.settings import trained_settings
from eval.networks.weights import net_of
from utils.checkpoint import plain_names, weights_in
from utils.cli import UserError
from utils.data.clips import Clip
from utils.parallel import distributed
from utils.parallel.distributed import lists_of_all
from utils.parallel.precision import Precision
from utils.run.log import say
from utils.run.setup import clip_settings
from utils.text import counted

PREDICTOR = 'network_pred.'


@dataclass
class Contexts:
    """Contexts of R training videos and Q test videos, in the order of their lists; unreadable videos are left out.

    train:  float32 [R, F + 1, D], of the F observed parts and of the whole video
    test:   float32 [Q, F, K, D], of each of the K inputs
    inputs: K of those in eval.forecast.completed, the seen part first
    path, label, part: [R + Q], the training videos first; see eval.extract.vectors.LabelledVideos
    skipped: a line for each video that could not be read
    """
    train: np.ndarray
    test: np.ndarray
    inputs: list[str]
    path: np.ndarray
    label: np.ndarray
    part: np.ndarray
    skipped: list[str]

    @property
    def video(self) -> np.ndarray:
        """int64 [R + Q], the row of each video in `train` or `test`: what a Task holds in place of vectors."""
        return np.concatenate([np.arange(len(self.train)), np.arange(len(self.test))])


ARRAYS = 'train', 'test', 'path', 'label', 'part'


def contexts_of(args: Namespace, weights: str, seed: int, checkpoint: dict, listed: LabelledVideos,
                precision: Precision, path: Path) -> Contexts | None:
    """The Contexts of the LabelledVideos `listed`: those stored at `path`, or newly made and stored there.

    The main process returns them, the others maybe None. weights: what --weights calls the `checkpoint`; random ones
    are drawn from `seed`."""
    clip = clip_settings(args)
    expected = distributed.is_main() and fingerprint(weights, seed, args.net, clip, listed, precision.name)

    def make():
        say(f'contexts of {Path(weights).name}{"" if checkpoint else f" weights, seed {seed}"}: '
            + counted(len(listed.videos), 'video'))
        resources = resources_of(args, precision)
        model = load_representation(args.net, checkpoint, weights, seed, listed, clip, resources)
        predictor = load_predictor(weights, checkpoint, model.backbone.feature_size, seed)
        contexts = make_contexts(model, predictor, listed, clip, args.observe, resources, Path(weights).name)
        if distributed.is_main():
            arrays = {name: getattr(contexts, name) for name in ARRAYS}
            write_arrays(path, expected, contexts.skipped,
                         {**arrays, 'inputs': contexts.inputs, 'observe': args.observe})
        return contexts

    def read():
        arrays = read_arrays(path, expected)
        return arrays and of_parts(arrays, args.observe, path)

    return stored_or_made(f'contexts of {weights}', path, read, make)


def of_parts(arrays: dict[str, np.ndarray], observe: Sequence[float], path: Path) -> Contexts | None:
    """The Contexts of the parts `observe` among those stored; None: it lacks one."""
    stored = arrays['observe'].tolist()
    if not {*observe} <= {*stored}:
        say(f'{path} is of {" ".join(f"{part:g}" for part in stored)} observed, not of all in --observe '
            + ' '.join(f'{part:g}' for part in observe))
        return None
    rows = [stored.index(part) for part in observe]
    chosen = {'train': arrays['train'][:, [*rows, -1]], 'test': arrays['test'][:, rows]}
    return Contexts(**{**{name: arrays[name] for name in ARRAYS}, **chosen}, inputs=arrays['inputs'].tolist(),
                    skipped=[])


def check_predictor(weights: str, checkpoint: dict) -> None:
    """UserError: no part of a video can be seen with these --weights, or their prediction can't be rolled out."""
    if net_of(weights, None):
        raise UserError(f'{weights}: third-party models have neither blocks nor a prediction; evaluate them with '
                        'eval/frozen.py')
    for name, variant in trained_settings(checkpoint, ['prediction', 'feature_map']).items():
        if variant in ('parallel', 'pooled'):
            raise UserError(f'{weights} was pretrained with --{name} {variant}: its prediction cannot be rolled out '
                            'location by location; evaluate it with eval/frozen.py')


def load_predictor(weights: str, checkpoint: dict, size: int, seed: int) -> nn.Module | None:
    """φ of a checkpoint, of random weights if `checkpoint` is {}; None of a classifier, which has none.

    UserError: only a part of it is there, or one of another kind."""
    torch.manual_seed(seed)
    predictor = make_predictor(size).requires_grad_(False).eval()
    if checkpoint:
        weights_by_name = plain_names(weights_in(checkpoint))
        state = {name.removeprefix(PREDICTOR): tensor for name, tensor in weights_by_name.items()
                 if name.startswith(PREDICTOR)}
        if not state:
            say(f'{weights} has no predictor, as a classifier has none: nothing is predicted with it')
            return None
        own = predictor.state_dict()
        if {name: tensor.shape for name, tensor in state.items()} != {name: own[name].shape for name in own}:
            raise UserError(f'{weights}: its predictor is of another kind; give a checkpoint of dpc/main.py')
        predictor.load_state_dict(state)
        say(f'predictor from {weights}')
    return predictor


# ---- videos

def make_contexts(model: Representation, predictor: nn.Module | None, listed: LabelledVideos, clip: Clip,
                  observe: Sequence[float], resources: Resources, name: str) -> Contexts:
    """Contexts of the LabelledVideos `listed`, of one split, by a frozen Representation; the same on every process.

    UserError: no training or no test video can be read; features that are not finite."""
    inputs = [SEEN, *([PREDICTED, MAPPED] if predictor else []), REPEATED]
    to_features = LinearMaps(len(observe), model.backbone.feature_size, resources.precision.device)
    if predictor:
        predictor.to(resources.precision.device)

    def of_training(maps, parts):
        if predictor:
            to_features.add(roll_out(model.agg, predictor, clip.num_seq, maps, parts), maps, parts)
        return [[each] for each in seen_parts(maps, parts)]

    def of_test(maps, parts):
        futures = []
        if predictor:
            prediction = roll_out(model.agg, predictor, clip.num_seq, maps, parts)
            futures = [F.relu(prediction), F.relu(to_features(prediction))]
        return completed_parts(seen_parts(maps, parts), futures, parts.blocks)

    found, rows, skipped = [], [], []
    for part, parts, sequences_of in (('train', [*observe, 1], of_training), ('test', observe, of_test)):
        of_part = np.flatnonzero(listed.rows_of(part))
        dataset = ObservedBlocks(listed.videos.select(of_part), clip, parts)
        contexts, broken = contexts_of_videos(model, dataset, sequences_of, resources, f'{part} contexts of {name}')
        found.append(np.stack([contexts[index] for index in sorted(contexts)]))
        rows.extend(of_part[sorted(contexts)])
        skipped += [error for _, error in broken]
        if part == 'train':
            to_features.fit()
    train, test = found
    return Contexts(train[:, :, 0], test, inputs, np.array(listed.videos.paths())[rows], listed.label[rows],
                    listed.part[rows], skipped)


def contexts_of_videos(model: Representation, dataset: ObservedBlocks, sequences_of: Callable, resources: Resources,
                       title: str) -> tuple[dict[int, np.ndarray], list[tuple[int, str]]]:
    """({index: float32 [F, K, D] of each video}, [(index, error) of each that can't be read]), of all processes.

    sequences_of: (maps, Parts) of a video -> for each of its F parts the rectified maps [n, S, D] of K inputs."""
    of_blocks = replace(resources, clips_at_once=resources.clips_at_once * dataset.clip.num_seq)
    found, broken = {}, []
    for video, maps in outputs_of(maps_of(model), maps_only, dataset, of_blocks, title, broken):
        index = video['index']
        sequences = sequences_of(maps.to(resources.precision.device), dataset.parts(index))
        contexts = mean_contexts(model.agg, sum(sequences, []), dataset.clip.num_seq)
        check_finite(f'the contexts of {dataset.videos.path(index)}', contexts)
        found[index] = contexts.unflatten(0, (len(sequences), -1)).cpu().numpy()
    return dict(lists_of_all([*found.items()])), broken_of_all(broken, len(dataset.videos))


def maps_of(model: Representation) -> Callable:
    """A function of blocks [B, 1, C, T, H, W]: their maps rectified, as the aggregator of a Representation takes them,
    and signed, as pretraining predicts them, [B, 1, 2, S, D]."""
    def encode(block):
        feature = model.backbone(block[:, 0]).float()                           # [B, D, T', h, w]
        maps = torch.stack([F.relu(feature), feature], dim=1).mean(dim=3)       # [B, 2, D, h, w]
        return maps.flatten(3).transpose(2, 3).unsqueeze(1)

    return encode
