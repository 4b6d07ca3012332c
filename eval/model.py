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

    def forward(self, block: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Clips [B, N, C, T, H, W] -> what `summarise` makes of their features."""
        return self.summarise(self.encode(block))

    def encode(self, block: torch.Tensor) -> torch.Tensor:
        """Clips [B, N, C, T, H, W] -> rectified features of the blocks [B, N, S, D], each block on its own."""
        return encode_blocks(self.backbone, block, rectify=True, chunks=self.encode_chunks)

    def all_states(self, feature: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features [B, N, S, D] -> (the same, the aggregator's states after every block [B, N, S, D], the last one
        [B, S, D])."""
        with full_precision(feature):
            return feature, *self.agg(feature)

    def summarise(self, feature: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features [B, N, S, D] -> (the same, the aggregator's last state [B, S, D])."""
        feature, _, state = self.all_states(feature)
        return feature, state


class ContextEncoder(Representation):
    """The aggregator's last state, averaged over locations: one vector for each clip.

    >>> encoder = ContextEncoder('resnet18').eval()
    >>> encoder(torch.rand(1, 2, 3, 5, 32, 32)).shape
    torch.Size([1, 256])
    """

    def summarise(self, feature: torch.Tensor) -> torch.Tensor:
        """Features [B, N, S, D] -> context [B, D]."""
        _, state = super().summarise(feature)                           # [B, S, D]
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

    def summarise(self, feature: torch.Tensor) -> torch.Tensor:
        """Features [B, N, S, D] -> logits [B, num_class]."""
        context = super().summarise(feature)                            # [B, D]
        with full_precision(context):
            return self.final_fc(self.final_bn(context))
