"""The numbers of the test protocols against loops, and the files written from them."""
import csv
import math

import numpy as np
import pytest
import torch

from eval.classify.outputs import (
    accuracy_text,
    class_accuracies_figure,
    confusion_figure,
    confusion_matrix,
    write_log,
    write_predictions,
)
from eval.classify.scores import (
    VideoScores,
    clips_of_all,
    every_video,
    protocols_for,
    published_protocol,
    score_videos,
    summarise,
)
from eval.classify.test_report import mean_of
from eval.extract.resources import Resources
from eval.metrics import intervals
from tests.test_classifier_cli import obvious_numbers, table_of
from utils.cli import UserError
from utils.data.clip_starts import count_blocks
from utils.data.clips import Clip, VideoDataset
from utils.data.colour import to_block
from utils.data.lists import VideoList
from utils.parallel.precision import Precision
from utils.text import printable
from utils.video.frames import FrameError


def scores_of(probability, label):
    loss = -np.log(np.maximum(probability[np.arange(len(label)), label], 1e-12))
    return VideoScores(np.arange(len(label)), probability, label, loss)


def own_groups(scores):
    """Every video is its own group."""
    return np.array([f'v{row:04d}' for row in scores.index])


def random_scores(videos=40, classes=7, seed=0):
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.ones(classes), videos).astype(np.float32)
    return scores_of(probability, rng.integers(classes - 1, size=videos))  # one class has no video


def test_summary():
    scores = random_scores()
    stats = summarise(scores, own_groups(scores))
    assert stats['videos'] == stats['groups'] == 40
    assert [stats[name] for name in ('loss', 'top1', 'top5', 'mean_class')] == pytest.approx(
        obvious_numbers(scores.probability, scores.label), rel=1e-5)


def test_mean_class_accuracy_weighs_classes_alike():
    """9 of 10 videos of one class right and 0 of 1 of the other: 45%, where top-1 is 82%."""
    probability = np.array([[0.9, 0.1]] * 9 + [[0.2, 0.8]] + [[0.6, 0.4]], np.float32)
    stats = summarise(scores_of(probability, np.array([0] * 10 + [1])), np.arange(11))
    assert stats['top1'] == pytest.approx(9 / 11) and stats['mean_class'] == pytest.approx(0.45) and stats['top5'] == 1


def test_ties_count_against_the_truth():
    """Equal probabilities of ten classes are no top-5."""
    scores = scores_of(np.full((4, 10), 0.1, np.float32), np.arange(4))
    assert summarise(scores, np.arange(4))['top5'] == 0


def test_intervals_of_a_summary():
    """Each accuracy of the same resamples of the groups, one at a time in loops; the middle 95% of them."""
    scores, group = random_scores(videos=60), np.random.default_rng(1).integers(15, size=60)
    order = np.argsort(-scores.probability, axis=1)
    ranks = [list(ranking).index(label) for ranking, label in zip(order, scores.label)]
    rng, drawn = np.random.default_rng(0), []
    for _ in range(intervals.RESAMPLES):
        by_class = {}
        rows = [row for g in rng.integers(15, size=15) for row in np.flatnonzero(group == g)]
        for row in rows:
            by_class.setdefault(scores.label[row], []).append(ranks[row] == 0)
        drawn.append([np.mean([ranks[row] == 0 for row in rows]), np.mean([ranks[row] < 5 for row in rows]),
                      np.mean([np.mean(hits) for hits in by_class.values()])])
    stats = summarise(scores, group)
    assert stats['groups'] == 15
    for name, values in zip(('top1', 'top5', 'mean_class'), np.sort(drawn, axis=0).T):
        low, high = stats['interval'][name]
        assert [low, high] == pytest.approx(np.quantile(values, [0.025, 0.975])) and low <= stats[name] <= high
        assert accuracy_text(stats, name) == f'{stats[name]:.2%} [{low:.2%}, {high:.2%}]'


def test_few_groups_have_no_interval():
    """Three people: the accuracy of each, in place of an interval."""
    scores, group = random_scores(videos=30), np.repeat(['ann', 'bob', 'eve'], 10)
    stats = summarise(scores, group)
    right = scores.prediction == scores.label
    assert stats['interval']['top1'] == (None, None)
    assert stats['by_group']['top1'] == {name: right[group == name].mean() for name in ('ann', 'bob', 'eve')}
    values = ', '.join(f'{right[group == name].mean():.2%}' for name in sorted(set(group), key=lambda name:
                                                                               right[group == name].mean()))
    assert accuracy_text(stats, 'top1') == f'{stats["top1"]:.2%} {{{values}}}'


def test_the_order_of_the_videos_changes_no_number():
    scores, group = random_scores(), np.arange(40) // 2
    rows = np.random.default_rng(1).permutation(40)
    shuffled = VideoScores(scores.index, scores.probability[rows], scores.label[rows], scores.loss[rows])
    first, second = summarise(scores, group), summarise(shuffled, group[rows])
    for name in ('top1', 'top5', 'mean_class', 'loss'):
        assert first[name] == pytest.approx(second[name])
    for name, interval in first['interval'].items():
        assert interval == pytest.approx(second['interval'][name])


@pytest.fixture
def many_resamples(monkeypatch):
    """As many as users get."""
    monkeypatch.setattr(intervals, 'RESAMPLES', 2000)


def test_the_interval_of_a_mean_over_splits(many_resamples):
    """Three independent splits: √3 times narrower than that of one. Of the same groups in all it is as wide."""
    scores = random_scores(videos=300, classes=2)
    names = own_groups(scores)
    splits = [summarise(scores, np.array([f'{split}{name}' for name in names])) for split in range(3)]
    widths = [np.diff(stats['interval']['top1']) for stats in (splits[0], mean_of(splits))]
    assert widths[0] / widths[1] == pytest.approx(math.sqrt(3), rel=0.1)
    mean = mean_of([splits[0]] * 3)
    assert mean['interval']['top1'] == splits[0]['interval']['top1'] and mean['groups'] == 300
    assert mean['interval']['top1'][0] < mean['top1'] < mean['interval']['top1'][1]


# ---- which clips

def obvious_blocks(n, N, T, ds):
    """Frame numbers of the blocks of a video of n frames, from 1; a short video repeats its last frame."""
    sampled = list(range(1, n + 1, ds))
    while len(sampled) < N * T:
        sampled.append(n)
    blocks = []
    while len(sampled) >= T:
        blocks.append(sampled[:T])
        sampled = sampled[T:]
    return blocks


def obvious_clips(n, N, T, ds):
    """First blocks of our clips: every N//2 blocks, then one that ends with the last block."""
    blocks = len(obvious_blocks(n, N, T, ds))
    starts = []
    start = 0
    while start + N < blocks:
        starts.append(start)
        start += N // 2
    return starts + [blocks - N]


def published_clips(n, N, T, ds, dataset):
    """As the published code chooses them: [] for a video that it drops."""
    if n <= N * T * ds:
        return []
    blocks = math.floor(math.ceil(n / ds) / T)
    return list(range(0, blocks - N + 1, 3 * N // 4 if dataset == 'hmdb51' else N // 2))


@pytest.mark.parametrize('dataset', ['ucf101', 'hmdb51'])
def test_clips_of_every_length(dataset):
    """Videos of 1 to 1000 frames with N=8, T=5, ds=3; one pass has the clips of both protocols, and no others."""
    N, T, ds = 8, 5, 3
    protocols = protocols_for(dataset, N, T, ds)
    ours, published = protocols
    for n in range(1, 1001):
        assert count_blocks(n, N, T, ds) == len(obvious_blocks(n, N, T, ds))
        assert ours.starts(n).tolist() == obvious_clips(n, N, T, ds), n
        assert published.starts(n).tolist() == published_clips(n, N, T, ds, dataset), n
        union = sorted({*obvious_clips(n, N, T, ds), *published_clips(n, N, T, ds, dataset)})
        assert clips_of_all(protocols)(n).tolist() == union, n
    assert published.starts(120).tolist() == [] and published.starts(121).tolist() == [0]
    assert published.starts(150).tolist() == [0] and ours.starts(150).tolist() == [0, 2]


@pytest.mark.parametrize('N', [1, 2, 3])
def test_short_clips_have_a_stride(N):
    for dataset in ('ucf101', 'hmdb51'):
        assert np.diff(published_protocol(dataset, N, 2, 1).starts(40)).min() >= 1


def test_rows_by_data_set():
    """The published protocol exists for two data sets only."""
    names = {dataset: [protocol.name for protocol in protocols_for(dataset, 8, 5, 3)]
             for dataset in ('ucf101', 'hmdb51', 'k400', 'my_videos')}
    both = ['every video', 'published protocol (only videos over 120 frames)']
    assert names == {'ucf101': both, 'hmdb51': both, 'k400': ['every video'], 'my_videos': ['every video']}


# ---- scores

class Mean(torch.nn.Module):
    """Logits are the mean colours of a clip. Records how many clips it gets at a time."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def encode(self, block):
        return block.mean(dim=(3, 4, 5))

    def summarise(self, maps):
        self.sizes.append(len(maps))
        return maps.mean(dim=1)


N, T, DS = 2, 3, 1  # clips of 6 frames


class Videos(VideoDataset):
    """Whole videos of random frames, which are in memory; label is the index modulo 3. errors: {index: str}."""

    def __init__(self, counts, protocols, errors):
        paths = [f'/videos/{index}' for index in range(len(counts))]
        super().__init__(VideoList.from_rows(paths, counts), Clip(N, T, DS, 4), np.arange(len(counts)) % 3,
                         clips_of_all(protocols))
        rng = np.random.default_rng(0)
        self.blocks = [rng.integers(0, 256, (count_blocks(count, N, T, DS), T, 4, 4, 3), np.uint8) for count in counts]
        self.errors = errors

    def _read_piece(self, index, first, end):
        if index in self.errors:
            raise FrameError(self.errors[index])
        rows = self.plan(index).first // (T * DS)
        return {'blocks': torch.from_numpy(self.blocks[index][rows[first:end]])[None], 'index': torch.tensor(index),
                'last': torch.tensor(end == len(rows))}


@pytest.mark.parametrize('clips_at_once', [1, 2, 100])
def test_scores_of_videos(clips_at_once):
    """Both protocols from one pass: mean softmax over each one's clips at the video's place, and each one's loss."""
    protocols, counts = protocols_for('hmdb51', N, T, DS), (4, 31, 16, 6)
    videos = Videos(counts, protocols, {})
    model, device = Mean(), torch.device('cpu')
    resources = Resources(Precision('off', device), 0, 0, clips_at_once)
    (ours, published), broken = score_videos(model, videos, protocols, resources, 3)
    assert broken == []
    assert ours.index.tolist() == [0, 1, 2, 3] and published.index.tolist() == [1, 2]  # the others are 4 and 6 frames
    for index, n in enumerate(counts):
        label = index % 3

        def logits_of(starts, frames=videos.blocks[index]):
            clips = [torch.from_numpy(frames[start:start + N].reshape(1, N * T, 4, 4, 3)) for start in starts]
            return np.array([to_block(clip, None, N).mean(dim=(1, 3, 4, 5))[0].numpy() for clip in clips])

        def softmax(logits):
            return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)

        row = list(ours.index).index(index)
        expected = softmax(logits_of(obvious_clips(n, N, T, DS))).mean(axis=0)
        assert ours.probability[row] == pytest.approx(expected, abs=1e-6)
        assert ours.loss[row] == pytest.approx(-np.log(expected[label]), abs=1e-5) and ours.label[row] == label
        if index in published.index:
            row = list(published.index).index(index)
            logits = logits_of(published_clips(n, N, T, DS, 'hmdb51'))
            assert published.probability[row] == pytest.approx(softmax(logits).mean(axis=0), abs=1e-6)
            assert published.loss[row] == pytest.approx(-np.log(softmax(logits.mean(axis=0))[label]), abs=1e-5)
            assert published.label[row] == label
    assert max(model.sizes) <= clips_at_once and not model.training
    assert sum(model.sizes) == sum(len(videos.plan(index).rows) for index in range(4)), 'each clip is scored once'


def score_three(errors):
    """Scores three videos, of which those of `errors` can't be read; returns ([VideoScores], broken)."""
    protocols = [every_video(N, T, DS)]
    resources = Resources(Precision('off', torch.device('cpu')), 0, 0, 4)
    return score_videos(Mean(), Videos((12, 12, 12), protocols, errors), protocols, resources, 3)


def test_an_unreadable_video_is_left_out(capsys):
    said = '/videos/1/image_00003.jpg: not a whole JPEG'
    (scores,), broken = score_three({1: said})
    (whole,), _ = score_three({})
    assert scores.index.tolist() == [0, 2] and broken == [(1, said)]
    assert (scores.probability == whole.probability[[0, 2]]).all() and (scores.label == whole.label[[0, 2]]).all()
    assert summarise(scores, own_groups(scores))['videos'] == 2
    assert '/videos/1/image_00003.jpg' in capsys.readouterr().err


def test_nothing_but_unreadable_videos():
    with pytest.raises(UserError, match='none of the 3 videos can be read; the first: /videos/0: gone'):
        score_three({index: f'/videos/{index}: gone' for index in range(3)})


def test_scores_that_are_not_finite(monkeypatch):
    monkeypatch.setattr(Mean, 'summarise', lambda self, maps: maps.new_full((len(maps), 3), float('nan')))
    with pytest.raises(UserError, match='/videos/0 are not finite'):
        score_three({})


def test_a_certain_mistake_has_a_finite_loss():
    logits = torch.tensor([[200., 0.], [150., 0.]])
    assert np.isfinite(every_video(N, T, DS).loss(logits, 1))
    assert published_protocol('ucf101', N, T, DS).loss(logits, 1) == pytest.approx(175)


# ---- files

def test_confusion_matrix():
    label, prediction = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 2, 0])
    assert confusion_matrix(label, prediction, 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]


@pytest.mark.parametrize('classes', [3, 101, 401])
def test_confusion_picture(tmp_path, monkeypatch, classes):
    """Drawn for few classes and for many, whatever their names hold, and for classes without a tested video."""
    monkeypatch.setattr('eval.classify.outputs.MAX_LABELLED', 400)
    matrix = np.zeros((classes, classes), int)
    matrix[0, 1] = 5
    names = [f'Class $ {i}' for i in range(classes)]
    names[:3] = ['Caf\udce9', r'$\frac{$', 'x$^$_{']  # a byte of Latin-1, and what is a formula to matplotlib
    confusion_figure(matrix, names).savefig(tmp_path / 'confusion.png')
    assert (tmp_path / 'confusion.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('classes,columns', [(1, 1), (8, 1), (51, 1), (101, 2), (400, 3)])
def test_picture_of_class_accuracies(tmp_path, classes, columns):
    """A bar for each class with a video, best first, down one column after the other; names as the confusion matrix
    shows them; large enough to read."""
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 9, classes)
    accuracy = rng.integers(counts + 1) / counts
    names = ['Caf\udce9', r'$\frac{$', 'x$^$_{', *map(str, range(3, classes))][:classes]
    if classes > 1:
        counts[1] = accuracy[1] = 0
    figure = class_accuracies_figure(accuracy, counts, names, 'By class, $\\frac{')
    figure.savefig(tmp_path / 'per_class.png')
    bars = [(label.get_text(), bar.get_width()) for axes in figure.axes
            for label, bar in zip(axes.get_yticklabels(), axes.patches, strict=True)]
    assert sorted(bars) == sorted((printable(names[c]), accuracy[c]) for c in range(classes) if counts[c])
    assert [width for _, width in bars] == sorted(accuracy[counts > 0], reverse=True)
    assert len(figure.axes) == columns and (classes == 1 or 'without a video: 1' in figure.get_suptitle())
    width, height = figure.get_size_inches()
    assert 5 < width < 25 and 0.2 < height / max(len(axes.patches) for axes in figure.axes) and height < 40
    assert (tmp_path / 'per_class.png').read_bytes().startswith(b'\x89PNG')


def test_files(tmp_path):
    """Paths and names with commas, quotes and bytes that are not UTF-8 survive; a second test is added to the log."""
    scores = random_scores(videos=3, classes=2)
    names = ['a, b\udce9', 'c "d"']
    paths = ['/x/a, "b"/v 1', '/x/ü/v', '/x/\udcff/v']
    write_predictions(tmp_path / 'predictions.csv', paths, scores, names)
    with open(tmp_path / 'predictions.csv', newline='', encoding='utf-8', errors='surrogateescape') as file:
        rows = list(csv.DictReader(file))
    assert [row['path'] for row in rows] == paths
    assert [row['prediction'] for row in rows] == [names[i] for i in scores.prediction]
    write_log(tmp_path / 'test_log.md', 'first \udcff', {'weights': '/\udcff/x'}, {'every video': summarise(scores, own_groups(scores))},
              skipped=['/x/\udcff/w: gone'])
    assert b'- /x/\xff/w: gone' in (tmp_path / 'test_log.md').read_bytes()
    (tmp_path / 'test_log.md').unlink()
    write_log(tmp_path / 'test_log.md', 'first', {'weights': 'x'}, {'every video': summarise(scores, own_groups(scores))})
    assert table_of(tmp_path / 'test_log.md')['every video'][0] == 3
    write_log(tmp_path / 'test_log.md', 'second', {'weights': 'y'}, {'every video': summarise(scores, own_groups(scores))})
    text = (tmp_path / 'test_log.md').read_text()
    assert text.index('## first') < text.index('- weights: x') < text.index('## second') < text.index('- weights: y')
    assert 'Skipped' not in text


def test_what_is_printed_can_be_printed():
    printable('/x/\udcff/ü').encode('utf-8')
    assert printable('/x/ü') == '/x/ü'
