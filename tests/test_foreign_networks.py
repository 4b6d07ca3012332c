"""A network of one's own: a file and one line in a table; what it must keep to is checked before training."""
from argparse import Namespace

import pytest
import torch
import torch.nn as nn

import backbone as networks
from backbone import NETWORKS, select_backbone
from dpc import main as pretraining
from eval import test as classifier
from eval.model import ActionClassifier
from tests.foreign import R2Plus1D, RunningMean
from tests.tiny import CLASSIFIER, PRETRAINING, checkpoint, classify, pretrain, read_log, run
from utils.checkpoint import load_weights
from utils.cli import UserError
from utils.parallel.precision import Precision
from utils.run.check_backbone import check_backbone, wrong_gradient
from utils.run.setup import prepare_model

CPU = torch.device('cpu')


@pytest.fixture
def foreign(monkeypatch):
    monkeypatch.setitem(networks.BACKBONES, 'foreign', R2Plus1D)


def test_a_foreign_backbone_through_the_command_lines(foreign, csv_root, tmp_path, capsys):
    """Pretrained, loaded with its running statistics into a frozen probe, tested; in chunks as well."""
    folder = pretrain(csv_root, tmp_path, '--net', 'foreign', '--encode_chunks', '2')
    saved = checkpoint(folder)
    assert saved['net'] == 'foreign' and all(parameter.abs().sum() > 0 for parameter in saved['state_dict'].values())
    steps = read_log(folder, 'train')[-1]
    assert saved['state_dict']['backbone.stem.1.num_batches_tracked'] == 2 * saved['iteration'] > 0
    assert steps['loss'] > 0

    path = folder / 'model' / 'epoch1.pth.tar'
    report = load_weights(ActionClassifier('foreign', num_class=7), path)
    assert {name.split('.')[0] for name in report.missing} == {'final_bn', 'final_fc'}

    capsys.readouterr()
    probe = classify(csv_root, tmp_path, '--net', 'foreign', '--pretrain', path, '--train_what', 'last')
    assert 'estimating' not in capsys.readouterr().out, 'its own statistics are there'
    weights = checkpoint(probe)['state_dict']
    for name, value in saved['state_dict'].items():
        if name.startswith('backbone.'):
            assert torch.equal(weights[name], value), f'{name} was frozen'
    tested = classify(csv_root, tmp_path, '--net', 'foreign', '--test', probe / 'model' / 'epoch1.pth.tar')
    assert (tested / 'predictions.csv').exists()


def test_a_foreign_aggregator_through_the_command_lines(monkeypatch, csv_root, tmp_path):
    monkeypatch.setitem(networks.AGGREGATORS, 'convgru', RunningMean)
    folder = pretrain(csv_root, tmp_path)
    assert 'agg.projection.weight' in checkpoint(folder)['state_dict']
    probe = classify(csv_root, tmp_path, '--pretrain', folder / 'model' / 'epoch1.pth.tar')
    assert torch.equal(checkpoint(probe)['state_dict']['agg.projection.weight'],
                       checkpoint(folder)['state_dict']['agg.projection.weight'])


def test_choices_follow_the_table(foreign, capsys):
    assert 'foreign' in NETWORKS
    with pytest.raises(SystemExit):
        pretraining.parse_args(['--net', 'unknown'])
    assert 'foreign' in capsys.readouterr().err


def broken(**changes):
    """R2Plus1D with attributes or methods replaced."""
    return type('Broken', (R2Plus1D,), changes)()


def with_size(value):
    backbone = R2Plus1D()
    backbone.feature_size = value
    return backbone


@pytest.mark.parametrize('backbone, said', [
    (lambda: with_size(None), 'feature_size'),
    (lambda: with_size(25), r'\[2, 24, 3, 4, 4\].*\[2, 25, '),
    (lambda: broken(forward=lambda self, block: self.stem(block).mean(dim=(2, 3, 4))), r'gives \[2, 16\]'),
    (lambda: broken(forward=lambda self, block: self.stem(block[:, :, 7:])), 'fails on blocks'),
    (lambda: broken(forward=lambda self, block: self.time(block)), r'fails on blocks.*backbone/__init__.py'),
], ids=['no size', 'another size', 'pooled', 'no time step left', 'wrong channels'])
def test_the_contract_is_checked_in_one_line(backbone, said):
    with pytest.raises(UserError, match=said) as error:
        check_backbone(backbone(), 'mine', img_dim=32, seq_len=5)
    assert '--net mine' in str(error.value) and '\n' not in str(error.value)


def test_a_broken_contract_ends_the_command_in_one_line(monkeypatch, csv_root, tmp_path, capsys):
    monkeypatch.setitem(networks.BACKBONES, 'foreign', lambda: with_size(25))
    for script, flags in ((pretraining, PRETRAINING), (classifier, CLASSIFIER)):
        assert run(script, [*flags, '--csv_root', csv_root, '--log_dir', tmp_path, '--net', 'foreign']) == 2
        error = capsys.readouterr().err
        assert error.startswith('error: --net foreign: ') and error.count('\n') == 1


@pytest.mark.parametrize('network, img_dim, seq_len', [('resnet18', 16, 5), ('resnet50', 32, 3), ('resnet18', 32, 8)])
def test_checks_accept_our_networks_and_leave_them_as_they_are(network, img_dim, seq_len):
    """Where this CPU has bfloat16 instructions and their gradients are right; elsewhere they are emulated."""
    backbone = select_backbone(network)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    random = torch.get_rng_state()
    check_backbone(backbone, network, img_dim, seq_len)
    wrong_gradient(backbone, img_dim, seq_len)
    assert backbone.training and torch.equal(torch.get_rng_state(), random)
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None and not parameter._backward_hooks for parameter in backbone.parameters())


class LeavesGradientUnwritten(torch.autograd.Function):
    """The identity on a weight whose gradient lacks a third, as oneDNN computes for some shapes."""

    @staticmethod
    def forward(_, weight):
        return weight.clone()

    @staticmethod
    def backward(_, gradient):
        return torch.cat([gradient[:, :, :2], torch.zeros_like(gradient[:, :, 2:])], dim=2)


class FaultyConv3d(nn.Conv3d):
    def forward(self, x):
        faulty = torch.is_autocast_enabled('cpu') and x.shape[2] == 2
        weight = LeavesGradientUnwritten.apply(self.weight) if faulty else self.weight
        return self._conv_forward(x, weight, self.bias)


def two_convolutions(kind):
    """Over two time steps when it gets blocks of 3 or 4 frames."""
    backbone = nn.Sequential(nn.Conv3d(3, 8, 3, stride=(2, 8, 8), padding=1), kind(8, 8, 3, padding=1))
    backbone.feature_size = 8
    return backbone


def test_wrong_gradients_in_bfloat16_are_found():
    backbone = two_convolutions(FaultyConv3d)
    for frames, wrong in ((2, False), (3, True), (4, True), (5, False)):
        found = wrong_gradient(backbone, 32, frames)
        assert ('FaultyConv3d 3×3×3 on [2, 8, 2, 4, 4]' in found) if wrong else found is None
    assert wrong_gradient(two_convolutions(nn.Conv3d), 32, 8) is None
    assert wrong_gradient(backbone.requires_grad_(False), 32, 4) is None


class Unusual(nn.Module):
    """A convolution whose input is given by keyword, and maybe zero, or whose weight is normalised."""

    def __init__(self, normalise=lambda conv: conv, scale=1):
        super().__init__()
        self.conv, self.scale = normalise(nn.Conv3d(3, 8, 3, stride=(2, 8, 8), padding=1)), scale

    def forward(self, x):
        return self.conv(input=self.scale * x)


@pytest.mark.parametrize('backbone', [Unusual(), Unusual(scale=0), Unusual(nn.utils.parametrizations.weight_norm),
                                      Unusual(nn.utils.parametrizations.spectral_norm)],
                         ids=['keyword', 'zero input', 'weight norm', 'spectral norm'])
def test_gradients_of_unusual_convolutions_are_checked(backbone):
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    assert wrong_gradient(backbone, 32, 4) is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_auto_leaves_bfloat16_where_it_is_wrong_and_bf16_is_an_error():
    model, args = nn.Module(), Namespace(net='mine', img_dim=32, seq_len=4, encode_chunks=1, compile='off', amp='bf16')
    model.backbone = two_convolutions(FaultyConv3d)
    with pytest.raises(UserError, match=r'^--amp bf16: on this CPU PyTorch computes a wrong .* give --amp off$'):
        prepare_model(args, model, Precision('bf16', CPU))
    args.amp, precision = 'auto', Precision('bf16', CPU)
    prepare_model(args, model, precision)
    assert (precision.name, precision.dtype) == ('off', torch.float32)
