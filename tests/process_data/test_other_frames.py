"""Frames that other tools wrote, stray pictures beside frames, and classes of which no video is there."""
import os

import cv2
import numpy as np
import pytest

from eval.extract.inputs import videos_in
from process_data import layout
from process_data.missing_classes import missing_classes
from process_data.write_csv import index_frames
from utils.cli import UserError
from utils.video.frames import frame_name
from utils.video.sources import count_frames


def write_pictures(folder, names):
    os.makedirs(folder)
    picture = cv2.imencode('.jpg', np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    for name in names:
        with open(os.path.join(folder, name), 'wb') as file:
            file.write(picture)


@pytest.mark.parametrize('first, second', [('00001.jpg', '00002.jpg'), ('img_00001.jpg', 'img_00002.jpg'),
                                           ('image_00001.png', 'image_00002.png'), ('image_00001.JPG', 'image_00002.JPG'),
                                           ('image_000001.jpg', 'image_000002.jpg')])
def test_frames_of_another_name_are_named_with_what_is_needed(tmp_path, first, second):
    write_pictures(tmp_path / 'run/v', [second, first])
    said = (f'{tmp_path}/run/v has pictures named {first}, {second}, …, but the frames of a video are JPEG files named '
            'image_00001.jpg, image_00002.jpg, … in a folder of its own')
    for look in (lambda: index_frames(str(tmp_path), 1), lambda: videos_in(str(tmp_path))):
        with pytest.raises(UserError) as error:
            look()
        assert said in str(error.value) and len(str(error.value).splitlines()) == 1


def test_frames_count_up_to_the_first_gap_and_other_files_do_not(tmp_path, capsys):
    for name, extra, expected in (('thumb', ['image_thumb.jpg', 'image_1.jpg'], 3), ('zero', [frame_name(0)], 3),
                                  ('gap', [frame_name(5)], 3), ('more', [frame_name(4)], 4)):
        write_pictures(tmp_path / name, [*map(frame_name, (1, 2, 3)), *extra])
        assert count_frames(str(tmp_path / name)) == expected, name
        warning = f'warning: {tmp_path}/gap: image_00004.jpg is missing: what comes after it, 1 of 4 frames, cannot be used\n'
        assert capsys.readouterr().err == warning * (name == 'gap')
    assert {name: video.n_frames for name, video in index_frames(str(tmp_path), 1).items()} == {
        'thumb': 3, 'zero': 3, 'gap': 3, 'more': 4}


def test_a_class_without_videos_is_named_and_so_is_a_folder_that_differs_in_capitals():
    lists = {'train': ['HandStandPushups/a', 'HandStandPushups/b', 'Run/a', 'Jump/a'],
             'test': ['HandStandPushups/c', 'Run/b', 'Jump/b']}
    videos = dict.fromkeys(['HandstandPushups/a', 'HandstandPushups/c', 'Run/b'])
    assert missing_classes(lists, videos, {}) == [
        "class HandStandPushups: none of its 3 videos is there; the folder 'HandstandPushups' differs in capitals only: "
        "rename it to 'HandStandPushups'", 'class Jump: none of its 2 videos is there']
    # labels from a file: the folder has no say
    labels = {'x/a': 'run', 'x/b': 'jump', 'x/c': 'jump'}
    assert missing_classes({'train': [*labels]}, {'x/a': 1}, labels) == ['class jump: none of its 2 videos is there']
    assert missing_classes({'train': [*labels]}, {'x/a': 1, 'x/c': 1}, labels) == []


def test_a_folder_that_cannot_be_written_is_found_before_frames_are_counted(tmp_path, monkeypatch):
    layout.require_writable(str(tmp_path / 'a/b'))
    assert not os.listdir(tmp_path)
    monkeypatch.setattr(os, 'access', lambda *_: False)
    with pytest.raises(UserError, match=f'{tmp_path}/a/b: cannot write there .* is read-only'):
        layout.require_writable(str(tmp_path / 'a/b'))
