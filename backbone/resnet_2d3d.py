"""The 2D-3D ResNet (paper, section 4.1 "Network architecture"): 2-D kernels in stages 1-2, 3-D kernels in stages 3-4.

The 1×k×k convolutions of the stem and of stages 1-2 run as 2-D convolutions over the B·T images, which is faster than
asking for a 3-D convolution of depth one; so do the 3×3×3 ones where only one or two time steps are left. All weights
keep the 5-D shape [out, in, k, k, k] of the published files.
"""
import contextlib

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

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
UNROLLED_STEPS = 2  # volumes of at most this many time steps are convolved in 2-D, see VolumeConv


class ImageConv(nn.Conv3d):
    """A 1×k×k convolution run on images [B·T, C, H, W]; the weight is stored 5-D, as published."""

    def forward(self, images):
        return F.conv2d(images, self.weight.squeeze(2), None, self.stride[1:], self.padding[1:])


class VolumeConv(nn.Conv3d):
    """A k×k×k convolution over volumes [B, C, T, H, W].

    Over one or two time steps it runs as one 2-D convolution with time folded into channels. With w₋, w₀, w₊ the
    kernel's slices in time, two steps at stride 1 are

        y₀ = w₀·x₀ + w₊·x₁        y₁ = w₋·x₀ + w₀·x₁

    where the 3-D convolution would also multiply the zeros that pad time: 6 products of images instead of 4. It is
    needed, too: for this very shape, which stage 4 has on blocks of 5 frames, the CPU's bfloat16 weight gradient in
    PyTorch 2.11 to 2.15 (oneDNN) is garbage.
    """

    def forward(self, volume):
        steps = volume.shape[2]
        if steps > UNROLLED_STEPS or self.kernel_size[0] == 1:
            return super().forward(volume)
        weight = self.unrolled_weight(steps)
        images = volume.transpose(1, 2).flatten(1, 2)       # [B, T·C, H, W]
        images = F.conv2d(images, weight, None, self.stride[1:], self.padding[1:])
        output = images.unflatten(1, (-1, self.out_channels)).transpose(1, 2)
        return output.contiguous(memory_format=layout(volume))

    def unrolled_weight(self, steps):
        """[T_out·out, T·in, k, k]: how each of the T = `steps` images acts on each of those that come out."""
        size, stride, padding = self.kernel_size[0], self.stride[0], self.padding[0]
        slices = self.weight.unbind(2)
        unseen = torch.zeros_like(slices[0])
        outputs = (steps + 2 * padding - size) // stride + 1
        taps = [[t - stride * output + padding for t in range(steps)] for output in range(outputs)]
        return torch.cat([torch.cat([slices[tap] if 0 <= tap < size else unseen for tap in row], dim=1)
                          for row in taps])


def layout(volume):
    """The memory format of a volume: channels-last, or plain."""
    channels_last = volume.is_contiguous(memory_format=torch.channels_last_3d)
    return torch.channels_last_3d if channels_last else torch.contiguous_format


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over vectors [M, C], images [M, C, H, W] or volumes [B, C, T, H, W].

    `batch_stats_in_eval` keeps normalising by the batch in eval mode, as pretraining does, while training still
    records the running statistics that a frozen probe will need.
    """

    batch_norm = staticmethod(F.batch_norm)  # training in several processes may put one over all of them here

    def __init__(self, channels, track_running_stats=True):
        super().__init__(channels, track_running_stats=track_running_stats)
        self.batch_stats_in_eval = False

    def forward(self, x):
        if x.dim() == 5 and x.shape[3:].numel() == 1:
            # Of single pixels the memory formats look alike, and the CPU's backward pass takes one for the other.
            return self.forward(x.flatten(2)).unflatten(2, x.shape[2:])
        by_batch = self.training or self.batch_stats_in_eval or not self.track_running_stats
        records = self.training and self.track_running_stats
        running = (self.running_mean, self.running_var) if records or not by_batch else (None, None)
        momentum = self.momentum
        if records:
            self.num_batches_tracked.add_(1)
            if momentum is None:  # PyTorch's way to ask for a plain average over all batches
                momentum = 1 / self.num_batches_tracked.item()
        return self.batch_norm(x, *running, self.weight, self.bias, by_batch, momentum or 0., self.eps)


def computed_twice(module, function, x):
    """function(x) without keeping its activations: the backward pass computes them anew.

    The running statistics of BN, which lie in `module`, see the batch once. `function` draws no random numbers.
    """
    if not torch.is_grad_enabled():
        return function(x)
    return checkpoint(function, x, use_reentrant=False, preserve_rng_state=False,
                      context_fn=lambda: (contextlib.nullcontext(), unrecorded(module)))


@contextlib.contextmanager
def unrecorded(module):
    """The running statistics of `module` are afterwards what they were before."""
    buffers = list(module.buffers())
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, before):
            buffer.copy_(value)


def conv(inputs, outputs, kernel, stride, volume):
    """Bias-free, 'same' padding: k×k×k over volumes, 1×k×k over images, with stride in the dimensions seen."""
    if volume:
        return VolumeConv(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return ImageConv(inputs, outputs, (1, kernel, kernel), stride=(1, stride, stride),
                     padding=(0, kernel // 2, kernel // 2), bias=False)


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inputs, width, stride, volume, norm, final_relu):
        super().__init__()
        self.conv1 = conv(inputs, width, 3, stride, volume)
        self.bn1 = norm(width)
        self.conv2 = conv(width, width, 3, 1, volume)
        self.bn2 = norm(width)
        self.downsample = shortcut(inputs, width, stride, volume, norm)
        self.final_relu = final_relu

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y)).add_(self.downsample(x))
        return F.relu(y, inplace=True) if self.final_relu else y


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs, width, stride, volume, norm, final_relu):
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = conv(inputs, width, 1, 1, volume)
        self.bn1 = norm(width)
        self.conv2 = conv(width, width, 3, stride, volume)
        self.bn2 = norm(width)
        self.conv3 = conv(width, outputs, 1, 1, volume)
        self.bn3 = norm(outputs)
        self.downsample = shortcut(inputs, outputs, stride, volume, norm)
        self.final_relu = final_relu

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y)).add_(self.downsample(x))
        return F.relu(y, inplace=True) if self.final_relu else y


def shortcut(inputs, outputs, stride, volume, norm):
    """Identity, or a strided 1×1×1 convolution + BN where the shape changes."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(conv(inputs, outputs, 1, stride, volume), norm(outputs))


def fast_layout(device):
    """The memory format of images to compute in; every layer keeps that of its input.

    Convolutions are fastest in channels-last, on the CPU by a fifth. But there BN sums a channel's values one after the
    other in float32, which costs two digits; that is far below bfloat16's rounding, and so left to autocast.
    """
    plain = device.type == 'cpu' and not torch.is_autocast_enabled('cpu')
    return torch.contiguous_format if plain else torch.channels_last


class ResNet2d3d(nn.Module):
    """Features of short blocks of frames: [B, 3, T, H, W] -> [B, feature_size, ceil(T/4), H/32, W/32], signed.

    Two settings trade time for memory, and give the same gradients:
    `grad_checkpoint` computes the activations of the stem and of each residual block anew in the backward pass.
    `accum_steps` encodes the batch in so many parts, each anew in the backward pass, so that one part's activations
    exist at a time. Only the batch statistics of BN notice: they are those of a part.
    """

    def __init__(self, network, track_running_stats=True):
        super().__init__()
        kind, depths = STAGES[network]
        block = {'basic': BasicBlock, 'bottleneck': Bottleneck}[kind]

        def norm(channels):
            return BatchNorm(channels, track_running_stats)

        self.conv1 = ImageConv(3, 64, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False)
        self.bn1 = norm(64)
        inputs = 64
        for stage, (width, depth) in enumerate(zip(WIDTHS, depths)):
            blocks = []
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                last = stage == len(WIDTHS) - 1 and i == depth - 1
                blocks.append(block(inputs, width, stride, stage >= SPATIAL_STAGES, norm, final_relu=not last))
                inputs = width * block.expansion
            setattr(self, f'layer{stage + 1}', nn.Sequential(*blocks))
        self.feature_size = inputs
        self.grad_checkpoint = False
        self.accum_steps = 1
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out')

    def compile(self, **options):
        """Compiles `encode`; options as for torch.compile. Of no use with `grad_checkpoint`: PyTorch doesn't compile
        checkpointed blocks."""
        # Not dynamic: code for any size would recompute a part otherwise than the code that it first went through.
        self.encode = torch.compile(self.encode, dynamic=False, **options)

    def forward(self, block):
        if self.accum_steps == 1:
            return self.encode(block)
        return torch.cat([computed_twice(self, self.encode, part) for part in block.chunk(self.accum_steps)])

    def encode(self, block):
        B, C, T, H, W = block.shape
        images = block.transpose(1, 2).reshape(B * T, C, H, W).contiguous(memory_format=fast_layout(block.device))
        images = self.run(self.bn1, self.stem, images)
        images = self.run_stage(self.layer1, images)
        images = self.run_stage(self.layer2, images)
        volume = images.reshape(B, T, *images.shape[1:]).transpose(1, 2)  # [B, 128·expansion, T, H/8, W/8]
        volume = self.run_stage(self.layer3, volume)
        return self.run_stage(self.layer4, volume)

    def stem(self, images):
        # The ReLU commutes with the max-pool, and comes after it as a quarter of the pixels are left then.
        return F.relu(F.max_pool2d(self.bn1(self.conv1(images)), 3, stride=2, padding=1), inplace=True)

    def run_stage(self, stage, x):
        for block in stage:
            x = self.run(block, block, x)
        return x

    def run(self, module, function, x):
        return computed_twice(module, function, x) if self.grad_checkpoint else function(x)
