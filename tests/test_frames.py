"""Reading frames: loose and packed give the same, and what is broken is named."""
import os
import shutil
import subprocess
import sys
import tracemalloc
import zipfile

import cv2
import numpy as np
import pytest

from tests.numbered import numbers, write_video
from tests.tiny import ROOT
from utils.cli import UserError
from utils.video.frames import (
    MAX_BYTES,
    MAX_PIXELS,
    FrameError,
    decode,
    frame_name,
    is_whole,
    read_jpegs,
    size_in_header,
)
from utils.video.sources import has_frame


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
    loose = list(read_jpegs(video, [1, 4, 12]))
    pack(video)
    assert list(read_jpegs(video, [1, 4, 12])) == loose
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
        list(read_jpegs(video, [12, 13]))
    pack(video)
    with pytest.raises(FrameError, match=f'{video}.zip: .*image_00013.jpg'):
        list(read_jpegs(video, [12, 13]))
    os.remove(video + '.zip')
    with pytest.raises(FrameError, match=f'{video}/image_00001.jpg'):
        list(read_jpegs(video, [1]))
    assert not has_frame(video, 1)


def test_broken_archive_is_named(video):
    pack(video)
    whole = open(video + '.zip', 'rb').read()
    with open(video + '.zip', 'wb') as file:
        file.write(whole[:len(whole) // 2])
    with pytest.raises(FrameError, match=f'{video}.zip: '):
        list(read_jpegs(video, [1]))
    spot = whole.index(b'\xff\xd8') + 300
    with open(video + '.zip', 'wb') as file:  # one byte of the first frame turned: the checksum tells
        file.write(whole[:spot] + bytes([whole[spot] ^ 255]) + whole[spot + 1:])
    with pytest.raises(FrameError, match=f'{video}.zip: '):
        list(read_jpegs(video, [1]))


def test_broken_jpegs(video):
    jpeg = list(read_jpegs(video, [1]))[0]
    for broken in (b'', b'not a JPEG', jpeg[:100], jpeg[:len(jpeg) // 2], jpeg[:-10], bytes(len(jpeg))):
        assert decode(broken) is None
    assert decode(jpeg) is not None
    assert frame_name(7) == 'image_00007.jpg'


def refused(path, number=1):
    """The FrameError for the packed video `path`: one line that names the zip."""
    with pytest.raises(FrameError) as error:
        list(read_jpegs(path, [number]))
    message = str(error.value)
    assert message.startswith(f'{path}.zip: ') and len(message) > len(f'{path}.zip: ') and '\n' not in message
    assert isinstance(error.value, UserError)
    return message


def patch(file, signature, offset, value):
    """Overwrites bytes of the first record with this signature, local (PK\\3\\4) or in the directory (PK\\1\\2)."""
    whole = bytearray(open(file, 'rb').read())
    at = whole.index(signature) + offset
    whole[at:at + len(value)] = value
    with open(file, 'wb') as out:
        out.write(whole)


def test_an_encrypted_archive(video):
    pack(video)
    for signature, offset in ((b'PK\3\4', 6), (b'PK\1\2', 8)):
        patch(video + '.zip', signature, offset, b'\1\0')
    assert 'encrypted' in refused(video)


@pytest.mark.parametrize('method', [1, 9, 12, 14, 99])
def test_an_archive_of_another_compression(video, method):
    """Unknown to zipfile, or known (12 is bzip2) but used by nobody for JPEGs."""
    pack(video)
    for signature, offset in ((b'PK\3\4', 8), (b'PK\1\2', 10)):
        patch(video + '.zip', signature, offset, method.to_bytes(2, 'little'))
    assert f'method {method}' in refused(video) and 'pack_frames.py' in refused(video)


def test_a_deflated_archive_is_read(video):
    loose = list(read_jpegs(video, [1, 12]))
    with zipfile.ZipFile(video + '.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        for name in os.listdir(video):
            archive.write(f'{video}/{name}', name)
    shutil.rmtree(video)
    assert list(read_jpegs(video, [1, 12])) == loose


@pytest.mark.parametrize('claimed', [None, 1000])
def test_an_archive_that_inflates_without_end(video, claimed):
    """Refused by its size; and when that is a lie, no more than it says is inflated."""
    with zipfile.ZipFile(video + '.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        with archive.open(frame_name(1), 'w') as entry:
            for _ in range(10):
                entry.write(bytes(MAX_BYTES // 8))
    shutil.rmtree(video)
    if claimed:
        for signature, offset in ((b'PK\3\4', 22), (b'PK\1\2', 24)):
            patch(video + '.zip', signature, offset, claimed.to_bytes(4, 'little'))
    tracemalloc.start()
    try:
        message = refused(video)
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()
    assert claimed or f'over {MAX_BYTES} bytes' in message


def test_a_loose_frame_of_many_bytes(video):
    with open(f'{video}/{frame_name(1)}', 'r+b') as file:
        file.truncate(2 ** 40)
    with pytest.raises(FrameError, match=f'{video}/image_00001.jpg: over {MAX_BYTES} bytes'):
        list(read_jpegs(video, [1]))


def test_an_archive_cut_short_anywhere(video):
    pack(video)
    whole = open(video + '.zip', 'rb').read()
    for length in [0, 1, 4, 22, 30, *range(40, len(whole), len(whole) // 40), len(whole) - 1]:
        with open(video + '.zip', 'wb') as file:
            file.write(whole[:length])
        refused(video)
        assert not has_frame(video, 1)


def with_size(jpeg, height, width):
    """The JPEG with another size in its header."""
    at = jpeg.index(b'\xff\xc0')
    return jpeg[:at + 5] + height.to_bytes(2, 'big') + width.to_bytes(2, 'big') + jpeg[at + 9:]


def test_a_header_with_a_huge_size(video):
    """Decided from the header: nothing is decoded, nothing allocated. OpenCV takes a minute for these."""
    jpeg = list(read_jpegs(video, [1]))[0]
    code = ('import resource, sys\nimport cv2\nfrom utils.video.frames import decode\ncv2.setNumThreads(1)\n'
            'used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()\n'
            'resource.setrlimit(resource.RLIMIT_AS, (used + 2 ** 28, used + 2 ** 28))\n'
            'print([decode(open(path, "rb").read()) is None for path in sys.argv[1:]])\n')
    paths = []
    for height, width in ((65500, 65500), (30000, 30000), (8193, 8192)):
        paths.append(f'{video}/{height}.jpg')
        with open(paths[-1], 'wb') as file:
            file.write(with_size(jpeg, height, width))
    done = subprocess.run([sys.executable, '-c', code, *paths], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.stdout.split() == ['[True,', 'True,', 'True]'] and done.stderr == ''


@pytest.mark.parametrize('height,width', [(256, 340), (1, 1), (17, 65500)])
@pytest.mark.parametrize('flags', [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]])
def test_the_size_in_a_header(height, width, flags):
    jpeg = cv2.imencode('.jpg', np.zeros((height, width, 3), np.uint8), flags)[1].tobytes()
    assert size_in_header(jpeg) == (height, width) and decode(jpeg).shape == (height, width, 3)
    # what may stand before the size: comments that look like sizes, fill bytes, stray bytes
    comment = b'\xff\xfe\x00\x0e\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22'
    for between in (comment, b'\xff\xff\xff', b'stray\xff\x00', b'\xff\xd0', b'\xff\x01'):
        at = jpeg.index(b'\xff\xdb')  # the second segment: OpenCV knows a JPEG by its first
        longer = jpeg[:at] + between + jpeg[at:]
        assert size_in_header(longer) == (height, width)
        assert cv2.imdecode(np.frombuffer(longer, np.uint8), cv2.IMREAD_COLOR).shape == (height, width, 3)
    assert MAX_PIXELS >= height * width


@pytest.mark.parametrize('jpeg', [b'', b'\xff', b'\xff\xd8', b'\xff\xd8\xff', b'\xff\xd8\xff\xc0',
                                  b'\xff\xd8' + b'\xff' * 100, b'\xff\xd8' + b'\xff\xe0\0\0' * 50,
                                  b'\xff\xd8' + b'\xff\xe0\xff\xff' * 50, b'\x89PNG\r\n'])
def test_headers_without_a_size(jpeg):
    assert size_in_header(jpeg) is None and decode(jpeg + b'\xff\xd9') is None


def test_whole_or_not(video):
    jpeg = list(read_jpegs(video, [1]))[0]
    assert is_whole(jpeg) and is_whole(jpeg + bytes(1000))
    assert not is_whole(jpeg[:-2]) and not is_whole(jpeg + bytes(1024)) and not is_whole(b'')


def test_without_torch():
    """The preparation scripts share this module and start at once."""
    code = 'import sys, utils.video.frames, utils.data.lists; print("torch" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == 'False\n', done.stderr


def test_a_frame_that_is_a_named_pipe_is_refused_at_once(tmp_path):
    write_video(str(tmp_path / 'v'), 2)
    os.remove(tmp_path / 'v' / frame_name(2))
    os.mkfifo(tmp_path / 'v' / frame_name(2))
    with pytest.raises(FrameError, match=f'{frame_name(2)}: not a regular file'):
        list(read_jpegs(str(tmp_path / 'v'), [1, 2]))
