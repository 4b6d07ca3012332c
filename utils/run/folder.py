"""The folder of a run: `log_{prefix}/{experiment}/` with `img/`, `model/`, `args.json` and `log.jsonl`."""
import json
import re
import subprocess
from pathlib import Path

from utils import ROOT
from utils.cli import UserError

LONGEST_NAME = 200  # characters; file systems allow 255 bytes


def network_name(network):
    """'resnet18' -> 'r18', as in published folder names."""
    return network.replace('resnet', 'r')


def pretrained_suffix(pretrain):
    """'' or '_pt=' and a short name of what the run starts from; the whole path is in args.json."""
    if not pretrain:
        return ''
    stem = Path(pretrain).name.removesuffix('.tar').removesuffix('.pth')
    return '_pt=' + re.sub(r'[^A-Za-z0-9._-]', '-', stem)[:40]


def create_run_folder(log_dir, prefix, experiment, exist_ok=False, parts=('img', 'model')):
    """Makes and returns a new run folder; when the name is taken by an earlier run, `-2`, `-3` … is added, unless
    `exist_ok`: that run was stopped before it saved anything. parts: its subfolders."""
    parent = Path(log_dir) / f'log_{prefix}'
    name, number = experiment[:LONGEST_NAME], 1
    while True:
        folder = parent / (name if number == 1 else f'{name}-{number}')
        try:
            folder.mkdir(parents=True, exist_ok=exist_ok)
            break
        except FileExistsError:
            number += 1
        except OSError as error:
            raise UserError(f'cannot make the run folder {folder} ({error.strerror}): give another '
                            '--log_dir') from error
    for part in parts:
        (folder / part).mkdir(exist_ok=True)
    return folder


def run_folder_of(checkpoint_path):
    """The run folder that a checkpoint `{run}/model/epoch{n}.pth.tar` belongs to. UserError if it lies elsewhere."""
    folder = Path(checkpoint_path).resolve().parent.parent
    if not (folder / 'model').is_dir() or not (folder / 'args.json').is_file():
        raise UserError(f'--resume {checkpoint_path}: not in the model folder of a run of this project (no args.json '
                        f'in {folder}); to start a new run from these weights give them to --pretrain')
    return folder


def save_arguments(folder, args):
    """Writes args.json: the flags and the git revision. A resumed run keeps the first one and adds args-2.json …"""
    path, number = folder / 'args.json', 1
    while path.exists():
        number += 1
        path = folder / f'args-{number}.json'
    temporary = path.with_suffix('.tmp')
    temporary.write_text(json.dumps({**vars(args), 'git_revision': git_revision()}, indent=2, default=str) + '\n')
    temporary.replace(path)


# Flags that a resumed run may have otherwise than the run so far without becoming another one.
FREE_ON_RESUMPTION = {'resume', 'recipe', 'epochs', 'gpu', 'num_procs', 'num_workers', 'timeout', 'print_freq', 'keep',
                      'save_minutes', 'log_dir', 'csv_root', 'frame_root', 'skip_nonfinite', 'reset_lr', 'lr',
                      'start_epoch'}


# Flags that the folder's name tells and that make another run.
FIXED_ON_RESUMPTION = {'net', 'model', 'dataset', 'split', 'img_dim', 'num_seq', 'seq_len', 'pred_step', 'ds',
                       'train_what', 'prediction', 'feature_map', 'batch_size', 'wd', 'dropout'}


def changed_flags(folder, args):
    """{flag: '--flag value (was value)'} of the flags that were others when the run in `folder` began."""
    try:
        first = json.loads((folder / 'args.json').read_text())
    except (OSError, ValueError):
        raise UserError(f'{folder}/args.json: missing or damaged, so nothing tells whether this is the same run; put '
                        'it back, or start a new run (another --prefix) from a checkpoint with --pretrain') from None
    return {name: f'--{name} {value} (was {first[name]})' for name, value in vars(args).items()
            if name in first and name not in FREE_ON_RESUMPTION and first[name] != value}


def git_revision():
    """The commit of this clone, with `-dirty` when files have changed; 'unknown' outside a git checkout."""
    try:
        return subprocess.run(['git', 'describe', '--always', '--dirty', '--abbrev=12'], cwd=ROOT, check=True,
                              text=True, capture_output=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return 'unknown'
