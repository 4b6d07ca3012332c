"""The networks for use in other code, by torch.hub; also from an uninstalled clone:

    model = torch.hub.load('path/of/this/repository', 'dpc_classifier', source='local', weights='model.pth.tar')
    frames = model.transform.read('video.mp4')          # or others: uint8 [F, H, W, 3], RGB, upright
    clips = model.transform(frames)                     # [K, N, 3, T, H, W]
    probability = model(clips).softmax(dim=1).mean(dim=0)   # of model.class_names

Every network is in eval mode on the CPU and has `settings` (net, img_dim, num_seq, seq_len, ds) and `transform`, see
eval/networks/preprocessing.py. Settings that are left out are those of the checkpoint; published files have none but
`net`, so that img_dim is 128, num_seq 8, seq_len 5 and ds 3 for them unless given.

>>> import torch
>>> classifier = dpc_classifier(num_class=3, img_dim=32, num_seq=2)     # random weights
>>> classifier(torch.rand(1, 2, 3, 5, 32, 32)).shape
torch.Size([1, 3])
"""
import sys as _sys
from pathlib import Path as _Path

for _name in ('backbone', 'eval', 'utils'):
    _loaded = _sys.modules.get(_name)
    _places = [*getattr(_loaded, '__path__', []), getattr(_loaded, '__file__', None)]
    _places = list(filter(None, _places))
    if _places and _Path(__file__).resolve().parent not in [_Path(place).resolve().parent for place in _places]:
        raise ImportError(f'the package {_name!r} of this repository cannot be imported beside another of that name, '
                          f'which is loaded from {_places[0]}: load the network in a process of its own')

from torch.nn import Module as _Module

from eval.networks.load import load_model as _load_model

dependencies = ['torch', 'cv2', 'numpy', 'av', 'tensorboardX', 'tqdm', 'joblib']


def dpc_backbone(net: str | None = None, weights: str | None = None, img_dim: int | None = None,
                 batch_statistics: bool = False) -> _Module:
    """The 2D-3D ResNet: blocks [B, 3, T, H, W] -> signed features [B, D, ceil(T/4), H/32, W/32].

    `transform`: the T frames of one block, already as far apart as wanted, -> [1, 3, T, img_dim, img_dim].
    weights: a checkpoint or model folder, of pretraining or of a classifier; None for random weights.
    batch_statistics: for files without BN running statistics: normalise by the batch at hand."""
    return _load_model('backbone', weights, batch_statistics=batch_statistics, net=net, img_dim=img_dim)


def dpc_features(net: str | None = None, weights: str | None = None, *, batch_statistics: bool = False,
                 **clip: int) -> _Module:
    """Backbone and aggregator: clips [B, N, 3, T, H, W] -> context [B, D], the aggregator's last state averaged over
    locations. The mean over the clips of a video is the `context` of eval/features.py.

    clip: img_dim, num_seq, seq_len or ds, where they differ from the checkpoint's.
    `transform`: consecutive frames of a video -> its K clips [K, N, 3, T, img_dim, img_dim]. See dpc_backbone.
    `transform.read(path)`: the frames of a video file. Larger ones of other readers shrink to a short side of 240 px,
    as those of video files do; for larger extracted frames set `transform.short_side = 0`.
    `over_time(frames, every)`: the same frames -> the context of windows along the video, [windows, D], one every
    `every` frames; those of eval/features.py --every. See eval/networks/over_time.py."""
    return _load_model('features', weights, batch_statistics=batch_statistics, net=net, **clip)


def dpc_classifier(net: str | None = None, weights: str | None = None, *, class_names: list[str] | None = None,
                   num_class: int | None = None, batch_statistics: bool = False, **clip: int) -> _Module:
    """An action classifier: clips [B, N, 3, T, H, W] -> logits [B, classes]; `class_names` says which.

    class_names: list of str, for published files, which store none. num_class: for random weights (101).
    clip: as of dpc_features.
    `transform` is that of dpc_features; the mean softmax over the clips of a video is its score in a test (the mean
    sigmoid where `multi_label` says that it was trained on videos with several labels)."""
    return _load_model('classifier', weights, class_names, num_class, batch_statistics, net=net, **clip)
