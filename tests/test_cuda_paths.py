"""What training does on CUDA, without a GPU: on fake tensors, which know device, type and shape but hold no values.

Tensors of two devices in one operation are an error there, and so is a value that the host reads: it would make every
step wait for the device. Gradients can't be computed so; they are the same code on every device.
"""
import math

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from dpc.loss import dense_info_nce
from dpc.metrics import spread, top_k
from dpc.model import DPC
from eval.model import ActionClassifier
from utils.data.colour import to_block
from utils.parallel.device import Precision
from utils.run.metrics import Averages
from utils.run.optimisation import load_optimizer, make_optimizer
from utils.data.prefetcher import put_together
from utils.run.setup import put_on

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
    """The model with its tensors replaced by fake ones on CUDA, in the layout that `put_on` gives them."""
    def fake(tensor):
        layout = torch.channels_last_3d if tensor.dim() == 5 else torch.contiguous_format
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=CUDA, memory_format=layout)

    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(fake(parameter)))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, fake(buffer))
    return model


def fake_pieces():
    """A batch as the data workers give it, in two pieces."""
    colour = {'grey': torch.zeros(B // 2, N * T, dtype=torch.int8), 'factors': torch.ones(B // 2, N * T, 4),
              'order': torch.zeros(B // 2, N * T, 4, dtype=torch.int8)}
    piece = {'frames': torch.zeros(B // 2, N * T, PX, PX, 3, dtype=torch.uint8), 'colour': colour, 'broken': [],
             'label': torch.zeros(B // 2, dtype=torch.long), 'index': torch.zeros(B // 2, dtype=torch.long)}
    return [piece, piece]


@pytest.mark.parametrize('encode_chunks', [1, 3])
@pytest.mark.parametrize('amp', ['bf16', 'fp16', 'off'])
@pytest.mark.parametrize('train', [True, False])
def test_a_step(fake_cuda, amp, encode_chunks, train):
    precision = Precision(amp, CUDA)
    batch = put_together(fake_pieces(), CUDA)
    block = to_block(batch['frames'], batch['colour'], N, precision.dtype)
    assert (block.device, block.dtype, block.shape) == (CUDA, precision.dtype, (B, N, 3, T, PX, PX))
    averages = Averages()
    for model in (DPC(), DPC(prediction='parallel', feature_map='pooled'), ActionClassifier(num_class=7)):
        on_fake_cuda(model).train(train)
        model.encode_chunks = encode_chunks
        with torch.set_grad_enabled(train), precision.autocast():
            if isinstance(model, DPC):
                prediction, target = model(block)
                loss, rank = dense_info_nce(prediction, target, chunk=5)
                values = {'loss': loss, 'top1': top_k(rank, 1) / len(rank), 'spread': spread(target)}
            else:
                values = {'loss': F.cross_entropy(model(block), batch['label'])}
        assert (values['loss'].device, values['loss'].dtype) == (CUDA, torch.float32)
        averages.add(B, values)
    assert {total.device for total in averages.sums.values()} == {CUDA}


@pytest.mark.parametrize('model', [DPC(), ActionClassifier(num_class=7)], ids=['pretraining', 'classifier'])
def test_weights_of_convolutions_are_channels_last_off_the_cpu(model):
    put_on(model, torch.device('meta'))
    for name, parameter in model.named_parameters():
        assert parameter.is_meta
        assert parameter.is_contiguous(memory_format=torch.channels_last_3d) or parameter.dim() != 5, name


@pytest.mark.parametrize('name', ['adam', 'adamw', 'sgd'])
def test_a_first_step_that_is_left_out_leaves_no_trace(name):
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
def test_an_optimizer_goes_on_in_another_memory_layout(optimizer):
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
