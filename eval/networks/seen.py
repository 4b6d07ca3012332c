"""What a checkpoint says of its training list: the split to evaluate it on, and the test videos that it has seen."""
from pathlib import Path

import numpy as np

from utils.cli import UserError
from utils.data.seen import CLASSIFIER, seen_by, trainings_of


def own_split(checkpoint, dataset):
    """The split of `--dataset` that a checkpoint was last trained on; None if it stores none, or of another data
    set."""
    name = Path(dataset).name  # as checkpoints store it
    return next((training['split'] for training in trainings_of(checkpoint) if training['dataset'] == name), None)


def split_to_follow(checkpoints, dataset):
    """The split to evaluate on where no flag gives one: that of the `checkpoints` {origin: checkpoint}, or 1.

    UserError: they are of several splits."""
    splits = {origin: own_split(checkpoint, dataset) for origin, checkpoint in checkpoints.items()}
    splits = {origin: split for origin, split in splits.items() if split is not None}
    first = next(iter(splits), None)
    for origin, split in splits.items():
        if split != splits[first]:
            raise UserError(f'{first} was trained on split {splits[first]} of {dataset}, {origin} on split {split}: '
                            'evaluate them by separate commands, or together with --split all')
    if first is not None:
        print(f'split {splits[first]} (checkpoint)')
    return splits.get(first, 1)


def check_own_split(origin, checkpoint, dataset, split):
    """UserError: a checkpoint given for one split of `--split all` was trained on another."""
    own = own_split(checkpoint, dataset)
    if own not in (None, split):
        raise UserError(f'--split all: {origin} is given for split {split}, but was trained on split {own} of '
                        f'{dataset}: give the files of splits 1, 2 and 3 in this order')


def check_unseen(args, origin, checkpoint, videos):
    """A sentence on the test `videos` (a VideoList) that the network has seen, as their names say, or that chose its
    epoch; None if there are none.

    UserError: it was trained on the labels of some. Those of another data set pass with --allow_other_settings, as
    other videos may have the same names, 'run/001'."""
    text = labels_text(checkpoint, videos)
    if text and any(training['dataset'] == Path(args.dataset).name for training in label_trainings(checkpoint, videos)):
        raise UserError(f'{origin}: {text}: evaluate it on the split that it was trained on')
    if text and not args.allow_other_settings:
        raise UserError(f'{origin}: {text}: if these are other videos of the same names, give --allow_other_settings')
    labels = text and f'{text}, or on others of the same names'
    return '; '.join(filter(None, [labels, seen_text(checkpoint, videos, 'test videos'),
                                   chosen_text(checkpoint, args.dataset, args.split)])) or None


def check_all_unseen(args, checkpoints, videos):
    """`check_unseen` of several {origin: checkpoint}: a list of sentences, which name the file."""
    found = {origin: check_unseen(args, origin, checkpoint, videos) for origin, checkpoint in checkpoints.items()}
    return [f'{origin}: {text}' for origin, text in found.items() if text]


def seen_text(checkpoint, videos, what='videos'):
    """'pretraining saw N of these M videos (without labels)', or None if N is 0."""
    seen = np.count_nonzero(seen_by(trainings_of(checkpoint), videos, labels=False))
    return f'pretraining saw {seen} of these {len(videos)} {what} (without labels)' if seen else None


def chosen_text(checkpoint, dataset, split):
    """A sentence if it is the best of its run so far on the test videos of a split of `--dataset`; else, or if the file
    doesn't say, None."""
    settings = checkpoint.get('settings', {})
    here = (settings.get('dataset'), settings.get('split')) == (Path(dataset).name, split)
    if not (here and settings.get('val_on') == 'test' and checkpoint.get('best') is True):
        return None
    return 'its epoch was chosen on these test videos' + (' (without labels)' * (settings['model'] != CLASSIFIER))


def label_trainings(checkpoint, videos):
    """The trainings on labels of some of the `videos`."""
    return [training for training in trainings_of(checkpoint) if seen_by([training], videos, labels=True).any()]


def labels_text(checkpoint, videos, what='test videos'):
    """A sentence on the `videos` that the network was trained on with their labels, or None."""
    trainings = label_trainings(checkpoint, videos)
    if not trainings:
        return None
    seen = np.count_nonzero(seen_by(trainings, videos, labels=True))
    splits = ', '.join(dict.fromkeys(f'{training["dataset"]}, split {training["split"]}' for training in trainings))
    return f'it was trained on {seen} of these {len(videos)} {what} with their labels ({splits})'
