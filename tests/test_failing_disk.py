"""A file system that fails is named with its own reason; no video, list or checkpoint is blamed or left out for it."""
import builtins
import errno
import importlib
import io
import os

import pytest
import torch

from backbone import select_backbone
from process_data.check_frames import inspect_frames
from process_data.extract_one_video import extract_video
from tests.films import film, write_film
from tests.numbered import write_video
from utils import system_errors
from utils.checkpoint import read_checkpoint
from utils.cli import UserError, run_cli
from utils.data.classes import read_class_list
from utils.data.lists import VideoList, check_on_disk
from utils.run.check_backbone import check_backbone
from utils.video.frames import DiskError
from utils.video.sources import count_all, read_pictures


class FailingFile(io.FileIO):
    """A file that is there, and whose reads fail."""

    def readinto(self, *_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    read = readall = readinto


@pytest.fixture(params=[errno.ESTALE, errno.EIO])
def failing(request, monkeypatch):
    """A function that makes all reading of files below a folder fail, on opening (ESTALE) or later (EIO)."""
    def fail(folder):
        opened = builtins.open

        def open_or_fail(file, mode='r', buffering=-1, **options):
            if not str(file).startswith(str(folder)) or 'r' not in mode:
                return opened(file, mode, buffering, **options)
            if request.param == errno.ESTALE:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(file))
            raw = FailingFile(file)
            binary = raw if buffering == 0 else io.BufferedReader(raw)
            return binary if 'b' in mode else io.TextIOWrapper(binary, options.get('encoding'))

        monkeypatch.setattr(builtins, 'open', open_or_fail)
        monkeypatch.setattr(io, 'open', open_or_fail)
        return os.strerror(request.param)

    return fail


def test_videos(tmp_path, failing, monkeypatch):
    path = write_film(tmp_path / 'c/a.mp4', film(3))
    said = failing(tmp_path)
    if said == os.strerror(errno.EIO):
        monkeypatch.setattr('av.open', lambda *_, **__: open(path, 'rb').read())
    task = dict(name='c/a.mp4', source=path, target=str(tmp_path / 'frames'), work=str(tmp_path / 'work'), packed=False,
                settings=dict(short_side=0, upscale=False, quality=80))
    for call in (lambda: extract_video(**task), lambda: count_all(str(tmp_path), ['c/a.mp4'], 1),
                 lambda: inspect_frames(path, 'ends')):
        with pytest.raises(UserError, match=f'{said}; the file system fails'):
            call()
    with pytest.raises(DiskError, match=said):
        next(read_pictures(path, [1]))


def test_frames(tmp_path, failing):
    write_video(tmp_path / 'v', 3)
    said = failing(tmp_path)
    with pytest.raises(DiskError, match=said):
        inspect_frames(str(tmp_path / 'v'), 'ends')


def test_checkpoints(tmp_path, failing):
    torch.save({'state_dict': {}}, tmp_path / 'a.pth.tar')
    said = failing(tmp_path)
    with pytest.raises(UserError, match=f'a.pth.tar: {said}; the file system fails'):
        read_checkpoint(tmp_path / 'a.pth.tar')


def test_lists(tmp_path, failing, capsys):
    (tmp_path / 'list.csv').write_text('/d/c/v,10\n')
    (tmp_path / 'classInd.txt').write_text('1 c\n')
    said = failing(tmp_path)
    for read, path in ((VideoList.read_csv, tmp_path / 'list.csv'), (read_class_list, tmp_path)):
        with pytest.raises(SystemExit):
            run_cli(read, str(path))
        assert f'{said}' in capsys.readouterr().err


def test_a_video_that_cannot_be_looked_for(monkeypatch):
    def stale(path, **_):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)

    monkeypatch.setattr(os, 'stat', stale)
    with pytest.raises(UserError, match='/d/c/v: Stale file handle; the file system fails'):
        check_on_disk(VideoList.from_rows(['/d/c/v'], [10]))


def test_a_missing_temporary_folder_is_not_the_fault_of_the_backbone(monkeypatch):
    def none(*_):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(importlib, 'import_module', none)   # PyTorch needs the folder to import a part of itself
    with pytest.raises(FileNotFoundError) as error:
        check_backbone(select_backbone('resnet18'), 'resnet18', 32, 5)
    assert system_errors.in_one_line(error.value) == (
        "No usable temporary directory found in ['/tmp']; make room in one of them, or set TMPDIR to a folder that can be "
        'written to')


def test_errors_in_one_line():
    assert system_errors.in_one_line(OSError(errno.ETIMEDOUT, 'Connection timed out', '/d/a')) == (
        '/d/a: Connection timed out; the file system fails; check the disk or the network, then run again')
    assert system_errors.in_one_line(OSError(errno.EINVAL, 'Invalid argument')) is None
