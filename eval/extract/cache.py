"""Features on disk: one .npz for each checkpoint and list, which is never used for others."""
import hashlib
import json
import os
import zipfile
from pathlib import Path

import numpy as np

from eval.extract.vectors import Features
from eval.networks.torchvision_models import net_of, split_weights
from utils.cli import UserError

FORMAT = 1  # of the file; raised when features of the same weights and videos change


def fingerprint(weights, seed, net, clip, listed, amp):
    """All that features depend on, as a dict of strings and numbers.

    weights: as --weights calls them; random ones are drawn from `seed`. amp: name of the precision."""
    videos = hashlib.sha256()
    for path, n_frames, label, part in zip(listed.videos.paths(), listed.videos.n_frames, listed.label.tolist(),
                                           listed.part):
        videos.update(f'{path},{n_frames},{label},{part}\n'.encode(errors='surrogateescape'))
    _, file = split_weights(weights)
    return {'format': FORMAT, 'weights': 'random' if file is None else file_hash(file), 'seed': seed,
            'net': net_of(weights, net), **clip, 'amp': amp, 'videos': videos.hexdigest()}


def file_hash(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def read_features(path, expected, per_clip=False):
    """The Features stored at `path`, or None if there are none for this `fingerprint`, or not of all videos: those that
    could not be read may have been repaired."""
    if not os.path.exists(path):
        return None
    try:
        with np.load(path) as stored:
            if 'fingerprint' not in stored or json.loads(str(stored['fingerprint'])) != expected:
                return None
            arrays = dict(stored)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # cut short, or of something else
        return None
    if len(arrays['skipped']):
        return None
    clips = {name.removeprefix('clip_'): array for name, array in arrays.items() if name.startswith('clip_')}
    if per_clip and not clips:
        return None
    return Features(*(arrays[name] for name in ('context', 'block', 'path', 'label', 'part')),
                    skipped=[], clips=clips)


def write_features(path, features, fingerprint, origin):
    """Writes the Features through a temporary file. origin: what the weights were called.

    UserError: it can't be written."""
    arrays = {name: getattr(features, name) for name in ('context', 'block', 'path', 'label', 'part')}
    arrays.update({f'clip_{name}': array for name, array in features.clips.items()})
    try:
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        with open(f'{path}.tmp', 'wb') as file:
            np.savez(file, **arrays, skipped=np.array(features.skipped, dtype=str), weights=origin,
                     fingerprint=json.dumps(fingerprint))
        os.replace(f'{path}.tmp', path)
    except OSError as error:
        raise UserError(f'{path}: cannot write the features ({error.strerror}); make room or choose another --out'
                        ) from error
