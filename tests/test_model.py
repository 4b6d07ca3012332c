"""DPC and the classifier: shapes, what sees what, and the running statistics that pretraining leaves behind."""
import pytest
import torch

from backbone import select_backbone
from dpc.model import DPC
from eval.model import ActionClassifier


def clips(count=2, side=64):
    torch.manual_seed(1)
    return torch.randn(count, 8, 3, 5, side, side)


@pytest.mark.parametrize('options, places', [({}, 4), ({'prediction': 'parallel'}, 4), ({'feature_map': 'pooled'}, 1)])
def test_shapes(options, places):
    prediction, target = DPC('resnet18', pred_step=2, **options)(clips())
    assert prediction.shape == target.shape == (2, 2, places, 256)


@pytest.mark.parametrize('network, size', [('resnet18', 256), ('resnet50', 1024)])
@pytest.mark.parametrize('frames, steps', [(1, 1), (5, 2), (8, 2)])
def test_backbone_shapes(network, size, frames, steps):
    with torch.device('meta'):
        backbone = select_backbone(network)
        assert backbone.feature_size == size
        assert backbone(torch.empty(2, 3, frames, 128, 128)).shape == (2, size, steps, 4, 4)


def test_unknown_network_is_named():
    with pytest.raises(ValueError, match="'resnet19'.*resnet18"):
        select_backbone('resnet19')


def test_predictions_depend_on_the_past_alone():
    """In eval mode with running statistics, as batch statistics would mix past and future."""
    model = DPC('resnet18', pred_step=3).eval()
    for module in model.backbone.modules():
        if hasattr(module, 'batch_stats_in_eval'):
            module.batch_stats_in_eval = False
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


def test_pretraining_normalises_by_the_batch_and_records_what_a_probe_needs():
    model, block = DPC('resnet18', dropout=0), clips()
    trained, _ = model(block)
    statistics = {name: value.clone() for name, value in model.named_buffers()}
    assert statistics['backbone.bn1.num_batches_tracked'] == 1
    with torch.no_grad():
        evaluated, _ = model.eval()(block)
    torch.testing.assert_close(evaluated, trained)
    for name, value in model.named_buffers():
        assert torch.equal(value, statistics[name]), name


def test_classifier():
    model = ActionClassifier('resnet18', num_class=7).eval()
    with torch.no_grad():
        logits = model(clips())
        assert logits.shape == (2, 7)
        # with running statistics each clip is alone
        torch.testing.assert_close(model(clips()[:1]), logits[:1], rtol=1e-4, atol=1e-5)
