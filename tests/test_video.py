"""The reader of video files: each frame by its number is that of a whole decoding, in the right colours."""
import errno
import os
import struct

import av
import numpy as np
import pytest

from tests.films import MILLISECOND, cut_off_first, decoded, film, replace_bytes, write_film
from utils.cli import UserError
from utils.video import reader as video
from utils.video.reader import VideoError, VideoFile
from utils.video.shrink import halved

B_FRAMES = {'g': '12', 'bf': '3', 'b_strategy': '0'}
OPEN_GOP = {**B_FRAMES, 'x264-params': 'open-gop=1:scenecut=0'}
EARLY = [40 * i - 400 for i in range(40)]
SHOWN = [13 * i + i * i for i in range(40)]      # ms, a variable frame rate

# name: (file, arguments of write_film, whether frames can be sought by time stamp)
KINDS = {
    'B-frames': ('a.mp4', {'options': B_FRAMES}, True),
    'open GOP': ('a.mp4', {'options': OPEN_GOP}, True),
    'open GOP in .mkv': ('a.mkv', {'options': OPEN_GOP}, True),
    'a GOP longer than the video': ('a.mp4', {'options': {'g': '1000', 'sc_threshold': '0'}}, True),
    'variable frame rate': ('a.mp4', {'options': B_FRAMES, 'times': SHOWN}, True),
    'variable frame rate in .mkv': ('a.mkv', {'options': B_FRAMES, 'times': SHOWN}, True),
    'no index': ('a.mkv', {'options': B_FRAMES, 'muxing': {'live': '1'}}, True),
    'fragments': ('a.mp4', {'options': B_FRAMES, 'muxing': {'movflags': 'frag_keyframe+empty_moov'}}, True),
    'negative time stamps, lost in .mkv': ('a.mkv', {'options': B_FRAMES, 'times': EARLY,
                                                     'muxing': {'avoid_negative_ts': 'disabled'}}, False),
    'negative time stamps, cut off in .mp4': ('a.mp4', {'options': B_FRAMES, 'times': EARLY,
                                                        'muxing': {'avoid_negative_ts': 'disabled'}}, True),
    'negative offsets': ('a.mp4', {'options': B_FRAMES, 'muxing': {'movflags': 'negative_cts_offsets'}}, True),
    'late first time stamp': ('a.mp4', {'options': B_FRAMES, 'times': [40 * i + 4000 for i in range(40)]}, True),
    'a key frame each': ('a.avi', {'codec': 'mjpeg', 'pix_fmt': 'yuvj420p'}, True),
    'MPEG-4': ('a.avi', {'codec': 'mpeg4', 'options': {'g': '10', 'b': '3000000'}}, True),
    'MPEG-4 with B-frames': ('a.avi', {'codec': 'mpeg4', 'options': {'g': '10', 'bf': '2', 'b': '3000000'}}, True),
    'MPEG-4, tiny packets': ('a.avi', {'codec': 'mpeg4', 'options': {'bf': '2', 'b': '1000', 'qmax': '31'}}, False),
    'MPEG-4 in .mp4': ('a.mp4', {'codec': 'mpeg4', 'options': {'g': '10', 'bf': '2', 'b': '3000000'}}, True),
    '10 bit': ('a.mp4', {'pix_fmt': 'yuv420p10le', 'options': B_FRAMES}, True),
    'HEVC, open GOP': ('a.mp4', {'codec': 'libx265', 'options': {
        'x265-params': 'log-level=none:keyint=12:min-keyint=12:open-gop=1:scenecut=0'}}, True),
    'VP9': ('a.webm', {'codec': 'libvpx-vp9', 'options': {'g': '12', 'deadline': 'realtime', 'cpu-used': '8'}}, True),
    'VP8, invisible frames': ('a.webm', {'codec': 'libvpx', 'options': {
        'auto-alt-ref': '1', 'lag-in-frames': '16', 'deadline': 'good', 'cpu-used': '5'}}, False),
    'interlaced': ('a.mp4', {'options': {'g': '12', 'x264-params': 'tff=1:interlaced=1'}},
                   not hasattr(av.VideoCodecContext, 'field_order')),
    'MPEG-2': ('a.mpg', {'codec': 'mpeg2video', 'options': {'g': '12', 'bf': '2'}}, False),
    'a stream': ('a.ts', {'options': OPEN_GOP}, False),
    'no container': ('a.h264', {'options': B_FRAMES}, False),
    'H.264 in .avi': ('a.avi', {'options': OPEN_GOP}, False),
}


def write_kind(folder, kind, count=40, **size):
    name, arguments, seeks = KINDS[kind]
    return write_film(folder / name, film(count, **size), **arguments), seeks


def assert_exact(path, expected, seeks, monkeypatch):
    """Every frame alone, some subsets, and the count; a file that can be sought is never decoded from the start."""
    picks = [[k] for k in range(1, len(expected) + 1)]
    picks += [range(1 + start, len(expected) + 1, step) for start, step in ((0, 1), (3, 3), (7, 25))]
    with VideoFile(path) as reader:
        assert (reader._read_index()[0] is not None) == seeks
        if seeks:
            monkeypatch.setattr(reader, '_by_counting', None)
        with monkeypatch.context() as patch:
            if seeks:
                patch.setattr(reader, '_from_start', None)
            assert reader.n_frames == len(expected)
        for numbers in filter(None, map(list, picks)):
            for k, frame in zip(numbers, reader.frames(numbers), strict=True):
                assert np.array_equal(frame, expected[k - 1]), k
        whole = list(reader.all_frames())
        assert len(whole) == len(expected) and all(map(np.array_equal, whole, expected))


@pytest.mark.parametrize('kind', KINDS)
def test_a_frame_by_its_number_is_that_of_a_whole_decoding(tmp_path, monkeypatch, kind):
    path, seeks = write_kind(tmp_path, kind)
    expected = decoded(path)
    assert len(expected) == (30 if 'cut off' in kind else 40) and not np.array_equal(expected[20], expected[21])
    assert_exact(path, expected, seeks, monkeypatch)


def test_far_apart_frames_are_sought_one_by_one(tmp_path, monkeypatch):
    path = write_film(tmp_path / 'a.mp4', film(200), options=B_FRAMES)
    expected = decoded(path)
    packets = []
    with VideoFile(path) as reader:
        decode = reader._packets
        monkeypatch.setattr(reader, '_packets', lambda: (packets.append(packet) or packet for packet in decode()))
        reader._read_index()
        packets.clear()
        for k, frame in zip([10, 100, 190], reader.frames([10, 100, 190]), strict=True):
            assert np.array_equal(frame, expected[k - 1])
    assert len(packets) < 3 * 20    # a GOP of 12 each, and those in the decoder


@pytest.mark.parametrize('count', [1, 2])
@pytest.mark.parametrize('name, codec', [('a.mp4', 'libx264'), ('a.avi', 'mjpeg'), ('a.mkv', 'libx264')])
def test_one_frame_in_all(tmp_path, monkeypatch, name, codec, count):
    pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
    path = write_film(tmp_path / name, film(count), codec, pix_fmt)
    assert_exact(path, decoded(path), True, monkeypatch)


def test_odd_sizes(tmp_path, monkeypatch):
    for name, codec, pix_fmt in [('a.mkv', 'ffv1', 'yuv420p'), ('a.mp4', 'libx264', 'yuv444p'),
                                 ('a.avi', 'mjpeg', 'yuvj420p')]:
        path = write_film(tmp_path / name, film(5, width=67, height=35), codec, pix_fmt)
        expected = decoded(path)
        assert expected[0].shape == (35, 67, 3)
        assert_exact(path, expected, True, monkeypatch)


@pytest.mark.parametrize('cut', [3, 17])
def test_an_edit_list_cuts_off_the_first_frames(tmp_path, monkeypatch, cut):
    path = write_film(tmp_path / 'a.mp4', film(40), options=B_FRAMES)
    whole = decoded(path)
    cut_off_first(path, cut)
    expected = decoded(path)
    assert len(expected) == 40 - cut and np.array_equal(expected[0], whole[cut])
    with VideoFile(path) as reader:
        assert reader.announced == 40 - cut
    assert_exact(path, expected, True, monkeypatch)


def test_an_avi_without_its_index(tmp_path, monkeypatch):
    path = write_film(tmp_path / 'a.avi', film(40), 'mpeg4', options={'g': '10', 'b': '3000000'})
    expected = decoded(path)
    replace_bytes(path, b'idx1', b'JUNK')
    assert len(decoded(path)) == 40
    with VideoFile(path) as reader:
        assert reader.n_frames == 40
        for k in range(1, 41):
            assert np.array_equal(next(reader.frames([k])), expected[k - 1])


@pytest.mark.parametrize('degrees', [90, 180, 270])
def test_rotated_phone_video_is_upright(tmp_path, degrees):
    path = write_film(tmp_path / 'a.mp4', film(5), rotation=degrees)
    with VideoFile(path) as reader:
        for frame, coded in zip(reader.all_frames(), decoded(path), strict=True):
            assert np.array_equal(frame, np.rot90(coded, degrees // 90)) and frame.flags.c_contiguous
    with VideoFile(path, short_side=24) as reader:
        assert next(reader.frames([3])).shape == ((24, 32, 3) if degrees == 180 else (32, 24, 3))


def test_layout_and_size(tmp_path):
    path = write_film(tmp_path / 'a.mp4', film(3, width=128, height=96))
    with VideoFile(path) as rgb, VideoFile(path, 'bgr24') as bgr, VideoFile(path, short_side=40) as small:
        assert np.array_equal(next(rgb.frames([2])), next(bgr.frames([2]))[:, :, ::-1])
        frame = next(rgb.frames([2]))
        assert np.array_equal(next(small.frames([2])), video.resize(frame, (53, 40)))
    with VideoFile(path, short_side=192) as reader, VideoFile(path, short_side=192, upscale=True) as larger:
        assert next(reader.frames([1])).shape == (96, 128, 3) and next(larger.frames([1])).shape == (192, 256, 3)


@pytest.mark.parametrize('width, height, short_side', [
    (640, 360, 60), (360, 640, 60), (328, 184, 40), (632, 344, 40), (320, 240, 60), (320, 240, 100), (322, 242, 60)])
@pytest.mark.parametrize('matrix, full', [(None, False), (1, True)])
def test_large_frames_shrink_before_their_colours_are_converted_and_look_the_same(tmp_path, width, height, short_side, matrix,
                                                                                  full):
    path = write_film(tmp_path / 'a.mp4', film(2, width, height, blur=2), matrix=matrix, full_range=full)
    with VideoFile(path, short_side=short_side) as small, VideoFile(path) as whole:
        for frame, large in zip(small.all_frames(), whole.all_frames(), strict=True):
            expected = video.resize(large, video.target_size(width, height, short_side))
            difference = np.abs(frame.astype(int) - expected)
            assert frame.shape == expected.shape and difference.mean() < 0.6 and difference.max() <= 12


def test_what_shrinks_in_the_planes():
    def factor(width, height, short_side, pix_fmt='yuv420p'):
        frame = av.VideoFrame(width, height, pix_fmt)
        return frame.width / halved(frame, video.target_size(width, height, short_side)).width

    assert [factor(1920, 1080, 240), factor(1080, 1920, 240), factor(1280, 720, 150)] == [2, 2, 2]
    assert factor(3840, 2160, 240) == 4 and factor(640, 480, 120) == 2
    assert [factor(1920, 1080, 0), factor(640, 480, 240), factor(320, 240, 240), factor(1922, 1080, 240)] == [1] * 4
    assert factor(1920, 1080, 240, 'yuv444p') == factor(1920, 1080, 240, 'yuv420p10le') == 1


# ---- colours

# FFmpeg's number: (share of red, share of blue) in the brightness
WEIGHTS = {1: (0.2126, 0.0722), 2: (0.299, 0.114), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114),
           7: (0.212, 0.087), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
SAMPLINGS = {'yuv420p': 8, 'yuv422p': 8, 'yuv444p': 8, 'yuv420p10le': 10, 'yuv422p10le': 10, 'yuv444p10le': 10}


def coded_planes(rgb, matrix, full, bits):
    """The Y, Cb and Cr of one RGB colour, by the standards' formula."""
    red, blue = WEIGHTS[matrix]
    r, g, b = np.asarray(rgb) / 255
    y = red * r + (1 - red - blue) * g + blue * b
    cb, cr = (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)
    unit = 2 ** (bits - 8)
    if full:
        most = 2 ** bits - 1
        values = y * most, cb * most + 128 * unit, cr * most + 128 * unit
    else:
        values = (16 + 219 * y) * unit, (128 + 224 * cb) * unit, (128 + 224 * cr) * unit
    return [round(float(np.clip(value, 0, 2 ** bits - 1))) for value in values]


COLOURS = [(200, 60, 40), (40, 190, 80), (50, 70, 210), (220, 210, 60), (128, 128, 128), (245, 240, 235), (12, 10, 14)]


def write_colours(path, pix_fmt, matrix, full):
    """A lossless video with a frame for each of COLOURS, coded by the matrix that its header names."""
    bits, grey = SAMPLINGS.get(pix_fmt, 8), pix_fmt == 'gray'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=25, options={'qp': '0'})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 2 if full else 1
        for colour in COLOURS:
            frame = av.VideoFrame(64, 48, pix_fmt)
            frame.color_range, frame.colorspace = (2 if full else 1), matrix
            planes = coded_planes([colour[1]] * 3 if grey else colour, matrix, full, bits)
            for plane, value in zip(frame.planes, planes):
                count = plane.buffer_size // (2 if bits > 8 else 1)
                plane.update(np.full(count, value, '<u2' if bits > 8 else np.uint8).tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


@pytest.mark.parametrize('full', [False, True], ids=['limited', 'full'])
@pytest.mark.parametrize('pix_fmt', [*SAMPLINGS, 'gray'])
def test_every_matrix_range_and_sampling_gives_the_colours_of_the_reference(tmp_path, pix_fmt, full):
    for matrix in WEIGHTS:
        with VideoFile(write_colours(tmp_path / 'a.mp4', pix_fmt, matrix, full)) as reader:
            frames = list(reader.all_frames())
            assert len(frames) == len(COLOURS)
            for colour, frame in zip(COLOURS, frames):
                expected = [colour[1]] * 3 if pix_fmt == 'gray' else colour
                assert np.abs(frame.astype(int) - expected).max() <= 4, (matrix, colour, frame[20, 30])
            is_noted = matrix == 10 and pix_fmt != 'gray'
            assert reader.notes == (['its colour matrix bt2020c was read as bt2020nc, which phones mean by it']
                                    if is_noted else [])


@pytest.mark.parametrize('matrix, name', video.MATRICES.items())
def test_a_matrix_that_cannot_be_converted_is_an_error_that_names_it(tmp_path, matrix, name):
    path = write_film(tmp_path / 'a.mp4', film(2), matrix=matrix)
    with VideoFile(path) as reader, pytest.raises(VideoError, match=f'colour matrix {name}$'):
        next(reader.frames([1]))


# ---- files that can't be used

@pytest.mark.parametrize('make, message', [
    (lambda path: None, 'No such file'), (lambda path: path.touch(), 'empty file'),
    (lambda path: path.mkdir(), 'not a file'), (lambda path: os.mkfifo(path), 'not a file'),
    (lambda path: path.write_text('<html>\n' * 99), 'no video that the decoder can read'),
    (lambda path: path.write_bytes(b'RIFF\x40\0\0\0WEBPVP8X' + bytes(60)), 'an animated WebP picture')])
def test_what_is_no_video(tmp_path, make, message):
    make(tmp_path / 'a.mp4')
    with pytest.raises(VideoError, match=message):
        VideoFile(str(tmp_path / 'a.mp4'))


@pytest.mark.parametrize('name, arguments', [
    ('a.mp4', {'options': B_FRAMES, 'muxing': {'movflags': 'faststart'}}), ('a.mkv', {'options': B_FRAMES}),
    ('a.avi', {'codec': 'mpeg4', 'options': {'b': '3000000'}}), ('a.ts', {'options': B_FRAMES})])
@pytest.mark.parametrize('share', [0.4, 0.7])
def test_a_file_that_breaks_off_has_the_frames_before_that(tmp_path, name, arguments, share):
    path = write_film(tmp_path / name, film(40, width=128, height=96), **arguments)
    whole = decoded(path)
    os.truncate(path, int(os.path.getsize(path) * share))
    with VideoFile(path) as reader:
        frames = list(reader.all_frames())
        assert 3 < len(frames) < 40 and reader.n_frames == len(frames)
        assert np.array_equal(frames[0], whole[0])
        for k in range(1, len(frames) + 1, 3):
            assert np.array_equal(next(reader.frames([k])), frames[k - 1])
        with pytest.raises(VideoError, match=f'frame {len(frames) + 1} was asked for'):
            list(reader.frames([1, len(frames) + 1]))


def test_bytes_lost_in_the_middle_cost_no_more_than_the_damaged_group(tmp_path):
    path = write_film(tmp_path / 'a.mp4', film(60, width=128, height=96), options=B_FRAMES)
    whole = decoded(path)
    with av.open(path) as container:
        lost = [packet for packet in container.demux(video=0) if packet.size][27]
    with open(path, 'r+b') as file:
        file.seek(lost.pos)
        file.write(bytes(lost.size))
    with VideoFile(path) as reader:
        for k in (1, 12, 13, 24, 37, 48, 60):
            assert np.array_equal(next(reader.frames([k])), whole[k - 1])


def test_frames_that_no_decoder_should_try(tmp_path, monkeypatch):
    """Neither those of a container that says so, nor those that come later."""
    path = write_film(tmp_path / 'a.mp4', film(4, 64, 48))
    monkeypatch.setattr(video, 'MAX_PIXELS', 64 * 48 - 1)
    with pytest.raises(VideoError, match='frames of 64x48 px; at most 3071 pixels are read'):
        VideoFile(path)
    data = open(write_film(tmp_path / 'small.ts', film(4, 32, 32)), 'rb').read()
    large = open(write_film(tmp_path / 'large.ts', film(4, 64, 48)), 'rb').read()
    (tmp_path / 'both.ts').write_bytes(data + large)
    with VideoFile(str(tmp_path / 'both.ts')) as reader:
        assert {frame.shape for frame in reader.all_frames()} == {(32, 32, 3)} and reader.n_frames == 4


def test_a_change_of_size_within_the_file_keeps_the_first(tmp_path):
    data = open(write_film(tmp_path / 'small.ts', film(4, 32, 32)), 'rb').read()
    large = open(write_film(tmp_path / 'large.ts', film(4, 64, 48)), 'rb').read()
    (tmp_path / 'both.ts').write_bytes(data + large)
    with VideoFile(str(tmp_path / 'both.ts')) as reader:
        assert [frame.shape for frame in reader.all_frames()] == [(32, 32, 3)] * 8


def test_patience(tmp_path):
    path = write_film(tmp_path / 'a.mp4', film(40))
    with VideoFile(path, patience=1e-9) as reader, pytest.raises(VideoError, match='no wanted frame in 1e-09 s'):
        next(reader.frames([40]))
    with VideoFile(path, patience=100) as reader:
        assert next(reader.frames([40])).shape == (48, 64, 3)


def test_awkward_names(tmp_path):
    path = write_film(tmp_path / 'a.mp4', film(2))
    for name in ('a:b.mp4', '-dash.mp4', '%03d.mp4', 'new\nline.mp4', 'ünïcode 🎥.mp4', os.fsdecode(b'\xff.mp4')):
        other = os.path.join(tmp_path, name)
        os.rename(path, other)
        with VideoFile(other) as reader:
            assert reader.n_frames == 2
        path = other


def test_files_are_closed(tmp_path):
    path, _ = write_kind(tmp_path, 'open GOP')
    stream, _ = write_kind(tmp_path, 'a stream')
    before = len(os.listdir('/proc/self/fd'))
    for _ in range(3):
        for name in (path, stream):
            with VideoFile(name) as reader:
                next(reader.frames([30]))
                next(reader.all_frames())
    assert len(os.listdir('/proc/self/fd')) == before


# ---- what is missing from a file, and how long it is

def with_sound(path, seconds, source):
    """Copies the video of a file into another container, beside `seconds` of silence."""
    with av.open(source) as film_in, av.open(str(path), 'w') as out:
        video_in = film_in.streams.video[0]
        copy, sound = out.add_stream_from_template(video_in), out.add_stream('pcm_s16le', rate=8000)
        silence = av.AudioFrame(format='s16', layout='mono', samples=8000 * seconds)
        silence.sample_rate, silence.pts = 8000, 0
        silence.planes[0].update(bytes(silence.planes[0].buffer_size))
        for packet in film_in.demux(video_in):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
        out.mux([*sound.encode(silence), *sound.encode()])
    return str(path)


def read_whole(path):
    """(frames, losses, announced, fps) of a whole decoding."""
    with VideoFile(path) as reader:
        return sum(1 for _ in reader.all_frames()), reader.losses(), reader.announced, reader.fps


def test_estimates_of_a_container_are_no_evidence_that_frames_are_missing(tmp_path):
    plain = write_film(tmp_path / 'a.mp4', film(40), options=B_FRAMES)
    uneven = np.cumsum([40] + [33, 600, 33, 100] * 10)[:40].tolist()
    kinds = [with_sound(tmp_path / 'sound.mkv', 4, plain),
             *(write_film(tmp_path / f'uneven{end}', film(40), options=B_FRAMES, times=uneven) for end in ('.mkv', '.mp4')),
             with_sound(tmp_path / 'sound.avi', 4, write_film(tmp_path / 'b.mp4', film(40), 'mpeg4')),
             write_film(tmp_path / 'a.flv', film(40), 'flv'), write_film(tmp_path / 'a.wmv', film(40), 'wmv2'),
             write_film(tmp_path / 'a.ts', film(40)), write_film(tmp_path / 'a.mpg', film(40), 'mpeg2video')]
    for path in kinds:
        frames, losses, _, fps = read_whole(path)
        assert (frames, losses) == (40, []), path
        seconds = (uneven[-1] - uneven[0]) / 1000 * 40 / 39 if 'uneven' in path else 1.6
        assert frames / fps == pytest.approx(seconds, rel=0.01), path


def test_dropped_frames_of_an_avi_are_no_loss(tmp_path):
    """Its header counts their empty chunks."""
    path = write_film(tmp_path / 'a.avi', film(40), 'mpeg4', times=[40 * i + 800 * (i > 20) for i in range(40)])
    with VideoFile(path) as reader:
        assert reader.announced > 40
    assert read_whole(path)[:2] == (40, [])


@pytest.mark.parametrize('name, codec, muxing', [
    ('a.mp4', 'libx264', {'movflags': 'faststart'}), ('frag.mp4', 'libx264', {'movflags': 'frag_keyframe+empty_moov'}),
    ('a.mkv', 'libx264', {}), ('a.avi', 'mpeg4', {}), ('a.flv', 'flv', {}), ('a.wmv', 'wmv2', {}),
    ('a.mpg', 'mpeg2video', {})])
def test_a_file_that_was_cut_short_says_so(tmp_path, name, codec, muxing):
    path = write_film(tmp_path / name, film(60, 128, 96), codec, muxing=muxing)
    assert read_whole(path)[:2] == (60, [])
    for share in (0.9, 0.6):
        os.truncate(path, int(os.path.getsize(path) * share))
        frames, losses, *_ = read_whole(path)
        assert frames < (60 if share < 0.9 else 61) and losses, share


def test_a_packet_that_cannot_be_decoded_is_a_loss(tmp_path):
    path = write_film(tmp_path / 'a.mkv', film(30), options=B_FRAMES)
    with av.open(path) as container:
        lost = [packet for packet in container.demux(video=0) if packet.size][14]
    data = bytearray(open(path, 'rb').read())
    at = data.index(bytes(lost))
    data[at:at + lost.size] = bytes(lost.size)
    open(path, 'wb').write(data)
    frames, losses, *_ = read_whole(path)
    assert frames < 30 and losses == ['1 packets cannot be decoded']


# ---- the display matrix

# a, b, c, d of a display matrix: the filters that the ffmpeg program inserts for it
SHOWN_BY_FFMPEG = {(1, 0, 0, 1): [], (-1, 0, 0, 1): ['hflip'], (1, 0, 0, -1): ['vflip'], (-1, 0, 0, -1): ['hflip', 'vflip'],
                   (0, 1, 1, 0): ['transpose=cclock_flip'], (0, -1, -1, 0): ['transpose=clock_flip'],
                   (0, 1, -1, 0): ['transpose=clock'], (0, -1, 1, 0): ['transpose=cclock']}


def filtered(picture, filters):
    """A picture through filters of FFmpeg."""
    graph = av.filter.Graph()
    height, width = picture.shape[:2]
    nodes = [graph.add_buffer(width=width, height=height, format='rgb24', time_base=MILLISECOND)]
    nodes += [graph.add(*each.split('=')) for each in filters] + [graph.add('buffersink')]
    for before, after in zip(nodes, nodes[1:]):
        before.link_to(after)
    graph.configure()
    frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
    frame.pts = 0
    nodes[0].push(frame)
    return nodes[-1].pull().to_ndarray()


@pytest.mark.parametrize('matrix, filters', SHOWN_BY_FFMPEG.items())
def test_turned_and_mirrored_videos_are_shown_as_ffmpeg_shows_them(tmp_path, matrix, filters):
    path = write_film(tmp_path / 'a.mp4', film(3))
    data = bytearray(open(path, 'rb').read())
    start = data.index(b'tkhd') + 4 + 40     # of a track header of version 0
    a, b, c, d = (value * 0x10000 for value in matrix)
    data[start:start + 36] = struct.pack('>9i', a, b, 0, c, d, 0, 0, 0, 0x40000000)
    open(path, 'wb').write(data)
    with VideoFile(path) as reader:
        for frame, coded in zip(reader.all_frames(), decoded(path), strict=True):
            expected = filtered(coded, filters)
            assert np.array_equal(frame, expected) and frame.flags.c_contiguous
            # the standard's definition, pixel by pixel
            for x, y in ((0, 0), (63, 0), (0, 47), (20, 30)):
                corners = [(matrix[0] * u + matrix[2] * v, matrix[1] * u + matrix[3] * v) for u in (0, 63) for v in (0, 47)]
                left, top = np.min(corners, 0)
                row, column = matrix[1] * x + matrix[3] * y - top, matrix[0] * x + matrix[2] * y - left
                assert np.array_equal(frame[row, column], coded[y, x])
    with VideoFile(path, short_side=24) as reader:
        assert next(reader.frames([3])).shape == ((32, 24, 3) if matrix[1] else (24, 32, 3))


# ---- sound with a picture

def test_a_cover_picture_is_no_video(tmp_path):
    with av.open(str(tmp_path / 'a.mp4'), 'w') as container:
        sound, cover = container.add_stream('aac', rate=8000), container.add_stream('mjpeg', rate=25)
        cover.width, cover.height, cover.pix_fmt = 64, 48, 'yuvj420p'
        cover.disposition = av.stream.Disposition.attached_pic
        silence = av.AudioFrame(format='fltp', layout='mono', samples=1024)
        silence.sample_rate, silence.pts = 8000, 0
        silence.planes[0].update(bytes(silence.planes[0].buffer_size))
        picture = av.VideoFrame.from_ndarray(film(1)[0], format='rgb24').reformat(format='yuvj420p')
        container.mux([*cover.encode(picture), *cover.encode()])
        container.mux([*sound.encode(silence), *sound.encode()])
    with pytest.raises(VideoError, match='^sound with a cover picture, and no video$'):
        VideoFile(str(tmp_path / 'a.mp4'))


# ---- file systems that fail

@pytest.mark.parametrize('number', [errno.ESTALE, errno.EIO, errno.ETIMEDOUT])
def test_a_file_system_that_fails_is_said_to_and_no_video_is_blamed(tmp_path, monkeypatch, number):
    path = write_film(tmp_path / 'a.mp4', film(2))

    def fails(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr('builtins.open', fails)
        with pytest.raises(UserError, match=f'a.mp4: {os.strerror(number)}; the file system fails'):
            VideoFile(path)
    monkeypatch.setattr(av, 'open', fails)
    # FFmpeg says EIO where a file ends early, too: only a file that can't be read proves that the disk is to blame
    with pytest.raises(VideoError if number == errno.EIO else UserError):
        VideoFile(path)
