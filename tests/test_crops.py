"""Boxes: their bounds, their distribution, and what is cropped."""
import cv2
import numpy as np
import pytest
from PIL import Image

from tests.tiny import resized
from utils.data.crops import Box, cut, draw_box, pretraining_crop, reduction, views_of


def boxes(crop, height, width, count=3000):
    rng = np.random.default_rng(0)
    return [draw_box(rng, height, width, crop) for _ in range(count)]


@pytest.mark.parametrize('crop', ['square', 'resized', 'centre'])
@pytest.mark.parametrize('size', [(240, 320), (150, 266), (266, 150), (224, 224), (80, 80), (32, 500), (3, 2), (1, 1)])
def test_boxes_lie_inside(crop, size):
    for box in boxes(crop, *size, count=300):
        assert box.top >= 0 and box.left >= 0 and box.height > 0 and box.width > 0
        assert box.top + box.height <= size[0] and box.left + box.width <= size[1]


def test_square():
    drawn = boxes('square', 240, 320)
    assert {(box.height, box.width) for box in drawn} == {(224, 224)}
    for offsets, highest in (([box.top for box in drawn], 16), ([box.left for box in drawn], 96)):
        assert min(offsets) == 0 and max(offsets) == highest
        assert abs(np.mean(offsets) - highest / 2) < highest / 30
    assert {box[2:] for box in boxes('square', 100, 180, count=10)} == {(100, 100)}


def test_resized():
    drawn = boxes('resized', 240, 240)
    area = np.array([box.height * box.width for box in drawn]) / 240 ** 2
    aspect = np.array([box.width / box.height for box in drawn])
    assert area.min() > 0.49 and area.max() <= 1
    assert aspect.min() > 0.74 and aspect.max() < 1.35
    assert abs(np.log(aspect).mean()) < 0.02  # neither direction is preferred
    # Far from square: where no draw fits, the middle, as wide as the aspect allows.
    assert draw_box(np.random.default_rng(0), 30, 300, 'resized') == Box(0, 130, 30, 40)


def test_centre():
    assert draw_box(None, 240, 320, 'centre') == Box(8, 48, 224, 224)
    assert draw_box(None, 150, 266, 'centre') == Box(0, 58, 150, 150)


def places(crops, height, width):
    """(top, left) of the views of a test, and how many of them are mirrored."""
    views = views_of(crops)
    drawn = [view.box_of(height, width) for view in views]
    assert {box[2:] for box in drawn} == {(min(224, height, width),) * 2}
    return [box[:2] for box in drawn], sum(view.mirrored for view in views)


def test_views_of_a_test():
    assert places(1, 240, 320) == ([(8, 48)], 0) and places(1, 255, 335) == ([(15, 55)], 0)
    assert places(3, 240, 320) == ([(8, 0), (8, 48), (8, 96)], 0)
    assert places(3, 320, 240) == ([(0, 8), (48, 8), (96, 8)], 0)
    assert places(3, 128, 128) == ([(0, 0)] * 3, 0)
    five, mirrored = places(5, 240, 320)
    assert sorted(five) == [(0, 0), (0, 96), (8, 48), (16, 0), (16, 96)] and mirrored == 0
    assert places(10, 240, 320) == (five * 2, 5)
    for crops in (1, 3, 5):
        boxes = [(view.box_of(240, 320), view.mirrored) for view in views_of(crops, flip=True)]
        assert len(set(boxes)) == 2 * crops
        assert {box for box, mirrored in boxes if mirrored} == {view.box_of(240, 320) for view in views_of(crops)}


@pytest.mark.parametrize('size', [(240, 320), (341, 256), (255, 255), (1, 7)])
@pytest.mark.parametrize('crops', [1, 3, 5, 10])
def test_views_lie_inside(crops, size):
    for view in views_of(crops):
        box = view.box_of(*size)
        assert box == draw_box(None, *size, 'centre')._replace(top=box.top, left=box.left)
        assert 0 <= box.top <= size[0] - box.height and 0 <= box.left <= size[1] - box.width


def test_crop_of_each_data_set():
    crops = {name: pretraining_crop(name) for name in ('ucf101', 'hmdb51', 'k400', 'demo')}
    assert crops == {'ucf101': 'square', 'hmdb51': 'square', 'k400': 'resized', 'demo': 'resized'}


def test_reduction_never_falls_below_the_output():
    assert reduction(Box(0, 0, 224, 224), 128) == 1
    assert reduction(Box(0, 0, 224, 230), 112) == 1
    assert reduction(Box(0, 0, 224, 230), 64) == 2
    assert reduction(Box(0, 0, 300, 165), 64) == 1
    assert reduction(Box(0, 0, 256, 256), 48) == 4
    assert reduction(Box(0, 0, 20, 20), 64) == 1


@pytest.mark.parametrize('flip', [False, True])
def test_cut(flip):
    """Enlarged: bilinear, pixel centres at half-integers."""
    frame = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    frame = cv2.GaussianBlur(frame, (0, 0), 3)
    box = Box(5, 9, 30, 20)
    out = np.zeros((32, 32, 3), np.uint8)
    cut(frame, box, flip, out)
    v = np.clip((np.arange(32) + .5) * 30 / 32 - .5, 0, 29)[:, None, None]
    u = np.clip((np.arange(32) + .5) * 20 / 32 - .5, 0, 19)[:, None]
    i, j = np.minimum(v.astype(int), 28), np.minimum(u.astype(int), 18)
    corner = {(a, b): frame[(5 + i + a)[..., 0], (9 + j + b)[..., 0]].astype(float) for a in (0, 1) for b in (0, 1)}
    v, u = v - i, u - j
    expected = ((1 - v) * ((1 - u) * corner[0, 0] + u * corner[0, 1]) + v * ((1 - u) * corner[1, 0] + u * corner[1, 1]))
    if flip:
        expected = expected[:, ::-1]
    assert np.abs(out - expected).max() <= 1.5


def texture(side):
    """uint8 [side, side, 3] whose amplitudes fall with 1/frequency, as those of photographs do."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    frequency[0, 0] = 1
    noise = np.random.default_rng(0).standard_normal((3, side, side))
    image = np.fft.ifft2(np.fft.fft2(noise) / frequency).real
    return np.clip(128 + 45 * image / image.std(), 0, 255).astype(np.uint8).transpose(1, 2, 0)


@pytest.mark.parametrize('side, img_dim', [(224, 128), (150, 128), (130, 128), (224, 112), (100, 128),
                                           (256, 128), (224, 64)])
def test_resizing_is_antialiased_as_pillow_does(side, img_dim):
    """The published weights were trained on its bilinear filter; OpenCV's alone is 6 grey levels off at 224 -> 128. As
    frames are read: decoded as small as `reduction` says."""
    frame = texture(side)
    factor = reduction(Box(0, 0, side, side), img_dim)
    small = cv2.resize(frame, (side // factor,) * 2, interpolation=cv2.INTER_AREA)
    ours = resized(small, img_dim).astype(float)
    pillow = np.asarray(Image.fromarray(frame).resize((img_dim, img_dim), Image.BILINEAR)).astype(float)
    assert np.abs(ours - pillow).mean() < 2
    assert np.square(np.diff(ours, axis=1)).mean() == pytest.approx(np.square(np.diff(pillow, axis=1)).mean(), rel=0.1)
