"""The pictures of the report: which are shown (SHOWN), and their data URIs, JPEG or the file if that is smaller."""
import base64
from dataclasses import dataclass

import cv2
import numpy as np

from eval.protocols.pictures import middle_frame
from utils.cli import UserError
from utils.run.log import warn
from utils.video.reader import VideoError
from utils.video.sources import count_frames

# The pictures of the report, {kind of folder (see eval.page.sources): {heading: (files, description)}}; another picture
# is a line here. A file that fits several patterns is shown once, where it fits first.
SHOWN = {
    'training': {
        'Frames as the network saw them': (['img/*.png'], 'Clips as the network saw them')},
    'frozen': {
        'Retrieval': (['pictures/*_retrieval.png'], 'Retrieval page: test videos and the training videos nearest to '
                                                    'them, framed green where the class is the same'),
        'Recognition before the end': (['anticipation.png'], 'Accuracy by the part of a video that was seen'),
        'Other pictures': (['pictures/*.png'], 'Picture of frozen features')},
    'predictions': {
        'What is predicted': (['overview.png', 'extremes.png', 'colours.png', 'clip*.png'],
                              'Similarity maps and other pictures of predictions')},
    'surprise': {
        'Surprise over time': (['*.png'], 'Frames of a video, its surprise over time, the moments of most')},
}
BUDGET = 8_000_000  # bytes of all pictures of a page, in base64
MAX_WIDTH = 1200    # px
QUALITY = 80
FRAME_HEIGHT = 96   # px, of frames in a strip
GAP = 4             # px


@dataclass
class Album:
    """Pictures under a heading. description: their alt text."""
    heading: str
    description: str
    files: list


def albums_of(kind, folder):
    """[Album] of the pictures that SHOWN names for this kind of folder and that are there."""
    albums, seen = [], set()
    for heading, (patterns, description) in SHOWN.get(kind, {}).items():
        found = dict.fromkeys(file for pattern in patterns for file in sorted(folder.glob(pattern)))
        files = [file for file in found if file not in seen]
        seen.update(files)
        if files:
            albums.append(Album(heading, description, files))
    return albums


class PictureStore:
    """Reads and encodes the pictures of one page, up to BUDGET. left_out: the files that were too much."""

    def __init__(self):
        self.bytes, self.left_out = 0, []

    def picture(self, path):
        """Data URI of a picture file; None, with a warning, where it can't be read or would be too much."""
        image = cv2.imread(str(path))
        if image is None:
            warn(f'{path} is not a readable picture: left out')
            return None
        stored = path.read_bytes()
        if image.shape[1] > MAX_WIDTH:
            size = MAX_WIDTH, max(1, round(image.shape[0] * MAX_WIDTH / image.shape[1]))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        jpeg = encode(image)
        smaller = ('image/png', stored) if len(stored) <= len(jpeg) else ('image/jpeg', jpeg)
        return self.keep(*smaller, str(path))

    def strip(self, paths):
        """Data URI of the middle frames of some videos beside each other; None where none of them can be read."""
        frames = [frame for frame in map(frame_of, paths) if frame is not None]
        if not frames:
            return None
        gap = np.full((FRAME_HEIGHT, GAP, 3), 128, np.uint8)
        parts = [part for frame in frames for part in (gap, frame)][1:]
        return self.keep('image/jpeg', encode(np.concatenate(parts, axis=1)), paths[0])

    def keep(self, kind, data, name):
        text = base64.b64encode(data).decode()
        if self.bytes + len(text) > BUDGET:
            self.left_out.append(name)
            return None
        self.bytes += len(text)
        return f'data:{kind};base64,{text}'


def frame_of(path):
    """The middle frame of a video, BGR, FRAME_HEIGHT px high; None if it isn't there."""
    try:
        frame = middle_frame(path, count_frames(path))[:, :, ::-1]
    except (UserError, VideoError):
        return None
    width = max(1, round(frame.shape[1] * FRAME_HEIGHT / frame.shape[0]))
    return cv2.resize(frame, (width, FRAME_HEIGHT), interpolation=cv2.INTER_AREA)


def encode(image):
    return cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
