"""A straightforward DPC: the baseline of the training-step benchmarks, and a check on the real model.

nn.Conv3d and nn.BatchNorm3d on contiguous clips, one convolution per gate on the concatenated input and state, and the
loss from the whole score matrix. Parameter names and shapes match dpc.model.DPC, so weights are interchangeable.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

from backbone import resnet_2d3d
from backbone.resnet_2d3d import SPATIAL_STAGES, STAGES


def conv_and_norm(inputs, outputs, kernel, stride, volume):
    depth, step = (kernel, stride) if volume else (1, 1)
    convolution = nn.Conv3d(inputs, outputs, (depth, kernel, kernel), stride=(step, stride, stride),
                            padding=(depth // 2, kernel // 2, kernel // 2), bias=False)
    return convolution, nn.BatchNorm3d(outputs)


class PlainBlock(nn.Module):
    """A residual block, given (outputs, kernel, stride) of each convolution."""

    def __init__(self, inputs, convolutions, volume, final_relu):
        super().__init__()
        outputs, stride = convolutions[-1][0], max(stride for _, _, stride in convolutions)
        self.downsample = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(*conv_and_norm(inputs, outputs, 1, stride, volume))
        for i, (width, kernel, stride) in enumerate(convolutions, start=1):
            convolution, norm = conv_and_norm(inputs, width, kernel, stride, volume)
            self.add_module(f'conv{i}', convolution)
            self.add_module(f'bn{i}', norm)
            inputs = width
        self.depth, self.final_relu = len(convolutions), final_relu

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f'bn{i}')(getattr(self, f'conv{i}')(y))
            y = F.relu(y) if i < self.depth else y + self.downsample(x)
        return F.relu(y) if self.final_relu else y


class PlainBackbone(nn.Module):
    def __init__(self, network):
        super().__init__()
        kind, depths = STAGES[network]
        self.conv1 = nn.Conv3d(3, 64, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        inputs = 64
        for stage, (width, depth) in enumerate(zip(resnet_2d3d.WIDTHS, depths)):
            blocks = []
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                convolutions = {'basic': [(width, 3, stride), (width, 3, 1)],
                                'bottleneck': [(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)]}[kind]
                last = stage == len(resnet_2d3d.WIDTHS) - 1 and i == depth - 1
                blocks.append(PlainBlock(inputs, convolutions, stage >= SPATIAL_STAGES, final_relu=not last))
                inputs = convolutions[-1][0]
            self.add_module(f'layer{stage + 1}', nn.Sequential(*blocks))
        self.feature_size = inputs

    def forward(self, volume):
        volume = F.max_pool3d(F.relu(self.bn1(self.conv1(volume))), (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        return self.layer4(self.layer3(self.layer2(self.layer1(volume))))


class PlainConvGRUCell(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.reset_gate, self.update_gate, self.out_gate = (nn.Conv2d(2 * size, size, 1) for _ in range(3))

    def forward(self, x, h):
        z = torch.sigmoid(self.update_gate(torch.cat([x, h], dim=1)))
        r = torch.sigmoid(self.reset_gate(torch.cat([x, h], dim=1)))
        n = torch.tanh(self.out_gate(torch.cat([x, r * h], dim=1)))
        return (1 - z) * h + z * n


class PlainDPC(nn.Module):
    """Clips [B, N, C, T, H, W] -> (prediction, target), each [B, P, D, h, w]."""

    def __init__(self, network='resnet18', pred_step=3, dropout=0.1):
        super().__init__()
        self.pred_step = pred_step
        self.backbone = PlainBackbone(network)
        size = self.backbone.feature_size
        self.agg = nn.ModuleDict({'ConvGRUCell_00': PlainConvGRUCell(size)})
        self.dropout = nn.Dropout(dropout)
        self.network_pred = nn.Sequential(nn.Conv2d(size, size, 1), nn.ReLU(), nn.Conv2d(size, size, 1))

    def forward(self, block):
        B, N = block.shape[:2]
        feature = self.backbone(block.flatten(0, 1)).mean(dim=2).unflatten(0, (B, N))   # [B, N, D, h, w]
        seen = N - self.pred_step
        state = torch.zeros_like(feature[:, 0])
        for t in range(seen):
            state = self.step(feature[:, t], state)
        predictions = [self.network_pred(state)]
        while len(predictions) < self.pred_step:
            state = self.step(predictions[-1], state)
            predictions.append(self.network_pred(state))
        return torch.stack(predictions, dim=1), feature[:, seen:]

    def step(self, feature, state):
        return self.dropout(self.agg['ConvGRUCell_00'](F.relu(feature), state))


def plain_info_nce(prediction, target):
    """Mean cross-entropy over all locations of prediction and target, each [B, P, D, h, w]."""
    rows, columns = (maps.permute(0, 1, 3, 4, 2).flatten(0, 3) for maps in (prediction, target))    # [B·P·S, D]
    return F.cross_entropy(rows @ columns.t(), torch.arange(len(rows), device=rows.device))
