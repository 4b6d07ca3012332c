"""The folder of a run, `log_{prefix}/{experiment}/` with `img/`, `model/`, `args.json` and `log.jsonl`: its name, and
which run `--resume` means."""
import json
import re
import subprocess
from pathlib import Path

from utils import ROOT
from utils.cli import UserError, beside
from utils.model_folder import may_hold_weights
from utils.parallel.distributed import from_main, is_main, wait_for_main
from utils.run.best_and_newest import newest_checkpoint
from utils.run.log import say, warn

LONGEST_NAME = 200  # characters; file systems allow 255 bytes
# Of training without --prefix, by earlier versions and now.
FORMER_FOLDER, FORMERLY_THERE = 'log_tmp', ('pretrain', 'classify')

# Flags that may change on resume. All others tell which run it is.
FREE_ON_RESUME = {'resume', 'recipe', 'epochs', 'gpu', 'num_procs', 'num_workers', 'timeout', 'print_freq', 'keep',
                  'save_minutes', 'log_dir', 'prefix', 'csv_root', 'frame_root', 'skip_nonfinite', 'reset_lr', 'lr',
                  'start_epoch', 'compile', 'loss_chunk', 'knn_every'}
# What a run with `--resume FILE` may change with a warning: it neither shapes the model nor picks the videos. (With
# another --seed, --val_fraction or --val_on it would validate on videos that it has trained on.)
WARNED_ON_RESUME = {'amp', 'encode_chunks', 'sync_bn', 'negatives', 'clip_grad', 'flip',
                    'optimizer', 'schedule', 'lr_milestones', 'warmup_epochs', 'short_videos', 'pretrain'}


def network_name(network):
    """'resnet18' -> 'r18', as in published folder names."""
    return network.replace('resnet', 'r')


def rate_suffix(fps):
    """'' or '_fps15': frames a second, where they are taken by time."""
    return f'_fps{fps:g}' if fps else ''


def pretrained_suffix(pretrain):
    """'' or '_pt=' and a short name of what the run starts from; the whole path is in args.json."""
    if not pretrain:
        return ''
    stem = Path(pretrain).absolute().name.removesuffix('.tar').removesuffix('.pth')
    return '_pt=' + re.sub(r'[^A-Za-z0-9._-]', '-', stem)[:40]


def find_resumed(flags):
    """(run folder, path of the checkpoint) that `--resume` means; None for what there isn't. A dry run resumes nothing.

    flags: {name: value} of this command. UserError: they belong to another run than the one to resume."""
    if flags['dry_run']:
        return None, None
    folder = path = None
    if is_main():
        if flags['resume'] == 'auto':
            folder, path = find_run(flags['log_dir'], flags['prefix'], flags)
        elif flags['resume']:
            folder, path = run_of_checkpoint(flags['resume'], flags), Path(flags['resume'])
        ignored = changed_flags(folder, {'lr': flags['lr']}, free=()) if path and not flags['reset_lr'] else {}
        if ignored:
            warn(f'{ignored["lr"]} is ignored: a resumed run keeps its rate; --reset_lr changes it')
    wait_for_main()  # reading many checkpoints may take longer than a collective waits
    return from_main((folder, path))


def new_folder(log_dir, prefix, experiment):
    """The folder of a run that begins, made by the first process of a group."""
    return from_main(create_run_folder(log_dir, prefix, experiment) if is_main() else None)


def free_folder(log_dir, prefix, experiment):
    """Where the next run goes; `-2`, `-3` … is appended when the name is taken."""
    first = folder = Path(log_dir, f'log_{prefix}', experiment[:LONGEST_NAME])
    number = 1
    while folder.exists():
        number += 1
        folder = first.with_name(f'{first.name}-{number}')
    return folder


def announce_folder(folder, log_dir, prefix, experiment):
    """Says where a run goes before it does anything slow. folder: of a resumed run, else None."""
    if is_main():
        say(f'run folder: {folder or free_folder(log_dir, prefix, experiment)}')


def create_run_folder(log_dir, prefix, experiment):
    """Makes and returns the `free_folder`. UserError if it can't be made."""
    while True:
        folder = free_folder(log_dir, prefix, experiment)
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:  # another run has made it meanwhile
            say(f'{folder} is taken: this run goes to the next number')
        except OSError as error:
            raise UserError(f'cannot make the run folder {folder} ({error.strerror}): give another '
                            '--log_dir') from error


def find_run(log_dir, prefix, flags):
    """`--resume auto`: (folder, checkpoint) of the run in log_{prefix} that began with these flags, or (None, None).

    flags {name: value}: runs are matched by args.json; the folder name contains flags that may change on resume. Of
    several such runs, the one that went furthest. A run that never saved gives (folder, None).
    Says so when there are runs, but none with these flags.
    """
    names = [f'log_{prefix}', *[FORMER_FOLDER] * (prefix in FORMERLY_THERE)]
    folders = sorted(path.parent for name in names for path in Path(log_dir, name).glob('*/args.json')
                     if (path.parent / 'model').is_dir())
    changes = {folder: changed_flags(folder, flags) for folder in folders}
    same = {folder: newest_checkpoint(folder) for folder in folders if not changes[folder]}
    if same:
        folder = max(same, key=lambda folder: same[folder][1])
        return folder, same[folder][0]
    if folders:
        nearest = min(folders, key=lambda folder: len(changes[folder]))
        say(f'--resume auto: no run among {len(folders)} in {nearest.parent} began with these flags, so this is a '
            f'new one. The nearest, {nearest.name}, differs in {", ".join(changes[nearest].values())}')
    return None, None


def run_of_checkpoint(path, flags):
    """`--resume FILE`: the run folder that a checkpoint `{run}/model/epoch{n}.pth.tar` belongs to.

    UserError if it is in no run folder, or the run began with other `flags` {name: value} that make it another run.
    """
    if not Path(path).exists():
        raise UserError(f'--resume {path} is not there: give the path of a checkpoint'
                        f'{beside(path, may_hold_weights)}')
    folder = Path(path).resolve().parent.parent
    if not (folder / 'model').is_dir() or not (folder / 'args.json').is_file():
        raise UserError(f'--resume {path}: not in the model folder of a run of this project (no args.json '
                        f'in {folder}); to start a new run from these weights give them to --pretrain')
    changed = changed_flags(folder, flags)
    if 'model' in changed:
        raise UserError(f'--resume {path}: a checkpoint of the other command ({changed["model"]})')
    fixed = [text for name, text in changed.items() if name not in WARNED_ON_RESUME]
    if fixed:
        raise UserError(f'--resume {path}: this run began with other flags: {", ".join(fixed)}. Give the first ones, '
                        'or start a new run from its weights with --pretrain')
    if changed:
        say(f'warning: this run began with other flags: {", ".join(changed.values())}')
    return folder


def changed_flags(folder, flags, free=FREE_ON_RESUME):
    """{flag: '--flag value (was value)'} of the flags that differed when the run in `folder` began."""
    try:
        first = {'split': 1, **json.loads((folder / 'args.json').read_text())}  # earlier pretraining had no --split
    except (OSError, ValueError, TypeError):
        return {'args': f'{folder}/args.json is missing or damaged'}
    return {name: f'--{name} {value} (was {first[name]})' for name, value in flags.items()
            if name in first and name not in free and first[name] != value}


def save_arguments(folder, flags):
    """Writes args.json from the group's first process: the flags {name: value} and the git revision. A resumed run adds
    args-2.json, args-3.json …"""
    if not is_main():
        return
    path, number = folder / 'args.json', 1
    while path.exists():
        number += 1
        path = folder / f'args-{number}.json'
    temporary = path.with_suffix('.tmp')
    temporary.write_text(json.dumps({**flags, 'git_revision': git_revision()}, indent=2, default=str) + '\n')
    temporary.replace(path)


def git_revision():
    """The commit of this clone, with `-dirty` when files have changed; 'unknown' outside a git checkout."""
    try:
        return subprocess.run(['git', 'describe', '--always', '--dirty', '--abbrev=12'], cwd=ROOT, check=True,
                              text=True, capture_output=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return 'unknown'
