"""Videos with several labels: numbers against slow versions, and training, test, prediction and frozen features as a
user runs them."""
import csv
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score

from dpc import main as pretraining
from eval import attentive, features, frozen, predict, report
from eval import test as classifier_cli
from eval.classify.scores import VideoScores, summarise
from eval.metrics.average_precision import average_precision, mean_average_precision
from eval.metrics.intervals import bootstrap
from eval.metrics.multi_label import classification_loss
from eval.protocols.knn import knn
from eval.protocols.linear_probe import probe
from eval.protocols.protocol import Task, merged
from eval.protocols.results import row_of
from eval.protocols.retrieval import retrieval
from experiments import study
from process_data import write_csv
from tests.tiny import CLASSIFIER, PRETRAINING, checkpoint, classify, equal, run
from utils.cli import UserError, run_cli

FLAGS = ['--num_workers', '0', '--gpu', 'cpu', '--amp', 'off']
NAMES = ['blue, or green', 'fast', 'slow', '青']


@pytest.fixture(scope='module')
def lists(csv_root, tmp_path_factory):
    """A csv_root with the videos of the tiny UCF101: `several` labels a video, and `one`, its class."""
    root = tmp_path_factory.mktemp('labels')
    for part in ('train', 'test'):
        with open(csv_root / 'ucf101' / f'{part}_split01.csv', newline='') as file:
            paths = [row[0] for row in csv.reader(file)]
        with open(root / f'several_{part}.csv', 'w', newline='', encoding='utf-8') as file:
            labels = [[NAMES[1 + i % 2], *([NAMES[0]] if i % 3 else []), *([NAMES[3]] if i == 5 else [])]
                      for i in range(len(paths))]
            rows = [(path, ';'.join(names), part) for path, names in zip(paths, labels)]
            csv.writer(file).writerows([('path', 'label', 'split'), *rows])
        with open(root / f'one_{part}.csv', 'w', newline='') as file:
            rows = [(path, path.split('/')[-2], part) for path in paths]
            csv.writer(file).writerows([('path', 'label', 'split'), *rows])
    for name in ('several', 'one'):
        flags = ['--dataset', 'csv', '--frame_root', csv_root.parent / 'frames/ucf101', '--csv_root', root / 'csv',
                 '--name', name, '--jobs', 1,
                 '--annotations', *(root / f'{name}_{part}.csv' for part in ('train', 'test'))]
        write_csv.main(write_csv.parse_args(map(str, flags)))
    return root / 'csv'


@pytest.fixture(scope='module')
def trained(lists, tmp_path_factory):
    """The run folder of an epoch of training a classifier of several labels."""
    return classify(lists, tmp_path_factory.mktemp('several'), '--dataset', 'several', '--train_what', 'all')


def weights_of(folder):
    return folder / 'model' / 'epoch1.pth.tar'


def read_csv(path):
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.reader(file))


# ---- numbers

def slow_average_precision(score, positive):
    """The mean over positives of the precision among those that score at least as high."""
    return np.mean([positive[score >= own].mean() for own in score[positive]])


def random_scores(videos=40, classes=5, values=None, seed=0):
    """(score [V, C], positive [V, C]); values: how many different scores there are. Each video has a class."""
    rng = np.random.default_rng(seed)
    score = rng.standard_normal((videos, classes)) if values is None else rng.integers(values, size=(videos, classes))
    positive = rng.random((videos, classes)) < 0.3
    positive[np.arange(videos), rng.integers(classes, size=videos)] = True
    return score.astype(float), positive


@pytest.mark.parametrize('values', [None, 1, 2, 6])
def test_average_precision(values):
    """Equals a slow version and scikit-learn's, also where scores are equal."""
    score, positive = random_scores(values=values)
    found = average_precision(score, positive)(np.ones(40, int))
    assert found == pytest.approx([slow_average_precision(*each) for each in zip(score.T, positive.T)], abs=1e-12)
    assert found == pytest.approx(average_precision_score(positive, score, average=None), abs=1e-12)


@pytest.mark.parametrize('values', [None, 4])
def test_mean_average_precision_of_drawn_videos(values):
    """Videos that were drawn twice count twice, but not at their own rank; classes without a video don't count."""
    score, positive = random_scores(videos=12, values=values)
    positive[1:, 3] = False
    positive[0, 3] = True
    measure, rng = mean_average_precision(score, positive), np.random.default_rng(1)
    without = 0
    for _ in range(50):
        rows = rng.integers(12, size=12)
        there = positive[rows].any(axis=0)
        without += not there[3]
        slow = [np.mean([precision_at(i, score[:, c], positive[:, c], rows) for i in rows if positive[i, c]])
                for c in np.flatnonzero(there)]
        assert measure(np.bincount(rows, minlength=12)) == pytest.approx(np.mean(slow), abs=1e-12)
    assert without > 5


def precision_at(i, score, positive, rows):
    """Of video i among itself, once, and the other drawn ones with at least its score."""
    pool = np.array([i, *rows[rows != i]])
    return positive[pool][score[pool] >= score[i]].mean()


def test_the_interval_of_many_rare_classes_is_around_the_value():
    """Chance scores for 400 videos of 100 classes, two in a hundred of each: doubled videos must not help."""
    rng = np.random.default_rng(0)
    measure = mean_average_precision(rng.random((400, 100)), rng.random((400, 100)) < 0.02)
    low, high = bootstrap(measure, np.arange(400))
    assert low < measure(np.ones(400, int)) < high


def test_loss_and_accuracies():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 7, generator=random)
    one = torch.randint(7, (6,), generator=random)
    loss, stats = classification_loss(logits, one)
    assert loss == F.cross_entropy(logits, one)
    order = logits.argsort(dim=1, descending=True).tolist()
    assert stats['top1'] == pytest.approx(np.mean([o[0] == c for o, c in zip(order, one.tolist())]))
    assert stats['top5'] == pytest.approx(np.mean([c in o[:5] for o, c in zip(order, one.tolist())]))
    several = torch.rand(6, 7, generator=random) < 0.3
    loss, stats = classification_loss(logits, several)
    chance = torch.where(several, logits.sigmoid(), 1 - logits.sigmoid())
    assert loss.item() == pytest.approx(-chance.log().mean().item(), rel=1e-5)
    sets = [set(torch.nonzero(row).ravel().tolist()) for row in several]
    assert stats['top1'] == pytest.approx(np.mean([o[0] in own for o, own in zip(order, sets)]))
    assert stats['top5'] == pytest.approx(np.mean([bool(own & set(o[:5])) for o, own in zip(order, sets)]))


def test_a_summary_does_not_depend_on_the_order():
    score, label = random_scores(values=3)
    scores = VideoScores(np.arange(40), score, label, np.ones(40, np.float32))
    rows = np.random.default_rng(2).permutation(40)
    group = np.arange(40) // 2
    first = summarise(scores, group)
    second = summarise(VideoScores(rows, score[rows], label[rows], scores.loss[rows]), group[rows])
    assert first['map'] == pytest.approx(second['map'])
    assert first['interval']['map'] == pytest.approx(second['interval']['map'])
    assert {'videos', 'groups', 'loss', 'map', 'top1', 'interval'} <= set(first)
    assert first['interval']['map'][0] < first['map'] < first['interval']['map'][1]


# ---- training, test, prediction

def test_training_and_test(lists, trained, tmp_path, capsys):
    """The numbers of a test recompute from its probabilities.csv."""
    settings = checkpoint(trained)['settings']
    assert settings['multi_label'] is True and settings['class_names'] == NAMES
    folder = test_of(lists, tmp_path, 'several', weights_of(trained))
    said = capsys.readouterr().out
    header, *rows = read_csv(folder / 'probabilities.csv')
    assert header == ['path', 'label', *NAMES] and len(rows) == 12
    assert [row[:2] for row in rows] == [[row[0], row[2]] for row in sorted_labels(lists / 'several/test_split01.csv')]
    positive = np.array([[name in row[1].split(';') for name in NAMES] for row in rows])
    probability = np.array([row[2:] for row in rows], float)
    assert positive.sum(axis=0).tolist() == [8, 6, 6, 1] and not np.allclose(probability.sum(axis=1), 1)
    average = average_precision_score(positive, probability, average=None)
    assert read_csv(folder / 'average_precision.csv') == [
        ['class', 'videos', 'average_precision'],
        *([name, str(count), f'{value:.4f}'] for name, count, value in zip(NAMES, positive.sum(axis=0), average))]
    top1 = positive[np.arange(12), probability.argmax(axis=1)].mean()
    for words in ('every video: 12 videos in ', f', mAP {average.mean():.2%} ', f', top-1 {top1:.2%} '):
        assert words in said
    log = (folder / 'test_log.md').read_text()
    assert '| protocol | videos | groups | loss | mAP | top-1 | hash |\n|---|---|---|---|---|---|---|\n' in log
    assert f'| {average.mean():.2%} ' in log
    assert sorted(path.name for path in folder.glob('*.*')) == ['args.json', 'average_precision.csv',
                                                                'probabilities.csv', 'test_log.md']
    assert run_cli_status(report, folder, '--out', tmp_path / 'report.html') == 0
    page = (tmp_path / 'report.html').read_text()
    assert 'mAP' in page and f'{average.mean():.2%}' in page and 'Accuracy by class' not in page

    path, best = rows[0][0], np.argsort(-probability[0])
    capsys.readouterr()
    assert run(predict, [path, '--weights', weights_of(trained), '--json', *FLAGS]) == 0
    top = json.loads(capsys.readouterr().out)['top']
    assert [each['class'] for each in top] == [NAMES[c] for c in best]
    assert [each['probability'] for each in top] == pytest.approx(probability[0][best], abs=1e-5)


def sorted_labels(path):
    """The rows of a list, with their labels in the order of the class list."""
    return [[name, count, ';'.join(sorted(label.split(';')))] for name, count, label, *_ in read_csv(path)]


def test_of(lists, log_dir, dataset, weights):
    before = set(log_dir.glob('log_*/*'))
    assert run(classifier_cli, [*FLAGS, '--csv_root', lists, '--dataset', dataset, '--test', weights,
                                '--log_dir', log_dir]) == 0
    made, = set(log_dir.glob('log_*/*')) - before
    return made


test_of.__test__ = False


def run_cli_status(script, *words):
    with pytest.raises(SystemExit) as end:
        run_cli(script.main, script.parse_args(list(map(str, words))))
    return end.value.code or 0


def test_one_label_in_the_list_is_one_in_the_folder(csv_root, lists, tmp_path):
    """The same weights to the last bit as from lists of two columns, except for the number of classes."""
    labels = read_csv(lists / 'one/train_split01.csv')
    assert all(len(row) == 4 and row[0].split('/')[-2] == row[2] for row in labels)
    plain = tmp_path / 'csv/plain'
    plain.mkdir(parents=True)
    for part in ('train', 'test'):
        with open(plain / f'{part}_split01.csv', 'w', newline='') as file:
            csv.writer(file).writerows(row[:2] for row in read_csv(lists / 'one' / f'{part}_split01.csv'))
    (plain / 'classInd.txt').write_bytes((lists / 'one/classInd.txt').read_bytes())
    ours = classify(lists, tmp_path / 'ours', '--dataset', 'one', '--train_what', 'all')
    theirs = classify(tmp_path / 'csv', tmp_path / 'theirs', '--dataset', 'plain', '--train_what', 'all')
    assert equal(checkpoint(ours)['state_dict'], checkpoint(theirs)['state_dict'])
    settings = [{**checkpoint(folder)['settings'], 'dataset': None} for folder in (ours, theirs)]
    assert equal(*settings)
    assert 'multi_label' not in checkpoint(ours)['settings']


def test_mistakes_are_one_line(csv_root, lists, classifier, trained, tmp_path, capsys):
    training = [*CLASSIFIER, '--csv_root', lists, '--dataset', 'several', '--log_dir', tmp_path]
    several = ['--csv_root', lists, '--dataset', 'several', *FLAGS]
    one = classify(lists, tmp_path / 'one', '--dataset', 'one', '--train_what', 'all')
    stored = torch.load(weights_of(one), weights_only=True)
    stored['settings']['class_names'] = NAMES[:3]
    torch.save(stored, tmp_path / 'renamed.pth.tar')
    three = tmp_path / 'csv/three'
    three.mkdir(parents=True)
    (three / 'classInd.txt').write_text(''.join(f'{i} {name}\n' for i, name in enumerate(NAMES[:3], 1)))
    rows = [row for row in read_csv(lists / 'several/test_split01.csv') if '青' not in row[2]]
    with open(three / 'test_split01.csv', 'w', newline='') as file:
        csv.writer(file).writerows(rows)
    for script, words, said in (
            (classifier_cli, [*training, '--label_fraction', '0.5'],
             '--label_fraction 0.5 takes a part of each class,'),
            (classifier_cli, ['--csv_root', tmp_path / 'csv', '--dataset', 'three', '--log_dir', tmp_path, *FLAGS,
                              '--test', tmp_path / 'renamed.pth.tar'],
             'was trained on videos with one label each, but some'),
            (attentive, [*several, '--weights', 'random', '--out', tmp_path / 'attentive'], 'heads do not learn; use'),
            (pretraining, [*PRETRAINING, '--csv_root', lists, '--dataset', 'several', '--log_dir', tmp_path,
                           '--knn_every', '1'], '--knn_every 1: some validation videos have several labels')):
        capsys.readouterr()
        assert run(script, words) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith('error: ') and said in error
    words = ['--csv_root', lists, '--data', 'several:one', '--output', tmp_path / 'study']
    args = study.parse_args(list(map(str, words)))
    with pytest.raises(UserError, match='some videos of several have several labels, but a study'):
        study.Study(args, 'several:one', tmp_path / 'study', 1).open()
    assert 'multi_label' not in checkpoint(classifier)['settings'] and checkpoint(trained)['settings']['multi_label']


# ---- frozen features

def make_task(noise=0.5, seed=0):
    """Vectors that are the sum of the centres of their labels: 60 training and 30 test videos of 4 classes; a fifth is
    in the test videos only."""
    rng = np.random.default_rng(seed)
    label = rng.random((90, 5)) < 0.35
    label[np.arange(90), rng.integers(4, size=90)] = True
    label[:60, 4] = False
    vectors = label @ rng.standard_normal((5, 16)) + noise * rng.standard_normal((90, 16))
    path = np.array([f'/f/all/v{i:02d}' for i in range(90)])
    vectors = vectors.astype(np.float32)
    return Task(vectors[:60], label[:60], path[:60], vectors[60:], label[60:], path[60:])


def test_retrieval_and_neighbours_share_a_label():
    task = make_task()
    for outcome in retrieval(task):
        k = int(outcome.metric[2:])
        test, train = (each - task.train.mean(axis=0, dtype=float) for each in (task.test, task.train))
        cosine = (test / np.linalg.norm(test, axis=1)[:, None]) @ (train / np.linalg.norm(train, axis=1)[:, None]).T
        slow = [any((task.train_label[row] & own).any() for row in np.argsort(-line)[:k])
                for line, own in zip(cosine, task.test_label)]
        assert outcome.hits.tolist() == [slow]
    outcome, = knn(task)
    k = int(outcome.chosen[0].removeprefix('k '))
    test, train = (each / np.linalg.norm(each, axis=1)[:, None]
                   for each in (task.test.astype(float), task.train.astype(float)))
    for line, own, hit in zip(test @ train.T, task.test_label, outcome.hits[0]):
        nearest = np.argsort(-line)[:k]
        votes = sum(np.exp(line[row] / 0.07) * task.train_label[row] for row in nearest)
        assert hit == own[np.argmax(votes)]


def test_probe_of_several_labels():
    """One-vs-rest: exact where the labels are plain in the vectors, chance where they aren't; unseen classes count as
    worst, and are never the best guess."""
    precision, top1 = probe(make_task(noise=0.01))
    assert (precision.metric, top1.metric, precision.setting) == ('mAP', 'top1', 'all labels')
    assert precision.hits.shape == (1, 30, 5) and np.isneginf(precision.hits[0, :, 4]).all() and top1.hits.mean() == 1
    row, share = row_of('x', 'context', precision), precision.label[:, 4].mean()
    assert row['value'] == pytest.approx((4 + share) / 5) and row['videos'] == 30 and row['deviation'] is None
    assert precision.chosen == top1.chosen and precision.chosen[0].startswith('decay ')
    noisy = [probe(make_task(noise=3., seed=seed)) for seed in (0, 0)]
    same = merged(noisy)
    assert same[0].hits.shape == (2, 30, 5)
    row, one = row_of('x', 'context', same[0]), row_of('x', 'context', noisy[0][0])
    slow = average_precision_score(noisy[0][0].label, np.nan_to_num(noisy[0][0].hits[0]))
    assert row['value'] == pytest.approx(slow) == one['value'] and row['deviation'] == 0
    assert row['low'] < row['value'] < row['high'] and 0.2 < row['value'] < 0.9


def test_frozen_features_of_several_labels(lists, pretrained, tmp_path, capsys):
    flags = ['--csv_root', lists, '--dataset', 'several', '--weights', weights_of(pretrained), *FLAGS]
    out = tmp_path / 'frozen'
    assert run(frozen, [*flags, '--out', out, '--no_random']) == 0
    said = capsys.readouterr().out
    rows = json.loads((out / 'results.json').read_text())
    assert {(row['protocol'], row['metric'], row['setting']) for row in rows} == {
        *(('retrieval', f'R@{k}', 'all labels') for k in (1, 5, 10)), ('knn', 'top1', 'all labels'),
        *((protocol, metric, 'all labels') for protocol in ('probe', 'one frame', 'colour histogram')
          for metric in ('mAP', 'top1'))}
    assert all(0 <= row['low'] <= row['value'] <= row['high'] <= 1 and row['videos'] == 12 for row in rows)
    assert 'no pictures: they show one label a video' in said
    assert 'any of them is right' in (out / 'results.md').read_text()
    assert sorted(path.name for path in out.iterdir()) == ['differences.json', 'features', 'hits.npz', 'results.json',
                                                         'results.md']
    assert run(features, [*flags, '--out', tmp_path / 'features.npz']) == 0
    with np.load(tmp_path / 'features.npz') as found, np.load(out / 'features/epoch1.npz') as used:
        listed = [row for part in ('train', 'test') for row in read_csv(lists / f'several/{part}_split01.csv')]
        assert found['label'].tolist() == [[name in row[2].split(';') for name in NAMES] for row in listed]
        assert found['path'].tolist() == [row[0] for row in listed] and equal_arrays(found, used)
    capsys.readouterr()
    assert run(frozen, [*flags, '--out', out, '--no_random', '--protocols', 'knn']) == 0
    assert 'are in ' in capsys.readouterr().out


def equal_arrays(first, second):
    return all(np.array_equal(first[name], second[name]) for name in ('context', 'block', 'label'))
