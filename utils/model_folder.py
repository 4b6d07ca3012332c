"""A model folder: the weights of a checkpoint as safetensors, and in config.json all else that it takes to load them.

    model.safetensors   the tensors, by the names of our checkpoints
    config.json         the sha256 of these, the checkpoint's net and settings, and facts for people and other programs
    README.md           a model card

eval/export.py writes it; `utils.checkpoint.read_checkpoint` reads it wherever it reads a checkpoint."""
import base64
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import torch

from utils.cli import UserError
from utils.not_a_checkpoint import known_start

WEIGHTS, CONFIG, CARD = 'model.safetensors', 'config.json', 'README.md'
LIBRARY, VERSION = 'dense-predictive-coding', 1  # of config.json
FROM_CHECKPOINT = 'net', 'settings', 'epoch', 'iteration', 'best', 'training'
PICKLED = '.bin', '.pt', '.pth', '.tar', '.ckpt', '.pkl'  # endings
INT64 = 'int64, base64'  # key of a tensor in config.json: the hashes of 240,000 videos as text would be 5 MB


def is_model_folder(path: str | Path) -> bool:
    """Whether the path is that of a model folder, complete or not, or of the weights in one."""
    if os.path.isdir(path):
        return any(Path(path, name).is_file() for name in (CONFIG, WEIGHTS))
    return Path(path).name == WEIGHTS and Path(path).with_name(CONFIG).is_file()


def may_hold_weights(path: str) -> bool:
    """Whether it is a model folder or a file that is named like a checkpoint."""
    return is_model_folder(path) or os.path.isfile(path) and path.endswith(PICKLED)


def weights_file(path: str | Path) -> Path:
    """The file that holds the weights of a checkpoint or model folder."""
    return Path(path, WEIGHTS) if os.path.isdir(path) else Path(path)


def safetensors_torch():
    """The module safetensors.torch. UserError: not installed."""
    try:
        import safetensors.torch
    except ImportError as error:
        raise UserError('model folders need the package safetensors: pip install safetensors, or all of '
                        'requirements-export.txt') from error
    return safetensors.torch


# ---- writing

def packed(checkpoint: dict, state_dict: dict, facts: dict) -> tuple[dict, bytes]:
    """(what config.json holds, what model.safetensors holds) of a checkpoint. state_dict: its tensors by our names.
    facts: more for config.json, plain values that loading doesn't need."""
    tensors = {name: tensor.detach().contiguous().clone() for name, tensor in state_dict.items()}
    weights = safetensors_torch().save(tensors, metadata={'format': 'pt'})
    own = {name: checkpoint[name] for name in FROM_CHECKPOINT if isinstance(checkpoint.get(name), (dict, int, str))}
    return {'library': LIBRARY, 'version': VERSION, 'sha256': hashlib.sha256(weights).hexdigest(), **own,
            **facts}, weights


def write_model_folder(out: Path, config: dict, weights: bytes, card: str) -> None:
    """Writes a new folder `out` through a temporary one: it is there whole, or not at all. UserError: it can't be
    written."""
    temporary = out.with_name(f'.{out.name}.{os.getpid()}.tmp')
    files = {WEIGHTS: weights, CONFIG: (json.dumps(config, indent=1, default=encoded) + '\n').encode(),
             CARD: card.encode('utf-8', 'backslashreplace')}
    try:
        temporary.mkdir(parents=True)
        for name, content in files.items():
            with open(temporary / name, 'wb') as file:
                file.write(content)
                os.fsync(file.fileno())
        os.rename(temporary, out)
    except OSError as error:
        raise UserError(f'--out {out}: cannot write this folder ({error.strerror})') from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def encoded(value):
    """A tensor int64 [R] for JSON."""
    if not torch.is_tensor(value) or value.dtype != torch.int64:
        raise UserError(f'the settings of this checkpoint hold a {type(value).__name__}, which {CONFIG} cannot: it was '
                        'written by another program')
    return {INT64: base64.b64encode(value.numpy().astype('<i8').tobytes()).decode()}


# ---- reading

def read_model_folder(path: str | Path) -> dict:
    """A checkpoint dict {'net', 'settings', 'state_dict', …} of a model folder, as far as it stores them.

    UserError: files are missing, damaged or of another kind, or safetensors is not installed."""
    folder = weights_file(path).parent
    config = read_config(folder)
    weights = read_bytes(folder, WEIGHTS)
    if hashlib.sha256(weights).hexdigest() != config.get('sha256'):
        wrong = known_start(weights[:64]) or f'does not match its sha256 in {CONFIG}: it is cut short or damaged'
        raise UserError(f'{folder / WEIGHTS} {wrong}; take another copy of the folder')
    tensors = sorted(safetensors_torch().load(weights).items())  # it gives them in any order
    return {**{name: config[name] for name in FROM_CHECKPOINT if name in config}, 'state_dict': dict(tensors)}


def read_config(folder):
    """What config.json of one of our folders holds. UserError: missing, damaged, of another kind or version."""
    path = folder / CONFIG
    try:
        config = json.loads(read_bytes(folder, CONFIG), object_hook=decoded)
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f'{path} is damaged: take another copy of the folder') from error
    if not isinstance(config, dict) or config.get('library') != LIBRARY:
        kind = config.get('model_type') if isinstance(config, dict) else None
        raise UserError(f'{folder} is no model folder of eval/export.py: its {CONFIG} '
                        + (f'is of a {kind!r} model' if isinstance(kind, str) else 'is of another kind')
                        + '; give a checkpoint, or a folder that eval/export.py has written (frozen evaluation takes '
                        'folders of the transformers library as transformers:FOLDER)')
    if config.get('version') != VERSION:
        raise UserError(f'{path} is of version {config.get("version")!r}, and this code reads version {VERSION}: '
                        'update it')
    return config


def decoded(value):
    """Reverses `encoded`, as an object_hook of json."""
    if value.keys() != {INT64}:
        return value
    return torch.from_numpy(np.frombuffer(base64.b64decode(value[INT64], validate=True), '<i8').astype(np.int64))


def read_bytes(folder, name):
    """The content of a file in a model folder. UserError: it is not there or can't be read."""
    path = folder / name
    if not path.is_file():
        pickled = [each.name for each in sorted(folder.iterdir()) if each.suffix in PICKLED]
        raise UserError(f'{folder} has no {name}' + (
            f', only pickled weights ({pickled[0]}), which a model folder may not hold as they can run code: take '
            'another copy, or give that file if it is a checkpoint' if pickled and name == WEIGHTS else
            ': the copy is not complete; take another one'))
    try:
        return path.read_bytes()
    except PermissionError as error:
        raise UserError(f'{path} cannot be read ({error.strerror}): check its permissions') from error
