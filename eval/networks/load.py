"""Networks from a checkpoint, ready for use by other code: with their settings, class names and preprocessing."""
from backbone import NETWORKS, remove_running_statistics
from eval.model import ActionClassifier
from eval.networks.bn_statistics import layers_without_statistics
from eval.networks.over_time import FeatureExtractor
from eval.networks.preprocessing import Preprocessing
from eval.networks.settings import trained_settings
from utils.checkpoint import load_weights, plain_names, read_checkpoint
from utils.cli import UserError
from utils.default_settings import default_settings

HEAD = 'final_fc.1.weight'


def is_classifier(checkpoint):
    return HEAD in plain_names(checkpoint.get('state_dict', {}))


def load_model(kind, weights=None, class_names=None, num_class=None, batch_statistics=False, **given):
    """A network in eval mode, with attributes `settings`, `transform` and, for classifiers, `class_names` and
    `multi_label`, whether videos may be of several classes: a sigmoid each instead of a softmax.

    kind:    'backbone', 'features' or 'classifier'
    weights: path of a checkpoint; None for random weights
    given:   net, img_dim, num_seq, seq_len, ds; those that are None follow the checkpoint, else the published defaults
    class_names: of a classifier whose checkpoint has none. num_class: of a classifier of random weights (101).
    batch_statistics: a backbone without running statistics in the file normalises by the batch at hand
    UserError: the file can't be used, is of another net or kind, or lacks BN statistics."""
    if unknown := given.keys() - default_settings().keys():
        raise TypeError(f'there is no {", ".join(unknown)}: give {", ".join(default_settings())}')
    checkpoint = {} if weights is None else read_checkpoint(weights)
    settings = {**default_settings(''), **trained_settings(checkpoint),
                **{name: value for name, value in given.items() if value is not None}}
    if settings['net'] not in NETWORKS:
        raise UserError(f'net {settings["net"]!r} is unknown: choose one of {", ".join(NETWORKS)}')
    classifier = kind == 'classifier'
    if classifier:
        class_names = names_of_classes(checkpoint, weights, class_names, num_class)
        model = ActionClassifier(settings['net'], len(class_names))
        model.class_names = class_names
        model.multi_label = checkpoint.get('settings', {}).get('multi_label', False)
    else:
        model = FeatureExtractor(settings['net'])
    if checkpoint:
        missing = load_weights(model, checkpoint, strict=True, origin=str(weights)).missing
        layers = layers_without_statistics(model, missing)
        if layers and not batch_statistics:
            raise UserError(f'{weights} has no BN running statistics: give a checkpoint that has them, as those of '
                            'this project; in Python, batch_statistics=True normalises by the batch at hand')
        for layer in layers:
            remove_running_statistics(layer)
    form = {name: settings[name] for name in ('num_seq', 'seq_len', 'ds', 'img_dim')}
    if kind == 'backbone':
        model, form['num_seq'] = model.backbone, None
    model.settings, model.transform = settings, Preprocessing(**form, fps=settings.get('fps', 0))
    return model.eval()


def names_of_classes(checkpoint, weights, class_names, num_class):
    """The names given, else those stored, else 'class 0', … for the outputs of the file. UserError: they don't fit."""
    state = plain_names(checkpoint.get('state_dict', {}))
    if checkpoint and HEAD not in state:
        raise UserError(f'{weights} is no classifier: give a checkpoint of eval/test.py')
    count = len(state[HEAD]) if checkpoint else num_class or len(class_names or range(101))
    stored = checkpoint.get('settings', {}).get('class_names')
    names = list(class_names or stored or (f'class {label}' for label in range(count)))
    if len(names) != count:
        raise UserError(f'{len(names)} class names, but {weights or "the classifier"} has {count} classes')
    return names
