"""The test protocol's numbers against loops, and the pictures and files made of them."""
import csv

import numpy as np
import pytest
import torch

from eval.protocol import VideoScores, score_videos, summarise
from eval.report import confusion_matrix, draw_confusion, write_log, write_predictions
from tests.test_classifier_cli import obvious_numbers, table_of
from utils.data.colour import to_block
from utils.parallel.device import Precision


def random_scores(videos=40, classes=7, seed=0):
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.ones(classes), videos).astype(np.float32)
    return VideoScores(probability, rng.integers(classes - 1, size=videos))  # one class has no video


def test_summary():
    scores = random_scores()
    stats = summarise(scores)
    assert stats['videos'] == 40
    assert [stats[name] for name in ('loss', 'top1', 'top5', 'mean_class')] == pytest.approx(
        obvious_numbers(scores.probability, scores.label), rel=1e-5)


def test_mean_class_accuracy_weighs_classes_alike():
    """9 of 10 videos of one class right and 0 of 1 of the other: 45%, where top-1 is 82%."""
    probability = np.array([[0.9, 0.1]] * 9 + [[0.2, 0.8]] + [[0.6, 0.4]], np.float32)
    stats = summarise(VideoScores(probability, np.array([0] * 10 + [1])))
    assert stats['top1'] == pytest.approx(9 / 11) and stats['mean_class'] == pytest.approx(0.45) and stats['top5'] == 1


def test_a_certain_mistake_has_a_finite_loss():
    assert np.isfinite(summarise(VideoScores(np.array([[1., 0.]], np.float32), np.array([1])))['loss'])


def test_part_of_the_videos():
    scores = random_scores()
    mask = scores.label == 2
    part = scores.select(mask)
    assert len(part.label) == mask.sum() and (part.probability == scores.probability[mask]).all()


class Mean(torch.nn.Module):
    """Logits are the mean colours of a clip; as a net with batch statistics, it tells how many clips it got."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, block):
        self.sizes.append(len(block))
        return block.mean(dim=(1, 3, 4, 5))


class Videos(list):
    """A loader of whole videos of different lengths, in another order than the list's."""

    @property
    def dataset(self):
        return self


@pytest.mark.parametrize('clips_at_once', [1, 2, 100])
def test_scores_of_videos(clips_at_once):
    """The mean over clips of the softmax, at the video's place, however many clips go through at a time."""
    rng = np.random.default_rng(0)
    videos = Videos({'frames': torch.from_numpy(rng.integers(0, 256, (clips, 6, 4, 4, 3), np.uint8)),
                     'label': torch.tensor(index % 3), 'index': torch.tensor(index)}
                    for index, clips in ((2, 3), (0, 1), (1, 5)))
    model, device = Mean(), torch.device('cpu')
    scores = score_videos(model, videos, 2, device, Precision('off', device), 3, clips_at_once)
    for video in videos:
        clips = [Mean()(to_block(clip[None], None, 2))[0].softmax(dim=0).numpy() for clip in video['frames']]
        expected = np.mean(clips, axis=0)
        assert scores.probability[video['index']] == pytest.approx(expected, abs=1e-6)
        assert scores.label[video['index']] == video['label']
    assert max(model.sizes) <= clips_at_once and not model.training


def test_confusion_matrix():
    label, prediction = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 2, 0])
    assert confusion_matrix(label, prediction, 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]


@pytest.mark.parametrize('classes', [3, 101])
def test_confusion_picture(tmp_path, classes):
    """Drawn for few classes and for many, also with names and classes that nothing was tested of."""
    matrix = np.zeros((classes, classes), int)
    matrix[0, 1] = 5
    draw_confusion(tmp_path / 'confusion.png', matrix, [f'Class $ {i}' for i in range(classes)])
    assert (tmp_path / 'confusion.png').read_bytes().startswith(b'\x89PNG')


def test_files(tmp_path):
    """Paths with commas, quotes and bytes that are no UTF-8 survive the csv; a second test is added to the log."""
    scores = random_scores(videos=3, classes=2)
    names = ['a, b', 'c "d"']
    paths = ['/x/a, "b"/v 1', '/x/ü/v', '/x/\udcff/v']
    write_predictions(tmp_path / 'predictions.csv', paths, scores, names)
    with open(tmp_path / 'predictions.csv', newline='', encoding='utf-8', errors='surrogateescape') as file:
        rows = list(csv.DictReader(file))
    assert [row['path'] for row in rows] == paths
    assert [row['prediction'] for row in rows] == [names[i] for i in scores.prediction]
    write_log(tmp_path / 'test_log.md', 'first', {'weights': 'x'}, {'every video': summarise(scores)})
    assert table_of(tmp_path / 'test_log.md')['every video'][0] == 3
    write_log(tmp_path / 'test_log.md', 'second', {'weights': 'y'}, {'every video': summarise(scores)})
    text = (tmp_path / 'test_log.md').read_text()
    assert text.index('## first') < text.index('- weights: x') < text.index('## second') < text.index('- weights: y')
