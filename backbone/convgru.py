"""The aggregator: a one-layer ConvGRU with a 1×1 kernel (paper, section 3.1)."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Pointwise(nn.Conv2d):
    """A 1×1 convolution on maps given as rows of feature vectors, [..., D_in] -> [..., D_out]: one matrix product."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, kernel_size=1)
        nn.init.orthogonal_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return F.linear(rows, self.weight.flatten(1), self.bias)


class ConvGRUCell(nn.Module):
    """The gates of the ConvGRU, 1×1 convolutions on [x, h] with weights [D, 2D, 1, 1] as published."""

    def __init__(self, size):
        super().__init__()
        self.reset_gate = Pointwise(2 * size, size)
        self.update_gate = Pointwise(2 * size, size)
        self.out_gate = Pointwise(2 * size, size)

    def split_weights(self):
        """What acts on x for r, z, n together ([3D, D], bias [3D]), on h for r and z ([2D, D]) and for n ([D, D])."""
        r, z, n = (gate.weight.flatten(1).chunk(2, dim=1)
                   for gate in (self.reset_gate, self.update_gate, self.out_gate))
        bias = torch.cat([self.reset_gate.bias, self.update_gate.bias, self.out_gate.bias])
        return torch.cat([r[0], z[0], n[0]]), bias, torch.cat([r[1], z[1]]), n[1]


class ConvGRU(nn.Module):
    """Runs the cell over a sequence of maps, all of one batch at once; the initial state is zero.

    Maps are given as rows of feature vectors: sequence [B, N, S, D] -> states [B, N, S, D], and the last state
    [B, S, D]. Dropout acts on each new state, so the next step sees it dropped out too.
    """

    def __init__(self, size: int, dropout: float = 0.1):
        super().__init__()
        self.ConvGRUCell_00 = ConvGRUCell(size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, sequence: torch.Tensor,
                state: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        N, D = sequence.shape[1], sequence.shape[3]
        input_weight, bias, gate_weight, out_weight = self.ConvGRUCell_00.split_weights()
        projected = F.linear(sequence, input_weight, bias)  # [B, N, S, 3D]: the inputs of all steps in one product
        if state is None:
            state = torch.zeros_like(sequence[:, 0])
        states = []
        for t in range(N):
            gate_input, out_input = projected[:, t].split([2 * D, D], dim=-1)
            r, z = torch.sigmoid(gate_input + F.linear(state, gate_weight)).chunk(2, dim=-1)
            n = torch.tanh(out_input + F.linear(r * state, out_weight))
            state = self.dropout((1 - z) * state + z * n)
            states.append(state)
        return torch.stack(states, dim=1), state
