"""The representation that is evaluated, and the action classifier on it (paper, section 4.2)."""
import torch
import torch.nn as nn

from backbone import make_aggregator, select_backbone
from backbone.blocks import encode_blocks, full_precision
from backbone.resnet_2d3d import BatchNorm


class Representation(nn.Module):
    """Encoder and aggregator of DPC over all N blocks.

    network: a name in the table of backbone/__init__.py. The aggregator keeps its dropout of 0.1.
    `encode_chunks` may be set to encode the batch in so many chunks: see `encode_blocks`.

    >>> clips = torch.rand(1, 2, 3, 5, 32, 32)
    >>> feature, state = Representation('resnet18').eval()(clips)
    >>> feature.shape, state.shape
    (torch.Size([1, 2, 1, 256]), torch.Size([1, 1, 256]))
    """

    def __init__(self, network: str = 'resnet18'):
        super().__init__()
        self.encode_chunks = 1
        self.backbone = select_backbone(network)
        self.agg = make_aggregator(self.backbone.feature_size)

    def forward(self, block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Clips [B, N, C, T, H, W] -> (rectified features of the blocks [B, N, S, D], the aggregator's last state
        [B, S, D])."""
        feature, _, state = self.all_states(block)
        return feature, state

    def all_states(self, block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same with the aggregator's states after every block [B, N, S, D] in the middle."""
        feature = encode_blocks(self.backbone, block, rectify=True, chunks=self.encode_chunks)
        with full_precision(feature):
            return feature, *self.agg(feature)


class ContextEncoder(Representation):
    """The aggregator's last state, averaged over locations: one vector for each clip.

    >>> encoder = ContextEncoder('resnet18').eval()
    >>> encoder(torch.rand(1, 2, 3, 5, 32, 32)).shape
    torch.Size([1, 256])
    """

    def forward(self, block: torch.Tensor) -> torch.Tensor:
        """Clips [B, N, C, T, H, W] -> context [B, D]."""
        _, state = super().forward(block)                               # [B, S, D]
        return state.mean(dim=1)


class ActionClassifier(ContextEncoder):
    """The context of a clip, then BN, dropout and a linear layer.

    dropout: before the linear layer.

    >>> classifier = ActionClassifier('resnet18', num_class=3).eval()
    >>> classifier(torch.rand(1, 2, 3, 5, 32, 32)).shape
    torch.Size([1, 3])
    """

    def __init__(self, network: str = 'resnet18', num_class: int = 101, dropout: float = 0.5):
        super().__init__(network)
        size = self.backbone.feature_size
        self.final_bn = BatchNorm(size)
        self.final_fc = nn.Sequential(nn.Dropout(dropout), nn.Linear(size, num_class))
        nn.init.orthogonal_(self.final_fc[1].weight)
        nn.init.zeros_(self.final_fc[1].bias)

    def forward(self, block: torch.Tensor) -> torch.Tensor:
        """Clips [B, N, C, T, H, W] -> logits [B, num_class]."""
        context = super().forward(block)                                # [B, D]
        with full_precision(context):
            return self.final_fc(self.final_bn(context))
