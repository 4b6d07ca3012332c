"""Reading frames: loose and packed give the same, and what is broken is named."""
import os
import shutil
import zipfile

import cv2
import numpy as np
import pytest

from tests.numbered import numbers, write_video
from utils.data.frames import FrameError, decode, frame_name, has_frame, read_jpegs


@pytest.fixture
def video(tmp_path):
    path = str(tmp_path / 'a' / 'video')
    write_video(path, 12)
    return path


def pack(path):
    with zipfile.ZipFile(path + '.zip', 'w', zipfile.ZIP_STORED) as archive:
        for name in sorted(os.listdir(path)):
            archive.write(f'{path}/{name}', name)
    shutil.rmtree(path)


def test_loose_and_packed_are_the_same(video):
    loose = read_jpegs(video, [1, 4, 12])
    pack(video)
    assert read_jpegs(video, [1, 4, 12]) == loose
    assert [int(numbers(decode(jpeg))) for jpeg in loose] == [1, 4, 12]
    assert has_frame(video, 12) and not has_frame(video, 13)


def test_decodes_to_rgb():
    rgb = np.zeros((32, 48, 3), np.uint8)
    rgb[:, :, 0], rgb[:, :24, 2] = 250, 120
    jpeg = cv2.imencode('.jpg', rgb[:, :, ::-1])[1].tobytes()
    for reduce in (1, 2, 4):
        frame = decode(jpeg, reduce)
        assert frame.shape == (32 // reduce, 48 // reduce, 3)
        # blue swapped with red would give over 100
        assert np.abs(frame.astype(int) - rgb[::reduce, ::reduce]).mean() < 3


def test_missing_frame_is_named(video):
    with pytest.raises(FrameError, match=f'{video}/image_00013.jpg: No such file'):
        read_jpegs(video, [12, 13])
    pack(video)
    with pytest.raises(FrameError, match=f'{video}.zip: .*image_00013.jpg'):
        read_jpegs(video, [12, 13])
    os.remove(video + '.zip')
    with pytest.raises(FrameError, match=f'{video}/image_00001.jpg'):
        read_jpegs(video, [1])
    assert not has_frame(video, 1)


def test_broken_archive_is_named(video):
    pack(video)
    whole = open(video + '.zip', 'rb').read()
    with open(video + '.zip', 'wb') as file:
        file.write(whole[:len(whole) // 2])
    with pytest.raises(FrameError, match=f'{video}.zip: '):
        read_jpegs(video, [1])
    spot = whole.index(b'\xff\xd8') + 300
    with open(video + '.zip', 'wb') as file:  # one byte of the first frame turned: the checksum tells
        file.write(whole[:spot] + bytes([whole[spot] ^ 255]) + whole[spot + 1:])
    with pytest.raises(FrameError, match=f'{video}.zip: '):
        read_jpegs(video, [1])


def test_broken_jpegs(video):
    jpeg = read_jpegs(video, [1])[0]
    for broken in (b'', b'not a JPEG', jpeg[:100], jpeg[:len(jpeg) // 2], jpeg[:-10], bytes(len(jpeg))):
        assert decode(broken) is None
    assert decode(jpeg) is not None
    assert frame_name(7) == 'image_00007.jpg'
