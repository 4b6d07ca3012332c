"""Dense Predictive Coding: predict the feature maps of future blocks from those of past ones (paper, section 3).

>>> prediction, target = DPC(pred_step=1)(torch.rand(2, 3, 3, 5, 32, 32))   # 2 clips of 3 blocks of 5 frames of 32 px
>>> prediction.shape == target.shape == (2, 1, 1, 256)                      # [B, P, S, D]
True
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

from backbone import make_aggregator, select_backbone
from backbone.blocks import encode_blocks, full_precision
from backbone.predictor import make_predictors, predict_blocks


class DPC(nn.Module):
    """Encoder f, aggregator g and predictor φ.

    network: a name in the table of backbone/__init__.py. pred_step: P, the blocks to predict. dropout: on
    the aggregator's states.
    prediction: 'sequential' feeds each prediction back to the aggregator; 'parallel' predicts the P blocks from one
    state by P predictors (the ablation "no Seq."). feature_map: 'dense' keeps the S locations, 'pooled' averages them
    (the ablation "no Map").
    `encode_chunks` may be set to encode the batch in so many chunks, which saves memory: see `encode_blocks`.

    BN normalises by the batch in training and in eval mode, as published; running statistics are recorded in training
    only, for a frozen probe to use.
    """

    def __init__(self, network: str = 'resnet18', pred_step: int = 3, dropout: float = 0.1,
                 prediction: str = 'sequential', feature_map: str = 'dense'):
        super().__init__()
        self.pred_step = pred_step
        self.pooled = feature_map == 'pooled'
        self.encode_chunks = 1
        self.backbone = select_backbone(network)
        size = self.backbone.feature_size
        self.agg = make_aggregator(size, dropout)
        self.network_pred = make_predictors(size, pred_step, prediction)

    def forward(self, block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Clips [B, N, C, T, H, W] -> (prediction, target) of the last P blocks, each [B, P, S, D]; targets signed."""
        return self.predict(self.encode(block))

    def encode(self, block: torch.Tensor) -> torch.Tensor:
        """Clips [B, N, C, T, H, W] -> signed features of all blocks [B, N, S, D]; S = 1 if pooled."""
        feature = encode_blocks(self.backbone, block, chunks=self.encode_chunks, by_batch=True)
        return feature.mean(dim=2, keepdim=True) if self.pooled else feature

    def predict(self, feature: torch.Tensor, steps: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of all blocks [B, N, S, D] -> (prediction, target) of the last P, each [B, P, S, D].

        steps: predict so many blocks instead of P; at most P where predictions are parallel."""
        steps = steps or self.pred_step
        seen, target = feature[:, :-steps], feature[:, -steps:]
        with full_precision(feature):
            _, state = self.agg(F.relu(seen))
            prediction = predict_blocks(self.agg, self.network_pred, state, steps)
        return prediction, target
