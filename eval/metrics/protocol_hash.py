"""Which numbers may be compared: those whose protocols have the same hash."""
import hashlib
import json
from collections.abc import Sequence

from utils.data.classes import class_key
from utils.data.lists import VideoList
from utils.data.seen import depth_for, tails
from utils.text import ENCODING

RULE = 2  # raised when a protocol measures something else under the same name and choices


def protocol_hash(train: VideoList, test: VideoList, **choices) -> str:
    """8 hex digits that change with any training or test video, label or group, with the number of frames of a test
    video and with the choices of the protocol, but not with the order of the lists, nor with where the videos are
    stored or in which form.

    Frames of test videos are counted at --fps, so that frames taken at a rate equal those extracted at it; the same
    videos at another rate are cut into other clips. choices: by name, anything that JSON can write.

    >>> videos = VideoList.from_rows(['/frames/run/v1', '/frames/jump/v2'], [90, 80])
    >>> moved = VideoList.from_rows(['/mnt/jump/v2.avi', '/mnt/run/v1.avi'], [80, 90])
    >>> protocol_hash(videos, videos, protocol='knn', ds=3) == protocol_hash(moved, moved, ds=3, protocol='knn')
    True
    """
    depth = depth_for([*train.paths(), *test.paths()])

    def listed(videos, frames):
        return sorted(zip(tails(videos.paths(), depth), (sorted(map(class_key, names)) for names in videos.classes()),
                          (group.decode(**ENCODING) for group in videos.group.tolist()), frames))

    return digits(listed(train, [0] * len(train)), listed(test, test.n_frames.tolist()), choices)


def mean_hash(hashes: Sequence[str]) -> str:
    """That of a mean of numbers that have these hashes."""
    return digits(hashes)


def digits(*content):
    return hashlib.sha256(json.dumps([RULE, *content], sort_keys=True).encode()).hexdigest()[:8]
