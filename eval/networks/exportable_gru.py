"""The aggregator as an exported graph needs it: a loop over the blocks that is in the graph, for any number of them."""
import copy

import torch.nn as nn
import torch.nn.functional as F
from torch import sigmoid, tanh
from torch._higher_order_ops.scan import scan  # torch has no public name for it yet

from backbone.convgru import ConvGRU
from utils.cli import UserError


class ScannedGRU(nn.Module):
    """A ConvGRU without dropout. A Python loop would be unrolled, for one number of blocks."""

    def __init__(self, gru):
        super().__init__()
        self.cell = gru.ConvGRUCell_00

    def forward(self, sequence):
        """[B, N, S, D] -> (states [B, N, S, D], the last one [B, S, D])."""
        D = sequence.shape[3]
        input_weight, bias, gate_weight, out_weight = self.cell.split_weights()

        def step(state, projected):
            gate_input, out_input = projected.split([2 * D, D], dim=-1)
            r, z = sigmoid(gate_input + F.linear(state, gate_weight)).chunk(2, dim=-1)
            n = tanh(out_input + F.linear(r * state, out_weight))
            state = ((1 - z) * state + z * n).contiguous()  # scan wants the memory layout of the first state
            return state, state.clone()

        projected = F.linear(sequence, input_weight, bias).contiguous()     # [B, N, S, 3D]
        last, states = scan(step, sequence.new_zeros(sequence[:, 0].shape), projected, dim=1)
        return states, last


def scanned(model):
    """A copy of a frozen Representation that shares its tensors, with the loop in the graph. UserError: its aggregator
    is another one."""
    if not isinstance(model.agg, ConvGRU):
        raise UserError(f'the aggregator {type(model.agg).__name__} cannot be exported: write its loop over the blocks '
                        'in eval/networks/exportable_gru.py as ScannedGRU does')
    model = copy.copy(model)
    model._modules = {**model._modules, 'agg': ScannedGRU(model.agg)}
    return model
