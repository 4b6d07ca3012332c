"""The same clips give the same training in one process and in several, with gloo on the CPU."""
import numpy as np
import pytest
import torch

from dpc.loss import dense_info_nce
from dpc.metrics import top_k
from dpc.model import DPC
from tests import forked
from tests.groups import in_group
from tests.test_training import Losses
from tests.tiny import PRETRAINING, ROOT, checkpoint
from utils.parallel import distributed
from utils.run.averages import Averages

CLIPS, STEPS = 4, 5


def train(world):
    """Trains this process's share for five steps; returns (weights as one vector, [averages of each step])."""
    torch.manual_seed(0)
    model = DPC('resnet18', pred_step=1, dropout=0).train()
    norm_by_sample(model)
    network = distributed.wrap(model, torch.device('cpu'))
    # a larger eps than usual: else Adam's first steps are the gradients' signs, which rounding decides for tiny ones
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, eps=1e-3)
    noise = torch.Generator().manual_seed(1)
    share = slice(distributed.rank() * CLIPS // world, (distributed.rank() + 1) * CLIPS // world)
    history = []
    for _ in range(STEPS):
        block = torch.randn(CLIPS, 3, 3, 3, 48, 48, generator=noise)[share]
        prediction, target = network(block)
        target, first = distributed.gather(target)
        rows = prediction.shape[1] * prediction.shape[2]
        loss, rank = dense_info_nce(prediction, target, first_positive=first * rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        averages = Averages()
        averages.add(len(block), {'loss': loss.item(), 'top1': top_k(rank, 1).item() / len(rank)})
        history.append(averages.read())
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy(), history


def norm_by_sample(model):
    """Replaces the BN layers, which normalise by each process's share of the batch, by layers that see one sample."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, torch.nn.modules.batchnorm._BatchNorm):
                setattr(module, name, torch.nn.GroupNorm(1, child.num_features))


@pytest.fixture(scope='module')
def alone():
    return train(1)


@pytest.mark.parametrize('world', [2, pytest.param(4, marks=pytest.mark.soak)])
def test_several_processes_train_as_one(alone, world):
    weights, history = alone
    for its_weights, its_history in in_group(train, world):
        assert np.linalg.norm(its_weights - weights) <= 1e-5 * np.linalg.norm(weights)
        for step, its_step in zip(history, its_history):
            assert its_step['loss'] == pytest.approx(step['loss'], rel=1e-4)
            assert its_step['top1'] == step['top1']


def exchange(world):
    """Everything else that processes say to each other, with uneven shares: process r has r + 1 rows."""
    number = distributed.rank()
    mine = torch.full((number + 1, 2), float(number), requires_grad=True)
    whole, first = distributed.gather(mine)
    (whole * torch.arange(len(whole)).view(-1, 1) * (number + 1)).sum().backward()

    averages = Averages()
    averages.add(number + 1, {'value': float(number)})
    nan = float('nan')
    averages.add(5, {'value': nan})
    tensors = [tensor.detach().numpy() for tensor in (whole, mine.grad)]
    validated = Losses([[1., nan, nan], [1., 2., nan]][number]).validated()[0]
    return (first, *tensors, distributed.any_process([number, 1 - number]), distributed.from_main(f'said by {number}'),
            distributed.lists_of_all([number]), averages.read(), validated)


def test_exchange():
    results = in_group(exchange, 2)
    for number, result in enumerate(results):
        first, whole, gradient, flags, said, lists, averages, validated = result
        assert first == number and whole[:, 0].tolist() == [0, 1, 1]
        # rows 0, 1, 2 are weighted by their number in the loss of process 0, twice that in process 1's
        assert gradient[:, 0].tolist() == [[0], [3, 6]][number]
        assert flags == [1, 1] and said == 'said by 0' and lists == [0, 1]
        assert averages == {'value': pytest.approx(2 / 3)}
        assert validated == {'loss': pytest.approx(4 / 3), 'top1': pytest.approx(0.9), 'skipped': 2}


def test_torchrun_trains_as_processes_of_our_own(csv_root, tmp_path):
    """As a user starts both: status 0, one run folder, and the same weights."""
    # sgd, as rounding decides the sign of Adam's first steps; it may differ with the threads that each process has
    flags = [*PRETRAINING, '--optimizer', 'sgd', '--batch_size', '8', '--csv_root', csv_root]
    folders = []
    for name, words in (('torchrun', ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', '-m',
                                      'tests.tiny']), ('own', ['dpc/main.py', '--num_procs', '2'])):
        done = forked.run([*words, *flags, '--log_dir', tmp_path / name], cwd=ROOT)
        assert done.returncode == 0, done.stderr
        folders += (tmp_path / name).glob('log_*/*')
    folder, own = folders
    assert folder.name == own.name
    weights, expected = checkpoint(folder)['state_dict'], checkpoint(own)['state_dict']
    assert weights.keys() == expected.keys()
    for name in expected:
        assert torch.allclose(weights[name], expected[name], rtol=1e-4, atol=1e-5), name
