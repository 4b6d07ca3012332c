"""Which numbers may be compared: those whose protocols have the same hash."""
import hashlib
import json
import os
from collections.abc import Iterable, Sequence

from utils.data.classes import class_key
from utils.data.seen import DEPTH, depth_for, tails

RULE = 1  # raised when a protocol measures something else under the same name and choices


def protocol_hash(train: Iterable[tuple[str, Sequence[str]]], test: Iterable[tuple[str, Sequence[str]]],
                  **choices) -> str:
    """8 hex digits that change with any training or test video or label, and with the choices of the protocol, but not
    with the order of the lists, nor with where the videos are stored or in which form.

    train, test: (path, names of its classes) of each video. choices: by name, anything that JSON can write.

    >>> videos = [('/frames/run/v1', ['run']), ('/frames/jump/v2', ['jump'])]
    >>> moved = [('/mnt/jump/v2.avi', ['jump']), ('/mnt/run/v1.avi', ['run'])]
    >>> protocol_hash(videos, videos, protocol='knn', ds=3) == protocol_hash(moved, moved, ds=3, protocol='knn')
    True
    """
    train, test = list(train), list(test)
    paths = [path for path, _ in train + test]
    # The name of a folder that holds all videos says nothing of them, and goes when they move.
    depth = depth_for(paths, fewest=DEPTH if len(set(map(os.path.dirname, paths))) > 1 else 1)

    def listed(videos):
        names = tails([path for path, _ in videos], depth)
        return sorted([name, sorted(map(class_key, classes))] for name, (_, classes) in zip(names, videos))

    text = json.dumps([RULE, listed(train), listed(test), choices], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
