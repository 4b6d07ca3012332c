"""Seconds of the frames of a video, from the file's own time stamps."""
import numpy as np
import pytest

from tests.films import film, write_film
from tests.test_video import SHOWN, write_kind
from utils.video.reader import VideoError, VideoFile
from utils.video.times import frame_times

WITHOUT = 'no container', 'negative time stamps, lost in .mkv'
PICTURES = film(12, width=32, height=32)


def with_gap(path, gap):
    """12 frames at 25 a second, the sixth `gap` ms after the fifth."""
    return write_film(path, PICTURES, times=[40 * i + (gap - 40) * (i > 4) for i in range(12)])


@pytest.mark.parametrize('kind', [
    'B-frames', 'variable frame rate', 'variable frame rate in .mkv', 'negative time stamps, cut off in .mp4',
    'late first time stamp', 'MPEG-4, tiny packets', 'H.264 in .avi', 'MPEG-2', 'a stream'])
def test_every_frame_has_the_time_at_which_it_was_shown(tmp_path, kind):
    path, _ = write_kind(tmp_path, kind, width=32, height=32)
    with VideoFile(path) as video:
        count = video.n_frames
    seconds = frame_times(path, count)
    shown = np.array(SHOWN if 'variable' in kind else [40 * i for i in range(count)]) / 1000
    assert seconds.dtype == np.float64 and seconds == pytest.approx(shown, abs=1e-3)
    assert np.array_equal(frame_times(path, 7), seconds[:7])
    assert np.array_equal(frame_times(path, 7, frame_rate=7), seconds[:7]), 'usable time stamps are kept'
    assert frame_times(path, 8, fps=10) == pytest.approx(np.arange(8) / 10)
    with pytest.raises(VideoError, match=f'has {count} frames, and the times of 999 were'):
        frame_times(path, 999)


@pytest.mark.parametrize('name', ['a.mp4', 'a.mkv', 'a.ts'])
def test_a_jump_is_an_error_that_names_its_frame(tmp_path, name):
    path = with_gap(tmp_path / name, 9000)
    assert np.diff(frame_times(path, 12)).max() == pytest.approx(9)
    path = with_gap(tmp_path / name, 11000)
    for fps in (None, 10):
        with pytest.raises(VideoError, match=r'jump by 11\.0 s at frame 6: cut it there, or .* --frame_rate F$'):
            frame_times(path, 12, fps)
    assert frame_times(path, 12, frame_rate=25) == pytest.approx(np.arange(12) / 25)
    assert frame_times(path, 12, fps=10, frame_rate=25) == pytest.approx(np.arange(12) / 10)


def test_a_jump_back(tmp_path):
    """Two recordings in one file, each with times from 0."""
    streams = [open(write_film(tmp_path / f'{i}.ts', PICTURES, 'mpeg2video'), 'rb').read() for i in range(2)]
    (tmp_path / 'both.ts').write_bytes(b''.join(streams))
    with pytest.raises(VideoError, match=r'jump by -0\.4 s at frame 1[23]'):
        frame_times(str(tmp_path / 'both.ts'), 24)


@pytest.mark.parametrize('kind', WITHOUT)
def test_a_file_without_time_stamps(tmp_path, kind):
    path, _ = write_kind(tmp_path, kind, width=32, height=32)
    with pytest.raises(VideoError, match='no time stamps: .* --frame_rate F$'):
        frame_times(path, 40)
    assert frame_times(path, 40, frame_rate=50)[-1] == pytest.approx(39 / 50)


def test_extracted_frames(tmp_path):
    with pytest.raises(VideoError, match='extracted frames have no time stamps: .* --frame_rate F$'):
        frame_times(str(tmp_path), 5)
    assert frame_times(str(tmp_path), 5, frame_rate=25).tolist() == pytest.approx([0, .04, .08, .12, .16])
