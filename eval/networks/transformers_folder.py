"""The files of a folder as the hub stores it, without the transformers library: which there are, and whether they are
whole."""
import json
from pathlib import Path

from utils.cli import UserError, beside
from utils.model_folder import CONFIG, PICKLED, WEIGHTS
from utils.text import first_line

PREPROCESSING = 'processor_config.json', 'video_preprocessor_config.json', 'preprocessor_config.json'
SHARDS = 'model.safetensors.index.json'


def read_json(path):
    """The object in a file. UserError: there is none."""
    try:
        said = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise UserError(f'{path} is not there: give a folder as the hub stores it{beside(path.parent)}') from None
    except (OSError, ValueError) as error:
        raise UserError(f'{path} cannot be read ({first_line(error)}): take another copy') from error
    if not isinstance(said, dict):
        raise UserError(f'{path} holds a {type(said).__name__}, not an object: take another copy')
    return said


def weight_files(folder):
    """Paths of a folder's weights in safetensors, several where they are stored in shards; [] for none."""
    if Path(folder, WEIGHTS).is_file():
        return [Path(folder, WEIGHTS)]
    if not Path(folder, SHARDS).is_file():
        return []
    names = read_json(Path(folder, SHARDS)).get('weight_map')
    if not isinstance(names, dict) or not names:
        raise UserError(f'{folder}/{SHARDS} names no files of weights: take another copy')
    return [Path(folder, str(name)) for name in sorted(set(names.values()))]


def check_files(folder):
    """UserError unless the folder has whole files of safetensors."""
    files = weight_files(folder)
    if not files:
        pickled = sorted(path.name for path in Path(folder).iterdir() if path.suffix in PICKLED)
        raise UserError(f'{folder} has {pickled[0]}, but no {WEIGHTS}: pickled weights can run code and are refused; '
                        'take a copy with safetensors, or store these by save_pretrained where you trust them'
                        if pickled else f'{folder} has no {WEIGHTS}: give a folder with weights{beside(folder)}')
    from safetensors import SafetensorError, safe_open  # an optional package
    for file in files:
        if not file.is_file():
            raise UserError(f'{file} is not there, though {SHARDS} names it: take another copy')
        try:
            with safe_open(file, 'pt'):
                pass
        except (OSError, SafetensorError) as error:
            raise UserError(f'{file} is cut short or damaged ({first_line(error)}): take another copy') from error


def files_of_folder(folder, weights):
    """Paths of what features depend on: the config, the preprocessing and, with `weights`, these."""
    said = [path for name in (CONFIG, *PREPROCESSING) if (path := Path(folder, name)).is_file()]
    return said + (weight_files(folder) if weights else [])
