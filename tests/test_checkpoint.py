"""Checkpoints: published files and ours load by name, other nets' and malicious ones don't; failed saves harm none."""
import argparse
import copy
import gzip
import os
import pickle
import resource
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn as nn

from dpc.model import DPC
from eval.model import ActionClassifier
from eval.networks.bn_statistics import layers_without_statistics
from tests.test_golden import published_state
from tests.tiny import checkpoint, equal
from utils.checkpoint import RESUMABLE, load_weights, read_checkpoint, write_checkpoint
from utils.cli import UserError
from utils.run.optimisation import load_optimizer, make_optimizer, make_schedule


def published_file(path, state, legacy=True, net='resnet18', best_acc=np.float64(0.536)):
    """A .pth.tar as the published code wrote it: torch 1's format, not a zip, and the accuracy as a numpy number."""
    torch.save({'epoch': 108, 'net': net, 'state_dict': state, 'best_acc': best_acc,
                'optimizer': {'state': {}, 'param_groups': [{'lr': 1e-3, 'params': [0, 1]}]}, 'iteration': 12345},
               path, _use_new_zipfile_serialization=not legacy)
    return path


def statistics_for(state):
    """Running statistics for the backbone of a state dict, as some published files have them."""
    names = [name.removesuffix('.weight') for name in state if name.removesuffix('.weight') + '.bias' in state
             and 'backbone' in name]
    size = {name: len(state[name + '.weight']) for name in names}
    return {f'{name}.{kind}': torch.full((size[name],), value) for name in names
            for kind, value in (('running_mean', 0.25), ('running_var', 2.))}


@pytest.mark.parametrize('legacy', [True, False])
@pytest.mark.parametrize('statistics', [False, True])
def test_published_pretraining_file(tmp_path, legacy, statistics):
    """Every parameter arrives, for pretraining and classification; the report says what didn't come from the file."""
    state = published_state('pretraining', 'resnet18')
    if statistics:
        state.update(statistics_for(state))
    path = published_file(tmp_path / 'published.pth.tar', state, legacy)
    wanted = {name.removeprefix('module.').replace('cell_list.0', 'ConvGRUCell_00'): tensor
              for name, tensor in state.items()}

    model = DPC('resnet18')
    report = load_weights(model, path)
    loaded = model.state_dict()
    assert set(report.used) == set(wanted) and not report.left_over
    assert all(torch.equal(loaded[name], tensor) for name, tensor in wanted.items())
    assert bool(layers_without_statistics(model, report.missing)) != statistics
    assert any(name.endswith('running_mean') for name in report.missing) != statistics

    classifier = ActionClassifier('resnet18')
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    report = load_weights(classifier, path)
    after = classifier.state_dict()
    assert all(name.startswith('network_pred.') for name in report.left_over) and report.left_over
    for name, tensor in after.items():
        assert torch.equal(tensor, wanted[name] if name in wanted else before[name]), name
    assert {name.split('.')[0] for name in report.missing} - {'backbone'} == {'final_bn', 'final_fc'}


def test_published_classifier_file(tmp_path, capsys):
    """Whole, so that it can be tested; what was used, missing and left over is printed."""
    path = published_file(tmp_path / 'published.pth.tar', published_state('classifier, 101 classes', 'resnet18'))
    model = ActionClassifier('resnet18', num_class=101)
    report = load_weights(model, path, strict=True)
    assert not report.missing
    assert f'{len(report.used)} tensors loaded' in capsys.readouterr().out
    with pytest.raises(UserError, match='number of classes'):
        load_weights(ActionClassifier('resnet18', num_class=51), path, strict=True)


@pytest.mark.parametrize('theirs,ours', [('resnet18', 'resnet34'), ('resnet34', 'resnet18'), ('resnet18', 'resnet50'),
                                         ('resnet50', 'resnet18'), ('resnet34', 'resnet50')])
def test_another_net_is_refused(tmp_path, theirs, ours):
    """With the flag that helps, and without touching the model."""
    path = published_file(tmp_path / 'published.pth.tar', published_state('pretraining', theirs), net=theirs)
    model = DPC(ours)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match=f'published.pth.tar is a checkpoint of another net .*--net {theirs}'):
        load_weights(model, path)
    assert equal(dict(model.state_dict()), before)


def test_nothing_useful_is_refused(tmp_path):
    path = tmp_path / 'other.pth'
    torch.save({'state_dict': {'encoder.weight': torch.zeros(3)}}, path)
    with pytest.raises(UserError, match='other.pth: nothing in it matches'):
        load_weights(DPC('resnet18'), path)
    torch.save({'epoch': 3}, path)
    with pytest.raises(UserError, match='other.pth holds no weights'):
        load_weights(DPC('resnet18'), path)
    torch.save([1, 2], path)
    with pytest.raises(UserError, match='other.pth holds a list'):
        load_weights(DPC('resnet18'), path)


class Malicious:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('legacy', [True, False, None])
def test_a_malicious_file_never_runs(tmp_path, legacy):
    """In torch's new and old format and as a plain pickle."""
    path, proof = tmp_path / 'malicious.pth.tar', tmp_path / 'it ran'
    content = {'epoch': 1, 'state_dict': {'backbone.conv1.weight': torch.zeros(1)}, 'best_acc': Malicious(proof)}
    if legacy is None:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError, match='malicious.pth.tar is not a readable checkpoint'):
        read_checkpoint(path)
    assert not proof.exists()
    with open(path, 'rb') as file:  # the file is a working attack, so the refusal is what stopped it
        torch.load(file, weights_only=False) if legacy is not None else pickle.load(file)
    assert proof.exists()


@pytest.mark.parametrize('content', [b'', b'not a checkpoint\n', b'PK\x03\x04' + bytes(100)])
def test_a_file_that_is_no_checkpoint(tmp_path, content):
    path = tmp_path / 'broken.pth.tar'
    path.write_bytes(content)
    with pytest.raises(UserError, match='broken.pth.tar is not a readable checkpoint') as error:
        read_checkpoint(path)
    assert '\n' not in str(error.value)


def test_a_truncated_checkpoint(tmp_path, pretrained):
    whole = (pretrained / 'model' / 'epoch1.pth.tar').read_bytes()
    path = tmp_path / 'short.pth.tar'
    path.write_bytes(whole[:len(whole) // 2])
    with pytest.raises(UserError, match='short.pth.tar is not a readable checkpoint'):
        read_checkpoint(path)


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path):
    """The system refuses to write more than 100 kB, half way through the new one."""
    path = tmp_path / 'epoch1.pth.tar'
    write_checkpoint({'epoch': 1}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # Python ignores the signal: the write fails
    try:
        with pytest.raises(UserError, match='cannot write the checkpoint .*disk full') as error:
            write_checkpoint({'epoch': 2, 'state_dict': torch.zeros(1000, 1000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(path) in str(error.value) and '--resume' in str(error.value) and '\n' not in str(error.value)
    assert read_checkpoint(path) == {'epoch': 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ['epoch1.pth.tar']


def test_a_run_folder_that_was_deleted(tmp_path):
    """The advice isn't to free disk space."""
    folder = tmp_path / 'run' / 'model'
    folder.mkdir(parents=True)
    write_checkpoint({'epoch': 1}, folder / 'epoch1.pth.tar')
    shutil.rmtree(tmp_path / 'run')
    with pytest.raises(UserError, match=f'{folder}/epoch2.pth.tar: the folder {folder} is gone') as error:
        write_checkpoint({'epoch': 2}, folder / 'epoch2.pth.tar')
    (tmp_path / 'run').write_text('a file of the same name')
    with pytest.raises(UserError, match='is gone') as other:
        write_checkpoint({'epoch': 2}, folder / 'epoch2.pth.tar')
    for message in (str(error.value), str(other.value)):
        assert 'disk' not in message and '\n' not in message


def test_our_checkpoints_hold_plain_values(pretrained):
    """Tensors, numbers, strings, and containers of them; the published keys; tensor names without `module.`."""
    saved = checkpoint(pretrained)
    assert {'epoch', 'net', 'state_dict', 'best_acc', 'optimizer', 'iteration'} <= saved.keys()
    assert saved['net'] == 'resnet18' and saved['epoch'] == 1
    assert saved['state_dict'].keys() == DPC('resnet18').state_dict().keys()

    def plain(value):
        if isinstance(value, dict):
            return all(plain(key) and plain(item) for key, item in value.items())
        if isinstance(value, (list, tuple)):
            return all(map(plain, value))
        return value is None or torch.is_tensor(value) or isinstance(value, (bool, int, float, str))

    assert plain(saved)


def test_weights_flow_between_the_tasks(pretrained, classifier):
    """By name, both ways."""
    model = ActionClassifier('resnet18')
    report = load_weights(model, pretrained / 'model' / 'epoch1.pth.tar')
    assert {name.split('.')[0] for name in report.missing} == {'final_bn', 'final_fc'}
    report = load_weights(DPC('resnet18'), classifier / 'model' / 'epoch1.pth.tar')
    assert {name.split('.')[0] for name in report.missing} == {'network_pred'}


# ---- broken files

def one_line(call, *args, **kwargs):
    """The UserError that a call ends in: a single line, nothing beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # a warning would be a second line on the screen
        with pytest.raises(UserError) as error:
            call(*args, **kwargs)
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 1000
    return str(error.value)


def test_a_folder_or_a_misspelled_name_in_place_of_a_checkpoint(tmp_path):
    (tmp_path / 'model').mkdir()
    for name in ('epoch12.pth.tar', 'epoch21.mp4', 'epoch21.json'):
        (tmp_path / 'model' / name).touch()
    assert 'is a folder: give the path of a checkpoint; in it: epoch12.pth.tar' in one_line(read_checkpoint, tmp_path / 'model')
    message = one_line(read_checkpoint, str(tmp_path / 'model' / 'epoch21.pth.tar'))
    assert 'is not there: give the path of a checkpoint; beside it: epoch12.pth.tar' in message
    assert one_line(read_checkpoint, str(tmp_path / 'model' / 'xyz')).endswith('give the path of a checkpoint')


def whole_checkpoint():
    """All fields, of a small model after a step; nothing in it is shared with another call's."""
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    optimizer = make_optimizer('adam', model.parameters(), lr=1e-3, wd=0)
    schedule = make_schedule('step', optimizer, epochs=3, milestones=[2])
    model(torch.ones(2, 5)).sum().backward()
    optimizer.step()
    return {'epoch': 1, 'step': 2, 'iteration': 5, 'net': 'resnet18', 'best_acc': 0.5, 'state_dict': model.state_dict(),
            'optimizer': optimizer.state_dict(), 'schedule': schedule.state_dict(), 'scaler': {},
            'averages': {'sums': {'loss': 3.5}, 'weight': 8.}, 'replaced': 0, 'skipped': 0, 'log_size': 1234,
            'precision': 'bf16',
            'settings': {'model': 'lc', 'net': 'resnet18', 'img_dim': 128, 'num_seq': 8, 'seq_len': 5, 'ds': 3,
                         'class_names': ['Archery', 'YoYo']}}


def test_a_whole_checkpoint_can_be_resumed(tmp_path):
    path = tmp_path / 'epoch1.pth.tar'
    write_checkpoint(whole_checkpoint(), path)
    assert equal(read_checkpoint(path, resumable=True), whole_checkpoint())
    assert whole_checkpoint().keys() == RESUMABLE.keys() | {'precision', 'settings'}


def test_a_published_file_cannot_be_resumed(tmp_path):
    path = published_file(tmp_path / 'published.pth.tar', {'module.backbone.conv1.weight': torch.zeros(2)})
    message = one_line(read_checkpoint, path, resumable=True)
    assert 'log_size' in message and 'schedule' in message and '--pretrain' in message and str(path) in message


@pytest.mark.parametrize('field', sorted(RESUMABLE))
def test_a_field_of_another_kind(tmp_path, field):
    """Missing or of a wrong type, it is named."""
    path = tmp_path / 'epoch1.pth.tar'
    for value in [None, True, '', 'text\nof two lines', [], [1], torch.zeros(2), torch.tensor(3)]:
        if type(value) is not RESUMABLE[field] or field == 'net':
            torch.save({**whole_checkpoint(), field: value}, path)
            message = one_line(read_checkpoint, path, resumable=True)
            assert str(path) in message and f'its {field} is not' in message
    checkpoint = whole_checkpoint()
    del checkpoint[field]
    torch.save(checkpoint, path)
    assert f'it has no {field}' in one_line(read_checkpoint, path, resumable=True)


@pytest.mark.parametrize('damage', [
    lambda saved: saved['state_dict'].update(weight=torch.empty(3, 5, device='meta')),
    lambda saved: saved['state_dict'].update(weight=torch.zeros(3, 5).to_sparse()),
    lambda saved: saved['state_dict'].update({3: torch.zeros(1)}),
    lambda saved: saved['state_dict'].update(weight=[1., 2.]),
    lambda saved: saved['settings'].update(img_dim=0),
    lambda saved: saved['settings'].update(model='other'),
    lambda saved: saved['settings'].update(class_names='Archery'),
    lambda saved: saved['settings'].pop('class_names'),
    lambda saved: saved['settings'].pop('net'),
    lambda saved: saved.update({7: 'a'}),
    lambda saved: saved.update({('a', 'tuple'): 'a'})])
def test_a_part_of_another_kind(tmp_path, damage):
    checkpoint = whole_checkpoint()
    damage(checkpoint)
    path = tmp_path / 'epoch1.pth.tar'
    torch.save(checkpoint, path)
    assert str(path) in one_line(read_checkpoint, path, resumable=True)


@pytest.mark.parametrize('content', [
    {1: torch.zeros(1)}, {1: 2}, [torch.zeros(1)], {'a': torch.zeros(4, 4).to_sparse()},
    {'state_dict': {'a': torch.zeros(4, 4).to_sparse()}}, {'state_dict': {'a': torch.empty(3, device='meta')}},
    {'state_dict': {1: torch.zeros(1)}}, {'state_dict': [torch.zeros(1)]}, {'state_dict': {}}, {'state_dict': None},
    {'state_dict': torch.zeros(3)}, {'net': 3, 'state_dict': {'a': torch.zeros(1)}}, {}, torch.zeros(3), 'text', None])
def test_nothing_to_load_weights_from(tmp_path, content):
    path = tmp_path / 'file.pth.tar'
    torch.save(content, path)
    assert str(path) in one_line(load_weights, DPC('resnet18'), path)


def test_what_weights_do_not_need_may_be_anything(tmp_path):
    """A release without its optimiser still gives its weights."""
    state = {f'module.{name}': tensor for name, tensor in DPC('resnet18').state_dict().items()}
    torch.save({'state_dict': state, 'optimizer': None, 'epoch': 'last', 'best_acc': float('nan')}, tmp_path / 'a.pth')
    assert not load_weights(DPC('resnet18'), tmp_path / 'a.pth').missing


@pytest.mark.parametrize('name', ['backbone.conv1.weight', 'backbone.bn1.running_var',
                                  'agg.ConvGRUCell_00.out_gate.bias'])
@pytest.mark.parametrize('spoil', [
    lambda tensor: tensor.flatten().index_fill(0, torch.tensor(3), float('nan')).view_as(tensor),
    lambda tensor: tensor.flatten().index_fill(0, torch.tensor(3), -float('inf')).view_as(tensor),
    lambda tensor: tensor.double().fill_(1e300),  # becomes infinity in float32
    lambda tensor: tensor.to(torch.complex64), lambda tensor: tensor.to(torch.int64),
    lambda tensor: tensor.to(torch.bool), lambda tensor: tensor.to(torch.int8)])
def test_weights_that_are_none(name, spoil):
    """NaN, infinity, complex and whole numbers: the tensor is named and the model stays as it was."""
    weights = DPC('resnet18').state_dict()
    weights[name] = spoil(weights[name])
    model = DPC('resnet18')
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    message = one_line(load_weights, model, {'state_dict': weights}, origin='spoilt.pth.tar')
    assert message.startswith(f'spoilt.pth.tar: {name} ')
    assert equal(dict(model.state_dict()), before)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision(dtype):
    """Converted as copying does; the counters of BN are whole numbers in every file."""
    weights = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor
               for name, tensor in DPC('resnet18').state_dict().items()}
    model = DPC('resnet18')
    load_weights(model, weights)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == (torch.float32 if tensor.is_floating_point() else torch.int64)
        assert torch.equal(tensor, torch.empty_like(tensor).copy_(weights[name]))


def test_every_flipped_byte_of_the_data_is_noticed(tmp_path):
    """One bit or all of a byte, at every place of every record and at many others; what is accepted is the same."""
    path, broken = tmp_path / 'epoch1.pth.tar', tmp_path / 'broken.pth.tar'
    torch.save(whole_checkpoint(), path)
    whole, wanted = path.read_bytes(), read_checkpoint(path)
    data = set()
    with zipfile.ZipFile(path) as archive:
        for info in archive.filelist:
            header = info.header_offset
            start = header + 30 + sum(int.from_bytes(whole[header + at:header + at + 2], 'little') for at in (26, 28))
            assert whole[start:start + info.file_size] == archive.read(info.filename)
            data.update(range(start, start + info.file_size))
    rng = np.random.default_rng(0)
    accepted = 0
    for place in [*sorted(data), *rng.choice(sorted(set(range(len(whole))) - data), 400, replace=False)]:
        turned = bytearray(whole)
        turned[place] ^= rng.choice([1 << rng.integers(8), 255])
        broken.write_bytes(turned)
        try:
            loaded = read_checkpoint(broken)
        except UserError as error:
            assert str(broken) in str(error)
        else:
            assert place not in data and equal(loaded, wanted)
            accepted += 1
    assert 0 < accepted < 400, 'padding may change, the directory may not'


def test_damage_is_said(tmp_path):
    path = tmp_path / 'epoch1.pth.tar'
    torch.save({'state_dict': {'a': torch.full((1000,), 2.)}}, path)
    whole = path.read_bytes()
    spot = whole.index(np.full(8, 2., np.float32).tobytes()) + 1000
    path.write_bytes(whole[:spot] + b'\x01' + whole[spot + 1:])
    assert torch.load(path)['state_dict']['a'].unique().numel() == 2  # torch itself takes it
    assert 'is damaged' in one_line(read_checkpoint, path)


# ---- optimiser and schedule

def stepped(name, shapes=((3, 5), (4,))):
    """An optimiser after a step, and its parameters."""
    parameters = [nn.Parameter(torch.ones(shape)) for shape in shapes]
    optimizer = make_optimizer(name, [{'params': [parameter]} for parameter in parameters], lr=0.1, wd=0.01)
    sum(parameter.square().sum() for parameter in parameters).backward()
    optimizer.step()
    return optimizer, parameters


@pytest.mark.parametrize('name', ['adam', 'adamw', 'sgd'])
def test_optimizer_state_of_other_shapes(name):
    """torch takes it and then reads and writes beyond the tensors, a segmentation fault at best."""
    big, _ = stepped(name, ((300, 500), (400,)))
    small, _ = stepped(name, ((3, 5), (4,)))
    before = copy.deepcopy(big.state_dict())
    with pytest.raises(ValueError, match=r'for parameter 0 is \[3, 5\], not \[300, 500\]'):
        load_optimizer(big, small.state_dict())
    assert equal(big.state_dict(), before)


@pytest.mark.parametrize('name', ['adam', 'adamw', 'sgd'])
def test_optimizer_state_that_fits_is_taken(name):
    """Before the first step, after it, and from a torch that knew fewer switches."""
    optimizer, parameters = stepped(name)
    state = copy.deepcopy(optimizer.state_dict())
    for group in state['param_groups']:
        for switch in ('maximize', 'foreach', 'differentiable'):
            del group[switch]
    other, others = stepped(name)
    others[0].data += 1
    load_optimizer(other, state)
    assert equal(other.state_dict()['state'], optimizer.state_dict()['state'])
    load_optimizer(other, {**state, 'state': {}})


@pytest.mark.parametrize('damage', [
    lambda state: state['state'][0].update(exp_avg=torch.zeros(5, 3)),
    lambda state: state['state'][0].update(exp_avg_sq=torch.zeros(15)),
    lambda state: state['param_groups'].pop(),
    lambda state: state['param_groups'][0]['params'].append(2)])
def test_optimizer_state_that_does_not_fit(damage):
    optimizer, _ = stepped('adam')
    state = copy.deepcopy(optimizer.state_dict())
    load_optimizer(optimizer, copy.deepcopy(state))
    damage(state)
    with pytest.raises(ValueError):
        load_optimizer(optimizer, state)


@pytest.mark.parametrize('name, other', [('adam', 'sgd'), ('sgd', 'adamw')])
def test_the_state_of_another_optimizer_is_refused(name, other):
    """torch takes it and fails in the first step."""
    (mine, _), (theirs, _) = stepped(name), stepped(other)
    with pytest.raises(ValueError, match='another kind of optimiser'):
        load_optimizer(mine, theirs.state_dict())


# ---- BN statistics of any backbone

class ForeignBackbone(nn.Module):
    """Plain BN under names of its own, one of them deep inside."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv3d(3, 4, 3)
        self.norm_a = nn.BatchNorm3d(4)
        self.rest = nn.Sequential(nn.Conv3d(4, 4, 3), nn.Sequential(nn.SyncBatchNorm(4), nn.ReLU()))
        self.batch_only = nn.BatchNorm3d(4, track_running_stats=False)


class ForeignModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = ForeignBackbone()
        self.final_bn = nn.BatchNorm1d(4)


@pytest.mark.parametrize('lacking,layers', [
    ([], []), (['backbone.norm_a.running_mean'], ['backbone.norm_a']),
    (['backbone.rest.1.0.running_var'], ['backbone.rest.1.0']), (['backbone.norm_a.num_batches_tracked'], []),
    (['final_bn.running_mean', 'final_bn.weight'], ['final_bn'])])
def test_statistics_of_a_foreign_backbone(lacking, layers):
    """The layers that lack some are found, whatever their names."""
    weights = ForeignModel().state_dict()
    for name in lacking:
        del weights[name]
    model = ForeignModel()
    found = layers_without_statistics(model, load_weights(model, weights).missing)
    assert found == [model.get_submodule(name) for name in layers]


# ---- files of other programs

@pytest.mark.parametrize('legacy', [True, False])
def test_every_kind_of_number_loads(tmp_path, legacy):
    numbers = [np.dtype(code).type(1) for code in np.typecodes['AllInteger'] + np.typecodes['AllFloat'] + '?']
    numbers += [np.array(3.5), np.array(3, np.int32), np.arange(3.), np.str_('a'), 1, 0.5, True]
    for number in numbers:
        path = published_file(tmp_path / 'a.pth.tar', {'a': torch.zeros(1)}, legacy, best_acc=number)
        read = read_checkpoint(path)['best_acc']
        assert np.asarray(read).dtype == np.asarray(number).dtype and np.array_equal(read, number), repr(number)


def test_an_object_that_is_no_number_is_named(tmp_path):
    for value, name in ((argparse.Namespace(lr=1), 'argparse.Namespace'), (Path('/a'), 'pathlib.PosixPath')):
        path = published_file(tmp_path / 'a.pth.tar', {'a': torch.zeros(1)}, best_acc=value)
        with pytest.raises(UserError, match=f'a.pth.tar is not a readable checkpoint: it holds a {name}.*; store it again'):
            read_checkpoint(path)
    path = published_file(tmp_path / 'a.pth.tar', {'a': torch.zeros(1)}, best_acc=np.array([{}]))
    with pytest.raises(UserError, match='a.pth.tar is not a readable checkpoint'):
        read_checkpoint(path)


@pytest.mark.parametrize('content, words', [
    (b'<!DOCTYPE html>\n<html><head>', 'is a web page'), (b'\n <html lang="en">', 'is a web page'),
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n', 'is a Git LFS pointer.*git lfs pull'),
    (gzip.compress(b'weights', mtime=0), 'is compressed with gzip: unpack it'),
    ((40).to_bytes(8, 'little') + b'{"a":{"dtype":"F32","shape":[0],"data_of', 'is a safetensors file'),
    (b'epoch,loss\n1,2.5\n', 'is not a readable checkpoint: it is a text file'), ('прыжок'.encode() * 999, '.* it is a text file'), (b'', '.* it is empty'),
    (b'weights\0', 'is not a readable checkpoint: it may be cut short'), (b'\xff\xfe', 'is not a readable checkpoint')])
def test_a_file_of_another_kind_is_called_what_it_is(tmp_path, content, words):
    (tmp_path / 'a.pth.tar').write_bytes(content)
    with pytest.raises(UserError, match=f'a.pth.tar {words}') as error:
        read_checkpoint(tmp_path / 'a.pth.tar')
    assert len(str(error.value).splitlines()) == 1


def test_a_torchscript_program_is_called_so(tmp_path):
    with zipfile.ZipFile(tmp_path / 'a.pth.tar', 'w') as archive:
        for name in ('data.pkl', 'code/__torch__.py', 'constants.pkl', 'version'):
            archive.writestr(f'a/{name}', b'3')
    with pytest.raises(UserError, match='a.pth.tar is a TorchScript program'):
        read_checkpoint(tmp_path / 'a.pth.tar')
