"""Options for speed or memory change no number: losses, gradients, running statistics, with any backbone."""
import contextlib
import copy
from unittest import mock

import pytest
import torch
from torch._dynamo.backends.debugging import aot_eager_decomp_partition

import backbone as networks
from benchmarks.plain_net import PlainDPC
from benchmarks.step_memory import kept_bytes
from dpc.loss import dense_info_nce
from dpc.model import DPC
from eval.model import ActionClassifier
from tests.foreign import R2Plus1D


def loss_and_gradients(model, block, chunk=None, dtype=torch.float32):
    """As a training step: only the forward pass runs under autocast."""
    model.zero_grad()
    with torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
        loss, _ = dense_info_nce(*model(block), chunk)
    loss.backward()
    return loss.item(), gradients_of(model)


def gradients_of(model):
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def running_statistics(model):
    return {name: value.double() for name, value in model.named_buffers()}


def assert_close(actual, expected, tolerance):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert (actual[name] - value).norm() <= tolerance * value.norm() + 1e-7, name


def clips(count=2, side=64):
    """As the loader gives them: a view of [B, N, T, H, W, C] memory."""
    torch.manual_seed(1)
    return torch.randn(count, 8, 5, side, side, 3).permute(0, 1, 5, 2, 3, 4)


@pytest.mark.parametrize('network, side', [('resnet18', 64), ('resnet50', 32)])
def test_the_plain_net_of_the_benchmarks_is_the_same_function(network, side):
    """In float64, where a difference would not be rounding: outputs, gradients, running statistics."""
    torch.manual_seed(0)
    model, plain = DPC(network, dropout=0).double(), PlainDPC(network, dropout=0).double()
    plain.load_state_dict(model.state_dict())
    block = clips(side=side).double()
    ours, theirs = model(block), [maps.flatten(3).transpose(2, 3) for maps in plain(block)]
    for actual, expected in zip(ours, theirs):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    output_gradients = [torch.randn_like(output) for output in ours]
    torch.autograd.backward(ours, output_gradients)
    torch.autograd.backward(theirs, output_gradients)
    assert_close(gradients_of(model), gradients_of(plain), 1e-7)
    assert_close(running_statistics(model), running_statistics(plain), 1e-9)


def run_with(model, block, encode_chunks=1, chunk=None, compiler=None):
    model = copy.deepcopy(model)
    if compiler:
        model.backbone.compile(backend=compiler, dynamic=False)
    model.encode_chunks = encode_chunks
    return *loss_and_gradients(model, block, chunk), running_statistics(model)


@pytest.fixture(params=['resnet18', 'foreign'])
def model(request, monkeypatch):
    monkeypatch.setitem(networks.BACKBONES, 'foreign', R2Plus1D)
    torch.manual_seed(0)
    return DPC(request.param, dropout=0)


@pytest.mark.parametrize('model, encode_chunks', [
    ('resnet18', 3), ('foreign', 1), *(pytest.param(*case, marks=pytest.mark.soak) for case in (
        ('resnet18', 1), ('resnet18', 2), ('foreign', 2), ('foreign', 3)))], indirect=['model'])
def test_compilation_changes_nothing(model, encode_chunks):
    """With the compiler's passes, but PyTorch's operations in place of generated code, which takes a minute to build.

    In float64, as the passes round differently; the chunks are of 8 and 8, or of 6, 6 and 4 blocks.
    """
    model, block = model.double(), clips(side=32).double()
    loss, gradients, statistics = run_with(model, block, encode_chunks)
    compiled = []  # graphs

    def compiler(graph, inputs):
        compiled.append(graph)
        return aot_eager_decomp_partition(graph, inputs)

    actual_loss, actual_gradients, actual_statistics = run_with(model, block, encode_chunks, compiler=compiler)
    assert len(compiled) == {1: 1, 2: 1, 3: 2}[encode_chunks], 'one whole graph for each size of chunk'
    assert actual_loss == pytest.approx(loss, rel=1e-6)
    assert_close(actual_gradients, gradients, 1e-5)
    assert_close(actual_statistics, statistics, 1e-6)


def test_a_compiled_backbone_is_validated_as_it_is_trained(model):
    """Trained, validated, trained again: by the batch each time, recorded in training only."""
    compiled, block = copy.deepcopy(model), clips(side=32)
    compiled.backbone.compile(backend='aot_eager', dynamic=False)
    for training in (True, False, True, False):
        with torch.set_grad_enabled(training):
            expected, _ = model.train(training)(block)
            actual, _ = compiled.train(training)(block)
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)
        assert_close(running_statistics(compiled), running_statistics(model), 1e-5)


def test_encode_chunks_keep_every_negative(model):
    """Compared with features concatenated by hand: BN sees a chunk at a time, the loss the whole batch."""
    block, by_hand = clips(), copy.deepcopy(model)
    encode = by_hand.backbone.forward
    with mock.patch.object(by_hand.backbone, 'forward',
                           lambda blocks: torch.cat([encode(blocks[:8]), encode(blocks[8:])])):
        loss, gradients = loss_and_gradients(by_hand, block)
    actual_loss, actual_gradients, actual_statistics = run_with(model, block, encode_chunks=2)
    assert actual_loss == pytest.approx(loss, rel=1e-6)
    assert_close(actual_gradients, gradients, 1e-5)
    assert_close(actual_statistics, running_statistics(by_hand), 1e-6)


def test_chunks_recompute_the_same_dropout(monkeypatch):
    """A backbone may draw random numbers: the backward pass draws the same ones."""
    def with_dropout():
        backbone = R2Plus1D()
        backbone.stem.append(torch.nn.Dropout(0.5))
        return backbone

    monkeypatch.setitem(networks.BACKBONES, 'foreign', with_dropout)
    model, block = DPC('foreign', dropout=0), clips()
    gradients = []
    for stored in (True, False):
        model.zero_grad()
        torch.manual_seed(0)
        model.encode_chunks = 2
        with mock.patch('backbone.blocks.recomputed', lambda module, function, x: function(x)) if stored \
                else contextlib.nullcontext():
            loss_and_gradients(model, block)
        gradients.append({name: gradient.clone() for name, gradient in gradients_of(model).items()})
    assert_close(gradients[1], gradients[0], 1e-6)


def activation_bytes(model, block):
    return kept_bytes(lambda: model(block), (block, *model.parameters(), *model.buffers()))


def test_less_is_stored_for_the_backward_pass(model):
    block = clips()
    whole = activation_bytes(model, block)
    model.encode_chunks = 2
    assert activation_bytes(model, block) < whole / 5


def test_the_classifier_encodes_in_chunks():
    torch.manual_seed(0)
    model, block = ActionClassifier('resnet18', num_class=7).eval(), clips()
    whole, stored = model(block), activation_bytes(model, block)
    model.encode_chunks = 3
    torch.testing.assert_close(model(block), whole, rtol=1e-4, atol=1e-5)
    assert activation_bytes(model, block) < stored / 5


def test_bfloat16_stays_near_float32():
    torch.manual_seed(0)
    model, block = DPC('resnet18', dropout=0), clips(side=32)
    loss, gradients, _ = run_with(model, block)
    actual_loss, actual_gradients = loss_and_gradients(model, block, dtype=torch.bfloat16)
    assert actual_loss == pytest.approx(loss, rel=0.02)
    for name, gradient in gradients.items():
        cosine = torch.cosine_similarity(actual_gradients[name].flatten(), gradient.flatten(), dim=0)
        assert cosine > 0.8, f'{name}: {cosine}'
