"""Reading and writing checkpoints, plain dicts of tensors, numbers and strings. Loading never runs code from a file.

>>> model = torch.nn.ModuleDict({'backbone': torch.nn.Linear(2, 1)})
>>> load_weights(model, {'module.backbone.weight': torch.ones(1, 2), 'module.backbone.bias': torch.ones(1)}).missing
weights from the given weights: 2 tensors loaded
[]
"""
import contextlib
import hashlib
import os
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from utils import system_errors
from utils.cli import UserError, beside
from utils.data.seen import is_training
from utils.model_folder import is_model_folder, may_hold_weights, read_model_folder
from utils.not_a_checkpoint import what_it_is

# A published file may hold its best accuracy as a numpy number or array; these rebuild one and do nothing else.
REBUILD = (np._core.multiarray.scalar, np._core.multiarray._reconstruct)
SAFE_GLOBALS = [*REBUILD, *((rebuild, f'numpy.core.multiarray.{rebuild.__name__}') for rebuild in REBUILD),
                np.ndarray, np.dtype, *{type(np.dtype(code)) for code in np.typecodes['All'] if code not in 'OV'}]
ZIP_START = b'PK\x03\x04'  # torch.save has written zip files since 1.6; published files are older and have no checksums
# What a resumed run needs, by type. `epoch`, `step` (in the epoch) and `iteration` (in the run) are the next ones.
RESUMABLE = {'epoch': int, 'step': int, 'iteration': int, 'net': str, 'best_acc': float, 'state_dict': dict,
             'optimizer': dict, 'schedule': dict, 'scaler': dict, 'averages': dict, 'replaced': int, 'skipped': int,
             'log_size': int}
CLIP = ('img_dim', 'num_seq', 'seq_len', 'ds')


def read_checkpoint(path: str | Path, resumable: bool = False) -> dict:
    """Returns the checkpoint stored at `path`, a file or a model folder, as a dict on the CPU.

    resumable: it must hold all that a resumed run needs; otherwise only its weights are checked, as published files
    hold little else. UserError: no such file, not a checkpoint, damaged, or a field missing or of another kind."""
    checkpoint = read_model_folder(path) if is_model_folder(path) else read_file(path)
    check_fields(checkpoint, str(path))
    if resumable:
        check_resumable(checkpoint, path)
    return checkpoint


def read_file(path):
    """What a file stored by torch.save holds, on the CPU. UserError: it is not there, or can't be loaded."""
    if not os.path.isfile(path):
        what = 'is a folder' if os.path.isdir(path) else 'is not there'
        raise UserError(f'{path} {what}: give the path of a checkpoint{beside(path, may_hold_weights)}')
    damaged = None
    try:
        with open(path, 'rb') as file:
            is_zip = file.read(len(ZIP_START)) == ZIP_START  # as torch.load decides
        if is_zip:
            damaged = damaged_record(path)
        if not damaged:
            with torch.serialization.safe_globals(SAFE_GLOBALS), warnings.catch_warnings():
                warnings.simplefilter('ignore')
                checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except PermissionError as error:
        raise UserError(f'{path} cannot be read ({error.strerror}): check its permissions') from error
    except Exception as error:  # torch.load and zipfile raise many kinds; each means that the file can't be used
        if said := system_errors.failure_in(path):
            raise UserError(said) from error
        raise UserError(f'{path} {what_it_is(path, error)}') from error
    if damaged:
        raise UserError(f'{path} is damaged: {damaged!r} in it does not match its checksum; take another copy')
    return checkpoint


def damaged_record(path):
    """Name of the first record whose CRC32 doesn't match, or None; torch.load reads the records without looking."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(set(names)) < len(names) or any(info.compress_type != zipfile.ZIP_STORED for info in archive.filelist):
            raise zipfile.BadZipFile('not written by torch.save')  # a compressed record may be of any size
        return archive.testzip()


def check_fields(checkpoint, origin):
    """UserError unless it is a dict by name whose weights, net and settings, as far as it has them, can be used."""
    if not isinstance(checkpoint, dict):
        raise UserError(f'{origin} holds a {type(checkpoint).__name__}, not a checkpoint: give a .pth.tar of a run')
    odd = next((key for key in checkpoint if not is_name(key)), None)
    if odd is not None:
        raise UserError(f'{origin} is not a checkpoint: it has a key of type {type(odd).__name__}, not only names; '
                        'give a .pth.tar of a run')
    for name, fits, wanted in (('state_dict', is_state_dict, 'dense tensors by name'), ('net', is_name, 'a name'),
                               ('settings', is_settings, 'the settings of a model and its clips')):
        if name in checkpoint and not fits(checkpoint[name]):
            raise UserError(f'{origin}: its {name} is not {wanted}; the file is damaged or was written by another '
                            'program: take another one')


def check_resumable(checkpoint, path):
    """UserError unless it has all that a resumed run needs."""
    lacking = RESUMABLE.keys() - checkpoint.keys()
    if lacking:
        raise UserError(f'{path}: it has no {", ".join(sorted(lacking))}: only runs of this project can be resumed; '
                        'give it to --pretrain to start from its weights')
    odd = [name for name, kind in RESUMABLE.items() if not isinstance(checkpoint[name], kind)
           or isinstance(checkpoint[name], bool)]
    if odd:
        raise UserError(f'{path}: its {odd[0]} is not of type {RESUMABLE[odd[0]].__name__}; the file is damaged or was '
                        'written by another program: take another one')


def is_name(value):
    """One line of text: names are printed."""
    return isinstance(value, str) and value.splitlines() == [value]


def is_state_dict(value):
    """Tensors by name, none of them sparse, nested, quantised or without storage (meta)."""
    return (isinstance(value, dict) and value != {} and all(map(is_name, value))
            and all(type(each) in (torch.Tensor, torch.nn.Parameter) and each.layout is torch.strided
                    and each.device.type == 'cpu' and not (each.is_nested or each.is_quantized)
                    for each in value.values()))


def is_settings(value):
    return (isinstance(value, dict) and value.get('model') in ('dpc-rnn', 'lc') and is_name(value.get('net'))
            and all(type(value.get(name)) is int and value[name] > 0 for name in CLIP)
            and type(value.get('fps', 0)) in (int, float) and 0 <= value.get('fps', 0) <= 1000
            and value.get('prediction', 'sequential') in ('sequential', 'parallel')
            and value.get('feature_map', 'dense') in ('dense', 'pooled')
            and type(value.get('pred_step', 1)) is int and value.get('pred_step', 1) > 0  # older files lack it
            and ('train_list' not in value or is_training(value))  # and this
            and value.get('val_on', 'train') in ('train', 'test')
            and isinstance(value.get('started_from', []), list) and all(map(is_training, value.get('started_from', [])))
            and (value['model'] == 'dpc-rnn' or isinstance(value.get('class_names'), list)
                 and all(map(is_name, value['class_names']))))


def write_checkpoint(checkpoint: dict, path: str | Path) -> None:
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
        with contextlib.suppress(OSError):
            temporary.unlink()
        # torch's writer turns a failed write into a RuntimeError; a data worker that dies just now raises one too
        if isinstance(error, RuntimeError) and 'DataLoader' in str(error):
            raise
        if not path.parent.is_dir():
            raise UserError(f'cannot write the checkpoint {path}: the folder {path.parent} is gone; it was deleted or '
                            'moved during the run') from error
        raise UserError(f'cannot write the checkpoint {path} ({str(error).splitlines()[0]}): is the disk full? Earlier '
                        'checkpoints are untouched; free some space and resume with --resume') from error


@dataclass
class LoadReport:
    """What `load_weights` did: lists of tensor names, in the model's naming."""
    used: list[str]
    missing: list[str]     # in the model, not in the file: they keep their initial values
    left_over: list[str]   # in the file, not in the model

    def __str__(self):
        lines = [f'{len(self.used)} tensors loaded']
        for title, names in (('not in the file, left as initialised', self.missing),
                             ('in the file, not used', self.left_over)):
            if names:
                shown = ', '.join(names[:6]) + (f', … {len(names) - 6} more' if len(names) > 6 else '')
                lines.append(f'{len(names)} {title}: {shown}')
        return '; '.join(lines)


def plain_names(state_dict):
    """Tensors by our names: without the `module.` prefix and without the ConvGRU's second name in published files."""
    plain = {}
    for name, tensor in state_dict.items():
        name = name.removeprefix('module.').replace('agg.cell_list.0.', 'agg.ConvGRUCell_00.')
        plain[name] = tensor
    return plain


def weights_in(checkpoint: dict) -> dict:
    """The tensors by name of a checkpoint, or of a state dict by itself."""
    if checkpoint.get('state_dict') is not None:
        return checkpoint['state_dict']
    return {name: value for name, value in checkpoint.items() if torch.is_tensor(value)}


def tensors_hash(checkpoint: dict) -> str:
    """sha256 of the weights in a checkpoint by name, type, shape and value: that of a file and of its model folder are
    equal."""
    found = hashlib.sha256()
    for name, tensor in sorted(plain_names(weights_in(checkpoint)).items()):
        found.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}\n'.encode(errors='surrogateescape'))
        found.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def load_weights(model: torch.nn.Module, source: str | Path | dict, strict: bool = False,
                 origin: str | None = None) -> LoadReport:
    """Copies the weights of a checkpoint into `model` by name; prints and returns a `LoadReport`.

    source: a path, a checkpoint dict with `state_dict`, or a state dict; published layout or ours. With `strict` every
    parameter of the model must be in the file (to test a classifier). `origin`: what messages call a source that is a
    dict. UserError, with the model untouched, if the file is of another net or nothing useful in it matches.
    """
    origin = origin or ('the given weights' if isinstance(source, dict) else str(source))
    checkpoint = source if isinstance(source, dict) else read_checkpoint(source)
    check_fields(checkpoint, origin)
    weights = weights_in(checkpoint)
    if not weights:
        raise UserError(f'{origin} holds no weights (no `state_dict` of tensors): give a .pth.tar of a training run')
    if not is_state_dict(weights):
        raise UserError(f'{origin} holds sparse or meta tensors, not weights: save it again with dense tensors')
    weights = plain_names(weights)
    own = model.state_dict()
    used = [name for name in own if name in weights and weights[name].shape == own[name].shape]
    report = LoadReport(used=used, missing=[name for name in own if name not in used],
                        left_over=[name for name in weights if name not in used])
    refuse_another_net(origin, checkpoint, report, own, weights)
    lacking = parameters_among(report.missing)
    if strict and lacking:
        raise UserError(f'{origin} lacks {len(lacking)} tensors of the model ({lacking[0]}, …): '
                        'it is not a checkpoint of this kind of model and number of classes')
    model.load_state_dict({name: usable_tensor(name, weights[name], own[name], origin) for name in used}, strict=False)
    print(f'weights from {origin}: {report}')
    return report


def usable_tensor(name, tensor, own, origin):
    """`tensor` in the dtype of the model's own. UserError: NaN or infinity, or complex or whole numbers as weights."""
    if tensor.is_complex() or tensor.is_floating_point() != own.is_floating_point() or tensor.dtype == torch.bool:
        raise UserError(f'{origin}: {name} is of {tensor.dtype}, where the model has {own.dtype}; give a checkpoint '
                        'with weights of float16, bfloat16, float32 or float64')
    tensor = tensor.detach().to(own.dtype)
    if own.is_floating_point() and not torch.isfinite(tensor).all():
        raise UserError(f'{origin}: {name} holds NaN or infinity; the training it is from had diverged, or the file is '
                        'damaged: give an earlier checkpoint')
    return tensor


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
