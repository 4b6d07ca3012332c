"""Checkpoints: published files and ours load by name, other nets' and malicious ones don't; failed saves harm none."""
import os
import pickle
import resource

import numpy as np
import pytest
import torch

from dpc.model import DPC
from eval.model import ActionClassifier
from tests.test_golden import published_state
from tests.tiny import checkpoint, equal
from utils.checkpoint import load_weights, read_checkpoint, write_checkpoint
from utils.cli import UserError


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
    assert report.has_bn_statistics == statistics
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
    assert not report.missing and report.has_bn_statistics
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
    assert report.has_bn_statistics and {name.split('.')[0] for name in report.missing} == {'final_bn', 'final_fc'}
    report = load_weights(DPC('resnet18'), classifier / 'model' / 'epoch1.pth.tar')
    assert {name.split('.')[0] for name in report.missing} == {'network_pred'}
