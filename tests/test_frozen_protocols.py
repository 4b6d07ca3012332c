"""Retrieval, k-NN and linear probe on planted features, against obvious computations, and what must not matter."""
from dataclasses import replace

import numpy as np
import pytest

from eval.extract.vectors import Features
from eval.frozen import outcomes_of
from eval.metrics.intervals import bootstrap_means
from eval.protocols import knn as knn_file
from eval.protocols.knn import knn
from eval.protocols.linear_probe import DECAYS, PER_CLASS, probe, subsets
from eval.protocols.protocol import Task, choose, make_task
from eval.protocols.results import row_of, short_names, table_lines
from eval.protocols.retrieval import retrieval
from utils.cli import UserError
from utils.data.label_subsets import label_subset

CLASSES, GROUPS = 4, 6


def make_features(per_group=3, test=30, size=8, noise=1.0, seed=0):
    """Features of UCF101-like videos: four classes around centres, training videos in groups."""
    rng = np.random.default_rng(seed)
    label = np.concatenate([np.repeat(np.arange(CLASSES), GROUPS * per_group), rng.integers(CLASSES, size=test)])
    training = CLASSES * GROUPS * per_group
    path = [f'/frames/c{c}/v_c{c}_g{i // per_group % GROUPS + 1:02d}_c{i % per_group + 1:02d}'
            for i, c in enumerate(label[:training])]
    path += [f'/frames/c{c}/v_c{c}_g{50 + i}_c01' for i, c in enumerate(label[training:])]
    part = np.array(['train'] * training + ['test'] * test)
    centres = rng.standard_normal((CLASSES, size))
    context, block = ((centres[label] + noise * rng.standard_normal((len(label), size))).astype(np.float32)
                      for _ in range(2))
    return Features(context, block, np.array(path), label, part, [])


@pytest.fixture
def task():
    return make_task(make_features(), 'context')


def hits(outcomes):
    return {(outcome.setting, outcome.metric): outcome.hits for outcome in outcomes}


# ---- against obvious computations

def test_planted_neighbours_give_their_recall():
    """Query q has its only video of the same class at rank q + 1: R@k is the part of queries below k."""
    count = 40
    angle = np.linspace(0.01, 1.5, count)
    train = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    train = np.concatenate([train, -train]).astype(np.float32)  # their mean is zero
    query = np.array([[1., 0], [-1., 0]], np.float32)
    label = np.arange(2 * count)  # each video has a class of its own
    tests, test_label = [], []
    for rank in range(count):
        tests += [query[0], query[1]]
        test_label += [rank, count + rank]
    paths = np.array([f'/f/c{i}/v{i:03d}' for i in label])
    task = Task(train, label, paths, np.array(tests), np.array(test_label), np.array(['/f/c/v'] * len(tests)))
    found = {outcome.metric: outcome.hits.mean() for outcome in retrieval(task)}
    assert found == pytest.approx({'R@1': 1 / 40, 'R@5': 5 / 40, 'R@10': 10 / 40, 'R@20': 20 / 40, 'R@50': 1.})


def obvious_retrieval(task, k):
    test, train = (x.astype(float) - task.train.astype(float).mean(0) for x in (task.test, task.train))
    right = []
    for vector, label in zip(test, task.test_label):
        cosine = train @ vector / np.linalg.norm(train, axis=1) / np.linalg.norm(vector)
        right.append(label in task.train_label[np.argsort(-cosine)[:k]])
    return np.array(right, float)


def obvious_knn(task, k):
    predicted = []
    for vector in task.test.astype(float):
        train = task.train.astype(float)
        cosine = train @ vector / np.linalg.norm(train, axis=1) / np.linalg.norm(vector)
        votes = np.zeros(CLASSES)
        for row in np.argsort(-cosine)[:k]:
            votes[task.train_label[row]] += np.exp(cosine[row] / 0.07)
        predicted.append(votes.argmax())
    return np.array(predicted)


def obvious_probe(task, decay, steps=20000, rate=0.5):
    """Gradient descent on the mean cross-entropy + decay/2 · |w|², without decay of the biases."""
    mean, deviation = task.train.mean(0), task.train.std(0)
    x, y = (task.train - mean) / deviation, np.eye(CLASSES)[task.train_label]
    w, b = np.zeros((x.shape[1], CLASSES)), np.zeros(CLASSES)
    for _ in range(steps):
        p = np.exp(x @ w + b)
        error = (p / p.sum(1, keepdims=True) - y) / len(x)
        w, b = w - rate * (x.T @ error + decay * w), b - rate * error.sum(0)
    return ((task.test - mean) / deviation @ w + b).argmax(1)


def test_retrieval_equals_a_loop(task):
    found = hits(retrieval(task))
    for k in (1, 5, 10, 20, 50):
        assert found['all labels', f'R@{k}'].tolist() == [obvious_retrieval(task, k).tolist()]


@pytest.mark.parametrize('k', knn_file.KS)
def test_knn_equals_a_loop(task, k):
    assert knn_file.predict(task, [k])[0].tolist() == obvious_knn(task, k).tolist()


def test_probe_equals_gradient_descent(task):
    outcome = probe(task)[0]
    decay = float(outcome.chosen[0].removeprefix('decay '))
    assert outcome.setting == 'all labels' and decay in DECAYS
    assert outcome.hits.tolist() == [(obvious_probe(task, decay) == task.test_label).tolist()] and outcome.folds == [5]


def test_the_hyperparameter_is_the_best_of_a_cross_validation(task):
    """Five folds that share no group and are together all training videos; of equals the larger k."""
    folds = task.folds()
    assert len(folds) == 5 and sorted(np.concatenate([fold.test_path for fold in folds])) == sorted(task.train_path)
    for fold in folds:
        assert not set(fold.test_group) & set(fold.train_group)
        assert sorted([*fold.test_path, *fold.train_path]) == sorted(task.train_path)
    right = {k: sum((obvious_knn(fold, k) == fold.test_label).sum() for fold in folds) for k in knn_file.KS}
    outcome = knn(task)[0]
    assert outcome.chosen == [f'k {max(k for k in right if right[k] == max(right.values()))}'] and outcome.folds == [5]


def test_what_coclr_subtracts():
    """The example of eval/README.md: its own mean of each set beside that of the training videos."""
    task = make_task(make_features(test=60), 'context')
    found = []
    for rows in (np.arange(60), np.flatnonzero(task.test_label == 2)):
        part = replace(task, test=task.test[rows], test_label=task.test_label[rows], test_group=task.test_group[rows])
        own = replace(part, test=part.test - part.test.mean(axis=0) + part.train.mean(axis=0))
        found.append([round(100 * retrieval(each)[0].hits.mean(), 1) for each in (part, own)])
    assert found == [[86.7, 88.3], [100.0, 31.6]]


def test_ties_go_to_the_stronger_regularisation(task):
    assert choose(task, [3, 2, 1], None, lambda fold, candidates: [fold.test_label] * 3) == (3, 5)


def test_the_value_of_a_query_does_not_depend_on_the_others():
    """Retrieval centres by the training videos: queries of one class alone, or a single one, find what they found."""
    task = make_task(make_features(test=60, noise=2.), 'context')
    whole = {outcome.metric: outcome.hits[0] for outcome in retrieval(task)}
    for rows in (np.flatnonzero(task.test_label == 2), [7]):
        part = replace(task, test=task.test[rows], test_label=task.test_label[rows], test_group=task.test_group[rows])
        for outcome in retrieval(part):
            assert outcome.hits[0].tolist() == whole[outcome.metric][rows].tolist()


def test_intervals_against_the_binomial(monkeypatch):
    """95% of 400 videos of which 30% are right: 30 ± 1.96 · 2.29 points. The same every time."""
    monkeypatch.setattr('eval.metrics.intervals.RESAMPLES', 2000)
    right = np.arange(400) < 120
    (low, high), = bootstrap_means(right[:, None], np.arange(400))
    assert (low, high) == pytest.approx((0.255, 0.345), abs=0.008)
    assert [(low, high)] == bootstrap_means(right[:, None], np.arange(400))


# ---- what must not matter, and what must

PROTOCOLS = ['retrieval', 'knn', 'probe']


def values(features):
    return [(o.protocol, o.setting, o.metric, o.hits.mean(), o.chosen)
            for o in outcomes_of([make_task(features, 'context')], PROTOCOLS)]


def test_the_order_of_videos_changes_nothing():
    features = make_features()
    order = np.random.default_rng(1).permutation(len(features.path))
    shuffled = Features(*(getattr(features, name)[order] for name in ('context', 'block', 'path', 'label', 'part')), [])
    assert values(features) == values(shuffled)


def test_test_labels_choose_nothing(task):
    """With random test labels every chosen hyperparameter is the same, and accuracy is at chance."""
    rng = np.random.default_rng(0)
    blind = replace(task, test_label=rng.integers(CLASSES, size=len(task.test_label)))
    chosen, blind_chosen = ([(o.setting, o.chosen) for o in outcomes_of([each], PROTOCOLS)] for each in (task, blind))
    assert chosen == blind_chosen


def test_shuffled_training_labels_give_chance():
    features = make_features(test=400, noise=0.3)
    rng = np.random.default_rng(0)
    training = features.part == 'train'
    accuracy = {o.protocol: o.hits.mean() for o in outcomes_of([make_task(features, 'context')], ['knn', 'probe'])
                if o.setting == 'all labels'}
    assert min(accuracy.values()) > 0.9
    for _ in range(3):
        label = features.label.copy()
        label[training] = rng.permutation(label[training])
        task = make_task(replace(features, label=label), 'context')
        accuracy = [o.hits.mean() for o in outcomes_of([task], ['knn', 'probe']) if o.setting == 'all labels']
        assert max(accuracy) < 0.55  # clusters of one class: each votes for one shuffled label


def test_subsets_are_nested_balanced_and_seeded(task):
    rows = subsets(task)
    for seed in range(3):
        ten, twenty, half = (set(rows[f'{part}% of labels'][seed]) for part in (10, 20, 50))
        assert ten < twenty < half
        for setting, count in (('20% of labels', 4), ('50% of labels', 9), ('5 per class', 5)):
            assert np.bincount(task.train_label[rows[setting][seed]]).tolist() == [count] * CLASSES
    assert not np.array_equal(rows['5 per class'][0], rows['5 per class'][1])
    everything = np.arange(len(task.train))
    assert np.array_equal(label_subset(task.train_path, task.train_label, fraction=1.), everything)
    assert np.array_equal(label_subset(task.train_path, task.train_label, per_class=10 ** 6), everything)


def test_a_subset_of_all_labels_is_left_out(task, capfd):
    """Classes of 18 have no 20 labels to choose. What scikit-learn warns of doesn't reach the screen."""
    assert PER_CLASS == (5, 20) and '5 per class' in subsets(task) and '20 per class' not in subsets(task)
    assert {outcome.setting for outcome in probe(task.part(np.arange(0, len(task.train), 3)))} == {
        'all labels', '10% of labels', '50% of labels', '5 per class'}  # 20% would be one video, too
    assert capfd.readouterr().err == ''


def test_random_weights_are_averaged_over_seeds():
    tasks = [make_task(make_features(seed=seed), 'context') for seed in range(3)]
    outcome = outcomes_of(tasks, ['retrieval'])[0]
    each = [retrieval(task)[0].hits[0] for task in tasks]
    row = row_of('random', 'context', outcome)
    assert row['value'] == pytest.approx(np.mean(each)) and row['videos'] == 30
    assert row['deviation'] == pytest.approx(np.std([hits.mean() for hits in each], ddof=1))
    assert [(row['low'], row['high'])] == bootstrap_means(np.mean(each, axis=0)[:, None], tasks[0].test_group)
    assert row['groups'] == 30


# ---- odd data

def test_few_videos():
    """No R@k beyond the number of training videos, no k above it, and defaults where nothing can be held out."""
    label = np.array([0, 1, 0, 1])
    vectors = np.array([[1., 0], [0, 1], [1, 0.1], [0.1, 1]], np.float32)
    path = np.array(['/f/a/v_a_g01_c01', '/f/b/v_b_g01_c01', '/f/a/v_a_g02_c01', '/f/b/v_b_g02_c01'])
    task = make_task(Features(vectors, vectors, path, label, np.array(['train', 'train', 'test', 'test']), []), 'block')
    found = {(o.protocol, o.metric): (o.hits.mean(), o.chosen) for o in outcomes_of([task], PROTOCOLS)
             if o.setting == 'all labels'}
    assert found == {('retrieval', 'R@1'): (1., []), ('knn', 'top1'): (1., ['k 1']),
                     ('probe', 'top1'): (1., ['decay 0.01'])}


def test_a_class_that_is_held_out_whole_is_no_task(task):
    """One class left to fit: the default is taken, as logistic regression needs two."""
    one = replace(task.part(task.train_label == 0))
    assert choose(one, DECAYS, 'default', None) == ('default', 0)


@pytest.mark.parametrize('part, label, message', [
    ('train', [0, 1], 'there is no test video'),
    ('test', [0, 1], 'fewer than two classes')])
def test_nothing_to_evaluate(part, label, message):
    features = Features(np.ones((2, 3)), np.ones((2, 3)), np.array(['/a/x', '/b/y']), np.array(label),
                        np.array([part] * 2), [])
    with pytest.raises(UserError, match=message):
        make_task(features, 'context')


def test_the_table():
    rows = [row_of(weights, 'block', outcome) for weights, seed in (('/a/model.pth.tar', 0), ('/b/model.pth.tar', 1))
            for outcome in retrieval(make_task(make_features(seed=seed), 'block'))]
    lines = table_lines(rows)
    assert lines[0].split() == ['|', 'feature', '|', 'protocol', '|', 'labels', '|', 'metric', '|', 'model', '|',
                                'model-2', '|']
    assert len(lines) == 2 + 5 and len({len(line) for line in lines}) == 1
    cell = f'{rows[0]["value"]:.1%} [{100 * rows[0]["low"]:.1f}, {100 * rows[0]["high"]:.1f}]'
    assert cell in lines[2]
    assert short_names(['a/m.pth.tar', 'b/m.pth.tar', 'c/m.pth.tar', 'n']) == ['m', 'm-2', 'm-3', 'n']
    assert short_names(['a/m', 'm-2', 'b/m']) == ['m', 'm-2', 'm-3']
