"""What a data set demands of training: dataset.json in its list folder, written by process_data/write_csv.py. No torch.

    {"source": "/data/ssv2", "labels": "Something-Something V2", "flip": 0, "ds": 1}

source: folder of the frames or videos. labels: the version of the annotations. flip: 0 where classes tell left from
right. ds: take every ds-th frame, as suits the frame rate. Without a flag, training obeys flip and ds."""
import json
import os

from utils.cli import UserError, warn
from utils.data.lists import list_folder

DATASET_FILE = 'dataset.json'
FLIP = 0.5  # probability of mirroring where nothing else is demanded
FITS = {'flip': lambda value: type(value) in (int, float) and 0 <= value <= 1,
        'ds': lambda value: type(value) is int and value > 0}
REASONS = {'flip': 'its classes tell left from right', 'ds': 'suits its frame rate'}


def read_dataset_file(folder):
    """The content of dataset.json in a list folder as a dict: {} if there is none, or it isn't ours or damaged."""
    try:
        with open(os.path.join(folder, DATASET_FILE), encoding='utf-8') as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and 'source' in content else {}


def demands(csv_root, dataset, img_dim=None):
    """{flag: value} that the lists of `--dataset` demand, of 'flip' and 'ds'. A value that can't be is a warning."""
    if not dataset:
        return {}
    try:
        folder = list_folder(csv_root, dataset, img_dim or 0)
    except UserError:  # reported where the lists are read
        return {}
    demanded = {name: value for name, value in read_dataset_file(folder).items() if name in FITS}
    for name in [name for name, value in demanded.items() if not FITS[name](value)]:
        warn(f'{os.path.join(folder, DATASET_FILE)}: {name} {demanded.pop(name)!r} cannot be, and is ignored')
    return demanded


def settle_flip(args):
    """Sets --flip of parsed flags where it was left out (None)."""
    if args.flip is None:
        args.flip = demands(args.csv_root, args.dataset, args.img_dim).get('flip', FLIP)


def compare(args):
    """(what settled flags obey of the data set's demands, what they don't), each a line or ''."""
    demanded = demands(args.csv_root, args.dataset, args.img_dim)
    obeyed = [f'--{name} {value} ({REASONS[name]})' for name, value in demanded.items() if getattr(args, name) == value]
    other = [f'--{name} {getattr(args, name)} for --{name} {value} ({REASONS[name]})'
             for name, value in demanded.items() if getattr(args, name) != value]
    return tuple(' and '.join(parts) and f'{DATASET_FILE} of {args.dataset}: {" and ".join(parts)}'
                 for parts in (obeyed, other))
