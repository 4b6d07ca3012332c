"""Video models of the transformers library, from a local folder: one table of kinds.

`--weights transformers:FOLDER` means the weights of a folder as the hub stores it (config.json, model.safetensors,
preprocessor_config.json); `transformers:FOLDER=random` random weights of the same config. Size, frames and
normalisation come from the folder. Nothing is downloaded, no code of a folder runs and no pickled weights are read.
"""
import importlib.util
import os
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from eval.networks.third_party import ThirdPartyModel
from eval.networks.transformers_folder import PREPROCESSING, check_files, read_json
from utils.cli import UserError, beside
from utils.model_folder import CONFIG, WEIGHTS
from utils.text import first_line

PREFIX, RANDOM = 'transformers:', '=random'


# ---- which tensor is the feature: (net, clips [B, 3, F, H, W]) -> (tokens [B, M, D], context [B, D])

def videomae_feature(net, clip):
    """Fine-tuning and testing read the mean of the tokens, normalised where the folder has a classifier (fc_norm in the
    authors' modeling_finetune.py; a pretrained folder normalises the tokens instead); there is no class token. Tong et
    al., VideoMAE, NeurIPS 2022, arXiv 2203.12602."""
    tokens = net.base_model(clip.transpose(1, 2)).last_hidden_state
    mean = tokens.mean(dim=1)
    return tokens, mean if net.fc_norm is None else net.fc_norm(mean)


def vjepa2_feature(net, clip):
    """The authors evaluate the frozen encoder by attentive probes on all its tokens, with neither class token nor
    predictor, which eval/attentive.py does; so as one vector their mean. Assran et al., V-JEPA 2, 2025, arXiv
    2506.09985."""
    tokens = net.encoder(clip.transpose(1, 2)).last_hidden_state
    return tokens, tokens.mean(dim=1)


def class_token_feature(net, clip):
    """The class token after the last layer norm is what the classifier reads in both. Bertasius et al., Is Space-Time
    Attention All You Need for Video Understanding?, ICML 2021, arXiv 2102.05095, section 3; Arnab et al., ViViT, ICCV
    2021, arXiv 2103.15691, section 3.1 (the library has its model 1)."""
    tokens = net.base_model(clip.transpose(1, 2)).last_hidden_state
    return tokens[:, 1:], tokens[:, 0]


# ---- the table

@dataclass(frozen=True)
class Kind:
    """What a `model_type` of config.json means.

    network, processor: names of its classes in transformers
    head:           see ThirdPartyModel; a file may also lack it
    feature:        see ThirdPartyModel
    img_dim:        name of the frames' size in the config
    frames:         name of their number
    any_frames:     it takes any multiple of the config's tubelet_size
    """
    network: str
    processor: str
    head: str
    feature: Callable
    img_dim: str = 'image_size'
    frames: str = 'num_frames'
    any_frames: bool = False


KINDS = {
    'videomae': Kind('VideoMAEForVideoClassification', 'VideoMAEVideoProcessor', 'classifier', videomae_feature),
    'vjepa2': Kind('VJEPA2Model', 'VJEPA2VideoProcessor', 'predictor', vjepa2_feature, 'crop_size', 'frames_per_clip',
                   any_frames=True),  # rotary positions continue in time; in space they count columns of crop_size
    'timesformer': Kind('TimesformerForVideoClassification', 'TimesformerVideoProcessor', 'classifier',
                        class_token_feature),
    'vivit': Kind('VivitForVideoClassification', 'VivitVideoProcessor', 'classifier', class_token_feature),
}


def folder_entry(folder):
    """The ThirdPartyModel of a folder. UserError: no such folder, of no kind of the table, without preprocessing."""
    kind, config = kind_and_config(folder)
    size = getattr(config, kind.img_dim)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    if height != width:
        raise UserError(f'{folder}: its network takes frames of {height}×{width} px, and clips here are square')
    steps = config.tubelet_size if kind.any_frames else 0
    return ThirdPartyModel(partial(network_of, folder, kind, config), kind.feature, kind.head, config.hidden_size,
                           getattr(config, kind.frames), height, colours_of(folder, kind), True, steps)


def network_of(folder, kind, config):
    """The network with random weights. UserError: the numbers in its config don't fit together."""
    with one_line(f'{folder}/{CONFIG} is no {kind.network} that transformers can build'):
        return getattr(library(), kind.network)(config)


def kind_and_config(folder):
    """(Kind, config of its class in transformers). UserError: see `folder_entry`."""
    if not os.path.isdir(folder):  # '' is none, either
        raise UserError(f'--weights {PREFIX}{folder}: {folder} is not a folder: give one with {CONFIG} and '
                        f'{WEIGHTS}{beside(folder)}')
    said = read_json(Path(folder, CONFIG))
    kind = KINDS.get(str(said.get('model_type')))
    if kind is None:
        raise UserError(f'{folder}/{CONFIG} is of model_type {said.get("model_type")!r}: choose a folder of '
                        f'{", ".join(KINDS)}, or add the kind to eval/networks/transformers_models.py')
    with one_line(f'{folder}/{CONFIG} is no {kind.network} that transformers can build'):
        return kind, getattr(library(), kind.network).config_class.from_dict(said)


def colours_of(folder, kind):
    """(mean, standard deviation) by which the folder's own processor normalises, read off black and white frames.

    UserError: the folder doesn't say."""
    if not any(Path(folder, name).is_file() for name in PREPROCESSING):
        raise UserError(f'{folder} has no {PREPROCESSING[-1]} or {PREPROCESSING[1]}: copy it from where the weights '
                        'are from, as it says how frames are normalised')
    ends = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 8, 8)
    with one_line(f'{folder}: its preprocessing cannot be read'):
        processor = getattr(library(), kind.processor).from_pretrained(folder, local_files_only=True)
        frames, = processor(ends, do_resize=False, do_center_crop=False, do_sample_frames=False, return_tensors='pt',
                            input_data_format='channels_first').values()     # [1, 2, 3, 8, 8]
    black, white = frames[0, :, :, 0, 0].double()                            # of each channel
    return (-black / (white - black)).tolist(), (1 / (white - black)).tolist()


# ---- weights

def folder_state(folder):
    """{name in its network: tensor} of a folder's weights. UserError: none that can be used."""
    kind, config = kind_and_config(folder)
    check_files(folder)
    with one_line(f'{folder}: its weights cannot be loaded'):
        network, found = getattr(library(), kind.network).from_pretrained(
            folder, config=config, local_files_only=True, use_safetensors=True, output_loading_info=True)
    # a pretrained VideoMAE has no fc_norm yet: its mean of zero and deviation of one is where fine-tuning starts
    lacking = sorted(name for name in found['missing_keys'] if not name.startswith((f'{kind.head}.', 'fc_norm.')))
    if lacking:
        raise UserError(f'{folder} lacks {len(lacking)} tensors of a {kind.network} ({lacking[0]}, …): take another '
                        'copy of its files')
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(f'{kind.head}.')}


# ---- the library

def library():
    """The module transformers. UserError: it isn't installed."""
    if importlib.util.find_spec('transformers') is None:
        raise UserError(f'--weights {PREFIX}FOLDER needs the package transformers: pip install -r '
                        'requirements-transformers.txt')
    os.environ['HF_HUB_OFFLINE'] = '1'  # nothing is ever downloaded; read at the import
    import transformers  # here: the import takes seconds
    return transformers


@contextmanager
def one_line(what):
    """Any error of the library as a UserError that begins with `what`; without its progress bars and warnings."""
    logging = library().utils.logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # any kind, from third-party code
        raise UserError(f'{what} ({type(error).__name__}: {first_line(error)})') from error
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
