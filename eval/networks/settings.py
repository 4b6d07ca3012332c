"""What the flags mean. Which network and which clips: flags first, then what the checkpoint was trained with, then
defaults. And which flags contradict each other."""
import argparse
from pathlib import Path

from backbone import NETWORKS
from utils.arguments import default_ds
from utils.cli import UserError
from utils.data.lists import csv_file
from utils.parallel import distributed

SETTINGS = ('net', 'img_dim', 'num_seq', 'seq_len', 'ds')
SPLITS = 1, 2, 3  # of --split all
SHOWN = 3  # differing class names in a message


def settle(args, checkpoint):
    """Resolves what depends on other flags and on the checkpoint of --test or --pretrain ({} for none)."""
    stored = trained_settings(checkpoint)
    if not args.test:  # fine-tuning may use other clips than pretraining
        stored = {name: stored[name] for name in stored if name == 'net'}
    resolve_settings(args, stored, default_settings(args.dataset), args.test or args.pretrain)
    args.lr_milestones = args.lr_milestones or default_milestones(Path(args.dataset).name, args.img_dim)


def default_milestones(dataset, img_dim):
    """Those of the published recipe; data sets that it does not name are treated like UCF101."""
    if dataset == 'hmdb51':
        return [150, 250, 300]
    return [300, 400, 500] if img_dim > 140 else [60, 80, 100]


def trained_settings(checkpoint, names=SETTINGS):
    """The settings that a checkpoint was trained with, as far as it stores them; published files have `net` at most."""
    settings = {'net': checkpoint.get('net'), **checkpoint.get('settings', {})}
    return {name: settings[name] for name in names if settings.get(name) is not None}


def default_settings(dataset):
    """SETTINGS for what neither a flag nor the checkpoint says."""
    return {'net': 'resnet18', 'img_dim': 128, 'num_seq': 8, 'seq_len': 5, 'ds': default_ds(dataset)}


def common_settings(settings):
    """All that the checkpoints {origin: trained_settings} store, where published ones store little. UserError: some
    disagree."""
    common, origin_of = {}, {}
    for origin, each in settings.items():
        for name, value in each.items():
            if common.setdefault(name, value) != value:
                raise UserError(f'{origin_of[name]} was trained with {name} {common[name]}, {origin} with {value}: judge '
                                'them by separate commands')
            origin_of.setdefault(name, origin)
    return common


def resolve_settings(args, stored, defaults, origin=None):
    """Sets those flags on `args` that were left out (None): to what is `stored`, else to the default.

    stored: {name: value} of the checkpoint `origin`, see `trained_settings`. defaults: {name: value} of these flags.
    UserError: a flag contradicts the checkpoint, and --allow_other_settings was not given.
    """
    other = [name for name in stored if getattr(args, name) not in (None, stored[name])]
    if 'net' in other:
        raise UserError(f'{origin} is a checkpoint of another net: give --net {stored["net"]}, not --net {args.net}, '
                        'or leave the flag out')
    if other and not args.allow_other_settings:
        there, here = (' '.join(f'--{name} {values[name]}' for name in other) for values in (stored, vars(args)))
        raise UserError(f'{origin} was trained with {there}, but the flags say {here}: leave them out to follow the '
                        'checkpoint, or give --allow_other_settings')
    said = []
    for name in defaults:
        source = 'given'
        if getattr(args, name) is None:
            source = 'checkpoint' if name in stored else 'default'
            setattr(args, name, stored.get(name, defaults[name]))
        said.append(f'{name} {getattr(args, name)} ({source})')
    if 'net' in defaults and args.net not in NETWORKS:
        raise UserError(f'{origin} is a checkpoint of net {args.net!r}, which backbone/__init__.py does not list')
    print(f'settings: {", ".join(said)}')


def check_class_names(origin, trained, listed, class_list, allow_other=False):
    """UserError unless the class list of a test has the classes of the checkpoint, in the same order.

    trained, listed: names by label. A space equals an underscore. allow_other: lets other names through, not another
    number of classes.
    """
    pairs = list(zip(trained, listed))
    different = [label for label, pair in enumerate(pairs) if len({name.replace('_', ' ') for name in pair}) > 1]
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


def files_of(args):
    """The files of --test, one or more."""
    return [args.test] if isinstance(args.test, str) else args.test


def tests_of(args):
    """The flags of each split's test: one, or with --split all three; `split` and `test` have one value each."""
    splits = SPLITS if args.split == 'all' else [args.split]
    return [argparse.Namespace(**{**vars(args), 'split': split, 'test': file})
            for split, file in zip(splits, files_of(args))]


def check_splits(tests, folders):
    """UserError unless a mean over the tests of several splits makes sense: they have the same SETTINGS, settled by
    now, and each has a list of its own in its list folder."""
    first = tests[0]
    for other in tests[1:]:
        different = [name for name in SETTINGS if getattr(other, name) != getattr(first, name)]
        if different:
            there, here = (' '.join(f'--{name} {getattr(args, name)}' for name in different) for args in (first, other))
            raise UserError(f'--split all: {first.test} is tested with {there}, but {other.test} with {here}: give '
                            'three classifiers of the same settings')
    lists = {csv_file(folder, one.split, 'test') for one, folder in zip(tests, folders)}
    if len(lists) < len(tests):
        raise UserError(f'--split all: {first.dataset} has only {lists.pop()}: leave --split out')


# ---- flags that don't go together

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


def check_test_flags(args):
    """UserError: flags of a test that contradict each other."""
    files = len(files_of(args))
    if args.split == 'all' and files != len(SPLITS):
        raise UserError(f'--split all tests a classifier of each of the splits 1, 2 and 3: give --test three files in '
                        f'this order, not {files}')
    if args.split != 'all' and files > 1:
        raise UserError(f'--test names {files} files for split {args.split}: give one, or three with --split all')
    for flag, given in (('label_fraction', args.label_fraction < 1), ('dry_run', args.dry_run)):
        if given:
            raise UserError(f'--{flag} is for training: leave it out with --test')
    if args.crops == 10 and args.flip_views:
        raise UserError('--crops 10 has the mirror images already: leave out --flip_views, or give --crops 5')
