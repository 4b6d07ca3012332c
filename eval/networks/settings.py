"""Which network and which clips: flags first, then what the checkpoint was trained with, then defaults."""
from backbone import NETWORKS
from utils.cli import UserError

SETTINGS = ('net', 'img_dim', 'num_seq', 'seq_len', 'ds', 'fps')
SPLITS = 1, 2, 3  # of --split all


def trained_settings(checkpoint, names=SETTINGS):
    """The settings that a checkpoint was trained with, as far as it stores them; published files have `net` at most."""
    settings = {'net': checkpoint.get('net'), **checkpoint.get('settings', {})}
    return {name: settings[name] for name in names if settings.get(name) is not None}


def common_settings(settings):
    """All that the checkpoints {origin: trained_settings} store, where published ones store little. UserError: some
    disagree."""
    common, origin_of = {}, {}
    for origin, each in settings.items():
        for name, value in each.items():
            if common.setdefault(name, value) != value:
                raise UserError(f'{origin_of[name]} was trained with {name} {common[name]}, {origin} with {value}: '
                                'evaluate them by separate commands')
            origin_of.setdefault(name, origin)
    return common


def resolve_settings(args, stored, defaults, origin=None, follow=None):
    """Sets those flags on `args` that were left out (None): to what is `stored`, else to the default; `fps`, too.

    stored: {name: value} of the checkpoint `origin` (None for none), see `trained_settings`. defaults: {name: value} of
    these flags. follow: names of the stored ones that matter (None: all). Says which are assumed, as published files
    store none.
    UserError: a flag contradicts the checkpoint, and --allow_other_settings was not given.
    """
    published = origin is not None and stored.keys() <= {'net'}
    stored = {name: value for name, value in stored.items() if follow is None or name in follow}
    other = [name for name in stored if getattr(args, name) not in (None, stored[name])]
    if 'net' in other:
        raise UserError(f'{origin} is a checkpoint of another net: give --net {stored["net"]}, not --net {args.net}, '
                        'or leave the flag out')
    if other and not args.allow_other_settings:
        there, here = (' '.join(f'--{name} {values[name]}' for name in other) for values in (stored, vars(args)))
        raise UserError(f'{origin} was trained with {there}, but the flags say {here}: leave them out to follow the '
                        'checkpoint, or give --allow_other_settings')
    said, assumed = [], []
    for name, default in {**defaults, 'fps': 0}.items():
        source = 'given'
        if getattr(args, name) is None:
            source = 'checkpoint' if name in stored else 'default'
            if published and name not in stored and name != 'fps':
                source = 'assumed'
                assumed.append(name)
            setattr(args, name, stored.get(name, default))
        if name != 'fps' or args.fps:
            said.append(f'{name} {getattr(args, name)} ({source})')
    if 'net' in defaults and args.net not in NETWORKS:
        raise UserError(f'{origin} is a checkpoint of net {args.net!r}, which backbone/__init__.py does not list')
    print(f'settings: {", ".join(said)}')
    if assumed:
        print(f'{origin} does not say what it was trained with; assumed: '
              + ' '.join(f'--{name} {getattr(args, name)}' for name in assumed))


def check_own_lists(dataset, lists):
    """UserError unless each of the splits of `--split all` has a test list of its own. lists: their paths."""
    if len(set(lists)) < len(lists):
        raise UserError(f'--split all: {dataset} has only {lists[0]}: leave --split out')
