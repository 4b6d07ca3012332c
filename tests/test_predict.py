"""eval/predict.py as a user runs it: the numbers of eval/test.py, every form of output, and what can be wrong."""
import csv
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from eval import features as features_cli
from eval import predict
from eval import test as classifier_cli
from eval.classify import timeline
from tests import tiny
from tests.films import write_film
from tests.tiny import run
from utils.video.sources import read_pictures

FLAGS = ['--num_workers', '0', '--gpu', 'cpu', '--amp', 'off']


def rows_of(csv_root):
    return list(csv.reader(open(csv_root / 'ucf101' / 'test_split01.csv', newline='')))


def answers(capsys, *words):
    """(exit status, what --json prints)"""
    capsys.readouterr()
    status = run(predict, [*words, '--json', *FLAGS])
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_answers_are_those_of_a_test(csv_root, classifier, tmp_path, capsys):
    """Every test video; net, clips and class names come from the checkpoint."""
    weights = classifier / 'model' / 'epoch1.pth.tar'
    paths = [row[0] for row in rows_of(csv_root)]
    status, found = answers(capsys, *paths, '--weights', weights)
    assert status == 0 and sorted(each['video'] for each in found) == sorted(paths)
    tested = tiny.run_folder(classifier_cli, ['--csv_root', csv_root, *FLAGS, '--test', weights], tmp_path)
    expected = {row['path']: row for row in csv.DictReader(open(tested / 'predictions.csv', newline=''))}
    for each in found:
        probabilities = [one['probability'] for one in each['top']]
        assert len(probabilities) == 5 and probabilities == sorted(probabilities, reverse=True)
        assert each['top'][0]['class'] == expected[each['video']]['prediction']
        assert probabilities[0] == pytest.approx(float(expected[each['video']]['probability']), abs=1e-4)


def test_forms_and_pictures(csv_root, classifier, tmp_path, capsys):
    """A folder of videos, a packed one among them: text, csv, and a picture of each."""
    weights = classifier / 'model' / 'epoch1.pth.tar'
    for i, (path, _) in enumerate(rows_of(csv_root)[:2]):
        shutil.copytree(path, tmp_path / 'mine' / f'v{i}')
    shutil.make_archive(str(tmp_path / 'mine' / 'w'), 'zip', tmp_path / 'mine' / 'v1')
    shutil.rmtree(tmp_path / 'mine' / 'v1')
    argv = [tmp_path / 'mine', '--weights', weights, *FLAGS]
    assert run(predict, [*argv, '--picture', tmp_path / 'pictures']) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(str(tmp_path))]
    assert [line.split(': ')[0] for line in lines] == [f'{tmp_path}/mine/v0', f'{tmp_path}/mine/w.zip']
    assert all(line.count('%') == 5 for line in lines)
    pictures = sorted((tmp_path / 'pictures').iterdir())
    assert [picture.name for picture in pictures] == ['001_v0.png', '002_w.png']
    assert all(cv2.imread(str(picture)).std() > 5 for picture in pictures)
    assert run(predict, [*argv, '--csv']) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert rows[0] == ['video', 'rank', 'class', 'probability', 'error'] and len(rows) == 11
    assert [row[1] for row in rows[1:6]] == list('12345')


def test_an_unreadable_video_is_named_and_the_others_are_scored(csv_root, classifier, tmp_path, capsys):
    weights = classifier / 'model' / 'epoch1.pth.tar'
    good = rows_of(csv_root)[3][0]
    shutil.copytree(good, tmp_path / 'broken')
    (tmp_path / 'broken' / 'image_00030.jpg').write_bytes(b'no picture')
    (tmp_path / 'text.mp4').write_text('no video')
    status, found = answers(capsys, tmp_path / 'text.mp4', tmp_path / 'broken', good, '--weights', weights)
    by_video = {each['video']: each for each in found}
    assert status == 1 and 'top' in by_video[good]
    assert 'image_00030.jpg' in by_video[str(tmp_path / 'broken')]['error']
    assert 'error' in by_video[str(tmp_path / 'text.mp4')]


def test_every_unreadable_video_is_answered(classifier, tmp_path, capsys):
    for name in 'ab':
        (tmp_path / f'{name}.mp4').write_text('no video')
    status, found = answers(capsys, tmp_path, '--weights', classifier / 'model' / 'epoch1.pth.tar')
    assert status == 1 and [Path(each['video']).name for each in found] == ['a.mp4', 'b.mp4']
    assert all('can read' in each['error'] for each in found)
    argv = [tmp_path, '--weights', classifier / 'model' / 'epoch1.pth.tar', '--out', tmp_path / 'f.npz', *FLAGS]
    assert run(features_cli, argv) == 2 and 'none of the 2 videos can be read' in capsys.readouterr().err


def test_the_timeline_names_every_class_that_wins_somewhere(csv_root, tmp_path, monkeypatch):
    """Two parts of a video may have winners that are not among the best on average; frames keep their shape."""
    path, count = rows_of(csv_root)[3]
    probability = np.array([[0.5, 0.3, 0.1, 0.1, 0.], [0.1, 0.3, 0.2, 0., 0.4], [0.4, 0.3, 0.3, 0., 0.]])
    figure = Figure((11, 4.2), layout='constrained')
    monkeypatch.setattr(timeline, 'Figure', lambda *size, **layout: figure)
    timeline.draw_timeline(tmp_path / 'x.png', 'x', path, int(count), np.array([0, 5, 10]), 10, probability,
                           list('abcde'))
    strip, chart = figure.axes
    assert [text.get_text()[0] for text in chart.get_legend().get_texts()] == ['a', 'b', 'c', 'e']
    box = strip.get_window_extent()
    assert box.width / box.height == pytest.approx(timeline.FRAMES, rel=0.02)


def test_a_video_file_gives_the_numbers_of_its_frames(csv_root, classifier, tmp_path, capsys):
    """A lossless file of a frame folder's pictures, and the features of both."""
    path, count = rows_of(csv_root)[3]
    numbers = range(1, int(count) + 1)
    file = write_film(tmp_path / 'film.mkv', [*read_pictures(path, numbers)], codec='ffv1', pix_fmt='bgr0')
    status, found = answers(capsys, file, path, '--weights', classifier / 'model' / 'epoch1.pth.tar')
    first, second = ([one['probability'] for one in each['top']] for each in found)
    assert status == 0 and found[0]['video'] == file and first == pytest.approx(second, abs=1e-5)

    out = tmp_path / 'features.npz'
    argv = [file, path, tmp_path / 'text.mp4', '--out', out, '--weights', classifier / 'model' / 'epoch1.pth.tar',
            *FLAGS]
    (tmp_path / 'text.mp4').write_text('no video')
    assert run(features_cli, argv) == 1
    assert 'text.mp4' in capsys.readouterr().err
    with np.load(out) as stored:
        assert stored['context'][0] == pytest.approx(stored['context'][1], abs=1e-5)
        assert stored['path'].tolist() == [file, path] and set(stored['label']) == {-1}

    for given, proposed in (([file], True), ([], False)):
        assert run(predict, [*given, tmp_path / 'text.mp4', '--weights', classifier / 'model' / 'epoch1.pth.tar', *FLAGS]) == 1
        assert ('next: ' in capsys.readouterr().out) == proposed


def test_mistakes_are_one_line(csv_root, classifier, pretrained, tmp_path, capsys):
    good = rows_of(csv_root)[0][0]
    stored = torch.load(classifier / 'model' / 'epoch1.pth.tar', weights_only=True)
    nameless = tmp_path / 'nameless.pth.tar'
    torch.save({name: value for name, value in stored.items() if name != 'settings'}, nameless)
    for weights, said in ((nameless, '--dataset'), (pretrained / 'model' / 'epoch1.pth.tar', 'has no classifier'),
                          ('nothing', 'nothing')):
        capsys.readouterr()
        assert run(predict, [good, '--weights', weights, *FLAGS]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith('error: ') and said in error
    status, found = answers(capsys, good, '--weights', nameless, '--dataset', 'ucf101', '--csv_root', csv_root,
                            *tiny.CLIP)
    assert status == 0 and found[0]['top'][0]['class'] in tiny.ucf101_classes()
    (tmp_path / 'empty').mkdir()
    for given, flags, said in ((f'{good}x', [], f'is not there.*beside it: {Path(good).name}'),
                               (tmp_path / 'empty', [], 'no video in this folder'),
                               (good, ['--picture', nameless], 'cannot make this folder')):
        assert run(predict, [given, '--weights', classifier / 'model' / 'epoch1.pth.tar', *FLAGS, *flags]) == 2
        assert re.search(said, capsys.readouterr().err.splitlines()[-1])
