"""What was extracted, on disk: made once for each checkpoint and list, and never used for others."""
import hashlib
import json
import os
import zipfile

import numpy as np

from eval.networks.weights import files_behind, hash_of, net_of
from utils.cli import UserError
from utils.parallel import distributed
from utils.run.log import say
from utils.video.sources import stamp_of

FORMAT = 2  # raised when features of the same weights and videos change
NO_ARRAYS = OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile  # not there, cut short, or of something else


def fingerprint(weights, seed, net, clip, listed, amp):
    """All that features depend on, as a dict of strings and numbers. A video counts as changed by size and time only.

    weights: as --weights calls them; random ones are drawn from `seed`. amp: name of the precision."""
    videos = hashlib.sha256()
    for path, n_frames, label, part in zip(listed.videos.paths(), listed.videos.n_frames, listed.label.tolist(),
                                           listed.part):
        videos.update(f'{path},{n_frames},{label},{part},{stamp_of(path, n_frames)}\n'.encode(errors='surrogateescape'))
    rate = {'fps': listed.videos.fps} if listed.videos.fps else {}
    files = files_behind(weights)
    return {'format': FORMAT, 'weights': hash_of(files) if files else 'random', 'seed': seed,
            'net': net_of(weights, net), **clip._asdict(), **rate, 'amp': amp, 'videos': videos.hexdigest()}


def stored_or_made(what, path, read, make):
    """`read()`, or where that is None `make()`, which stores its result at `path` in the main process.

    The main process alone reads: the others get None for what is stored already. All processes make."""
    found = read() if distributed.is_main() else None
    if distributed.from_main(found is not None):
        say(f'{what} are in {path} already')
        return found
    if distributed.is_main() and os.path.exists(path):
        say(f'{path} lacks videos or parts, or was made of other weights, videos or settings: it is replaced')
    found = make()
    distributed.wait_for_main()
    return found


def read_arrays(path, expected, unusable=()):
    """{name: array} of an .npz with this `fingerprint`. None: there is none, or it lacks videos that could not be read,
    which may have been repaired. unusable: lines on videos that it lacks in any case."""
    try:
        with np.load(path) as stored:
            if json.loads(str(stored['fingerprint'])) != expected or stored['skipped'].tolist() != [*unusable]:
                return None
            return dict(stored)
    except NO_ARRAYS:
        return None


def write_arrays(path, fingerprint, skipped, arrays):
    """Writes {name: array}, and the lines on videos that were `skipped`, through a temporary file.

    UserError: it can't be written."""
    try:
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        with open(f'{path}.tmp', 'wb') as file:
            np.savez(file, **arrays, skipped=np.array(skipped, dtype=str), fingerprint=json.dumps(fingerprint))
        os.replace(f'{path}.tmp', path)
    except OSError as error:
        raise UserError(f'{path}: cannot write it ({error.strerror}); make room or choose another --out'
                        ) from error
