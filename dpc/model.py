"""Dense Predictive Coding: predict the feature maps of future blocks from those of past ones (paper, section 3)."""
import torch
import torch.nn as nn
import torch.nn.functional as F

from backbone import select_backbone
from backbone.blocks import encode_blocks, full_precision
from backbone.convgru import ConvGRU, Pointwise
from backbone.resnet_2d3d import BatchNorm


def make_predictor(size):
    """φ, from the state of a place to its predicted feature (paper, section 3.1)."""
    return nn.Sequential(Pointwise(size, size), nn.ReLU(), Pointwise(size, size))


class DPC(nn.Module):
    """Encoder f, aggregator g and predictor φ.

    network: one of backbone.NETWORKS. pred_step: P, the blocks to predict. dropout: on the aggregator's states.
    prediction: 'sequential' feeds each prediction back to the aggregator; 'parallel' predicts the P blocks from one
    state by P predictors (the ablation "no Seq."). feature_map: 'dense' keeps the S places, 'pooled' averages them
    (the ablation "no Map").

    BN normalises by the batch in training and in eval mode, as published, and records running statistics in training.
    """

    def __init__(self, network='resnet18', pred_step=3, dropout=0.1, prediction='sequential', feature_map='dense'):
        super().__init__()
        self.pred_step = pred_step
        self.parallel = prediction == 'parallel'
        self.pooled = feature_map == 'pooled'
        self.backbone = select_backbone(network, track_running_stats=True)
        for module in self.backbone.modules():
            if isinstance(module, BatchNorm):
                module.batch_stats_in_eval = True
        size = self.backbone.feature_size
        self.agg = ConvGRU(size, dropout)
        if self.parallel:
            self.network_pred = nn.ModuleList(make_predictor(size) for _ in range(pred_step))
        else:
            self.network_pred = make_predictor(size)

    def forward(self, block):
        """Clips [B, N, C, T, H, W] -> (prediction, target) of the last P blocks, each [B, P, S, D]; targets signed."""
        feature = encode_blocks(self.backbone, block)  # [B, N, S, D]
        if self.pooled:
            feature = feature.mean(dim=2, keepdim=True)
        seen = feature.shape[1] - self.pred_step
        with full_precision(feature):
            _, state = self.agg(F.relu(feature[:, :seen]))
            prediction = self.predict_parallel(state) if self.parallel else self.predict_sequential(state)
        return prediction, feature[:, seen:]

    def predict_sequential(self, state):
        """State [B, S, D] -> predictions [B, P, S, D], each aggregated before the next is made."""
        predictions = [self.network_pred(state)]
        while len(predictions) < self.pred_step:
            _, state = self.agg(F.relu(predictions[-1]).unsqueeze(1), state)
            predictions.append(self.network_pred(state))
        return torch.stack(predictions, dim=1)

    def predict_parallel(self, state):
        """State [B, S, D] -> predictions [B, P, S, D], all from this one state."""
        return torch.stack([predictor(state) for predictor in self.network_pred], dim=1)
