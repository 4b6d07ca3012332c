"""What appearance alone tells: planted looks are found by pixels or colours as they should be, motion by neither."""
import shutil

import cv2
import numpy as np
import pytest

from eval.extract.vectors import Features
from eval.protocols.appearance import appearance, few_frames, vectors_of
from utils.cli import UserError

FRAMES, SIDE = 11, 48


def planted(root, picture_of):
    """Features (without vectors) and {path: frames} of two classes of 8 training and 8 test videos.

    picture_of: (rng, class, frame number from 0) -> uint8 [SIDE, SIDE, 3] as OpenCV writes it."""
    paths, label, part = [], [], []
    for i in range(32):
        c, number = i % 2, i // 2
        folder = root / f'c{c}' / f'v_c{c}_g{number + 1:02d}_c01'
        folder.mkdir(parents=True)
        rng = np.random.default_rng(i)
        for k in range(FRAMES):
            cv2.imwrite(str(folder / f'image_{k + 1:05d}.jpg'), picture_of(rng, c, k))
        paths.append(str(folder))
        label.append(c)
        part.append('train' if number < 8 else 'test')
    empty = np.zeros((len(paths), 1), np.float32)
    return Features(empty, empty, np.array(paths), np.array(label), np.array(part), []), dict.fromkeys(paths, FRAMES)


def noise(rng, low, high):
    return rng.integers(low, high, (SIDE, SIDE, 3), np.uint8)


def colour(rng, c, k):
    """Of one class the frames are darker; noise covers the pixels."""
    return noise(rng, 0, 120) if c else noise(rng, 100, 220)


def place(rng, c, k):
    """A bright half at the top or at the bottom: the same colours."""
    picture = noise(rng, 0, 100)
    picture[24 * c:24 * c + 24] += 100
    return picture


def motion(rng, c, k):
    """The middle frame and the colours of the whole video are alike; the order of frames differs."""
    return np.full((SIDE, SIDE, 3), 20 * (k if c else FRAMES - 1 - k), np.uint8)


def gradient(rng, c, k):
    """Blue to the right, red downwards, green by frame."""
    ramp = np.arange(SIDE) * 4
    return np.stack(np.broadcast_arrays(ramp[None], 20 * k, ramp[:, None]), axis=2).astype(np.uint8)


@pytest.mark.parametrize('picture_of, one_frame, histogram', [
    (colour, 1, 1), (place, 1, None), (motion, None, None)])
def test_planted_looks(tmp_path, picture_of, one_frame, histogram):
    found = appearance(*planted(tmp_path, picture_of))
    assert {feature: {outcome.protocol for outcome in outcomes} for feature, outcomes in found.items()} == {
        'frame': {'one frame'}, 'colour': {'colour histogram'}}
    accuracy = {feature: outcomes[0].hits.mean() for feature, outcomes in found.items()}
    assert [outcomes[0].setting for outcomes in found.values()] == ['all labels'] * 2
    for feature, expected in (('frame', one_frame), ('colour', histogram)):
        if expected is None:  # chance
            assert 0.2 < accuracy[feature] < 0.8
        else:
            assert accuracy[feature] == expected


def test_vectors_equal_a_loop(tmp_path):
    """Frames 2, 4, 6, 8 and 10 of 11; the third is the middle one. Colours are counted pixel by pixel, in RGB."""
    features, n_frames = planted(tmp_path, gradient)
    path = features.path[0]
    frames = few_frames(path, n_frames[path])
    for small, number in zip(frames, (2, 4, 6, 8, 10)):
        whole = cv2.cvtColor(cv2.imread(f'{path}/image_{number:05d}.jpg'), cv2.COLOR_BGR2RGB)
        blocks = whole.reshape(24, 2, 24, 2, 3).mean(axis=(1, 3))
        assert small == pytest.approx(blocks, abs=6)  # JPEG at half the size; frames differ by 20
    pixels, histogram = vectors_of(frames)
    assert pixels == pytest.approx(frames[2].reshape(-1) / 255)
    for channel in range(3):
        values = frames[..., channel].ravel()
        counts = [np.mean((values >= low) & (values < low + 32)) for low in range(0, 256, 32)]
        assert histogram[8 * channel:8 * channel + 8] == pytest.approx(np.array(counts))


def test_short_and_unreadable_videos(tmp_path, capsys):
    """A video of one frame repeats it; one without its frames is named and left out; none at all is one line."""
    features, n_frames = planted(tmp_path, colour)
    assert few_frames(features.path[0], 1).std(axis=0).max() == 0
    shutil.rmtree(features.path[-1])
    found = appearance(features, n_frames)
    assert found['frame'][0].hits.shape == (1, 15) and features.path[-1] in capsys.readouterr().err
    for path in features.path[:-1]:
        shutil.rmtree(path)
    with pytest.raises(UserError, match='none of the 32 videos'):
        appearance(features, n_frames)
