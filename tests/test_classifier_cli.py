"""eval/test.py as a user runs it, on tiny data: what is frozen, what moves how fast, BN statistics, test outputs."""
import csv
import json
import re

import cv2
import numpy as np
import pytest
import torch

from eval import test as script
from eval.model import ActionClassifier
from tests.test_checkpoint import published_file, statistics_for
from tests.test_golden import published_state
from tests.tiny import CLASSIFIER, checkpoint, classify, equal, read_log, run, ucf101_classes
from utils.checkpoint import load_weights
from utils.data.colour import IMAGENET_MEAN, IMAGENET_STD

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


def test_ft_moves_pretrained_parts_at_a_tenth(csv_root, pretrained, tmp_path):
    """Adam's first step moves each weight by its rate: read off the weights, not off the optimiser's settings."""
    path = pretrained / 'model' / 'epoch1.pth.tar'
    one_step = ['--batch_size', 8, '--wd', 0]
    folder = classify(csv_root, tmp_path, '--train_what', 'ft', '--pretrain', path, *one_step)
    before, after = start_of(path), checkpoint(folder)['state_dict']
    assert checkpoint(folder)['iteration'] == 1
    steps = {name: (after[name] - before[name]).abs().max().item()
             for name, _ in ActionClassifier('resnet18').named_parameters()}
    for name, step in steps.items():
        assert step == pytest.approx(1e-4 if name.startswith(FEATURES) else 1e-3, rel=0.01), name


@pytest.mark.parametrize('train_what,parts,slow,fast', [
    ('last', 'all', '', 'final_bn final_fc'), ('all', 'all', '', 'backbone agg final_bn final_fc'),
    ('ft', 'all', 'backbone agg', 'final_bn final_fc'), ('ft', 'backbone', 'backbone', 'agg final_bn final_fc'),
    ('ft', 'none', '', 'backbone agg final_bn final_fc')])
def test_parameter_groups(train_what, parts, slow, fast):
    """Each trainable parameter once, by submodule; only what came from a file is slowed down."""
    model = ActionClassifier('resnet18')
    pretrained = {'all': [model.backbone, model.agg], 'backbone': [model.backbone], 'none': []}[parts]
    groups, frozen = script.parameter_groups(model, train_what, pretrained, lr=0.01)
    rate = {id(parameter): group['lr'] for group in groups for parameter in group['params']}
    for name, parameter in model.named_parameters():
        part = name.split('.')[0]
        assert rate.get(id(parameter)) == (0.001 if part in slow.split() else 0.01 if part in fast.split() else None)
        assert parameter.requires_grad == (id(parameter) in rate)
    assert frozen == ([model.backbone, model.agg] if train_what == 'last' else [])


def test_bn_statistics_are_estimated_where_the_file_has_none(csv_root, published, tmp_path, capsys):
    """Of unlabelled training clips, before anything is frozen: equal to those of an obvious computation."""
    seen = []
    original = script.estimate_bn_statistics

    def spy(model, batches, precision):
        batches = KeepBlocks(batches, seen)
        return original(model, batches, precision)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, 'estimate_bn_statistics', spy)
        folder = classify(csv_root, tmp_path, '--train_what', 'last', '--pretrain', published[0])
    assert 'estimating BN statistics' in capsys.readouterr().out
    state = checkpoint(folder)['state_dict']

    means, variances = [], []
    for block in seen:
        images = block.transpose(2, 3).flatten(0, 2)  # [B·N·T, C, H, W]
        output = torch.nn.functional.conv2d(images, state['backbone.conv1.weight'].squeeze(2), stride=2, padding=3)
        means.append(output.mean(dim=(0, 2, 3)))
        variances.append(output.var(dim=(0, 2, 3)))
    assert len(seen) == 2  # 9 clips in batches of 4
    assert torch.allclose(state['backbone.bn1.running_mean'], torch.stack(means).mean(dim=0), rtol=1e-4, atol=1e-5)
    assert torch.allclose(state['backbone.bn1.running_var'], torch.stack(variances).mean(dim=0), rtol=1e-4)
    parameters = {name for name, _ in ActionClassifier('resnet18').named_parameters() if name.startswith(FEATURES)}
    before = start_of(published[0])
    assert all(torch.equal(before[name], state[name]) for name in parameters)


class KeepBlocks:
    """Batches that also keep the blocks that went through."""

    def __init__(self, batches, seen):
        self.loader, self.batches, self.seen = batches.loader, batches, seen

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        for batch in self.batches:
            self.seen.append(batch.block.clone())
            yield batch


def test_bn_statistics_of_the_file_are_kept(csv_root, published, tmp_path):
    state = published_state('pretraining', 'resnet18')
    state.update(statistics_for(state))
    path = published_file(tmp_path / 'with_statistics.pth.tar', state)
    after = checkpoint(classify(csv_root, tmp_path, '--train_what', 'last', '--pretrain', path))['state_dict']
    assert torch.equal(after['backbone.layer4.1.bn2.running_var'], state['module.backbone.layer4.1.bn2.running_var'])
    assert torch.equal(after['backbone.bn1.running_mean'], state['module.backbone.bn1.running_mean'])


@pytest.mark.parametrize('flags,milestones', [
    ('--dataset ucf101 --img_dim 128', [60, 80, 100]), ('--dataset ucf101 --img_dim 224', [300, 400, 500]),
    ('--dataset hmdb51 --img_dim 128', [150, 250, 300]), ('--dataset ucf101 --lr_milestones 5,9', [5, 9])])
def test_published_schedule(flags, milestones):
    args = script.parse_args(flags.split())
    assert list(args.lr_milestones) == milestones and args.schedule == 'step' and args.lr_gamma == 0.1


def test_published_defaults():
    args = script.parse_args([])
    published = {'net': 'resnet18', 'model': 'lc', 'dataset': 'ucf101', 'split': 1, 'seq_len': 5, 'num_seq': 8,
                 'dropout': 0.5, 'ds': 3, 'batch_size': 4, 'lr': 1e-3, 'wd': 1e-3, 'epochs': 10, 'print_freq': 5,
                 'train_what': 'last', 'prefix': 'tmp', 'img_dim': 128, 'reset_lr': False}
    assert {name: getattr(args, name) for name in published} == published


# ---- testing

def slow_test(model, rows, num_seq=3, seq_len=5, ds=1, size=32):
    """Mean softmax over the clips of each video [R, classes], one clip at a time, straight from the files."""
    scores = []
    for path, count in rows:
        frames = []
        for number in range(1, count + 1, ds):
            frame = cv2.imread(f'{path}/image_{number:05d}.jpg')[:, :, ::-1]
            height, width = frame.shape[:2]
            side = min(height, width, 224)
            top, left = (height - side) // 2, (width - side) // 2
            frame = cv2.resize(np.ascontiguousarray(frame[top:top + side, left:left + side]), (size, size)) / 255
            frames.append((frame - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD))
        blocks = [frames[i:i + seq_len] for i in range(0, len(frames) - seq_len + 1, seq_len)]
        if len(blocks) < num_seq:  # shorter than a clip: the last frame stands still
            frames += [frames[-1]] * (num_seq * seq_len)
            blocks = [frames[i * seq_len:(i + 1) * seq_len] for i in range(num_seq)]
        starts = list(range(0, len(blocks) - num_seq, max(1, num_seq // 2))) + [len(blocks) - num_seq]
        clips = []
        for start in starts:
            clip = torch.tensor(np.array(blocks[start:start + num_seq]), dtype=torch.float32)  # [N, T, H, W, C]
            with torch.no_grad():
                clips.append(model(clip.permute(0, 4, 1, 2, 3)[None])[0].softmax(dim=0))
        scores.append(torch.stack(clips).mean(dim=0).numpy())
    return np.array(scores)


def obvious_numbers(scores, labels):
    """(loss, top-1, top-5, mean per class), with loops."""
    order = [list(np.argsort(-row)) for row in scores]
    right = [ranking[0] == label for ranking, label in zip(order, labels)]
    classes = sorted(set(labels))
    per_class = [np.mean([hit for hit, label in zip(right, labels) if label == name]) for name in classes]
    return (np.mean([-np.log(row[label]) for row, label in zip(scores, labels)]), np.mean(right),
            np.mean([label in ranking[:5] for ranking, label in zip(order, labels)]), np.mean(per_class))


def table_of(test_log):
    """{protocol: (videos, loss, top-1, top-5, mean per class)} of a test_log.md."""
    lines = [line for line in open(test_log) if line.startswith('|')]
    rows = [[cell.strip() for cell in line.strip('|\n ').split('|')] for line in lines[2:]]
    return {row[0]: (int(row[1]), float(row[2]), *(float(cell.rstrip('%')) / 100 for cell in row[3:])) for row in rows}


def test_the_test(csv_root, published, tmp_path, monkeypatch, capsys):
    """A published classifier in the legacy format: every video scored, short ones padded, all outputs right."""
    matrices = []
    original = script.draw_confusion
    monkeypatch.setattr(script, 'draw_confusion', lambda path, matrix, names: (matrices.append((matrix, names)),
                                                                             original(path, matrix, names)))
    folder = classify(csv_root, tmp_path, '--test', published[1], '--batch_size', 2)

    names = ucf101_classes()
    rows = [(path, int(count)) for path, count in csv.reader(open(csv_root / 'ucf101' / 'test_split01.csv'))]
    labels = [names.index(path.split('/')[-2]) for path, _ in rows]
    model = ActionClassifier('resnet18', 101).eval()
    load_weights(model, published[1], strict=True)
    scores = slow_test(model, rows)

    table = table_of(folder / 'test_log.md')
    assert table['every video'] == pytest.approx((12, *obvious_numbers(scores, labels)), abs=1e-4)
    # published: a video had to be longer than a clip of 15 frames, so those of 12 and 15 were dropped
    longer = [i for i, (_, count) in enumerate(rows) if count > 15]
    other, = set(table) - {'every video'}
    assert 'published' in other
    assert table[other] == pytest.approx((6, *obvious_numbers(scores[longer], [labels[i] for i in longer])), abs=1e-4)

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
    picture = cv2.imread(str(folder / 'confusion.png'))
    assert min(picture.shape[:2]) > 400 and picture.std() > 1

    said = capsys.readouterr().out
    for number in re.findall(r'\d+\.\d+%', (folder / 'test_log.md').read_text()):
        assert number in said


def test_a_classifier_of_our_own(csv_root, classifier, tmp_path):
    """Trained, then tested: the number of classes comes from classInd.txt."""
    folder = classify(csv_root, tmp_path, '--test', classifier / 'model' / 'model_best_epoch1.pth.tar')
    assert len((folder / 'predictions.csv').read_text().splitlines()) == 13
    assert folder.name.endswith('_test=model_best_epoch1')


def test_two_processes_test_as_one(csv_root, published, tmp_path):
    """The videos are shared out; the rows are the same and in the order of the list."""
    folders = [classify(csv_root, tmp_path, '--test', published[1], '--num_procs', count) for count in (1, 2)]
    one, two = [list(csv.DictReader(open(folder / 'predictions.csv', newline=''))) for folder in folders]
    assert len(one) == 12
    for a, b in zip(one, two, strict=True):
        assert float(a.pop('probability')) == pytest.approx(float(b.pop('probability')), abs=2e-4)
        assert a == b


def test_short_videos_only(csv_root, tmp_path, capsys):
    """With clips longer than every video all are padded and scored, and the published protocol had nothing to score."""
    folder = classify(csv_root, tmp_path, '--test', 'random', '--num_seq', 8, '--ds', 3)
    assert table_of(folder / 'test_log.md').keys() == {'every video'}
    assert table_of(folder / 'test_log.md')['every video'][0] == 12
    assert 'published protocol: no video is longer' in capsys.readouterr().out


def test_random_scores_an_untrained_net(csv_root, tmp_path):
    """On all three layouts; the seed decides the weights."""
    csvs = {}
    for dataset, seed in (('hmdb51', 0), ('hmdb51', 0), ('hmdb51', 1), ('k400', 0)):
        folder = classify(csv_root, tmp_path, '--test', 'random', '--dataset', dataset, '--seed', seed)
        csvs.setdefault((dataset, seed), set()).add((folder / 'predictions.csv').read_text())
    assert len(csvs['hmdb51', 0]) == 1 and csvs['hmdb51', 0] != csvs['hmdb51', 1]
    assert next(iter(csvs['k400', 0])).count('\n') == 7


def test_a_wrong_number_of_classes(csv_root, published, tmp_path, capsys):
    for flags, remedy in ((['--num_class', 51], '--num_class'), (['--num_class', 400], '--num_class'),
                          (['--dataset', 'hmdb51'], 'number of classes')):
        argv = [*CLASSIFIER, '--csv_root', csv_root, '--log_dir', tmp_path, '--test', published[1], *flags]
        assert run(script, argv) == 2
        assert remedy in capsys.readouterr().err
