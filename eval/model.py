"""Action classification on the representation (paper, section 4.2): the aggregator's last state, pooled."""
import torch.nn as nn

from backbone import AGGREGATORS, select_backbone
from backbone.blocks import encode_blocks, full_precision
from backbone.resnet_2d3d import BatchNorm


class ActionClassifier(nn.Module):
    """Encoder and aggregator of DPC over all N blocks, then BN, dropout and a linear layer.

    network, aggregator: names in the tables of backbone/__init__.py. dropout: before the linear layer; the aggregator
    keeps its own dropout of 0.1. `encode_chunks` may be set to encode the batch in so many chunks: see `encode_blocks`.
    """

    def __init__(self, network='resnet18', num_class=101, dropout=0.5, aggregator='convgru'):
        super().__init__()
        self.encode_chunks = 1
        self.backbone = select_backbone(network)
        size = self.backbone.feature_size
        self.agg = AGGREGATORS[aggregator](size)
        self.final_bn = BatchNorm(size)
        self.final_fc = nn.Sequential(nn.Dropout(dropout), nn.Linear(size, num_class))
        nn.init.orthogonal_(self.final_fc[1].weight)
        nn.init.zeros_(self.final_fc[1].bias)

    def forward(self, block):
        """Clips [B, N, C, T, H, W] -> logits [B, num_class]."""
        feature = encode_blocks(self.backbone, block, rectify=True, chunks=self.encode_chunks)  # [B, N, S, D]
        with full_precision(feature):
            _, state = self.agg(feature)                                # [B, S, D]
            context = state.mean(dim=1)                                 # [B, D]
            return self.final_fc(self.final_bn(context))
