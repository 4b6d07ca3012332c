"""Extraction: the frames, bad videos, bad disks, and runs that are stopped and resumed."""
import csv
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from process_data.extract_frames import report_unlabelled
from process_data.extract_report import append_row, make_row, read_report, read_reports, write_report
from tests import forked
from tests.films import film, write_film
from tests.process_data.tiny_videos import (
    command,
    cut,
    extract,
    make_frames,
    tree_bytes,
    write_audio,
    write_rotated,
    write_variable_rate,
    write_video,
)
from utils.cli import UserError
from utils.video.files import find_videos
from utils.video.frames import frame_name
from utils.video.reader import VideoFile, resize, target_size


def decoded(path):
    """All frames of a video, read with a plain loop."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        more, frame = capture.read()
        if not more:
            return frames
        frames.append(frame)


def frames_in(folder):
    names = sorted(os.listdir(folder))
    assert names == [frame_name(i) for i in range(1, len(names) + 1)]
    return [cv2.imread(os.path.join(folder, name)) for name in names]


# ---- Frames

@pytest.mark.parametrize('name', ['a.avi', 'a.mp4', 'a.mkv', 'a.webm', 'a.mov'])
def test_frames_equal_a_plain_loop(tmp_path, name):
    video = write_video(tmp_path / 'videos/class' / name, n_frames=5, width=96, height=64)
    done = extract(tmp_path / 'videos', tmp_path / 'frames', '--short_side', 40, '--quality', 95)
    assert done.returncode == 0, done.stderr
    plain = [cv2.resize(frame, (60, 40)) for frame in decoded(video)]
    ours = frames_in(tmp_path / 'frames/class/a')
    assert len(ours) == len(plain) == 5
    for i, frame in enumerate(ours):
        assert frame.shape == (40, 60, 3)
        differences = [np.abs(frame.astype(int) - expected).mean() for expected in plain]
        assert differences[i] == min(differences) < 4


@pytest.mark.parametrize('size, short_side, upscale, expected', [
    ((320, 240), 240, False, (320, 240)), ((340, 256), 150, False, (199, 150)), ((1080, 1920), 150, False, (150, 267)),
    ((100, 80), 240, False, (100, 80)), ((100, 80), 240, True, (300, 240)), ((1920, 1080), 0, False, (1920, 1080)),
    ((2000, 4), 2, False, (1000, 2)), ((4000, 3), 2, False, (2667, 2))])
def test_target_size(size, short_side, upscale, expected):
    assert target_size(*size, short_side, upscale) == expected


def test_resize_is_close_to_an_area_filter_and_bilinear_alone_is_not():
    frame = np.random.default_rng(0).integers(0, 256, (721, 1279, 3), dtype=np.uint8)
    area = cv2.resize(frame, (266, 150), interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(resize(frame, (266, 150)) - area).mean() < 0.6 * np.abs(cv2.resize(frame, (266, 150)) - area).mean()
    assert resize(frame, (266, 150)).std() < 1.5 * area.std()


def test_rotated_phone_video_is_upright(tmp_path):
    (tmp_path / 'videos/c').mkdir(parents=True)
    frames = make_frames(4, 96, 64)
    for frame in frames:
        frame[:16, :16] = 255                   # white at the top left, to be shown at the top right
        frame[-16:, :] = 0
    write_rotated(tmp_path / 'videos/c/phone.mp4', width=96, height=64, frames=frames)
    assert extract(tmp_path / 'videos', tmp_path / 'frames').returncode == 0
    upright = frames_in(tmp_path / 'frames/c/phone')[0]
    assert upright.shape == (96, 64, 3)
    assert upright[2:12, -12:-2].mean() > 220 and upright[:, :10].mean() < 40
    row = read_reports(tmp_path / 'frames')['c/phone.mp4']
    assert (row['width'], row['height']) == ('64', '96')


def test_variable_frame_rate_gives_each_coded_frame_once(tmp_path):
    (tmp_path / 'videos/c').mkdir(parents=True)
    write_video(tmp_path / 'videos/c/even.mkv', n_frames=12)
    write_variable_rate(tmp_path / 'videos/c/uneven.mkv', n_frames=12)
    assert extract(tmp_path / 'videos', tmp_path / 'frames').returncode == 0
    even, uneven = (tree_bytes(tmp_path / 'frames/c' / name) for name in ('even', 'uneven'))
    assert len(even) == 12 and even == uneven


def test_frames_by_time(tmp_path):
    """At each tick the frame that is shown then, by a brute-force twin, from films of unlike rates."""
    uneven = np.cumsum([0] + [33, 100, 33, 234] * 10)[:40].tolist()
    for name, times in (('slow.mp4', [77 * i for i in range(30)]), ('fast.mkv', [8 * i for i in range(60)]),
                        ('uneven.mkv', uneven), ('plain.avi', None)):
        path = write_film(tmp_path / 'videos/c' / name, film(len(times or range(40))), times=times,
                          codec='mpeg4' if name.endswith('avi') else 'libx264')
        with VideoFile(path) as video:
            whole = list(video.all_frames())
        with VideoFile(path, rate=10) as video:
            taken = list(video.all_frames())
        times = times or [40 * i for i in range(40)]
        shown = [max(i for i, time in enumerate(times) if time <= tick + 1) for tick in range(0, times[-1], 100)]
        assert len(taken) in (len(shown), len(shown) + 1), name
        assert all(map(np.array_equal, taken, [whole[i] for i in shown])), name
    done = extract(tmp_path / 'videos', tmp_path / 'frames')
    assert done.returncode == 0 and 'warning: frame rates differ, from ' in done.stderr
    done = extract(tmp_path / 'videos', tmp_path / 'even', '--fps', 10)
    assert done.returncode == 0 and 'frame rates' not in done.stderr
    rows = read_reports(tmp_path / 'even')
    assert {(row['fps'], row['status']) for row in rows.values()} == {('10', 'ok')}
    for name, ticks in (('slow', 24), ('fast', 5), ('plain', 16)):    # of 2.31, 0.48 and 1.6 s
        assert len(frames_in(tmp_path / 'even/c' / name)) == ticks, name
    assert "'fps': 10.0" in one_error_line(extract(tmp_path / 'videos', tmp_path / 'even'))


def test_frames_are_those_of_the_reader_of_video_files(tmp_path):
    path = write_film(tmp_path / 'videos/c/a.mp4', film(20, 96, 64), options={'g': '6', 'bf': '2'})
    assert extract(tmp_path / 'videos', tmp_path / 'frames', '--short_side', 40, '--quality', 95).returncode == 0
    with VideoFile(path, 'bgr24', short_side=40) as video:
        for ours, frame in zip(frames_in(tmp_path / 'frames/c/a'), video.frames(range(1, 21)), strict=True):
            jpeg = cv2.imencode('.jpg', frame, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
            assert np.array_equal(ours, cv2.imdecode(jpeg, cv2.IMREAD_COLOR))


# ---- Colours

def test_colour_matrices_that_phones_get_wrong_are_noted_and_unknown_ones_fail(tmp_path):
    pictures = film(6)
    for name, matrix in (('right', 9), ('phone', 10), ('ycgco', 8), ('ictcp', 14)):
        write_film(tmp_path / f'videos/c/{name}.mp4', pictures, matrix=matrix)
    done = extract(tmp_path / 'videos', tmp_path / 'frames')
    rows = read_reports(tmp_path / 'frames')
    assert {name: row['status'] for name, row in rows.items()} == {
        'c/right.mp4': 'ok', 'c/phone.mp4': 'ok', 'c/ycgco.mp4': 'failed', 'c/ictcp.mp4': 'failed'}
    assert done.returncode == 1 and rows['c/right.mp4']['reason'] == ''
    note = 'its colour matrix bt2020c was read as bt2020nc, which phones mean by it'
    assert rows['c/phone.mp4']['reason'] == note and f'warning: c/phone.mp4: {note}\n' in done.stderr
    for name in ('ycgco', 'ictcp'):
        assert f'failed: c/{name}.mp4: its pictures cannot be converted: yuv420p, colour matrix {name}\n' in done.stderr
    assert sorted(os.listdir(tmp_path / 'frames/c')) == ['phone', 'right']
    assert tree_bytes(tmp_path / 'frames/c/phone') == tree_bytes(tmp_path / 'frames/c/right')
    assert np.abs(frames_in(tmp_path / 'frames/c/phone')[0].astype(int) - pictures[0][:, :, ::-1]).mean() < 8


def test_a_video_of_one_picture_or_one_colour_is_worth_a_warning(tmp_path):
    write_film(tmp_path / 'videos/c/still.mp4', film(1) * 5, options={'qp': '0'})
    write_film(tmp_path / 'videos/c/black.mp4', [np.zeros((48, 64, 3), np.uint8)] * 5)
    write_film(tmp_path / 'videos/c/fades.mp4', [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(5)])
    write_film(tmp_path / 'videos/c/single.mp4', film(1))
    write_film(tmp_path / 'videos/c/moves.mp4', film(5))
    done = extract(tmp_path / 'videos', tmp_path / 'frames')
    reasons = {name: row['reason'] for name, row in read_reports(tmp_path / 'frames').items()}
    assert reasons == {'c/still.mp4': 'all 5 frames are the same picture', 'c/moves.mp4': '', 'c/single.mp4': '',
                       'c/black.mp4': 'every frame is of one colour', 'c/fades.mp4': 'every frame is of one colour'}
    assert done.returncode == 0 and done.stderr.count('warning: c/') == 3
    assert 'warning: c/still.mp4: all 5 frames are the same picture\n' in done.stderr


def test_upscale_and_keep(tmp_path):
    write_video(tmp_path / 'videos/c/a.avi', n_frames=1, width=64, height=48)
    for flags, shape in [((), (48, 64)), (('--upscale',), (240, 320)), (('--short_side', 0), (48, 64))]:
        shutil.rmtree(tmp_path / 'frames', ignore_errors=True)
        assert extract(tmp_path / 'videos', tmp_path / 'frames', *flags).returncode == 0
        assert frames_in(tmp_path / 'frames/c/a')[0].shape[:2] == shape


# ---- Bad videos

AWKWARD_NAMES = ['-dash', 'with space', "quote's \"both\"", 'ünïcode 視頻 🎥', 'comma, and %03d', 'x' * 200,
                 'new\nline', 'a:b', '[glob]*?', 'dot.in.name']


def test_bad_videos_are_skipped_with_their_reason_and_nothing_else_is_lost(tmp_path):
    videos = tmp_path / 'videos/class 1'
    good = [write_video(videos / (name + '.avi'), n_frames=3) for name in AWKWARD_NAMES]
    good += [write_video(videos / 'one_frame.mp4', n_frames=1),
             write_video(videos / 'odd.mp4', n_frames=3, width=67, height=35, fourcc='mp4v'),
             write_video(videos / 'tiny.avi', n_frames=3, width=2, height=2, fourcc='FFV1')]
    cut(write_video(videos / 'half.avi', n_frames=40), 0.5)
    cut(write_video(videos / 'no_index.mp4', n_frames=40), 0.5)
    (videos / 'zero.mp4').touch()
    (videos / 'text.mp4').write_text('<html>404: this video is private</html>\n' * 9)
    write_audio(videos / 'audio.mp4')
    (videos / 'folder.mp4').mkdir()
    os.mkfifo(videos / 'pipe.mp4')
    (videos / 'gone.mp4').symlink_to(tmp_path / 'nowhere.mp4')
    (videos / 'readme.txt').write_text('not a video')
    write_video(tmp_path / 'videos/class 1/twice.avi', n_frames=2)
    write_video(tmp_path / 'videos/class 1/twice.mp4', n_frames=2)

    done = extract(tmp_path / 'videos', tmp_path / 'frames')
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    rows = read_reports(tmp_path / 'frames')
    for path in good:
        row = rows[os.path.relpath(path, tmp_path / 'videos')]
        folder = tmp_path / 'frames' / os.path.splitext(row['video'])[0]
        assert row['status'] == 'ok' and len(os.listdir(folder)) == int(row['frames']) > 0, row
    reasons = {os.path.basename(name): row['reason'] for name, row in rows.items() if row['status'] == 'failed'}
    assert sorted(reasons) == sorted(['no_index.mp4', 'zero.mp4', 'text.mp4', 'audio.mp4', 'folder.mp4', 'pipe.mp4',
                                      'gone.mp4', 'twice.mp4'])
    assert reasons['zero.mp4'] == 'empty file'
    assert reasons['folder.mp4'] == reasons['pipe.mp4'] == 'not a file'
    assert 'twice.avi' in reasons['twice.mp4']
    assert all(reasons.values())
    half = rows['class 1/half.avi']
    assert half['status'] == 'partial' and 10 < int(half['frames']) < 30
    assert f'{half["frames"]} of ' in half['reason']
    assert f'partial: class 1/half.avi: {half["reason"]}\n' in done.stderr
    assert 'cut short' in reasons['no_index.mp4']
    assert f'{len(rows)} videos: 0 done before, {len(rows) - 1} to do' in done.stdout
    for name in reasons:
        assert f'failed: class 1/{name}: {reasons[name]}' in done.stderr
    assert '8 failed' in done.stdout
    # Only the good ones have a folder, and nothing incomplete is left.
    assert len(os.listdir(tmp_path / 'frames/class 1')) == len(good) + 2
    assert os.listdir(tmp_path / 'frames/.extracting') == ['1of1.lock']


def test_failed_are_remembered_until_retry(tmp_path):
    videos, frames = tmp_path / 'videos', tmp_path / 'frames'
    write_video(videos / 'c/good.avi')
    (videos / 'c/bad.avi').write_text('half a download')
    first = extract(videos, frames)
    assert first.returncode == 1
    assert extract(videos, frames, '--allow_failures').returncode == 0
    write_video(videos / 'c/bad.avi')                           # downloaded again
    again = extract(videos, frames)
    assert again.returncode == 1 and '0 to do' in again.stdout and 'failed: c/bad.avi' in again.stderr
    retried = extract(videos, frames, '--retry_failed')
    assert retried.returncode == 0 and '1 to do' in retried.stdout
    assert len(frames_in(frames / 'c/bad')) == 8


def test_report(tmp_path):
    write_video(tmp_path / 'videos/c/a.avi', n_frames=10, width=64, height=48)
    extract(tmp_path / 'videos', tmp_path / 'frames', '--short_side', 24)
    with open(tmp_path / 'frames/extract_report.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert rows == [dict(video='c/a.avi', frames='10', announced='10', width='32', height='24', fps='25',
                         seconds='0.400', status='ok', reason='')]


def test_the_report_keeps_the_videos_of_another_video_root(tmp_path):
    for half in ('train', 'val'):
        write_video(tmp_path / f'{half}/c/{half}.avi')
    (tmp_path / 'train/c/bad.avi').write_text('no video')
    assert extract(tmp_path / 'train', tmp_path / 'frames').returncode == 1
    done = extract(tmp_path / 'val', tmp_path / 'frames')
    assert done.returncode == 0 and done.stdout.splitlines()[-2].startswith('1 videos complete, 0 partial, 0 failed')
    statuses = {name: row['status'] for name, row in read_reports(tmp_path / 'frames').items()}
    assert statuses == {'c/bad.avi': 'failed', 'c/train.avi': 'ok', 'c/val.avi': 'ok'}


def test_link_loops_hidden_files_and_other_extensions(tmp_path, capsys):
    for name in ('a/x.avi', 'a/y.VOB', 'b/z.m2ts', 'b/z.txt', 'b/.z.avi', 'b/z.srt'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'a/up').symlink_to(tmp_path)
    (tmp_path / 'a/other').symlink_to(tmp_path / 'b')           # a loop of two links
    (tmp_path / 'b/other').symlink_to(tmp_path / 'a')
    found = find_videos(str(tmp_path), str(tmp_path / 'frames'))
    assert found == ['a/other/z.m2ts', 'a/x.avi', 'a/y.VOB', 'b/other/x.avi', 'b/other/y.VOB', 'b/z.m2ts']
    assert "4 files without a video's extension skipped" in capsys.readouterr().out
    assert find_videos(str(tmp_path / 'a'), str(tmp_path / 'a/other')) == ['x.avi', 'y.VOB']


def test_unlabelled_videos_are_accepted_for_a_folder_only(tmp_path):
    for name in ('one.avi', 'two.mp4'):
        write_video(tmp_path / 'videos' / name, n_frames=3)
    done = extract(tmp_path / 'videos', tmp_path / 'frames')
    assert done.returncode == 0 and 'warning' not in done.stderr
    assert done.stdout.startswith('no class folders: the videos are for pretraining only, unless a csv file has ')
    assert len(frames_in(tmp_path / 'frames/one')) == len(frames_in(tmp_path / 'frames/two')) == 3
    assert set(read_reports(tmp_path / 'frames')) == {'one.avi', 'two.mp4'}
    assert '0 to do' in extract(tmp_path / 'videos', tmp_path / 'frames').stdout
    for dataset in ('ucf101', 'hmdb51', 'k400', 'demo'):
        with pytest.raises(UserError, match='no class folder in it; .*--dataset folder for unlabelled videos'):
            report_unlabelled(['one.avi', 'two.mp4'], str(tmp_path / 'videos'), dataset)


def test_a_root_named_like_a_video_is_not_one(tmp_path):
    (tmp_path / 'videos.avi').mkdir()
    assert find_videos(str(tmp_path / 'videos.avi'), str(tmp_path / 'frames')) == []
    assert 'no video in it' in one_error_line(extract(tmp_path / 'videos.avi', tmp_path / 'frames'))


def test_a_video_above_the_class_folders_is_named_at_extraction(tmp_path):
    write_video(tmp_path / 'videos/stray.avi', n_frames=3)
    write_video(tmp_path / 'videos/run/a.avi', n_frames=3)
    done = extract(tmp_path / 'videos', tmp_path / 'frames')
    lines = [line for line in done.stderr.replace('\r', '\n').split('\n') if line and 'video/s' not in line]
    assert done.returncode == 0 and len(frames_in(tmp_path / 'frames/stray')) == 3
    assert lines == [f'warning: videos in no class folder: 1 (first {tmp_path}/videos/stray.avi); they are extracted, '
                     'but write_csv.py leaves them out of the lists: move them into class folders']


@pytest.mark.parametrize('make, message', [
    (lambda root: None, 'no such folder'), (lambda root: root.mkdir(), 'no video in it'),
    (lambda root: root.write_text('a file'), 'not a folder')])
def test_missing_or_empty_video_root_is_one_line(tmp_path, make, message):
    make(tmp_path / 'videos')
    done = extract(tmp_path / 'videos', tmp_path / 'frames')
    assert done.returncode == 2
    assert done.stderr.startswith('error: ') and message in done.stderr and done.stderr.count('\n') == 1


def test_other_settings_in_the_same_frame_root_are_refused(tmp_path):
    write_video(tmp_path / 'videos/c/a.avi')
    assert extract(tmp_path / 'videos', tmp_path / 'frames').returncode == 0
    done = extract(tmp_path / 'videos', tmp_path / 'frames', '--quality', 90)
    assert done.returncode == 2 and 'extract_settings.json' in done.stderr and done.stderr.count('\n') == 1
    (tmp_path / 'frames/extract_settings.json').write_text('{"short')
    assert 'not readable; remove it' in one_error_line(extract(tmp_path / 'videos', tmp_path / 'frames'))
    os.remove(tmp_path / 'frames/extract_settings.json')
    os.remove(tmp_path / 'frames/extract_report.csv')
    (tmp_path / 'frames/extract_report.csv').mkdir()
    assert 'extract_report.csv: cannot be' in one_error_line(extract(tmp_path / 'videos', tmp_path / 'frames'))


# ---- Bad disks

def one_error_line(done):
    """The error that ended a run, perhaps after the progress bar."""
    lines = [line for line in done.stderr.replace('\r', '\n').split('\n') if line and 'video/s' not in line]
    assert done.returncode == 2 and len(lines) == 1 and lines[0].startswith('error: '), done.stderr
    return lines[0]


def test_frame_root_that_cannot_be_written(tmp_path):
    write_video(tmp_path / 'videos/c/a.avi')
    (tmp_path / 'file').write_text('in the way')
    assert 'cannot write there' in one_error_line(extract(tmp_path / 'videos', tmp_path / 'file/frames'))


@pytest.fixture
def small_disk(tmp_path):
    """A separate file system of 400 kB."""
    mount = tmp_path / 'disk'
    mount.mkdir()
    if os.getuid() != 0 or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=400k', 'tmpfs', str(mount)],
                                          capture_output=True).returncode:
        pytest.skip('mounting a small file system needs root and the right to mount')
    yield mount
    subprocess.run(['umount', '-l', str(mount)], check=True)


def test_full_disk_ends_the_run_and_a_rerun_with_space_resumes(tmp_path, small_disk):
    for i in range(12):
        write_video(tmp_path / f'videos/c/{i:02d}.avi', n_frames=20, width=160, height=120, seed=i)
    done = extract(tmp_path / 'videos', small_disk)
    assert 'No space left' in one_error_line(done)
    finished = [name for name in os.listdir(small_disk / 'c')]
    assert all(len(os.listdir(small_disk / 'c' / name)) == 20 for name in finished)
    subprocess.run(['mount', '-o', 'remount,size=64m', str(small_disk)], check=True)
    assert extract(tmp_path / 'videos', small_disk).returncode == 0
    assert extract(tmp_path / 'videos', tmp_path / 'undisturbed').returncode == 0
    assert tree_bytes(small_disk) == tree_bytes(tmp_path / 'undisturbed')


def test_a_full_disk_under_the_report_is_one_error(small_disk):
    path = small_disk / 'extract_report.csv'
    write_report(str(path), {'c/a.avi': make_row('c/a.avi', 'ok')})
    with pytest.raises(OSError), open(small_disk / 'filler', 'wb', buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(UserError, match='extract_report.csv: cannot be written .No space left'):
        for i in range(200):                    # the last page of the report still has room
            append_row(str(path), make_row(f'c/{i}.avi', 'ok'))
    assert 'c/a.avi' in read_report(path)


def test_read_only_disk(tmp_path, small_disk):
    write_video(tmp_path / 'videos/c/a.avi')
    subprocess.run(['mount', '-o', 'remount,ro', str(small_disk)], check=True)
    assert 'Read-only file system' in one_error_line(extract(tmp_path / 'videos', small_disk))


def test_file_size_limit_is_a_disk_error_and_no_video_is_blamed(tmp_path):
    write_video(tmp_path / 'videos/c/a.avi', width=320, height=240)
    argv = command('extract_frames', '--dataset', 'folder', '--video_root', tmp_path / 'videos', '--frame_root',
                   tmp_path / 'frames', '--jobs', 1)
    done = subprocess.run([sys.executable, *argv], capture_output=True, text=True, timeout=120,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
    assert 'File too large' in one_error_line(done)
    assert extract(tmp_path / 'videos', tmp_path / 'frames').returncode == 0
    assert len(frames_in(tmp_path / 'frames/c/a')) == 8


# ---- Stopping and resuming

VIDEOS = 14


@pytest.fixture(scope='module')
def many_videos(tmp_path_factory):
    """VIDEOS and a broken one, and the output tree of an undisturbed run."""
    root = tmp_path_factory.mktemp('many')
    for i in range(VIDEOS):
        write_video(root / f'videos/class{i % 3}/{i:02d}.avi', n_frames=40, width=320, height=240, seed=i)
    (root / 'videos/class0/broken.avi').write_text('no video')
    assert extract(root / 'videos', root / 'undisturbed', '--allow_failures').returncode == 0
    return root / 'videos', tree_bytes(root / 'undisturbed')


def start(videos, frames):
    return forked.Command(command('extract_frames', '--dataset', 'folder', '--video_root', videos,
                                  '--frame_root', frames, '--jobs', 2, '--allow_failures'), start_new_session=True)


def wait_for_frames(frames, process, workers=1):
    while len({path.parent for path in frames.glob('.extracting/1of1-*/*/*.jpg')}) < workers:
        assert process.poll() is None
        time.sleep(0.002)


@pytest.mark.parametrize('seed', [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in (1, 2, 3))])
def test_kill_at_a_random_moment_and_rerun_gives_the_same_bytes(tmp_path, many_videos, seed):
    videos, undisturbed = many_videos
    rng = random.Random(seed)
    for _ in range(2 if seed == 0 else 4):
        process = start(videos, tmp_path)
        if rng.random() < 0.8:
            try:
                wait_for_frames(tmp_path, process)
            except AssertionError:
                pass                                            # it had finished
        time.sleep(rng.uniform(0, 0.4))
        if rng.random() < 0.5:
            process.kill()                                      # only the run: its workers outlive it for a moment
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for folder in tmp_path.glob('class*/*'):
            relative = os.path.relpath(folder, tmp_path)
            whole = {name: data for name, data in undisturbed.items() if name.startswith(relative + '/')}
            assert {f'{relative}/{name}': data for name, data in tree_bytes(folder).items()} == whole
    again = extract(videos, tmp_path, '--allow_failures')
    assert again.returncode == 0, again.stderr
    assert tree_bytes(tmp_path) == undisturbed
    assert os.listdir(tmp_path / '.extracting') == ['1of1.lock']


def workers_of(process):
    """Ids of the worker processes of a run: those of its children that joblib calls LokyProcess."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/stat') as stat, open(f'/proc/{pid}/cmdline') as arguments:
                if int(stat.read().rsplit(')', 1)[1].split()[1]) == process.pid and 'LokyProcess' in arguments.read():
                    found.append(int(pid))
        except (FileNotFoundError, ProcessLookupError):
            pass                                                # it has just ended
    return found


@pytest.mark.parametrize('victim', ['first', pytest.param('all', marks=pytest.mark.soak)])
def test_a_worker_that_is_killed_costs_no_video(tmp_path, many_videos, victim):
    videos, undisturbed = many_videos
    process = start(videos, tmp_path)
    wait_for_frames(tmp_path, process)
    workers = workers_of(process)
    assert len(workers) == 2
    for worker in workers[:1] if victim == 'first' else workers:
        os.kill(worker, signal.SIGKILL)
    assert process.wait(timeout=60) == 0, process.communicate()[1]
    assert tree_bytes(tmp_path) == undisturbed


def test_ctrl_c_says_how_to_resume(tmp_path, many_videos):
    videos, undisturbed = many_videos
    process = start(videos, tmp_path)
    wait_for_frames(tmp_path, process, workers=2)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    message = process.communicate()[1]
    assert 'run the same command again to continue' in message and 'Traceback' not in message
    assert extract(videos, tmp_path, '--allow_failures').returncode == 0
    assert tree_bytes(tmp_path) == undisturbed


@pytest.mark.parametrize('script', ['extract_frames', *(pytest.param(script, marks=pytest.mark.soak)
                                                       for script in ('pack_frames', 'check_frames'))])
def test_ctrl_c_while_the_workers_start(tmp_path, many_videos, script):
    """Ctrl-C also reaches the workers, during their imports."""
    videos, _ = many_videos
    made = videos.parent / 'undisturbed'
    (tmp_path / 'list.csv').write_text(''.join(f'class{i % 3}/{i:02d},40\n' for i in range(VIDEOS)))
    flags = {'extract_frames': ['--dataset', 'folder', '--video_root', videos, '--frame_root', tmp_path / 'frames'],
             'pack_frames': ['--frame_root', made, '--packed_root', tmp_path / 'packed'],
             'check_frames': ['--csv', tmp_path / 'list.csv', '--frame_root', made]}[script]
    process = forked.Command(command(script, *flags, '--jobs', 2), start_new_session=True)
    while len(workers_of(process)) < 2:
        assert process.poll() is None
        time.sleep(0.002)
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    lines = [line for line in said.replace('\r', '\n').split('\n') if line and 'video/s' not in line]
    assert process.returncode == 130 and lines == ['interrupted; run the same command again to continue'], said


def test_two_runs_at_once_are_refused(tmp_path, many_videos):
    videos, undisturbed = many_videos
    process = start(videos, tmp_path)
    wait_for_frames(tmp_path, process)
    process.send_signal(signal.SIGSTOP)                         # or it might finish before the other one starts
    assert 'another run' in one_error_line(extract(videos, tmp_path))
    process.send_signal(signal.SIGCONT)
    assert process.wait(timeout=60) == 0
    assert tree_bytes(tmp_path) == undisturbed


def test_folders_without_a_report_row_are_described_again(tmp_path, many_videos):
    """As after a kill between renaming a folder and writing its row."""
    videos, undisturbed = many_videos
    shutil.copytree(videos.parent / 'undisturbed', tmp_path / 'frames')
    os.remove(tmp_path / 'frames/extract_report.csv')
    assert extract(videos, tmp_path / 'frames', '--allow_failures').returncode == 0
    assert tree_bytes(tmp_path / 'frames') == undisturbed


def test_shards_split_the_videos_and_give_the_same_frames(tmp_path, many_videos):
    videos, undisturbed = many_videos
    names = []
    for i in (1, 2, 3):
        assert extract(videos, tmp_path, '--shard', f'{i}/3', '--allow_failures').returncode == 0
        with open(tmp_path / f'extract_report_{i}of3.csv', newline='') as file:
            names.append({row['video'] for row in csv.DictReader(file)})
    assert all(names) and sum(map(len, names)) == len(set.union(*names)) == VIDEOS + 1
    done = extract(videos, tmp_path, '--allow_failures')
    assert '0 to do' in done.stdout
    made = {name: data for name, data in tree_bytes(tmp_path).items() if 'of3.csv' not in name}
    assert made == undisturbed


def test_folders_that_cannot_be_read_are_named_and_empty_ones_filled(tmp_path):
    write_video(tmp_path / 'videos/c/a.avi')
    write_video(tmp_path / 'videos/c/b.avi')
    (tmp_path / 'frames/c/a').mkdir(parents=True)
    (tmp_path / 'frames/c/b.zip').write_bytes(b'half a zip')
    write_video(tmp_path / 'videos/c/other.avi')
    (tmp_path / 'frames/c/other').mkdir()
    (tmp_path / 'frames/c/other/Thumbs.db').touch()
    done = extract(tmp_path / 'videos', tmp_path / 'frames')
    assert done.returncode == 1 and 'failed: c/b.avi: its frames exist but cannot be read' in done.stderr
    assert 'failed: c/other.avi: its frame folder exists and has other files in it: remove it' in done.stderr
    assert len(frames_in(tmp_path / 'frames/c/a')) == 8
    os.remove(tmp_path / 'frames/c/b.zip')
    shutil.rmtree(tmp_path / 'frames/c/other')
    assert extract(tmp_path / 'videos', tmp_path / 'frames', '--retry_failed').returncode == 0


def test_flags_that_make_no_sense(tmp_path):
    write_video(tmp_path / 'videos/c/a.avi', n_frames=1)
    for flags in (['--shard', '3/2'], ['--shard', '0/4'], ['--shard', 'x'], ['--quality', '0'], ['--jobs', '0'],
                  ['--short_side', '-1'], ['--unknown']):
        said = one_error_line(extract(tmp_path / 'videos', tmp_path / 'frames', *flags))
        assert flags[0] in said and said.endswith(' (--help explains every flag)') and 'shard_of' not in said
