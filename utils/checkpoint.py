"""Reading and writing checkpoints, plain dicts of tensors, numbers and strings. Loading never runs code from a file."""
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from utils.cli import UserError

# A published file may hold its best accuracy as a numpy number; these rebuild one and do nothing else.
SAFE_GLOBALS = [(np._core.multiarray.scalar, 'numpy.core.multiarray.scalar'), np._core.multiarray.scalar,
                np.dtype, type(np.dtype('float64')), type(np.dtype('float32'))]


@dataclass
class LoadReport:
    """What `load_weights` did: lists of tensor names, in the model's naming."""
    used: list
    missing: list     # in the model, not in the file: they keep their initial values
    left_over: list   # in the file, not in the model
    has_bn_statistics: bool  # the backbone's running statistics came from the file

    def __str__(self):
        lines = [f'{len(self.used)} tensors loaded']
        for title, names in (('not in the file, left as initialised', self.missing),
                             ('in the file, not used', self.left_over)):
            if names:
                shown = ', '.join(names[:6]) + (f', … {len(names) - 6} more' if len(names) > 6 else '')
                lines.append(f'{len(names)} {title}: {shown}')
        return '; '.join(lines)


def read_checkpoint(path):
    """Returns the dict stored at `path`, on the CPU. UserError if there is no such file or it is not a checkpoint."""
    if not Path(path).is_file():
        what = 'a folder' if Path(path).is_dir() else 'not there'
        raise UserError(f'{path} is {what}: give the path of a checkpoint')
    try:
        with torch.serialization.safe_globals(SAFE_GLOBALS):
            checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch.load raises many kinds; each means that the file can't be used
        raise UserError(f'{path} is not a readable checkpoint: it may be cut short, or hold more than tensors, numbers '
                        'and strings; take another copy') from error
    if not isinstance(checkpoint, dict):
        raise UserError(f'{path} holds a {type(checkpoint).__name__}, not a checkpoint: give a .pth.tar of a run')
    return checkpoint


def write_checkpoint(checkpoint, path):
    """Writes the dict to `path` through a temporary file, so that `path` is always whole: the old or the new one.

    UserError if it can't be written (a full disk, say); what was at `path` is untouched then.
    """
    path = Path(path)
    temporary = path.with_name(path.name + '.tmp')
    try:
        torch.save(checkpoint, str(temporary))
        with open(temporary, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        # torch's writer turns a failed write into a RuntimeError; so is what it raises, just now, if a data worker dies
        if isinstance(error, RuntimeError) and 'DataLoader' in str(error):
            raise
        raise UserError(f'cannot write the checkpoint {path} ({str(error).splitlines()[0]}): is the disk full? Earlier '
                        'checkpoints are untouched; free some space and go on with --resume') from error


def plain_names(state_dict):
    """Tensors by our names: without the `module.` prefix and without the ConvGRU's second name in published files."""
    plain = {}
    for name, tensor in state_dict.items():
        name = name.removeprefix('module.').replace('agg.cell_list.0.', 'agg.ConvGRUCell_00.')
        plain[name] = tensor
    return plain


def load_weights(model, source, strict=False, origin=None):
    """Copies the weights of a checkpoint into `model` by name; prints and returns a `LoadReport`.

    source: a path, a checkpoint dict with `state_dict`, or a state dict; published layout or ours. With `strict` every
    parameter of the model must be in the file (to test a classifier). `origin`: what messages call a source that is a
    dict. UserError, with the model untouched, if the file is of another net or nothing useful in it matches.
    """
    origin = origin or ('the given weights' if isinstance(source, dict) else str(source))
    checkpoint = source if isinstance(source, dict) else read_checkpoint(source)
    weights = checkpoint.get('state_dict', checkpoint)
    if not isinstance(weights, dict) or not any(torch.is_tensor(value) for value in weights.values()):
        raise UserError(f'{origin} holds no weights (no `state_dict` of tensors): give a .pth.tar of a training run')
    weights = plain_names(weights)
    own = model.state_dict()
    used = [name for name in own if name in weights and weights[name].shape == own[name].shape]
    report = LoadReport(used=used, missing=[name for name in own if name not in used],
                        left_over=[name for name in weights if name not in used],
                        has_bn_statistics=has_all_statistics(own, used))
    refuse_another_net(origin, checkpoint, report, own, weights)
    lacking = parameters_among(report.missing)
    if strict and lacking:
        raise UserError(f'{origin} lacks {len(lacking)} tensors of the model ({lacking[0]}, …): '
                        'it is not a checkpoint of this kind of model and number of classes')
    model.load_state_dict({name: weights[name] for name in used}, strict=False)
    print(f'weights from {origin}: {report}')
    return report


def has_all_statistics(own, used):
    """Whether all running statistics of the backbone's BN layers, whatever their names, are among the names `used`."""
    return all(name in used for name in own if name.startswith('backbone.') and name.endswith('running_mean'))


def parameters_among(names):
    """Without the running statistics of BN, which a file may lack."""
    return [name for name in names if not name.endswith(('running_mean', 'running_var', 'num_batches_tracked'))]


def refuse_another_net(origin, checkpoint, report, own, weights):
    """UserError unless the backbone is in the file whole and fits; running statistics may be absent or extra."""
    def backbone_part(names):
        return [name for name in parameters_among(names) if name.startswith('backbone.')]

    lacking, extra = backbone_part(report.missing), backbone_part(report.left_over)
    if not lacking and not extra:
        return
    if not backbone_part(report.used):
        raise UserError(f'{origin}: nothing in it matches the model by name and shape (it has '
                        f'{", ".join(list(weights)[:3])}, …): give a checkpoint of this project or of published DPC')
    net = checkpoint.get('net')
    odd = (lacking + extra)[0]
    if odd in weights and odd in own:
        detail = f'{odd} is {list(weights[odd].shape)} there and {list(own[odd].shape)} here'
    else:
        detail = f'{odd} is {"not in the file" if odd in own else "only in the file"}'
    raise UserError(f'{origin} is a checkpoint of another net ({detail}): '
                    + (f'give --net {net}' if isinstance(net, str) else 'check --net'))
