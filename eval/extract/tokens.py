"""The tokens of every clip, float16 in memory-mapped files: all locations of all blocks, for an attentive probe.

A folder of tokens holds context.npy and block.npy [K, M, D], or one of them, and tokens.npz, which is written last: it
says whose tokens these are."""
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from eval.extract.cache import NO_ARRAYS, fingerprint, read_arrays, stored_or_made, write_arrays
from eval.extract.inference import broken_of_all, outputs_of
from eval.extract.resources import resources_of
from eval.extract.vectors import load_representation
from eval.networks.representation import token_shape
from eval.networks.settings import trained_settings
from eval.networks.weights import net_of
from utils.cli import UserError
from utils.data.clip_starts import clip_starts, count_blocks
from utils.data.clips import VideoDataset
from utils.data.crops import random_view, views_of
from utils.parallel import distributed
from utils.random_streams import stream
from utils.run.log import say
from utils.run.setup import clip_settings


@dataclass
class Tokens:
    """Tokens of V videos, in the order of their lists; unreadable videos are left out.

    maps:  {'context' or 'block': float16 [K, M, D]}, M = N·S tokens of each clip, or view of a clip: the aggregator's
           states after every block, the rectified maps of the backbone
    rows:  int64 [V, 2], first and last + 1 of the K rows of a video
    path, label, part: [V], see eval.extract.vectors.LabelledVideos
    skipped: a line for each video that could not be read
    """
    maps: dict
    rows: np.ndarray
    path: np.ndarray
    label: np.ndarray
    part: np.ndarray
    skipped: list

    @property
    def video(self):
        """int64 [V], the number of each video: what a Task holds in place of vectors."""
        return np.arange(len(self.path))


def tokens_of(args, weights, seed, checkpoint, listed, precision, folder, kinds):
    """The Tokens of the LabelledVideos `listed`, of these kinds: those stored in `folder`, or made and stored there.

    The main process returns them, the others None. weights: what --weights calls the `checkpoint`; random ones are
    drawn from `seed`. args.augment: K random views of each training clip; 0: the centre crop.
    UserError: features without locations."""
    if trained_settings(checkpoint, ['feature_map']).get('feature_map') == 'pooled':
        raise UserError(f'{weights} was pretrained with --feature_map pooled: its features have no locations to attend '
                        'over; evaluate it with eval/frozen.py')
    clip = clip_settings(args)
    expected = distributed.is_main() and {  # hashes the whole checkpoint
        **fingerprint(weights, seed, args.net, clip, listed, precision.name),
        'augment': [args.augment, args.flip, args.seed] if args.augment else None}

    def make():
        resources = resources_of(args, precision)
        model = load_representation(args.net, checkpoint, weights, seed, listed, clip, resources)
        dataset = VideoDataset(listed.videos, clip, views=partial(views_for, listed.part == 'train', args.augment,
                                                                    args.flip, args.seed))
        rows = rows_of(listed, clip, args.augment)
        broken = write_maps(model, dataset, rows, size_of(args, listed, weights), folder, kinds, resources,
                            f'tokens of {Path(weights).name}')
        if not distributed.is_main():
            return None
        readable = np.setdiff1d(np.arange(len(rows)), [index for index, _ in broken])
        path = np.array(listed.videos.paths())[readable]
        arrays = {'rows': rows[readable], 'path': path, 'label': listed.label[readable], 'part': listed.part[readable]}
        write_arrays(folder / 'tokens.npz', expected, [error for _, error in broken], {**arrays, 'kinds': kinds})
        return open_tokens(folder, kinds)

    return stored_or_made(f'tokens of {weights}', folder, lambda: read_tokens(folder, expected, kinds), make)


# ---- which rows

def views_for(training, count, flip, seed, index):
    """The views of video `index`: the centre, or for a training video `count` random ones if that isn't 0."""
    if not count or not training[index]:
        return views_of()
    return [random_view(stream('view', seed, index, number), flip) for number in range(count)]


def rows_of(listed, clip, augment):
    """int64 [R, 2]: the rows of each listed video, known before any is read, so that all processes can write theirs."""
    num_seq, seq_len, ds, _ = clip
    blocks = [count_blocks(count, num_seq, seq_len, ds) for count in listed.videos.n_frames.tolist()]
    clips = np.array([len(clip_starts(count, num_seq)) for count in blocks])
    ends = np.cumsum(np.where(listed.part == 'train', max(1, augment), 1) * clips)
    return np.stack([np.append(0, ends[:-1]), ends], axis=1)


def kinds_with_locations(weights, kinds):
    """Those of the `kinds` whose tokens these weights have. UserError: they have none of them."""
    net = net_of(weights, None)
    if net is None:
        return kinds
    if 'block' not in kinds:
        raise UserError(f'--feature context: {net} has no aggregator, so no states to attend over; give --feature '
                        'block')
    return ['block']


def size_of(args, listed, weights):
    """(K, M, D) of the tokens of the network of --weights."""
    clip = clip_settings(args)
    return int(rows_of(listed, clip, args.augment)[-1, 1]), *token_shape(net_of(weights, args.net), clip)


def say_sizes(folder, sizes):
    """Says how much files of tokens will take, by their sizes [(K, M, D), …]. UserError: the disk has less room."""
    need = sum(2 * count * locations * channels for count, locations, channels in sizes)
    shapes = ' and '.join(f'{count:,} clips × {locations} locations × {channels} numbers' for count, locations, channels
                          in dict.fromkeys(sizes))
    say(f'tokens: {shapes} as float16; {len(sizes)} files in {folder}, {need / 1e9:.2f} GB in all')
    there = sum(path.stat().st_size for path in folder.rglob('*.npy'))  # reused or replaced
    free = shutil.disk_usage(folder.parent).free
    if need > free + there:
        raise UserError(f'{folder} needs {need / 1e9:.2f} GB for tokens, and {free / 1e9:.2f} GB are free: make room, '
                        'choose another --out, or give one --feature or fewer files')


# ---- making them

def write_maps(model, dataset, rows, size, folder, kinds, resources, title):
    """Writes {kind}.npy of `size` [K, M, D] for a VideoDataset; returns the broken videos, [(index, error), …].

    Every process writes the `rows` [R, 2] of its share. UserError: tokens that are not finite in float16."""
    def summarise(maps):
        feature, states, _ = model.all_states(maps)
        maps = {'context': states, 'block': feature}
        return torch.stack([maps[kind].flatten(1, 2) for kind in kinds], dim=1).half()      # [B, kinds, M, D]

    if distributed.is_main():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'tokens.npz').unlink(missing_ok=True)  # it would vouch for files that are being overwritten
        for kind in kinds:
            np.lib.format.open_memmap(folder / f'{kind}.npy', 'w+', np.float16, size)
    distributed.wait_for_main()
    maps = [np.lib.format.open_memmap(folder / f'{kind}.npy', 'r+') for kind in kinds]
    broken = []
    for video, output in outputs_of(model.encode, summarise, dataset, resources, title, broken):
        for each, tokens in zip(maps, output.unbind(1)):
            each[slice(*rows[video['index']])] = tokens.numpy()
    for each in maps:
        each.flush()
    return broken_of_all(broken, len(dataset.videos))


# ---- reading them

def read_tokens(folder, expected, kinds):
    """The Tokens in a folder, or None if there are none of these kinds for this `fingerprint`, or not of all videos."""
    arrays = read_arrays(folder / 'tokens.npz', expected)
    if arrays is None or not set(kinds) <= set(arrays['kinds'].tolist()):
        return None
    try:
        return open_tokens(folder, kinds)
    except NO_ARRAYS:
        return None


def open_tokens(folder, kinds):
    with np.load(folder / 'tokens.npz') as stored:
        arrays = {name: stored[name] for name in ('rows', 'path', 'label', 'part')}
        return Tokens({kind: np.load(folder / f'{kind}.npy', mmap_mode='r') for kind in kinds}, **arrays,
                      skipped=stored['skipped'].tolist())
