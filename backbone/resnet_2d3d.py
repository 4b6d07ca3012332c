"""The 2D-3D ResNet (paper, section 4.1 "Network architecture"): 2-D kernels in stages 1-2, 3-D kernels in stages 3-4.

The 1×k×k convolutions of the stem and of stages 1-2 run as 2-D convolutions over the B·T images, which is faster than a
3-D convolution of depth one. All weights keep the 5-D shape [out, in, k, k, k] of the published files.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

# block kind and blocks per stage
STAGES = {
    'resnet18': ('basic', (2, 2, 2, 2)),
    'resnet34': ('basic', (3, 4, 6, 3)),
    'resnet50': ('bottleneck', (3, 4, 6, 3)),
    'resnet101': ('bottleneck', (3, 4, 23, 3)),
    'resnet152': ('bottleneck', (3, 8, 36, 3)),
    'resnet200': ('bottleneck', (3, 24, 36, 3)),
}
WIDTHS = (64, 128, 256, 256)
SPATIAL_STAGES = 2  # stages 1 and 2 see one frame at a time


class ImageConv(nn.Conv3d):
    """A 1×k×k convolution run on images [B·T, C, H, W]; the weight is stored 5-D, as published."""

    def forward(self, images):
        return F.conv2d(images, self.weight.squeeze(2), None, self.stride[1:], self.padding[1:])


class VolumeConv(nn.Conv3d):
    """A k×k×k convolution over volumes [B, C, T, H, W]."""

    def forward(self, volume):
        settings = self.kernel_size[0], self.stride[0], self.padding[0], self.dilation[0], self.groups
        unrolled = volume.shape[2] == 2 and settings == (3, 1, 1, 1, 1)
        return self.over_two_steps(volume) if unrolled else super().forward(volume)

    def over_two_steps(self, volume):
        """The 3×3×3 convolution of two time steps at stride 1, as stage 4 has on blocks of 5 frames, in 2-D:

            y₀ = w₀·x₀ + w₊·x₁        y₁ = w₋·x₀ + w₀·x₁

        Four products of images, where Conv3d computes six: two of them with the zeros that pad time. On the CPU
        Conv3d's bfloat16 weight gradient is also wrong for this shape (oneDNN, see utils/run/check_backbone.py).
        """
        before, centre, after = self.weight.unbind(2)
        weight = torch.cat([torch.cat([centre, after], dim=1), torch.cat([before, centre], dim=1)])  # [2·out, 2·in, …]
        bias = None if self.bias is None else self.bias.repeat(2)
        images = F.conv2d(volume.transpose(1, 2).flatten(1, 2), weight, bias, self.stride[1:], self.padding[1:])
        channels_last = volume.is_contiguous(memory_format=torch.channels_last_3d)
        layout = torch.channels_last_3d if channels_last else torch.contiguous_format
        return images.unflatten(1, (2, -1)).transpose(1, 2).contiguous(memory_format=layout)


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over vectors [M, C], images [M, C, H, W] or volumes [B, C, T, H, W]."""

    def _check_input_dim(self, x):
        pass

    def forward(self, x):
        if x.dim() == 5 and x.shape[3:].numel() == 1:
            # For 1×1 maps both memory layouts have the same strides; PyTorch's CPU backward picks the wrong one.
            return super().forward(x.flatten(2)).unflatten(2, x.shape[2:])
        return super().forward(x)


def conv(inputs, outputs, kernel, stride, volume):
    """Without bias, with 'same' padding: k×k×k over volumes, or 1×k×k over images; `stride` in the same dimensions."""
    if volume:
        return VolumeConv(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return ImageConv(inputs, outputs, (1, kernel, kernel), stride=(1, stride, stride),
                     padding=(0, kernel // 2, kernel // 2), bias=False)


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inputs, width, stride, volume, final_relu):
        super().__init__()
        self.conv1 = conv(inputs, width, 3, stride, volume)
        self.bn1 = BatchNorm(width)
        self.conv2 = conv(width, width, 3, 1, volume)
        self.bn2 = BatchNorm(width)
        self.downsample = shortcut(inputs, width, stride, volume)
        self.final_relu = final_relu

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y)).add_(self.downsample(x))
        return F.relu(y, inplace=True) if self.final_relu else y


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs, width, stride, volume, final_relu):
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = conv(inputs, width, 1, 1, volume)
        self.bn1 = BatchNorm(width)
        self.conv2 = conv(width, width, 3, stride, volume)
        self.bn2 = BatchNorm(width)
        self.conv3 = conv(width, outputs, 1, 1, volume)
        self.bn3 = BatchNorm(outputs)
        self.downsample = shortcut(inputs, outputs, stride, volume)
        self.final_relu = final_relu

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y)).add_(self.downsample(x))
        return F.relu(y, inplace=True) if self.final_relu else y


def shortcut(inputs, outputs, stride, volume):
    """Identity, or a strided 1×1×1 convolution + BN where the shape changes."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(conv(inputs, outputs, 1, stride, volume), BatchNorm(outputs))


def fast_layout(device):
    """The memory format of images to compute in; every layer keeps that of its input.

    Convolutions are fastest in channels-last, on the CPU by a fifth. But BN on the CPU then sums a channel's values one
    after the other in float32, which costs two digits: acceptable only under autocast, where bfloat16 rounds more.
    """
    plain = device.type == 'cpu' and not torch.is_autocast_enabled('cpu')
    return torch.contiguous_format if plain else torch.channels_last


class ResNet2d3d(nn.Module):
    """Features of short blocks of frames: [B, 3, T, H, W] -> [B, feature_size, ceil(T/4), H/32, W/32], signed.

    network: one of STAGES.
    """

    def __init__(self, network: str):
        super().__init__()
        kind, depths = STAGES[network]
        block = {'basic': BasicBlock, 'bottleneck': Bottleneck}[kind]
        self.conv1 = ImageConv(3, 64, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False)
        self.bn1 = BatchNorm(64)
        inputs = 64
        for stage, (width, depth) in enumerate(zip(WIDTHS, depths)):
            blocks = []
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                last = stage == len(WIDTHS) - 1 and i == depth - 1
                blocks.append(block(inputs, width, stride, stage >= SPATIAL_STAGES, final_relu=not last))
                inputs = width * block.expansion
            setattr(self, f'layer{stage + 1}', nn.Sequential(*blocks))
        self.feature_size = inputs
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out')

    def forward(self, block: torch.Tensor) -> torch.Tensor:
        B, C, T, H, W = block.shape
        images = block.transpose(1, 2).reshape(B * T, C, H, W).contiguous(memory_format=fast_layout(block.device))
        images = F.max_pool2d(self.bn1(self.conv1(images)), 3, stride=2, padding=1)
        images = F.relu(images, inplace=True)   # commutes with the max-pool, which leaves a quarter of the pixels
        images = self.layer2(self.layer1(images))
        volume = images.unflatten(0, (B, T)).transpose(1, 2)    # [B, 128·expansion, T, H/8, W/8]
        return self.layer4(self.layer3(volume))
