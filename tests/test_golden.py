"""The models reproduce the numbers of a plain implementation that agrees with the published code: golden/README.md."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dpc.loss import dense_info_nce
from dpc.model import DPC
from eval.model import ActionClassifier
from tests.golden.fill import clip, fill
from utils.checkpoint import load_weights

pytestmark = pytest.mark.published_widths

GOLDEN = Path(__file__).parent / 'golden'
LAYOUT = json.loads((GOLDEN / 'published_layout.json').read_text())


def published_state(kind, network):
    """A state dict under the published names, filled with the golden weights; as wide and deep as the networks are here."""
    published = LAYOUT[kind][network]
    model = (ActionClassifier(network, published['module.final_fc.1.weight'][0]) if 'classifier' in kind else
             DPC(network)).state_dict()
    return {name: torch.from_numpy(np.asarray(fill(name.removeprefix('module.'), model[our_name(name)].shape)))
            for name in published if our_name(name) in model}


def our_name(published):
    return published.removeprefix('module.').replace('cell_list.0', 'ConvGRUCell_00')


# relative error allowed; a deep net over so small a batch is ill-conditioned: resnet50's golden numbers are themselves
# 5e-5 from what float64 gives
TOLERANCE = {'resnet18': 1e-5, 'resnet50': 1e-4}
# The reference itself, computed in float32, is 2.2e-4 away from float64 in the gradients of resnet50.
GRADIENT_TOLERANCE = {'resnet18': 1e-5, 'resnet50': 4e-4}


def close(actual, expected, tolerance):
    actual, expected = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    return np.linalg.norm(actual - expected) <= tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize('network, mode', [('resnet18', 'train'), ('resnet18', 'eval'), ('resnet50', 'train'),
                                           pytest.param('resnet50', 'eval', marks=pytest.mark.soak)])
def test_pretraining(network, mode):
    tolerance = TOLERANCE[network]
    golden = np.load(GOLDEN / f'pretraining_{network}_64.npz')
    model = DPC(network, pred_step=3, dropout=0).train(mode == 'train')
    load_weights(model, published_state('pretraining', network))
    prediction, target = model(torch.from_numpy(clip(2, 8, 5, 64)))
    assert prediction.shape == target.shape == golden['prediction'].shape
    assert close(prediction.detach(), golden['prediction'], tolerance)
    assert close(target.detach(), golden['target'], tolerance)

    loss, rank = dense_info_nce(prediction, target)
    assert close(loss.item(), golden['loss'], tolerance)
    assert rank.tolist() == golden['rank'].tolist()

    loss.backward()
    norms = {name: parameter.grad.norm().item() for name, parameter in model.named_parameters()}
    assert sorted(norms) == sorted(golden['grad_names'])
    assert close([norms[name] for name in golden['grad_names']], golden['grad_norms'], GRADIENT_TOLERANCE[network])


@pytest.mark.parametrize('network', ['resnet18', 'resnet50'])
def test_classifier(network):
    golden = np.load(GOLDEN / f'classifier_{network}_64.npz')
    model = ActionClassifier(network, num_class=101).eval()
    load_weights(model, published_state('classifier, 101 classes', network))
    with torch.no_grad():
        logits = model(torch.from_numpy(clip(2, 8, 5, 64)))
    assert close(logits, golden['logits'], 1e-5)


@pytest.mark.parametrize('kind', list(LAYOUT))
@pytest.mark.parametrize('network', ['resnet18', 'resnet34', 'resnet50'])
def test_names_and_shapes_are_the_published_ones(kind, network):
    """Ours are the published names without `module.` and without the ConvGRU's second name."""
    model = ActionClassifier(network) if 'classifier' in kind else DPC(network)
    ours = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    if kind == 'pretraining':  # these files have no running statistics; ours do
        ours = {name: ours[name] for name, _ in model.named_parameters()}
    published = {name.removeprefix('module.'): shape for name, shape in LAYOUT[kind][network].items()
                 if '.cell_list.' not in name}
    assert ours == published
