"""The ConvGRU against the equations of one 1×1 convolution per gate."""
import torch

from backbone.convgru import ConvGRU
from benchmarks.plain_net import PlainConvGRUCell

B, N, S, D = 2, 5, 16, 8


def plain_states(gru, sequence):
    """All states, step by step, on maps [B, D, 4, 4]."""
    cell = PlainConvGRUCell(D)
    cell.load_state_dict(gru.ConvGRUCell_00.state_dict())
    maps = sequence.transpose(2, 3).unflatten(3, (4, 4))
    state, states = torch.zeros(B, D, 4, 4), []
    for t in range(N):
        state = cell(maps[:, t], state)
        states.append(state.flatten(2).transpose(1, 2))
    return torch.stack(states, dim=1)


def test_states_are_those_of_one_convolution_per_gate():
    torch.manual_seed(0)
    gru, sequence = ConvGRU(D, dropout=0), torch.randn(B, N, S, D)
    states, last = gru(sequence)
    assert states.shape == (B, N, S, D) and last.shape == (B, S, D)
    torch.testing.assert_close(states, plain_states(gru, sequence))
    torch.testing.assert_close(last, states[:, -1])


def test_a_sequence_can_be_continued_from_its_state():
    torch.manual_seed(0)
    gru, sequence = ConvGRU(D, dropout=0), torch.randn(B, N, S, D)
    whole, _ = gru(sequence)
    _, state = gru(sequence[:, :2])
    rest, _ = gru(sequence[:, 2:], state)
    torch.testing.assert_close(rest, whole[:, 2:])


def test_dropout_acts_on_the_state_that_the_next_step_sees():
    torch.manual_seed(0)
    gru, sequence = ConvGRU(D, dropout=0.5), torch.randn(B, 2, S, D)
    states, _ = gru(sequence)
    dropped = states[:, 0] == 0
    assert 0.3 < dropped.float().mean() < 0.7
    gru.eval()
    expected, _ = gru(sequence[:, 1:], states[:, 0])
    kept = states[:, 1] != 0
    torch.testing.assert_close(states[:, 1][kept], 2 * expected[:, 0][kept])


def test_initial_weights_are_orthogonal_and_biases_zero():
    cell = ConvGRU(D).ConvGRUCell_00
    for gate in (cell.reset_gate, cell.update_gate, cell.out_gate):
        assert gate.weight.shape == (D, 2 * D, 1, 1)
        rows = gate.weight.flatten(1)
        torch.testing.assert_close(rows @ rows.t(), torch.eye(D))
        assert not gate.bias.any()
