"""eval/test.py as a user runs it, on tiny data: frozen parts, learning rates, BN statistics, test outputs, mistakes."""
import csv
import json
import math
import os
import re
import shutil

import cv2
import numpy as np
import pytest
import torch

from eval import test as script
from eval.classify import setup as classify_setup
from eval.classify import test_report as summary
from eval.classify import train_classifier
from eval.classify.setup import check_class_names
from eval.model import ActionClassifier
from eval.networks import bn_statistics
from tests import forked
from tests.test_checkpoint import published_file, statistics_for
from tests.test_golden import published_state
from tests.tiny import CLASSIFIER, ROOT, checkpoint, classify, equal, read_log, resized, run, run_folder, ucf101_classes
from utils.checkpoint import load_weights
from utils.cli import UserError
from utils.data.colour import IMAGENET_MEAN, IMAGENET_STD
from utils.video import sources

FEATURES = ('backbone.', 'agg.')


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    """Published files with the golden weights: pretraining without BN statistics, and a classifier of 101 classes."""
    folder = tmp_path_factory.mktemp('published')
    return (published_file(folder / 'pretraining.pth.tar', published_state('pretraining', 'resnet18')),
            published_file(folder / 'classifier.pth.tar', published_state('classifier, 101 classes', 'resnet18')))


def start_of(path):
    """State of a classifier of 101 classes as it is when training starts from `path`."""
    torch.manual_seed(0)
    model = ActionClassifier('resnet18')
    load_weights(model, path)
    return model.state_dict()


def settled(*flags, checkpoint=None):
    """The parsed flags after those left out have got their values, as with no checkpoint or the given one."""
    args = script.parse_args(list(flags))
    classify_setup.settle(args, checkpoint or {})
    return args


# ---- training

def test_what_a_run_leaves_behind(classifier):
    assert classifier.name == 'ucf101-32-sp1_r18_lc_bs4_lr0.001_wd0.001_ds1_seq3_len5_dp0.5_train-all_pt=random'
    assert {entry.name for entry in (classifier / 'model').iterdir()} == {'epoch1.pth.tar', 'model_best_epoch1.pth.tar'}
    for kind in ('train', 'val'):
        record, = read_log(classifier, kind)
        assert {'loss', 'top1', 'top5'} <= record.keys()
    assert json.loads((classifier / 'args.json').read_text())['train_what'] == 'all'


def test_two_epochs_equal_one_and_a_resumed_one(csv_root, classifier, tmp_path):
    """To the last bit, over a step of the schedule."""
    flags = ['--train_what', 'all', '--lr_milestones', '1']
    whole = classify(csv_root, tmp_path / 'whole', *flags, '--epochs', 2)
    parts = classify(csv_root, tmp_path / 'parts', *flags)
    resume = ['--resume', parts / 'model' / 'epoch1.pth.tar']
    assert classify(csv_root, tmp_path / 'parts', *flags, '--epochs', 2, *resume) is None
    a, b = checkpoint(whole, 'epoch2'), checkpoint(parts, 'epoch2')
    assert equal({**a, 'log_size': 0}, {**b, 'log_size': 0})
    assert [record['lr'] for record in read_log(parts, 'train')] == pytest.approx([1e-3, 1e-4])
    losses = [[record['loss'] for record in read_log(folder, 'train')] for folder in (whole, parts)]
    assert losses[0] == losses[1]


def test_last_freezes_backbone_and_aggregator(csv_root, pretrained, tmp_path):
    """Bit for bit, running statistics included: they came with the file, so nothing is re-estimated."""
    path = pretrained / 'model' / 'epoch1.pth.tar'
    folder = classify(csv_root, tmp_path, '--train_what', 'last', '--pretrain', path, '--epochs', 2)
    before, after = start_of(path), checkpoint(folder, 'epoch2')['state_dict']
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if not name.startswith(FEATURES)}


@pytest.mark.parametrize('train_what,slow', [('ft', 'backbone. agg.'), ('ft', 'backbone.'), ('all', '')])
def test_rates_of_pretrained_parts(train_what, slow, csv_root, pretrained, tmp_path):
    """ft: a tenth for what came from the file, here all or only the backbone; all: the same for everything. Adam's first
    step moves each weight by its rate: read off the weights, not off the optimiser's settings."""
    path = tmp_path / 'start.pth.tar'
    state = checkpoint(pretrained)['state_dict']
    if slow == 'backbone.':
        state = {name: tensor for name, tensor in state.items() if name.startswith('backbone.')}
    torch.save({'net': 'resnet18', 'state_dict': state}, path)
    one_step = ['--batch_size', 8, '--wd', 0]
    folder = classify(csv_root, tmp_path, '--train_what', train_what, '--pretrain', path, *one_step)
    before, after = start_of(path), checkpoint(folder)['state_dict']
    assert checkpoint(folder)['iteration'] == 1
    steps = {name: (after[name] - before[name]).abs().max().item()
             for name, _ in ActionClassifier('resnet18').named_parameters()}
    for name, step in steps.items():
        assert step == pytest.approx(1e-4 if name.startswith(tuple(slow.split())) else 1e-3, rel=0.01), name


@pytest.mark.parametrize('frozen,slow', [('backbone agg', ''), ('', ''), ('', 'backbone agg'), ('', 'backbone')])
def test_parameter_groups(frozen, slow):
    """Each trainable parameter once, by submodule; only the slow parts, those from a file, at a tenth of the rate."""
    model = ActionClassifier('resnet18')
    for part in frozen.split():
        model.get_submodule(part).requires_grad_(False)
    groups = train_classifier.parameter_groups(model, slow.split(), lr=0.01)
    rates = [(id(parameter), group['lr']) for group in groups for parameter in group['params']]
    expected = [(id(parameter), 0.001 if name.split('.')[0] in slow.split() else 0.01)
                for name, parameter in model.named_parameters() if name.split('.')[0] not in frozen.split()]
    assert sorted(rates) == sorted(expected)


def test_bn_statistics_are_estimated_where_the_file_has_none(csv_root, published, tmp_path, capsys, monkeypatch):
    """From unlabelled training clips, before anything is frozen; equal to those of an obvious computation."""
    seen = []
    original = bn_statistics.training_blocks
    monkeypatch.setattr(bn_statistics, 'training_blocks', lambda *args: (seen.append(block.clone()) or block
                                                                         for block in original(*args)))
    folder = classify(csv_root, tmp_path, '--train_what', 'last', '--pretrain', published[0])
    assert 'estimating BN statistics' in capsys.readouterr().out
    state = checkpoint(folder)['state_dict']

    means, variances = [], []
    for block in seen:
        images = block.transpose(2, 3).flatten(0, 2)  # [B·N·T, C, H, W]
        output = torch.nn.functional.conv2d(images, state['backbone.conv1.weight'].squeeze(2), stride=2, padding=3)
        means.append(output.mean(dim=(0, 2, 3)))
        variances.append(output.var(dim=(0, 2, 3)))
    assert [len(block) for block in seen] == [4, 4]  # 9 clips in batches of 4
    assert torch.allclose(state['backbone.bn1.running_mean'], torch.stack(means).mean(dim=0), rtol=1e-4, atol=1e-5)
    assert torch.allclose(state['backbone.bn1.running_var'], torch.stack(variances).mean(dim=0), rtol=1e-4)
    parameters = {name for name, _ in ActionClassifier('resnet18').named_parameters() if name.startswith(FEATURES)}
    before = start_of(published[0])
    assert all(torch.equal(before[name], state[name]) for name in parameters)


@pytest.mark.parametrize('flags', [[], ['--batch_size', 8]], ids=['two batches', 'one batch'])
def test_two_processes_estimate_the_same_bn_statistics(flags, csv_root, published, tmp_path):
    """For a probe: the frozen statistics that its first checkpoint holds. One batch leaves a process without any."""
    states = [checkpoint(classify(csv_root, tmp_path, '--train_what', 'last', '--pretrain', published[0], *flags,
                                  '--num_procs', count))['state_dict'] for count in (1, 2)]
    names = [name for name in states[0] if name.startswith(FEATURES) and name.endswith(('running_mean', 'running_var'))]
    assert len(names) == 28
    for name in names:
        assert torch.allclose(states[0][name], states[1][name], rtol=1e-4, atol=1e-5), name


def test_bn_statistics_of_the_file_are_kept(csv_root, published, tmp_path):
    state = published_state('pretraining', 'resnet18')
    state.update(statistics_for(state))
    path = published_file(tmp_path / 'with_statistics.pth.tar', state)
    after = checkpoint(classify(csv_root, tmp_path, '--train_what', 'last', '--pretrain', path))['state_dict']
    assert torch.equal(after['backbone.layer4.0.bn2.running_var'], state['module.backbone.layer4.0.bn2.running_var'])
    assert torch.equal(after['backbone.bn1.running_mean'], state['module.backbone.bn1.running_mean'])


@pytest.mark.parametrize('flags,milestones', [
    ('--dataset ucf101 --img_dim 128', [60, 80, 100]), ('--dataset ucf101 --img_dim 224', [300, 400, 500]),
    ('--dataset hmdb51 --img_dim 128', [150, 250, 300]), ('--dataset ucf101 --lr_milestones 5,9', [5, 9])])
def test_published_schedule(flags, milestones):
    args = settled(*flags.split())
    assert list(args.lr_milestones) == milestones and args.schedule == 'step'


def test_published_defaults():
    args = settled()
    published = {'net': 'resnet18', 'model': 'lc', 'dataset': 'ucf101', 'split': 1, 'seq_len': 5, 'num_seq': 8,
                 'dropout': 0.5, 'ds': 3, 'batch_size': 4, 'lr': 1e-3, 'wd': 1e-3, 'epochs': 10, 'print_freq': 5,
                 'train_what': 'last', 'prefix': 'classify', 'img_dim': 128, 'reset_lr': False}
    assert {name: getattr(args, name) for name in published} == published


# ---- few labels

def listed(file):
    with open(file, newline='') as rows:
        return [path for path, *_ in csv.reader(rows)]


def test_a_fraction_of_the_labels(csv_root, tmp_path, capsys):
    """Half of the videos of each class, written down and held out from; it is part of larger subsets; the seed decides
    which."""
    flags = ['--train_what', 'all', '--batch_size', 2]
    folder = classify(csv_root, tmp_path, *flags, '--label_fraction', 0.5)
    assert folder.name.endswith('_train-all_lf0.5_pt=random')
    said, warned = capsys.readouterr()
    assert '98 of the 101 classes have no training video: Class000, Class001, Class002, Class003, Class004, …;' in warned
    assert '--label_fraction 0.5: 6 of 12 training videos' in said and '3 videos to train on, 3 to validate on' in said
    half = listed(folder / 'label_subset.csv')
    whole = listed(csv_root / 'ucf101' / 'train_split01.csv')
    assert half == [path for path in whole if path in half], 'in the order of the list'
    assert sorted(path.split('/')[-2] for path in half) == sorted(['ApplyEyeMakeup', 'Archery', 'YoYo'] * 2)
    folders = [classify(csv_root, tmp_path, *flags, '--label_fraction', *more)
               for more in ([0.5], [0.75], [0.5, '--seed', 1])]
    same, more, other = [listed(folder / 'label_subset.csv') for folder in folders]
    assert same == half and set(half) < set(more) and len(more) == 9 and other != half and len(other) == 6
    # rows as in the training list
    counts = [row.split(',')[1] for row in (folder / 'label_subset.csv').read_text().split()]
    assert {f'{path},{count}' for path, count in zip(half, counts)} <= set(
        (csv_root / 'ucf101' / 'train_split01.csv').read_text().split())


def test_all_of_the_labels_is_the_full_run(csv_root, classifier, tmp_path):
    """To the last bit, with its name and without a subset's file."""
    folder = classify(csv_root, tmp_path, '--train_what', 'all', '--label_fraction', 1)
    assert folder.name == classifier.name and not (folder / 'label_subset.csv').exists()
    a, b = checkpoint(folder), checkpoint(classifier)
    assert equal({**a, 'log_size': 0}, {**b, 'log_size': 0})


def test_bn_statistics_are_those_of_the_whole_list(csv_root, tmp_path):
    """Clips without labels are not scarce: a probe of random weights has the statistics of the full run."""
    runs = [classify(csv_root, tmp_path, '--train_what', 'last', '--batch_size', 2, *flags)
            for flags in (['--label_fraction', 0.5], [])]
    few, full = [checkpoint(folder)['state_dict'] for folder in runs]
    names = [name for name in few if name.startswith(FEATURES) and 'running' in name]
    assert len(names) == 28 and all(torch.equal(few[name], full[name]) for name in names)
    assert not torch.equal(few['final_fc.1.weight'], full['final_fc.1.weight'])


def test_a_resumed_run_keeps_its_subset(csv_root, tmp_path, capsys):
    flags = ['--train_what', 'all', '--batch_size', 2, '--label_fraction', 0.5]
    folder = classify(csv_root, tmp_path, *flags)
    before = (folder / 'label_subset.csv').read_bytes()
    resume = ['--epochs', 2, '--resume', folder / 'model' / 'epoch1.pth.tar']
    assert classify(csv_root, tmp_path, *flags, *resume) is None
    assert (folder / 'label_subset.csv').read_bytes() == before
    assert {entry.name for entry in folder.iterdir()} >= {'args.json', 'args-2.json', 'label_subset.csv'}
    capsys.readouterr()
    assert run(script, [*CLASSIFIER, '--csv_root', csv_root, '--log_dir', tmp_path, *flags[:-1], 0.75, *resume]) == 2
    assert '--label_fraction 0.75 (was 0.5)' in capsys.readouterr().err


def test_too_few_labels(csv_root, tmp_path, capsys):
    """One video of each class: nothing can be held out, but the test list can validate."""
    flags = ['--label_fraction', 0.1, '--batch_size', 2]
    error = error_of(csv_root, tmp_path, capsys, *flags)
    assert 'nothing can be held out of 3 videos' in error and '--label_fraction 0.1' in error
    assert '--val_on test' in error
    classify(csv_root, tmp_path, *flags, '--val_on', 'test')
    assert '3 videos to train on, 12 to validate on' in capsys.readouterr().out
    error = error_of(csv_root, tmp_path / 'logs', capsys, '--label_fraction', 0.5, '--test', 'random')
    assert '--label_fraction is for training' in error
    for value in ('0', '1.5', 'half'):
        with pytest.raises(SystemExit):
            script.parse_args(['--label_fraction', value])
        assert 'a number above 0' in capsys.readouterr().err


# ---- testing

def slow_test(model, rows, **clip):
    """Logits of the clips of each video, R arrays [K, classes], one clip at a time; `clip`: see slow_clips."""
    with torch.no_grad():
        return [torch.cat([model(each[None]) for each in slow_clips(path, count, **clip)[1]]) for path, count in rows]


def slow_clips(path, count, num_seq=3, seq_len=5, ds=1, size=32, tail=True, place=(0.5, 0.5), mirrored=False,
               chosen=None):
    """First blocks of the K clips of a video, and the clips [K, N, C, T, H, W], straight from the files.

    tail: our clips, of which the last ends with the video; else those of the published code. place: of the crop, down
    and right. mirrored: all frames, first. chosen: function of the number of blocks -> first blocks of the clips."""
    frames = []
    for number in range(1, count + 1, ds):
        frame = cv2.imread(f'{path}/image_{number:05d}.jpg')[:, :, ::-1]
        frame = frame[:, ::-1] if mirrored else frame
        height, width = frame.shape[:2]
        side = min(height, width, 224)
        top, left = math.floor((height - side) * place[0]), math.floor((width - side) * place[1])
        frame = resized(np.ascontiguousarray(frame[top:top + side, left:left + side]), size) / 255
        frames.append((frame - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD))
    blocks = [frames[i:i + seq_len] for i in range(0, len(frames) - seq_len + 1, seq_len)]
    if len(blocks) < num_seq:  # shorter than a clip: the last frame stands still
        frames += [frames[-1]] * (num_seq * seq_len)
        blocks = [frames[i * seq_len:(i + 1) * seq_len] for i in range(num_seq)]
    starts = list(range(0, len(blocks) - num_seq + (0 if tail else 1), max(1, num_seq // 2)))
    starts += [len(blocks) - num_seq] if tail else []
    starts = chosen(len(blocks)) if chosen else starts
    clips = torch.tensor(np.array([blocks[start:start + num_seq] for start in starts]), dtype=torch.float32)
    return starts, clips.permute(0, 1, 5, 2, 3, 4)  # from [K, N, T, H, W, C]


def mean_softmax(logits):
    return np.array([clips.softmax(dim=1).mean(dim=0).numpy() for clips in logits])


def obvious_numbers(scores, labels):
    """(loss, top-1, top-5, mean per class) of mean softmaxes, with loops."""
    order = [list(np.argsort(-row)) for row in scores]
    right = [ranking[0] == label for ranking, label in zip(order, labels)]
    classes = sorted(set(labels))
    per_class = [np.mean([hit for hit, label in zip(right, labels) if label == name]) for name in classes]
    return (np.mean([-np.log(row[label]) for row, label in zip(scores, labels)]), np.mean(right),
            np.mean([label in ranking[:5] for ranking, label in zip(order, labels)]), np.mean(per_class))


def table_of(test_log):
    """{protocol: (videos, loss, top-1, top-5, mean per class)} of a test_log.md, without groups, intervals
    and hash."""
    lines = [line for line in open(test_log) if line.startswith('|')]
    rows = [[cell.strip() for cell in line.strip('|\n ').split('|')] for line in lines[2:]]
    return {row[0]: (int(row[1]), float(row[3]), *(float(cell.split('%')[0]) / 100 for cell in row[4:-1]))
            for row in rows}


def test_the_test(csv_root, published, tmp_path, monkeypatch, capsys):
    """A published classifier in the legacy format: every video scored, short ones padded, all outputs right."""
    matrices = []
    original = summary.confusion_figure
    monkeypatch.setattr(summary, 'confusion_figure', lambda *shown: matrices.append(shown) or original(*shown))
    folder = classify(csv_root, tmp_path, '--test', published[1], '--batch_size', 2)

    names = ucf101_classes()
    rows = rows_of(csv_root)
    labels = [names.index(path.split('/')[-2]) for path, _ in rows]
    model = published_classifier(published[1])
    scores = mean_softmax(slow_test(model, rows))

    table = table_of(folder / 'test_log.md')
    assert table['every video'] == pytest.approx((12, *obvious_numbers(scores, labels)), abs=1e-4)
    # published: a video had to be longer than a clip of 15 frames, so those of 12 and 15 are dropped; no tail clip
    longer = [i for i, (_, count) in enumerate(rows) if count > 15]
    logits = slow_test(model, [rows[i] for i in longer], tail=False)
    their_labels = [labels[i] for i in longer]
    loss = np.mean([-clips.mean(dim=0).log_softmax(dim=0)[label] for clips, label in zip(logits, their_labels)])
    assert table['published protocol (only videos over 15 frames)'] == pytest.approx(
        (6, loss, *obvious_numbers(mean_softmax(logits), their_labels)[1:]), abs=1e-4)

    with open(folder / 'predictions.csv', newline='') as file:
        written = list(csv.DictReader(file))
    assert [row['path'] for row in written] == [path for path, _ in rows]
    assert [row['label'] for row in written] == [names[label] for label in labels]
    assert [row['prediction'] for row in written] == [names[i] for i in scores.argmax(axis=1)]
    assert [float(row['probability']) for row in written] == pytest.approx(scores.max(axis=1), abs=1e-4)

    (matrix, shown), = matrices
    expected = np.zeros((101, 101), int)
    for label, prediction in zip(labels, scores.argmax(axis=1)):
        expected[label, prediction] += 1
    assert list(shown) == names and matrix.tolist() == expected.tolist()
    for name, smallest in (('confusion.png', 400), ('per_class.png', 80)):
        picture = cv2.imread(str(folder / name))
        assert min(picture.shape[:2]) > smallest and picture.std() > 1

    said = capsys.readouterr().out
    assert len(re.findall(r'\d+\.\d+% [\[{]\d+\.\d+%(?:, | … )', said)) == 6  # an interval or range for each accuracy
    for number in re.findall(r'\d+\.\d+%', (folder / 'test_log.md').read_text()):
        assert number in said


def rows_of(csv_root, split=1):
    with open(csv_root / 'ucf101' / f'test_split{split:02d}.csv', newline='') as file:
        return [(path, int(count)) for path, count in csv.reader(file)]


def written_scores(folder):
    """Columns of predictions.csv: (paths, predicted classes, their probabilities)."""
    with open(folder / 'predictions.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    return ([row['path'] for row in rows], [row['prediction'] for row in rows],
            [float(row['probability']) for row in rows])


def published_classifier(path):
    model = ActionClassifier('resnet18', 101).eval()
    load_weights(model, path, strict=True)
    return model


ENDS = [0, 0.5, 1]
CORNERS_AND_CENTRE = [(0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5)]


@pytest.mark.parametrize('flags,places,mirrors,chosen,name', [
    ('--crops 3 --clips 1', [(0.5, right) for right in ENDS], [False], lambda blocks: [(blocks - 3) // 2],
     'every video, 3 crops, one clip'),
    ('--crops 5 --clips 2', CORNERS_AND_CENTRE, [False], lambda blocks: sorted({0, blocks - 3}),
     'every video, 5 crops, 2 clips'),
    ('--flip_views', [(0.5, 0.5)], [False, True], None, 'every video, mirror images')])
def test_more_views(csv_root, published, tmp_path, capsys, flags, places, mirrors, chosen, name):
    """Mean softmax over all views of all clips; no published row, and all outputs say what was averaged."""
    folder = classify(csv_root, tmp_path, '--test', published[1], *flags.split())
    model, rows = published_classifier(published[1]), rows_of(csv_root)
    views = [slow_test(model, rows, place=place, mirrored=mirrored, chosen=chosen)
             for place in places for mirrored in mirrors]
    scores = mean_softmax([torch.cat(clips) for clips in zip(*views)])
    names = ucf101_classes()
    labels = [names.index(path.split('/')[-2]) for path, _ in rows]
    table = table_of(folder / 'test_log.md')
    assert list(table) == [name] and table[name] == pytest.approx((12, *obvious_numbers(scores, labels)), abs=1e-4)
    paths, predicted, probability = written_scores(folder)
    assert paths == [path for path, _ in rows] and predicted == [names[i] for i in scores.argmax(axis=1)]
    assert probability == pytest.approx(scores.max(axis=1), abs=1e-4)
    assert f'{name}: 12 videos' in capsys.readouterr().out
    about = next(line for line in open(folder / 'test_log.md') if line.startswith(f'- {name}: '))
    assert ('evenly spaced' in about) == (chosen is not None) and ('mirror' in about) == (len(mirrors) == 2)
    assert all(word.replace(' ', '-') in folder.name for word in name.split(', ')[1:])


def test_one_crop_of_all_clips_is_the_default(csv_root, tmp_path):
    folders = [classify(csv_root, tmp_path, '--test', 'random', '--dataset', 'hmdb51', *flags)
               for flags in ([], ['--crops', 1, '--clips', 'all'])]
    assert folders[1].name == folders[0].name + '-2'
    for file in ('test_log.md', 'predictions.csv'):
        assert (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes()


def test_a_mirrored_video_scores_the_same(csv_root, tmp_path, monkeypatch):
    """With --flip_views, where without it the scores differ. Frames are mirrored after they are decoded: a mirrored
    JPEG isn't exactly the mirror image."""
    def probabilities(*flags):
        return written_scores(classify(csv_root, tmp_path, '--test', 'random', '--dataset', 'hmdb51', *flags))[2]

    both, plain = probabilities('--flip_views'), probabilities()
    decode = sources.decode
    monkeypatch.setattr(sources, 'decode', lambda jpeg, factor: np.ascontiguousarray(decode(jpeg, factor)[:, ::-1]))
    assert probabilities('--flip_views') == pytest.approx(both, abs=1.01e-4)
    assert np.abs(np.subtract(probabilities(), plain)).max() > 1e-3


def test_a_classifier_of_our_own(csv_root, classifier, tmp_path):
    """Trained, then tested: the number of classes comes from classInd.txt. The folder is named after what a test uses
    and holds nothing else than its results."""
    folder = classify(csv_root, tmp_path, '--test', classifier / 'model' / 'model_best_epoch1.pth.tar', '--lr', 0.7)
    assert len((folder / 'predictions.csv').read_text().splitlines()) == 13
    assert folder.name == 'ucf101-32-sp1_r18_lc_ds1_seq3_len5_test=model_best_epoch1'
    assert {entry.name for entry in folder.iterdir()} == {'args.json', 'test_log.md', 'predictions.csv',
                                                          'confusion.png', 'per_class.png'}


def without_statistics(source, path):
    """A classifier's file without BN statistics, as some published files are."""
    state = checkpoint(source)['state_dict']
    return published_file(path, {f'module.{name}': tensor for name, tensor in state.items() if 'running' not in name})


@pytest.mark.parametrize('statistics', ['stored', 'estimated'])
def test_two_processes_test_as_one(csv_root, classifier, tmp_path, statistics):
    """The videos are shared out; the numbers are the same, and the rows in list order. Also for weights without BN
    statistics: there is one estimate for all processes."""
    path = classifier / 'model' / 'epoch1.pth.tar'
    if statistics == 'estimated':
        path = without_statistics(classifier, tmp_path / 'file.pth.tar')
    folders = [classify(csv_root, tmp_path, '--test', path, '--num_procs', count) for count in (1, 2)]
    tables = [table_of(folder / 'test_log.md') for folder in folders]
    assert tables[0].keys() == tables[1].keys() and tables[0]['every video'][0] == 12
    for name in tables[0]:
        assert tables[0][name] == pytest.approx(tables[1][name], abs=2e-4)
    one, two = [list(csv.DictReader(open(folder / 'predictions.csv', newline=''))) for folder in folders]
    assert len(one) == 12
    for a, b in zip(one, two, strict=True):
        assert float(a.pop('probability')) == pytest.approx(float(b.pop('probability')), abs=2e-4)
        assert a == b


def test_one_clip_at_a_time(csv_root, published, tmp_path):
    folders = [classify(csv_root, tmp_path, '--test', published[1], '--batch_size', size) for size in (1, 4)]
    one, four = [table_of(folder / 'test_log.md')['every video'] for folder in folders]
    assert one == pytest.approx(four, abs=1e-4)


def test_short_videos_only(csv_root, tmp_path, capsys):
    """With clips longer than every video all are padded and scored, and the published protocol had nothing to score."""
    folder = classify(csv_root, tmp_path, '--test', 'random', '--num_seq', 8, '--ds', 3)
    assert table_of(folder / 'test_log.md').keys() == {'every video'}
    assert table_of(folder / 'test_log.md')['every video'][0] == 12
    assert 'published protocol (only videos over 120 frames): no video is long enough' in capsys.readouterr().out


# ---- a test of three splits

@pytest.fixture(scope='module')
def three_splits(csv_root, tmp_path_factory):
    """csv_root of a data set 'three' whose test lists are three parts of the tiny UCF101's."""
    root = tmp_path_factory.mktemp('three')
    rows = [f'{path},{count}' for path, count in rows_of(csv_root)]
    (root / 'ucf101').mkdir()
    for split, part in ((1, rows[:6]), (2, rows[3:8]), (3, rows[6:])):
        (root / 'ucf101' / f'test_split{split:02d}.csv').write_text('\n'.join(part) + '\n')
    for split in (1, 2, 3):
        (root / 'ucf101' / f'train_split{split:02d}.csv').write_text('\n'.join(rows) + '\n')
    (root / 'ucf101' / 'classInd.txt').write_text(''.join(f'{i} {name}\n' for i, name in enumerate(
        ('ApplyEyeMakeup', 'Archery', 'YoYo'), 1)))
    return root


@pytest.mark.parametrize('processes', [1, 2])
def test_all_splits(three_splits, tmp_path, capsys, processes):
    """Each split's folder is that of its own test; the mean of the three and its deviation on the screen and in the
    log."""
    files = [tmp_path / f'split{split}.pth.tar' for split in (1, 2, 3)]
    for seed, file in enumerate(files):
        torch.manual_seed(seed)
        torch.save({'state_dict': ActionClassifier('resnet18', 3).state_dict()}, file)
    folder = classify(three_splits, tmp_path / 'all', '--split', 'all', '--test', *files, '--num_procs', processes)
    said = capsys.readouterr().out
    assert folder.name == 'ucf101-32-spall_r18_lc_ds1_seq3_len5_test=split1+split2+split3'
    assert {entry.name for entry in folder.iterdir()} == {'args.json', 'test_log.md', 'split1', 'split2', 'split3'}
    flags = json.loads((folder / 'args.json').read_text())
    assert flags['split'] == 'all' and flags['test'] == [str(file) for file in files]
    tables = []
    for split, file in zip((1, 2, 3), files):
        own = folder / f'split{split}'
        tables.append(table_of(own / 'test_log.md'))
        if processes == 1:
            alone = classify(three_splits, tmp_path / 'alone', '--split', split, '--test', file)
            assert {entry.name for entry in alone.iterdir()} == {'args.json', *(entry.name for entry in own.iterdir())}
            for name in ('predictions.csv', 'test_log.md', 'per_class.png'):
                assert (own / name).read_bytes() == (alone / name).read_bytes()
            assert f'sp{split}_' in alone.name

    mean = table_of(folder / 'test_log.md')
    text = (folder / 'test_log.md').read_text()
    assert all(str(file) in text for file in files)
    assert len(mean) == 8
    for name in ('every video', 'published protocol (only videos over 15 frames)'):
        for split, table in zip((1, 2, 3), tables):
            assert mean[f'{name}, split {split}'] == table[name]
        videos, loss, *accuracies = zip(*(table[name] for table in tables))
        row = mean[f'{name}, mean of 3 splits']
        assert row[0] == sum(videos) and row[1] == pytest.approx(np.mean(loss), abs=2e-4)
        assert row[2:] == pytest.approx([np.mean(values) for values in accuracies], abs=2e-4)
        log_row = next(line for line in text.splitlines() if line.startswith(f'| {name}, mean of 3 splits |'))
        deviation = [float(found) / 100 for found in re.findall(r'± (\d+\.\d+)%', log_row)]
        if processes == 1:  # the output of several isn't captured here
            said_row = next(line for line in said.splitlines() if line.startswith(f'{name}, mean of 3 splits: '))
            numbers = r'\d+\.\d+% ± \d+\.\d+%'
            assert re.findall(numbers, said_row) == re.findall(numbers, log_row)
        squares = [sum((value - np.mean(values)) ** 2 for value in values) for values in accuracies]
        assert deviation == pytest.approx([math.sqrt(total / 2) for total in squares], abs=2e-4)
    assert max(np.ptp(values) for values in accuracies) > 0, 'the splits differ'


def test_mistakes_with_splits(three_splits, csv_root, tmp_path, capsys):
    for words, said in (('--test random --split all', 'three files'), ('--test random random --split all', 'not 2'),
                        ('--test random random', '--split all'), ('--split all', 'for each of --split 1, 2 and 3')):
        assert said in error_of(three_splits, tmp_path, capsys, *words.split())
    error = error_of(csv_root, tmp_path, capsys, '--dataset', 'k400', '--split', 'all', '--test', *['random'] * 3)
    assert 'val_split.csv' in error and '--split' in error
    with pytest.raises(SystemExit):
        script.parse_args(['--split', 'both'])
    assert capsys.readouterr().err.startswith('error: argument --split')


def test_a_mistake_in_the_last_split_comes_first(three_splits, tmp_path, capsys):
    """A classifier of another number of classes, of other settings, and a list that isn't there: before any scores."""
    torch.save({'state_dict': ActionClassifier('resnet18', 4).state_dict()}, tmp_path / 'four.pth.tar')
    settings = {**TRAINED, 'class_names': ['ApplyEyeMakeup', 'Archery', 'YoYo']}
    for ds in (1, 2):
        torch.save({'state_dict': ActionClassifier('resnet18', 3).state_dict(), 'net': 'resnet18',
                    'settings': {**settings, 'ds': ds}}, tmp_path / f'ds{ds}.pth.tar')
    every, one, two = (tmp_path / f'{name}.pth.tar' for name in ('four', 'ds1', 'ds2'))
    logs = tmp_path / 'logs'
    assert str(every) in error_of(three_splits, logs, capsys, '--split', 'all', '--test', 'random', 'random', every)
    error = error_of(three_splits, logs, capsys, '--split', 'all', '--test', one, one, two, base=NO_CLIP)
    assert f'{one} is tested with --ds 1, but {two} with --ds 2' in error
    for folder in three_splits.iterdir():
        shutil.copytree(folder, tmp_path / 'two' / folder.name)
    (tmp_path / 'two' / 'ucf101' / 'test_split03.csv').unlink()
    error = error_of(tmp_path / 'two', logs, capsys, '--split', 'all', '--test', *['random'] * 3)
    assert 'test_split03.csv' in error


def test_random_scores_an_untrained_net(csv_root, tmp_path):
    """On all three layouts; the seed decides the weights."""
    csvs = {}
    for dataset, seed in (('hmdb51', 0), ('hmdb51', 0), ('hmdb51', 1), ('k400', 0)):
        folder = classify(csv_root, tmp_path, '--test', 'random', '--dataset', dataset, '--seed', seed)
        csvs.setdefault((dataset, seed), set()).add((folder / 'predictions.csv').read_text())
    assert len(csvs['hmdb51', 0]) == 1 and csvs['hmdb51', 0] != csvs['hmdb51', 1]
    assert next(iter(csvs['k400', 0])).count('\n') == 7


def error_of(csv_root, log_dir, capsys, *flags, base=CLASSIFIER):
    assert run(script, [*base, '--csv_root', csv_root, '--log_dir', log_dir, *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1, error
    assert not list(log_dir.glob('log_*')), 'a mistake leaves no folder'
    return error


def test_a_wrong_number_of_classes(csv_root, published, tmp_path, capsys):
    for flags, remedy in ((['--num_class', 51], '--num_class'), (['--num_class', 400], '--num_class'),
                          (['--dataset', 'hmdb51'], 'number of classes')):
        assert remedy in error_of(csv_root, tmp_path, capsys, '--test', published[1], *flags)


# ---- settings that follow the checkpoint

NO_CLIP = ['--batch_size', '4', '--num_workers', '0', '--gpu', 'cpu', '--amp', 'off', '--val_fraction', '0.25',
           '--pretrain', 'random']
TRAINED = {'model': 'lc', 'net': 'resnet18', 'img_dim': 32, 'num_seq': 3, 'seq_len': 5, 'ds': 1}


@pytest.fixture
def with_settings(classifier, tmp_path):
    """Writes a checkpoint of the classifier that stores settings."""
    def write(**changes):
        settings = {**TRAINED, 'class_names': ucf101_classes(), **changes}
        path = tmp_path / 'settings.pth.tar'
        torch.save({'epoch': 1, 'net': 'resnet18', 'state_dict': checkpoint(classifier)['state_dict'], 'best_acc': 0.25,
                    'iteration': 2, 'settings': settings}, path)
        return path

    return write


def test_settings_left_out_follow_the_checkpoint(csv_root, with_settings, tmp_path, capsys):
    path = with_settings()
    flags = ['--csv_root', csv_root, '--log_dir', tmp_path / 'logs', '--test', path]
    assert run(script, [*NO_CLIP, *flags]) == 0
    assert 'img_dim 32 (checkpoint), num_seq 3 (checkpoint)' in capsys.readouterr().out
    given, followed = classify(csv_root, tmp_path / 'given', '--test', path), *(tmp_path / 'logs').glob('log_*/*')
    assert (given / 'predictions.csv').read_text() == (followed / 'predictions.csv').read_text()
    assert table_of(given / 'test_log.md') == table_of(followed / 'test_log.md') and given.name == followed.name


def test_settings_that_contradict_the_checkpoint(csv_root, with_settings, tmp_path, capsys):
    path = with_settings()
    error = error_of(csv_root, tmp_path / 'logs', capsys, '--test', path, '--ds', 2, '--num_seq', 2)
    assert all(said in error for said in (str(path), '--num_seq 3 --ds 1', '--num_seq 2 --ds 2',
                                          '--allow_other_settings'))
    error = error_of(csv_root, tmp_path / 'logs', capsys, '--test', path, '--net', 'resnet34', '--allow_other_settings')
    assert '--net resnet18' in error and '--net resnet34' in error
    folder = classify(csv_root, tmp_path / 'logs', '--test', path, '--ds', 2, '--allow_other_settings')
    assert folder.name.startswith('ucf101-32-sp1_r18_lc_ds2_seq3_len5_test=')


def test_a_file_without_settings_is_tested_with_the_defaults(capsys):
    args = settled('--test', 'x.pth.tar', '--num_seq', '6', checkpoint={'net': 'resnet34', 'state_dict': {}})
    assert [args.net, args.img_dim, args.num_seq, args.seq_len, args.ds] == ['resnet34', 128, 6, 5, 3]
    said = capsys.readouterr()
    assert ('settings: net resnet34 (checkpoint), img_dim 128 (assumed), num_seq 6 (given), seq_len 5 (assumed), '
            'ds 3 (assumed)') in said.out
    assert 'x.pth.tar does not say what it was trained with; assumed: --img_dim 128 --seq_len 5 --ds 3\n' in said.out
    settled('--pretrain', 'random')
    said = capsys.readouterr()
    assert 'assumed' not in said.out


@pytest.mark.parametrize('train_what', ['last', 'ft', 'all'])
def test_clips_of_training(train_what, capsys):
    """A probe on frozen features takes those of pretraining; fine-tuning may differ, at another size or on more blocks,
    and says so."""
    clip = {'img_dim': 48, 'num_seq': 4, 'seq_len': 5, 'ds': 2}
    stored = {'net': 'resnet34', 'state_dict': {}, 'settings': {**clip, 'model': 'dpc-rnn', 'net': 'resnet34'}}
    flags = ['--pretrain', 'x.pth.tar', '--train_what', train_what]
    args, warned = settled(*flags, checkpoint=stored), capsys.readouterr().err
    followed = train_what == 'last'
    assert [args.net, args.img_dim, args.num_seq, args.ds] == ['resnet34', *([48, 4, 2] if followed else [128, 8, 3])]
    assert followed == (not warned)
    assert followed or ('was trained with --img_dim 48 --num_seq 4 --ds 2, and this run uses --img_dim 128 --num_seq 8 '
                        '--ds 3') in warned
    args, warned = settled(*flags, '--img_dim', '224', checkpoint=stored), capsys.readouterr().err
    assert args.img_dim == 224 and 'was trained with --img_dim 48' in warned
    args = settled(*flags, '--img_dim', '48', '--num_seq', '4', '--ds', '2', checkpoint=stored)
    assert not capsys.readouterr().err
    with pytest.raises(UserError, match='x.pth.tar .*--net resnet34, not --net resnet18'):
        settled(*flags, '--net', 'resnet18', checkpoint=stored)


def test_a_net_that_is_not_listed():
    with pytest.raises(UserError, match="x.pth.tar is a checkpoint of net 'vgg'"):
        settled('--test', 'x.pth.tar', checkpoint={'net': 'vgg'})


def test_classes_of_another_order_or_number(csv_root, with_settings, tmp_path, capsys):
    """The error names the first differences; names that differ in spaces and underscores are the same."""
    names = ucf101_classes()
    swapped = [names[0], names[2], names[1], *names[3:]]
    error = error_of(csv_root, tmp_path / 'logs', capsys, '--test', with_settings(class_names=swapped))
    assert f"label 1 is '{names[2]}' there and '{names[1]}' here" in error and 'label 2' in error
    assert 'ucf101/classInd.txt' in error and '--allow_other_settings' in error
    error = error_of(csv_root, tmp_path / 'logs', capsys, '--allow_other_settings', '--test',
                     with_settings(class_names=names[:-1]))
    assert '(100 there, 101 here)' in error and f"only here: label 100, '{names[-1]}'" in error
    spelt = [name.replace('Class', 'Class_') for name in names]
    path = with_settings(class_names=spelt)
    assert "label 0 is 'ApplyEyeMakeup'" not in error_of(csv_root, tmp_path / 'logs', capsys, '--test', path)
    classify(csv_root, tmp_path / 'logs', '--test', path, '--allow_other_settings')


def test_spaces_in_class_names_equal_underscores():
    check_class_names('x', ['a b', 'c'], ['a_b', 'c'], 'classInd.txt')


# ---- mistakes

def test_a_probe_needs_weights(csv_root, tmp_path, capsys):
    flags = [flag for flag in CLASSIFIER if flag not in ('--pretrain', 'random')]
    for more in ([], ['--resume', 'auto']):
        error = error_of(csv_root, tmp_path, capsys, *more, base=flags)
        assert '--pretrain FILE' in error and '--pretrain random' in error
    folder = run_folder(script, [*flags, '--csv_root', csv_root, '--train_what', 'ft'], tmp_path)
    assert 'random weights' in capsys.readouterr().out and folder.name.endswith('train-ft_pt=random')


def test_one_clip_per_process_cannot_train(csv_root, tmp_path, capsys, monkeypatch):
    error = error_of(csv_root, tmp_path, capsys, '--batch_size', 1)
    assert '--batch_size 1' in error and 'at least 2 clips' in error and 'give 2 or more' in error
    monkeypatch.setattr('utils.parallel.distributed.world', lambda: 4)
    with pytest.raises(UserError, match='--batch_size 4: .* give 8 or more'):
        classify_setup.check_training_flags(script.parse_args(['--pretrain', 'x', '--batch_size', '4']))
    classify_setup.check_training_flags(script.parse_args(['--pretrain', 'x', '--batch_size', '4', '--sync_bn']))


def test_views_that_do_not_fit(csv_root, tmp_path, capsys):
    error = error_of(csv_root, tmp_path, capsys, '--test', 'random', '--crops', 10, '--flip_views')
    assert '--crops 10' in error and '--crops 5' in error
    for flags in (['--crops', 3], ['--flip_views'], ['--clips', 4]):
        error = error_of(csv_root, tmp_path, capsys, *flags)
        assert flags[0] in error and '--test' in error
    for flags in (['--crops', 2], ['--clips', 0], ['--clips', 'some']):
        with pytest.raises(SystemExit):
            script.parse_args([str(flag) for flag in flags])
        error = capsys.readouterr().err
        assert error.startswith('error: ') and flags[0] in error and error.count('\n') == 1


# ---- odd names

def own_test_list(csv_root, root, names, add=()):
    """A data set 'odd' whose test list has the videos of the tiny UCF101 with their classes renamed; `add` are more
    classes. Names are bytes."""
    renamed = dict(zip((b'ApplyEyeMakeup', b'Archery', b'YoYo'), names))
    lines = []
    for line in (csv_root / 'ucf101' / 'test_split01.csv').read_bytes().split():
        path, count = line.rsplit(b',', 1)
        frames, name, video = path.rsplit(b'/', 2)
        link = os.fsencode(root) + b'/frames/' + renamed[name]
        os.makedirs(link, exist_ok=True)
        os.symlink(path, link + b'/' + video)
        lines.append(link + b'/' + video + b',' + count)
    (root / 'odd').mkdir()
    (root / 'odd' / 'test_split01.csv').write_bytes(b'\n'.join(lines) + b'\n')
    listed = [*names, *add]
    (root / 'odd' / 'classInd.txt').write_bytes(b''.join(b'%d %s\n' % row for row in enumerate(listed, 1)))


CAFE = 'Café'.encode()


def test_class_names_of_any_letters(csv_root, tmp_path):
    """Also as a program whose output is strict UTF-8."""
    own_test_list(csv_root, tmp_path, [CAFE, b'$x$_{', b'B'])
    broken = tmp_path / 'frames' / os.fsdecode(CAFE) / 'v_ApplyEyeMakeup_g01_c02'
    os.unlink(broken)
    argv = [ROOT / 'eval/test.py', *CLASSIFIER, '--dataset', 'odd', '--csv_root', tmp_path, '--log_dir',
            tmp_path, '--test', 'random']
    done = forked.run(argv, text=False, env={**os.environ, 'PYTHONIOENCODING': 'utf-8:strict'})
    assert done.returncode == 0, done.stderr
    folder, = tmp_path.glob('log_*/*')
    assert CAFE in (folder / 'predictions.csv').read_bytes()
    assert CAFE + b'/v_ApplyEyeMakeup_g01_c02' in (folder / 'test_log.md').read_bytes()
    assert CAFE + b'/v_ApplyEyeMakeup_g01_c02' in done.stderr
    assert (folder / 'confusion.png').is_file()


def test_too_many_classes_for_a_picture(csv_root, tmp_path, capsys):
    own_test_list(csv_root, tmp_path, [b'A', b'B', b'C'], add=[b'Class%d' % i for i in range(1000)])
    folder = classify(tmp_path, tmp_path, '--dataset', 'odd', '--test', 'random')
    assert not (folder / 'confusion.png').exists() and (folder / 'predictions.csv').is_file()
    assert 'no confusion.png: 1003 classes' in capsys.readouterr().out
