"""From the flags of eval/test.py to what training and testing share: settings, lists, class names; and which flags
contradict each other."""
import argparse
from pathlib import Path

from eval.networks.load import is_classifier
from eval.networks.seen import check_own_split, split_to_follow
from eval.networks.settings import SETTINGS, SPLITS, check_own_lists, resolve_settings, trained_settings
from utils.checkpoint import read_checkpoint
from utils.cli import UserError, warn
from utils.data.classes import class_key
from utils.data.clips import ClipDataset
from utils.data.colour import FINETUNING
from utils.data.lists import csv_file, list_folder
from utils.data.splits import class_names_of
from utils.default_settings import default_milestones, default_settings
from utils.next_step import command, run_flags
from utils.parallel import distributed
from utils.run.setup import clip_settings, workers_of

SHOWN = 3  # differing class names in a message


def look_up(args, origin):
    """Settles `args` and returns (checkpoint `origin`, {} for none, folder of the lists, names of the classes)."""
    checkpoint = {} if origin in (None, 'random') else read_checkpoint(origin)
    if args.test and checkpoint and not is_classifier(checkpoint):
        raise UserError(f'{origin} is a checkpoint of pretraining: train a classifier first: '
                        + command('eval/test.py', **run_flags(args), pretrain=origin, train_what='ft'))
    settle(args, checkpoint)
    folder = list_folder(args.csv_root, args.dataset, args.img_dim)
    class_names = class_names_of(folder)
    if args.num_class not in (None, len(class_names)):
        raise UserError(f'--num_class {args.num_class}: the classInd.txt of {args.dataset} lists {len(class_names)} '
                        'classes; leave the flag out')
    trained_on = checkpoint.get('settings', {}).get('class_names')
    if args.test and trained_on:
        check_class_names(origin, trained_on, class_names, Path(folder, 'classInd.txt'), args.allow_other_settings)
    return checkpoint, folder, class_names


def settle(args, checkpoint):
    """Resolves what depends on other flags and on the checkpoint of --test or --pretrain ({} for none)."""
    stored, origin = trained_settings(checkpoint), args.test or args.pretrain
    follow = None
    if not args.test:  # training may use other clips than pretraining did; on a frozen network only if flags ask for it
        follow = [name for name in stored
                  if name == 'net' or args.train_what == 'last' and getattr(args, name) is None]
    resolve_settings(args, stored, default_settings(args.dataset, args.csv_root), origin if checkpoint else None,
                     follow)
    other = [name for name in stored if getattr(args, name) != stored[name]]
    if other and not args.test:
        there, here = (' '.join(f'--{name} {values[name]}' for name in other) for values in (stored, vars(args)))
        warn(f'{origin} was trained with {there}, and this run uses {here}: give the former to keep its clips')
    args.split = args.split or split_to_follow({origin: checkpoint}, args.dataset)
    args.lr_milestones = args.lr_milestones or default_milestones(Path(args.dataset).name, args.img_dim)


def check_class_names(origin, trained, listed, class_list, allow_other=False):
    """UserError unless the class list of a test has the classes of the checkpoint, in the same order.

    trained, listed: names by label. A space equals an underscore. allow_other: lets other names through, not another
    number of classes.
    """
    pairs = list(zip(trained, listed))
    different = [label for label, pair in enumerate(pairs) if len(set(map(class_key, pair))) > 1]
    if len(trained) == len(listed) and (not different or allow_other):
        return
    examples = [f'label {label} is {trained[label]!r} there and {listed[label]!r} here' for label in different[:SHOWN]]
    if len(trained) != len(listed) and not different:
        longer, where = (trained, 'there') if len(trained) > len(listed) else (listed, 'here')
        examples = [f'only {where}: label {len(pairs)}, {longer[len(pairs)]!r}']
    number = '' if len(trained) == len(listed) else f' ({len(trained)} there, {len(listed)} here)'
    remedy = ('test with the class list of the training'
              + ('' if number else ', or give --allow_other_settings if only the spelling differs'))
    raise UserError(f'{origin} was trained with other classes than {class_list} lists{number}: '
                    f'{"; ".join(examples)}; {remedy}')


def training_set(args, videos, labels=None):
    return ClipDataset(videos, clip_settings(args), crop='resized', flip=args.flip, colour=FINETUNING, labels=labels,
                       seed=args.seed)


def bn_options(args, precision):
    """What complete_bn_statistics takes after the clips."""
    return args.batch_size, args.seed, precision, workers_of(args), args.timeout


# ---- training

def check_training_flags(args):
    """UserError: flags with which training would fail later, or do what nobody wants."""
    if args.train_what == 'last' and args.pretrain is None and args.resume in (None, 'auto'):
        raise UserError('--train_what last trains a probe on frozen features: say whose with --pretrain FILE, or give '
                        '--pretrain random for a probe on random weights')
    if args.split == 'all':
        raise UserError('--split all tests three classifiers: train one for each of --split 1, 2 and 3, then give them '
                        'to --test')
    for flag, differs in (('crops', args.crops > 1), ('flip_views', args.flip_views), ('clips', args.clips != 'all')):
        if differs:
            raise UserError(f'--{flag} is for a test: give --test FILE, or leave it out')
    processes = 1 if args.sync_bn else distributed.world()
    if args.batch_size < 2 * processes:
        raise UserError(f'--batch_size {args.batch_size}: the classifier\'s BatchNorm needs at least 2 clips in each '
                        f'process to train; give {2 * processes} or more')


# ---- tests of one split or of all three

def files_of(args):
    """The files of --test, one or more."""
    return [args.test] if isinstance(args.test, str) else args.test


def tests_of(args):
    """The flags of each split's test: one, or with --split all three; `split` and `test` have one value each."""
    splits = SPLITS if args.split == 'all' else [args.split]
    return [argparse.Namespace(**{**vars(args), 'split': split, 'test': file})
            for split, file in zip(splits, files_of(args))]


def check_test_flags(args):
    """UserError: flags of a test that contradict each other."""
    files = len(files_of(args))
    if args.split == 'all' and files != len(SPLITS):
        raise UserError(f'--split all tests a classifier of each of the splits 1, 2 and 3: give --test three files in '
                        f'this order, not {files}')
    if args.split != 'all' and files > 1:
        raise UserError(f'--test names {files} files for one split: give one, or three with --split all')
    for flag, given in (('label_fraction', args.label_fraction < 1), ('dry_run', args.dry_run)):
        if given:
            raise UserError(f'--{flag} is for training: leave it out with --test')
    if args.crops == 10 and args.flip_views:
        raise UserError('--crops 10 has the mirror images already: leave out --flip_views, or give --crops 5')


def check_splits(tests, checkpoints, folders):
    """UserError unless a mean over the tests of several splits makes sense: each checkpoint is of its split, they have
    the same SETTINGS, settled by now, and each has a list of its own in its list folder."""
    if len(tests) > 1:
        for one, checkpoint in zip(tests, checkpoints):
            check_own_split(one.test, checkpoint, one.dataset, one.split)
    first = tests[0]
    for other in tests[1:]:
        different = [name for name in SETTINGS if getattr(other, name) != getattr(first, name)]
        if different:
            there, here = (' '.join(f'--{name} {getattr(args, name)}' for name in different) for args in (first, other))
            raise UserError(f'--split all: {first.test} is tested with {there}, but {other.test} with {here}: give '
                            'three classifiers of the same settings')
    check_own_lists(first.dataset, [csv_file(folder, one.split, 'test') for one, folder in zip(tests, folders)])
