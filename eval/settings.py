"""Which network and which clips: flags first, then what the checkpoint was trained with, then defaults."""
from backbone import NETWORKS
from utils.arguments import default_ds
from utils.cli import UserError

SETTINGS = ('net', 'img_dim', 'num_seq', 'seq_len', 'ds')
SHOWN = 3  # differing class names in a message


def trained_settings(checkpoint, names=SETTINGS):
    """The settings that a checkpoint was trained with, as far as it stores them; published files have `net` at most."""
    settings = {'net': checkpoint.get('net'), **checkpoint.get('settings', {})}
    return {name: settings[name] for name in names if settings.get(name) is not None}


def default_settings(dataset):
    """SETTINGS for what neither a flag nor the checkpoint says."""
    return {'net': 'resnet18', 'img_dim': 128, 'num_seq': 8, 'seq_len': 5, 'ds': default_ds(dataset)}


def common_settings(settings):
    """The one set of `trained_settings` that the checkpoints {origin: settings} agree on. UserError: they don't."""
    (first, common), *others = settings.items()
    for origin, each in others:
        if each != common:
            different = [name for name in SETTINGS if each.get(name) != common.get(name)]
            there, here = (' '.join(f'{name} {one.get(name, "unknown")}' for name in different) for one in (common, each))
            raise UserError(f'{first} was trained with {there}, {origin} with {here}: judge them by separate commands')
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
    if args.net not in NETWORKS:
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
