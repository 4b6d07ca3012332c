"""What --weights means: a checkpoint of ours, random weights, or a third-party model of one of the two tables."""
import hashlib
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from eval.networks.third_party import on_meta
from eval.networks.torchvision_models import THIRD_PARTY_MODELS
from eval.networks.transformers_folder import files_of_folder
from eval.networks.transformers_models import KINDS, PREFIX, RANDOM, folder_entry, folder_state
from utils.checkpoint import parameters_among, read_checkpoint
from utils.cli import UserError
from utils.model_folder import weights_file

WHAT_THIRD_PARTY = (f'{", ".join(THIRD_PARTY_MODELS)}: random weights of that network, or with =FILE those of its '
                    f'state dict; {PREFIX}FOLDER: a local folder of the transformers library ({", ".join(KINDS)}), '
                    f'{PREFIX}FOLDER{RANDOM}: random weights of its config')
VECTORS_OF_THIRD_PARTY = ('third-party models take all frames of a clip at once; context: what their own classifier '
                          'reads or their authors pool, block: the mean of their last feature map')


# ---- names

def split_weights(weights):
    """--weights as (name of a third-party model or None, its file or folder or None for random weights).

    UserError: a name of torchvision's that the table lacks, no file after "="."""
    if weights.startswith(PREFIX):
        net = weights.removesuffix(RANDOM)
        return net, net.removeprefix(PREFIX) if net == weights else None
    name, equals, file = weights.partition('=')
    if name in THIRD_PARTY_MODELS:
        if equals and not file:
            raise UserError(f'--weights {weights}: give a file after "=", or leave "=" out for random weights')
        return name, file or None
    if name.startswith('torchvision:'):
        raise UserError(f'--weights {weights}: there is no {name}; choose one of {", ".join(THIRD_PARTY_MODELS)}')
    return None, None if weights == 'random' else weights


def net_of(weights, net):
    """The name of the network of --weights: of a third-party model, or our own `net`."""
    return split_weights(weights)[0] or net


def baseline_of(weights):
    """--weights of random weights of the same network.

    >>> baseline_of('a.pth.tar'), baseline_of('torchvision:s3d=s3d.pth'), baseline_of('transformers:videomae')
    ('random', 'torchvision:s3d', 'transformers:videomae=random')
    """
    net, _ = split_weights(weights)
    if net is None:
        return 'random'
    return f'{net}{RANDOM}' if net.startswith(PREFIX) else net


def short_name(weights):
    """--weights without folders, for tables and names of files.

    >>> short_name('a/epoch9.pth.tar'), short_name('torchvision:s3d=a/s3d.pth'), short_name('transformers:a/mae=random')
    ('epoch9', 'torchvision:s3d=s3d.pth', 'mae=random')
    """
    net, file = split_weights(weights)
    if net and net.startswith(PREFIX):
        return os.path.basename(os.path.abspath(net.removeprefix(PREFIX))) + ('' if file else RANDOM)
    name = Path(file or weights).absolute().name.removesuffix('.pth.tar')
    return f'{net}={name}' if net and file else name


def entry_of(net):
    """The ThirdPartyModel called `net`; None for our own. UserError: a folder that can't be used."""
    if net and net.startswith(PREFIX):
        return folder_entry(net.removeprefix(PREFIX))
    return THIRD_PARTY_MODELS.get(net)


# ---- files

def files_behind(weights):
    """Paths of the files that the features depend on; [] for random weights of a network that no file describes."""
    net, file = split_weights(weights)
    if net and net.startswith(PREFIX):
        return files_of_folder(net.removeprefix(PREFIX), file is not None)
    return [] if file is None else [weights_file(file)]


def hash_of(paths: Iterable[str | Path]) -> str:
    """sha256 of what is in the files, one after the other. Each is read once, as long as it stays as it is."""
    status = [(path, os.stat(path)) for path in paths]
    return hash_of_content(tuple((path, each.st_ino, each.st_size, each.st_mtime_ns) for path, each in status))


@cache
def hash_of_content(files):
    """files: of (path, what tells that the file there was replaced, …)."""
    content = hashlib.sha256()
    for path, *_ in files:
        with open(path, 'rb') as file:
            while part := file.read(2 ** 20):
                content.update(part)
    return content.hexdigest()


def read_weights(weights):
    """The checkpoint of --weights, {} for random ones. UserError: the file can't be used, or is of another network."""
    net, file = split_weights(weights)
    if file is None:
        return {}
    if net is None:
        return read_checkpoint(file)
    state = folder_state(file) if net.startswith(PREFIX) else state_of(net, file, read_checkpoint(file))
    return {'state_dict': {f'backbone.{name}': tensor for name, tensor in state.items()}}


def state_of(net, file, checkpoint):
    """A file's tensors by the names of its network, without the classifier. UserError: it is of another network."""
    entry = THIRD_PARTY_MODELS[net]
    own = on_meta(entry).backbone.state_dict()
    state = {key: value for key, value in checkpoint.items() if not str(key).startswith(f'{entry.head}.')}
    lacking = parameters_among(key for key in own if key not in state)
    odd = next((key for key in [*lacking, *state] if key not in state or key not in own
                or getattr(state[key], 'shape', None) != own[key].shape), None)
    if odd is not None:
        where = ('not in the file' if odd not in state else 'only in the file' if odd not in own else
                 'of another shape there')
        raise UserError(f'{file} is not a state dict of {net} ({odd} is {where}): give one, or name its own network '
                        'before the "="')
    return state
