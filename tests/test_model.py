"""DPC and the classifier: shapes, what sees what, and the running statistics of BN, with any backbone."""
import copy

import pytest
import torch
import torch.nn as nn

import backbone as networks
from backbone import select_backbone
from dpc.loss import dense_info_nce
from dpc.model import DPC
from eval.model import ActionClassifier
from tests.foreign import R2Plus1D
from tests.forked import NARROW_WIDTHS


def clips(count=2, side=64):
    torch.manual_seed(1)
    return torch.randn(count, 8, 3, 5, side, side)


@pytest.mark.parametrize('options, locations', [({}, 4), ({'prediction': 'parallel'}, 4), ({'feature_map': 'pooled'}, 1)])
def test_shapes(options, locations):
    prediction, target = DPC('resnet18', pred_step=2, **options)(clips())
    assert prediction.shape == target.shape == (2, 2, locations, NARROW_WIDTHS[-1])


def test_without_running_statistics():
    """BN layers of any backbone normalise by the batch then, in eval mode too."""
    kept, none = select_backbone('resnet18'), select_backbone('resnet18', track_running_stats=False)
    assert not [name for name, _ in none.named_buffers()] and not [name for name in none.state_dict() if 'running' in name]
    none.load_state_dict(dict(kept.named_parameters()))
    block = clips()[:, 0]
    torch.testing.assert_close(none.eval()(block), kept.train()(block))


def test_unknown_network_is_named():
    with pytest.raises(ValueError, match="'resnet19'.*resnet18"):
        select_backbone('resnet19')


def test_predictions_depend_on_the_past_alone():
    """With a backbone that doesn't normalise, as batch statistics would mix past and future."""
    model = DPC('resnet18', pred_step=3).eval()
    model.backbone = without_norm(model.backbone)
    block = clips()
    future, past = block.clone(), block.clone()
    future[:, 5:] += 1
    past[:, 0] += 1
    with torch.no_grad():
        prediction, _ = model(block)
        torch.testing.assert_close(model(future)[0], prediction)
        assert not torch.allclose(model(past)[0], prediction)


def test_features_are_signed_and_targets_carry_gradients():
    _, target = DPC('resnet18')(clips())
    assert (target < 0).any() and target.requires_grad


def without_norm(module):
    for name, child in module.named_children():
        setattr(module, name, nn.Identity() if isinstance(child, nn.modules.batchnorm._BatchNorm) else without_norm(child))
    return module


@pytest.fixture(params=['resnet18', 'foreign', 'synchronised'])
def model(request, monkeypatch):
    """DPC on our backbone, on one with plain nn.BatchNorm3d, and with the BN layers of several GPUs."""
    monkeypatch.setitem(networks.BACKBONES, 'foreign', R2Plus1D)
    torch.manual_seed(0)
    model = DPC('foreign' if request.param == 'foreign' else 'resnet18', dropout=0)
    return nn.SyncBatchNorm.convert_sync_batchnorm(model) if request.param == 'synchronised' else model


def statistics_of(model):
    statistics = {name: value.clone() for name, value in model.named_buffers()}
    assert any(name.endswith('running_mean') for name in statistics)
    return statistics


def assert_bit_identical(statistics, expected):
    for name, value in expected.items():
        assert torch.equal(statistics[name], value), name


@pytest.mark.parametrize('chunks', [1, 2])
def test_pretraining_normalises_by_the_batch_and_records_what_a_probe_needs(model, chunks):
    """In training, once per chunk; validation gives the same numbers and records nothing, not even of NaN."""
    model.encode_chunks, block = chunks, clips()
    trained, target = model(block)
    dense_info_nce(trained, target)[0].backward()
    statistics = statistics_of(model)
    counts = [value for name, value in statistics.items() if name.endswith('num_batches_tracked')]
    assert counts and all(count == chunks for count in counts)
    model.eval()
    with torch.no_grad():
        evaluated, _ = model(block)
        model(block * float('nan'))
    torch.testing.assert_close(evaluated, trained)
    assert_bit_identical(statistics_of(model), statistics)
    assert not any(module.training for module in model.modules())
    model.train()(block)
    assert model.backbone.training
    assert not all(torch.equal(statistics[name], value) for name, value in statistics_of(model).items())


@pytest.mark.parametrize('chunks', [1, 2])
def test_a_frozen_backbone_normalises_by_the_batch_and_records_nothing(model, chunks):
    """As --train_what last trains it: in eval mode while the rest trains."""
    model.encode_chunks, block = chunks, clips()
    expected, _ = model(block)
    statistics = statistics_of(model)
    model.backbone.requires_grad_(False).eval()
    prediction, target = model(block)
    torch.testing.assert_close(prediction, expected)
    dense_info_nce(prediction, target)[0].backward()
    assert_bit_identical(statistics_of(model), statistics)


def test_gradients_in_eval_mode_are_those_of_the_batch(model):
    """Chunks recompute in the backward pass what the forward pass computed."""
    block, gradients = clips(), []
    for training, chunks in ((True, 1), (False, 1), (True, 2), (False, 2)):
        network = copy.deepcopy(model).train(training)
        network.encode_chunks = chunks
        dense_info_nce(*network(block))[0].backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in network.parameters()]))
    whole, whole_eval, parts, parts_eval = gradients
    torch.testing.assert_close(whole_eval, whole)
    torch.testing.assert_close(parts_eval, parts)


@pytest.mark.parametrize('network', ['resnet18', 'foreign'])
def test_statistics_can_be_estimated_anew(network, monkeypatch):
    """By PyTorch's update_bn: the plain average over the batches, whatever was there."""
    monkeypatch.setitem(networks.BACKBONES, 'foreign', R2Plus1D)
    model = ActionClassifier(network, num_class=7)
    seen = []
    first = next(module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].transpose(0, 1).flatten(1).mean(dim=1)))
    torch.optim.swa_utils.update_bn([clips(), 2 * clips(), clips() + 1], model)
    assert first.num_batches_tracked == 3 and first.momentum == 0.1
    torch.testing.assert_close(first.running_mean, torch.stack(seen).mean(dim=0), rtol=1e-4, atol=1e-5)


def test_classifier():
    model = ActionClassifier('resnet18', num_class=7).eval()
    with torch.no_grad():
        logits = model(clips())
        assert logits.shape == (2, 7)
        # with running statistics each clip is alone
        torch.testing.assert_close(model(clips()[:1]), logits[:1], rtol=1e-4, atol=1e-5)
