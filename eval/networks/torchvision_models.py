"""Video models of torchvision: one table of loaders.

`--weights NAME` means random weights of a network of the table, `--weights NAME=FILE` those of a local file, a state
dict as its authors publish it; nothing is downloaded. A network of your own is one more entry.
"""
import torch.nn.functional as F

from eval.networks.third_party import IMAGENET, ThirdPartyModel

KINETICS = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
HALF = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)


# ---- which tensor is the feature: (net, clips [B, 3, F, H, W]) -> (its last map [B, M, D], context [B, D])

def resnet_feature(net, clip):
    x = net.layer4(net.layer3(net.layer2(net.layer1(net.stem(clip)))))          # [B, D, F/8 or F, H/16, W/16]
    locations = x.flatten(2).transpose(1, 2)
    return locations, locations.mean(dim=1)


def s3d_feature(net, clip):
    """Its classifier reads the mean over all windows of 2×7×7 locations; smaller maps are one window."""
    x = net.features(clip)                                                      # [B, D, F/8, H/32, W/32]
    window = [min(pair) for pair in zip((2, 7, 7), x.shape[2:])]
    return x.flatten(2).transpose(1, 2), F.avg_pool3d(x, window, stride=1).mean(dim=(2, 3, 4))


def mvit_feature(net, clip):
    """Its classifier reads the class token. Relative positions are interpolated for clips of another size."""
    x = net.conv_proj(clip)                                                     # [B, 96, F/2, H/4, W/4]
    size = tuple(x.shape[2:])
    x = net.pos_encoding(x.flatten(2).transpose(1, 2))
    for block in net.blocks:
        x, size = block(x, size)
    x = net.norm(x)                                                             # [B, 1 + F/2·H/32·W/32, D]
    return x[:, 1:], x[:, 0]


def swin_feature(net, clip):
    locations = net.norm(net.features(net.patch_embed(clip))).flatten(1, 3)        # of [B, F/2, H/32, W/32, D]
    return locations, locations.mean(dim=1)


# ---- the table

def torchvision(name, *about):
    def build():
        from torchvision.models import get_model  # here: the import takes a second, and most commands don't need it
        return get_model(name, weights=None)

    return ThirdPartyModel(build, *about)


THIRD_PARTY_MODELS = {
    'torchvision:r3d_18': torchvision('r3d_18', resnet_feature, 'fc', 512, 16, 112, KINETICS),
    'torchvision:mc3_18': torchvision('mc3_18', resnet_feature, 'fc', 512, 16, 112, KINETICS),
    'torchvision:r2plus1d_18': torchvision('r2plus1d_18', resnet_feature, 'fc', 512, 16, 112, KINETICS),
    'torchvision:s3d': torchvision('s3d', s3d_feature, 'classifier', 1024, 128, 224, KINETICS),
    'torchvision:mvit_v2_s': torchvision('mvit_v2_s', mvit_feature, 'head', 768, 16, 224, HALF),
    'torchvision:swin3d_t': torchvision('swin3d_t', swin_feature, 'head', 768, 32, 224, IMAGENET),
}
