"""The predictor φ and the order of its predictions (paper, section 3.1): pretraining learns it, eval shows what it
predicts."""
import torch
import torch.nn as nn
import torch.nn.functional as F

from backbone.convgru import Pointwise


def make_predictor(size):
    """φ, from the state of a location to its predicted feature."""
    return nn.Sequential(Pointwise(size, size), nn.ReLU(), Pointwise(size, size))


def make_predictors(size, pred_step, prediction='sequential'):
    """φ for 'sequential' predictions, a list of P = `pred_step` of them for 'parallel' ones (ablation "no Seq.")."""
    if prediction == 'parallel':
        return nn.ModuleList(make_predictor(size) for _ in range(pred_step))
    return make_predictor(size)


def predict_blocks(agg, predictor, state, pred_step):
    """State [B, S, D] after the seen blocks -> predictions [B, P, S, D].

    predictor: of `make_predictors`. A single φ: each prediction is aggregated before the next is made. A list: all are
    made from this one state."""
    if isinstance(predictor, nn.ModuleList):
        return torch.stack([phi(state) for phi in predictor[:pred_step]], dim=1)
    predictions = [predictor(state)]
    while len(predictions) < pred_step:
        _, state = agg(F.relu(predictions[-1]).unsqueeze(1), state)
        predictions.append(predictor(state))
    return torch.stack(predictions, dim=1)
