"""Trains a classifier, or a linear probe on frozen features (paper, section 4.2)."""
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
from torch.nn import SyncBatchNorm

from backbone import AGGREGATOR
from eval.classify.outputs import write_list
from eval.classify.setup import bn_options, check_training_flags, look_up, training_set
from eval.metrics.multi_label import classes_in, classification_loss
from eval.model import ActionClassifier
from eval.networks.bn_statistics import complete_bn_statistics, layers_without_statistics
from utils.checkpoint import load_weights
from utils.cli import UserError
from utils.data.classes import labels_of
from utils.data.clips import ClipDataset
from utils.data.held_out import NothingHeldOut
from utils.data.label_subsets import label_subset
from utils.data.splits import read_split
from utils.next_step import command, run_flags, say_next
from utils.parallel import distributed
from utils.run.dry_run import dry_run
from utils.run.folder import (
    announce_folder,
    find_resumed,
    network_name,
    new_folder,
    pretrained_suffix,
    rate_suffix,
    save_arguments,
)
from utils.run.log import warn
from utils.run.optimisation import make_optimizer, make_schedule
from utils.run.setup import clip_batches, clip_settings, clip_videos, prepare_model, start, training_settings
from utils.run.state import Run
from utils.run.training import train_epoch
from utils.run.validation import LossOnly, validate
from utils.text import printable

SHOWN_CLASSES = 5


def experiment_name(args):
    labels = f'_lf{args.label_fraction:g}' if args.label_fraction < 1 else ''
    return (f'{Path(args.dataset).name}-{args.img_dim}-sp{args.split}_{network_name(args.net)}_{args.model}'
            f'_bs{args.batch_size}_lr{args.lr:g}_wd{args.wd:g}_ds{args.ds}{rate_suffix(args.fps)}'
            f'_seq{args.num_seq}_len{args.seq_len}_dp{args.dropout:g}'
            f'_train-{args.train_what}{labels}' + pretrained_suffix(args.pretrain or 'random'))


def train_classifier(args):
    check_training_flags(args)
    with redirect_stdout(StringIO()) as settings_said:
        checkpoint, lists, class_names = look_up(args, args.pretrain)
    folder, resumed = find_resumed(vars(args))
    if not args.dry_run:
        announce_folder(folder, args.log_dir, args.prefix, experiment_name(args))
    print(settings_said.getvalue(), end='')
    precision = start(args, resumed)

    # model
    model = ActionClassifier(args.net, len(class_names), args.dropout)
    if args.train_what == 'ft' and not (args.pretrain or resumed):
        warn('--train_what ft without --pretrain fine-tunes random weights: give a checkpoint of dpc/main.py, or '
             '--pretrain random if they are meant')
    pretrained, missing = load_pretrained(model, checkpoint, args.pretrain)
    if args.train_what == 'last':
        for part in (model.backbone, model.agg):
            part.requires_grad_(False)
    model = prepare_model(args, model, precision)

    # data
    train_videos, val_videos, labelled = labelled_videos(args, lists, class_names)
    multi_label = train_videos.has_several_labels() or val_videos.has_several_labels()
    train_set = training_set(args, train_videos, labels_of(train_videos, class_names, multi_label))
    warn_of_classes_without_videos(train_set.labels, class_names)
    val_set = ClipDataset(val_videos, clip_settings(args), crop='centre', flip=0,
                          labels=labels_of(val_videos, class_names, multi_label))
    train_batches = clip_batches(args, train_set, precision, drop_last=True)
    val_batches = clip_batches(args, val_set, precision, drop_last=False)

    # loss
    def compute_loss(network, block, label):
        return classification_loss(network(block), label)

    measure = LossOnly(compute_loss)

    # optimiser and schedule
    slow = pretrained if args.train_what == 'ft' else []
    optimizer = make_optimizer(args.optimizer, parameter_groups(model, slow, args.lr), args.lr, args.wd)
    schedule = make_schedule(args.schedule, optimizer, args.epochs, args.lr_milestones, args.warmup_epochs)

    # run
    if not args.dry_run:
        folder = folder or new_folder(args.log_dir, args.prefix, experiment_name(args))
    if args.train_what == 'last' and not (resumed or args.dry_run):  # trained parts collect their statistics themselves
        missing = [name for name in missing if name.startswith(('backbone.', 'agg.'))]
        clips = train_set
        if labelled is not None and layers_without_statistics(model, missing):  # these clips need no labels
            whole_list, _ = clip_videos(args, args.split)
            clips = training_set(args, whole_list)
        complete_bn_statistics(model, missing, clips, *bn_options(args, precision))
    if args.sync_bn and distributed.world() > 1:  # not before: the estimate deals whole batches out to the processes
        model = SyncBatchNorm.convert_sync_batchnorm(model)
    settings = {'model': args.model, 'net': args.net, 'aggregator': AGGREGATOR, **clip_settings(args)._asdict(),
                'class_names': class_names, **({'multi_label': True} if multi_label else {}),
                'label_fraction': args.label_fraction,
                **training_settings(args, train_videos, val_videos, checkpoint)}
    run = Run(model, optimizer, schedule, precision, settings, args.epochs, args.seed)
    run.epoch = args.start_epoch or 0
    train = partial(train_epoch, compute_loss=compute_loss, clip_grad=args.clip_grad,
                    skip_nonfinite=args.skip_nonfinite)
    if args.dry_run:
        dry_run(run, train, measure, train_batches, val_batches,
                lambda output: 2 if multi_label else output.shape[1], args.log_dir)
        return
    run.open(folder, args.keep, args.save_minutes)
    if resumed:
        run.resume(resumed, val_videos, args.lr if args.reset_lr else None)
    save_arguments(folder, vars(args))
    if labelled is not None and not resumed and distributed.is_main():
        write_list(folder / 'label_subset.csv', labelled)

    with run.logged():
        while run.epoch < args.epochs:
            trained = train(run, train_batches, print_freq=args.print_freq)
            validated = validate(run, val_batches, measure)
            run.log_epoch(trained, validated)
            run.save_epoch(validated)
    if distributed.is_main():
        say_next(command('eval/test.py', **run_flags(args), split=args.split, test=run.saver.best()))


def warn_of_classes_without_videos(label, class_names):
    """label: of the training videos, int64 [R] or bool [R, C]."""
    missing = np.setdiff1d(np.arange(len(class_names)), classes_in(label))
    if len(missing) and distributed.is_main():
        named = ', '.join(printable(class_names[c]) for c in missing[:SHOWN_CLASSES])
        warn(f'{len(missing)} of the {len(class_names)} classes have no training video: {named}'
             + (', …' if len(missing) > SHOWN_CLASSES else '') + '; tests on the others say nothing about these')


def labelled_videos(args, lists, class_names):
    """(training, validation) videos, and the part of the training list that they are from, None for all of it."""
    if args.label_fraction == 1:
        return *clip_videos(args, args.split), None
    listed = read_split(lists, args.split, 'train', args.frame_root, by_class=True)
    if listed.has_several_labels():
        raise UserError(f'--label_fraction {args.label_fraction:g} takes a part of each class, but some videos '
                        'have several labels: leave the flag out')
    rows = label_subset(listed.paths(), labels_of(listed, class_names), args.label_fraction, seed=args.seed)
    print(f'--label_fraction {args.label_fraction:g}: {len(rows)} of {len(listed)} training videos')
    labelled = listed.select(rows)
    try:
        return *clip_videos(args, args.split, labelled), labelled
    except NothingHeldOut as error:
        raise UserError(f'{error}, or raise --label_fraction {args.label_fraction:g}') from None


def load_pretrained(model, checkpoint, pretrain):
    """Returns (names of the parts of the model that came from the checkpoint, names of the tensors that did not)."""
    if not checkpoint:
        print('training starts from random weights')
        return [], list(model.state_dict())
    report = load_weights(model, checkpoint, origin=pretrain)
    parts = [part for part in ('backbone', 'agg') if any(used.startswith(part + '.') for used in report.used)]
    return parts, report.missing


def parameter_groups(model, slow, lr):
    """Groups the trainable parameters for the optimiser: those of the `slow` parts, by name, at a tenth of the rate."""
    groups = {lr / 10: [], lr: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[lr / 10 if name.split('.')[0] in slow else lr].append(parameter)
    return [{'params': parameters, 'lr': rate} for rate, parameters in groups.items() if parameters]
