"""Clips from video files: the same as from their frames, in the same places; what is broken is named and replaced."""
import os
import shutil
import zipfile

import cv2
import numpy as np
import pytest
import torch

from tests.films import film, write_film
from tests.whole_videos import whole_video
from utils.cli import UserError
from utils.data.batches import ClipBatches
from utils.data.classes import labels_of
from utils.data.clips import Clip, ClipDataset, VideoDataset
from utils.data.colour import PRETRAINING
from utils.data.held_out import hold_out
from utils.data.lists import VideoList, check_on_disk
from utils.parallel.precision import Precision
from utils.video.frames import FrameError, frame_name
from utils.video.reader import VideoFile
from utils.video.sources import SHORT_SIDE, has_frame, read_pictures, stamp_of

LENGTHS = (25, 40, 33, 60)
B_FRAMES = {'g': '12', 'bf': '3', 'b_strategy': '0'}
CPU = Precision('off', torch.device('cpu'))


def write_frames(path, folder):
    """What extract_frames.py writes, at the best JPEG quality."""
    os.makedirs(folder)
    with VideoFile(path, 'bgr24', SHORT_SIDE) as video:
        for number, frame in enumerate(video.all_frames(), 1):
            cv2.imwrite(f'{folder}/{frame_name(number)}', frame, [cv2.IMWRITE_JPEG_QUALITY, 100])


@pytest.fixture(scope='module')
def lists(tmp_path_factory):
    """The same videos as {'file', 'frames', 'packed'}: VideoLists."""
    root, paths = tmp_path_factory.mktemp('videos'), {'file': [], 'frames': [], 'packed': []}
    for i, count in enumerate(LENGTHS):
        name = f'{"ab"[i % 2]}/v{i}'
        path = write_film(root / f'file/{name}.mp4', film(count, 320, 248, seed=i, blur=12),
                          options={**B_FRAMES, 'crf': '15'})
        write_frames(path, root / f'frames/{name}')
        (root / f'packed/{name}').parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(root / f'packed/{name}.zip', 'w') as archive:
            for number in range(1, count + 1):
                archive.write(root / f'frames/{name}/{frame_name(number)}', frame_name(number))
        for source in paths:
            paths[source].append(path if source == 'file' else str(root / f'{source}/{name}'))
    return {source: VideoList.from_rows(found, LENGTHS) for source, found in paths.items()}


def clips_of(videos, crop='square', img_dim=128, **options):
    """Clips of 3 blocks of 2 frames, every 4th: 24 frames of video."""
    return ClipDataset(videos, Clip(3, 2, 4, img_dim), crop, **options)


def difference(a, b):
    return (a.float() - b.float()).abs().mean().item()


def test_three_sources_give_the_same_frames(lists):
    for i, count in enumerate(LENGTHS):
        files, loose, packed = (list(read_pictures(lists[source].path(i), [1, 2, 17, count]))
                                for source in ('file', 'frames', 'packed'))
        assert all(map(np.array_equal, loose, packed))
        for ours, jpeg in zip(files, loose, strict=True):
            assert ours.shape == jpeg.shape == (SHORT_SIDE, round(320 * SHORT_SIDE / 248), 3)
            assert np.abs(ours.astype(int) - jpeg).mean() < 1
        for videos in lists.values():
            assert has_frame(videos.path(i), count) and not has_frame(videos.path(i), count + 1)


@pytest.mark.parametrize('img_dim, crop', [(128, 'square'), (96, 'resized'), (64, 'centre'), (32, 'resized')])
def test_the_clip_of_seed_epoch_and_index_is_the_same_from_a_file_and_from_its_frames(lists, img_dim, crop):
    file, frames = (clips_of(lists[source], colour=PRETRAINING, seed=5, img_dim=img_dim, crop=crop)
                    for source in ('file', 'frames'))
    for epoch in (0, 1):
        for index in range(len(LENGTHS)):
            ours, theirs, other = file[epoch, index], frames[epoch, index], frames[epoch, (index + 1) % 4]
            assert difference(ours['frames'], theirs['frames']) < 1 < 10 < difference(ours['frames'], other['frames'])
            assert all(torch.equal(ours['colour'][name], theirs['colour'][name]) for name in ours['colour'])


def test_whole_videos(lists):
    for i in range(len(LENGTHS)):
        ours, theirs = (whole_video(VideoDataset(lists[source], Clip(2, 3, 4, 128)), i) for source in ('file', 'frames'))
        assert difference(ours['frames'], theirs['frames']) < 1 and torch.equal(ours['start'], theirs['start'])


@pytest.mark.parametrize('num_workers', [1, 2])
def test_clips_do_not_depend_on_the_number_of_workers(lists, num_workers):
    def read(workers):
        batches = ClipBatches(clips_of(lists['file'], img_dim=32), 2, True, CPU, workers)
        return [batch.block for epoch in (0, 1) for batch in batches.epoch(epoch)]

    assert all(map(torch.equal, read(num_workers), read(0)))


# ---- lists

def test_classes_groups_and_names_of_files(tmp_path):
    names = [f'{name}/v_{name}_g{group:02d}_c{clip:02d}.avi' for name in ('Archery', 'YoYo') for group in (1, 2, 3)
             for clip in (1, 2)]
    videos = VideoList.from_rows([f'/data/{name}' for name in names], [10] * len(names))
    assert videos.paths() == [f'/data/{name}' for name in names]
    assert labels_of(videos, ['Archery', 'YoYo']).tolist() == [0] * 6 + [1] * 6
    train, held = hold_out(videos, 0.3, seed=0)
    groups = [{names[i].rsplit('_', 2)[1] for i in part} for part in (train, held)]
    assert len(held) == 4 and not groups[0] & groups[1]


def test_check_on_disk(lists, tmp_path):
    check_on_disk(lists['file'])
    path = lists['file'].path(0)
    with pytest.raises(UserError, match=f'{path}: the csv lists 26 frames, but the last is not there'):
        check_on_disk(VideoList.from_rows([path], [26]))
    with pytest.raises(UserError, match='a.mp4: no such frame folder .* or video file'):
        check_on_disk(VideoList.from_rows([str(tmp_path / 'a.mp4')], [3]))
    (tmp_path / 'a.mp4').write_text('no video')
    with pytest.raises(UserError, match='a.mp4: no video that the decoder can read'):
        check_on_disk(VideoList.from_rows([str(tmp_path / 'a.mp4')], [3]))


# ---- broken files

def vanish(path):
    os.remove(path)


def truncate(path):
    os.truncate(path, os.path.getsize(path) // 3)


def garble(path):
    with open(path, 'wb') as file:
        file.write(b'no video' * 1000)


def shorten(path):
    """Another, shorter video under the same name."""
    write_film(type(path)(path), film(10, 320, 248), options=B_FRAMES)


def recolour(path):
    write_film(type(path)(path), film(60, 320, 248), matrix=8)


@pytest.mark.parametrize('spoil, message', [
    (vanish, 'No such file'), (truncate, 'no video that the decoder can read'), (garble, 'no video that the decoder'),
    (shorten, 'it has 10 frames, and frame .. was asked for'), (recolour, 'colour matrix ycgco')])
def test_a_broken_file_is_named_and_replaced(lists, tmp_path, spoil, message):
    paths = [tmp_path / 'good.mp4', tmp_path / 'bad.mp4']
    shutil.copy(lists['file'].path(3), paths[0])
    shutil.copy(lists['file'].path(3), paths[1])
    spoil(paths[1])
    videos = VideoList.from_rows(list(map(str, paths)), [60, 60])
    sample = clips_of(videos)[0, 1]
    assert sample['index'] == 0 and len(set(sample['broken'])) == 1
    with pytest.raises(FrameError, match=message):
        raise FrameError(sample['broken'][0])
    assert str(paths[1]) in sample['broken'][0]
    broken = whole_video(VideoDataset(videos, Clip(2, 3, 4, 32)), 1)
    assert set(broken) == {'index', 'broken'} and str(paths[1]) in broken['broken']
    with pytest.raises(FrameError, match='10 broken videos in a row'):
        clips_of(videos.select([1]))[0, 0]


def test_a_slow_decoder_counts_as_broken(lists, monkeypatch):
    monkeypatch.setattr('utils.video.sources.PATIENCE', 1e-9)
    with pytest.raises(FrameError, match='v1.mp4: the decoder gave no wanted frame in 1e-09 s'):
        next(read_pictures(lists['file'].path(1), [3]))


@pytest.mark.parametrize('kind', ['folder', 'packed', 'file'])
def test_a_stamp_changes_when_a_video_is_replaced(tmp_path, kind):
    """Written again under its name, even with the same number of bytes; not when it is only read."""
    path = tmp_path / 'run' / 'v'
    frames = [path / frame_name(number) for number in (1, 2, 3)]
    written = {'folder': frames, 'packed': [path.with_name('v.zip')], 'file': [path]}[kind]

    def write(nanoseconds):
        for file in written:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b'0123')
            os.utime(file, ns=(nanoseconds, nanoseconds))

    absent = stamp_of(str(path), 3)
    write(10 ** 18)
    first = stamp_of(str(path), 3)
    [file.read_bytes() for file in written]
    assert first == stamp_of(str(path), 3) != absent
    write(10 ** 18 + 1000)
    second = stamp_of(str(path), 3)
    assert second != first
    written[0].unlink()
    assert stamp_of(str(path), 3) != second
