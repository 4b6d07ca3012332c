"""What training does on CUDA, without a GPU: on fake tensors, which know device, type and shape but hold no values.

Tensors of two devices in one operation are an error there, and so is a value that the host reads: within a step, nothing
may wait for the device. Gradients can't be computed this way; their code is the same on every device.
"""
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from dpc.loss import dense_info_nce
from dpc.metrics import spread, top_k
from dpc.model import DPC
from eval.model import ActionClassifier
from utils.data.colour import to_block
from utils.parallel.precision import Precision
from utils.run.optimisation import load_optimizer, make_optimizer
from utils.run.setup import prepare_model

CUDA = torch.device('cuda', 0)
B, N, T, PX = 4, 8, 5, 64


@pytest.fixture
def fake_cuda(monkeypatch):
    """Autocast doesn't turn itself off, and tensors are fake from here on."""
    monkeypatch.setattr('torch.cuda.amp.common.amp_definitely_not_available', lambda: False)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda *args, **kwargs: True)
    with FakeTensorMode(allow_non_fake_inputs=False):
        yield


def on_fake_cuda(model):
    """The model with its tensors replaced by fake ones on CUDA, in the layout that `prepare_model` gives them."""
    def fake(tensor):
        layout = torch.channels_last_3d if tensor.dim() == 5 else torch.contiguous_format
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=CUDA, memory_format=layout)

    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(fake(parameter)))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, fake(buffer))
    return model


def fake_batch():
    """Frames, colour parameters and labels of a batch, already copied to the device."""
    colour = {'grey': torch.zeros(B, N * T, dtype=torch.int8, device=CUDA),
              'factors': torch.ones(B, N * T, 4, device=CUDA),
              'order': torch.zeros(B, N * T, 4, dtype=torch.int8, device=CUDA)}
    frames = torch.zeros(B, N * T, PX, PX, 3, dtype=torch.uint8, device=CUDA)
    return frames, colour, torch.zeros(B, dtype=torch.long, device=CUDA)


@pytest.mark.parametrize('encode_chunks', [1, 3])
@pytest.mark.parametrize('amp', ['bf16', 'fp16', 'off'])
@pytest.mark.parametrize('train', [True, False])
def test_a_step(fake_cuda, amp, encode_chunks, train):
    precision = Precision(amp, CUDA)
    frames, colour, label = fake_batch()
    block = to_block(frames, colour, N, precision.dtype)
    assert (block.device, block.dtype, block.shape) == (CUDA, precision.dtype, (B, N, 3, T, PX, PX))
    for model in (DPC(), DPC(prediction='parallel', feature_map='pooled'), ActionClassifier(num_class=7)):
        on_fake_cuda(model).train(train)
        model.encode_chunks = encode_chunks
        with torch.set_grad_enabled(train), precision.autocast():
            if isinstance(model, DPC):
                prediction, target = model(block)
                loss, rank = dense_info_nce(prediction, target, chunk=5)
                values = {'loss': loss, 'top1': top_k(rank, 1) / len(rank), 'spread': spread(target)}
            else:
                values = {'loss': F.cross_entropy(model(block), label)}
        assert (values['loss'].device, values['loss'].dtype) == (CUDA, torch.float32)
        assert {value.device for value in values.values()} == {CUDA}


@pytest.mark.parametrize('model', [DPC, ActionClassifier], ids=['pretraining', 'classifier'])
def test_weights_of_convolutions_are_channels_last_on_a_gpu(model, monkeypatch):
    model = model()
    monkeypatch.setattr(model, 'to', lambda device: None)  # there is none
    args = SimpleNamespace(net='resnet18', img_dim=64, seq_len=5, encode_chunks=2, sync_bn=False, compile='colour')
    prepared = prepare_model(args, model, Precision('off', CUDA))
    assert prepared is model and model.encode_chunks == 2
    for name, parameter in model.named_parameters():
        assert parameter.is_contiguous(memory_format=torch.channels_last_3d) or parameter.dim() != 5, name


@pytest.mark.parametrize('name', ['adam', 'adamw', 'sgd'])
def test_a_skipped_first_step_leaves_no_trace(name):
    """fp16 often overflows at its initial scale."""
    weights = []
    for gradients in ([math.inf, 1.], [1.]):
        weight = torch.nn.Parameter(torch.ones(1000))
        optimizer = make_optimizer(name, [{'params': [weight]}], lr=0.1, wd=0.)
        scaler = torch.amp.GradScaler('cpu', init_scale=1.)
        for gradient in gradients:
            scaler.scale((gradient * weight).sum()).backward()
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update(1.)
            optimizer.zero_grad()
        weights.append(weight.detach())
    assert torch.equal(*weights)


@pytest.mark.parametrize('optimizer', ['adam', 'adamw', 'sgd'])
def test_an_optimizer_resumes_in_another_memory_layout(optimizer):
    """As when a run moves from a GPU to the CPU: its moments are channels-last then, and the weights are not."""
    torch.manual_seed(0)
    start, *gradients = (torch.randn(6, 4, 3, 3, 3) for _ in range(3))
    weights = []
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        weight = torch.nn.Parameter(start.clone(memory_format=layout))
        first = make_optimizer(optimizer, [{'params': [weight]}], lr=0.1, wd=0.)
        weight.grad = gradients[0].clone(memory_format=layout)
        first.step()
        moved = torch.nn.Parameter(weight.detach().contiguous())
        second = make_optimizer(optimizer, [{'params': [moved]}], lr=0.1, wd=0.)
        load_optimizer(second, first.state_dict())
        moved.grad = gradients[1]
        second.step()
        weights.append(moved.detach())
    torch.testing.assert_close(*weights)
