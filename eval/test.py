"""Action classification on DPC features: fine-tune, train a linear probe, or test."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from backbone import NETWORKS
from eval.networks.bn_statistics import complete_bn_statistics, layers_without_statistics
from eval.extract.resources import resources_of
from eval.classify.scores import clips_of_all, protocols_for, score_videos, special_views
from eval.protocols.label_subsets import label_subset
from eval.model import ActionClassifier
from eval.metrics.multi_label import classification_loss, is_multi_label
from eval.classify.outputs import write_list
from eval.networks.settings import check_class_names, check_splits, check_test_flags, check_training_flags, settle, tests_of
from eval.classify.test_report import report_mean, report_test
from utils.arguments import (add_data_arguments, add_device_arguments, add_model_arguments,
                             add_optimisation_arguments, add_run_arguments)
from utils.checkpoint import load_weights, read_checkpoint
from utils.cli import Parser, UserError, fraction, positive_fraction, positive_int, positive_int_or_all
from utils.data.classes import labels_of, read_class_list
from utils.data.clips import ClipDataset, VideoDataset
from utils.data.colour import FINETUNING
from utils.data.crops import VIEWS, views_of
from utils.data.lists import NothingHeldOut, list_folder
from utils.data.splits import read_split
from utils.parallel import distributed
from utils.parallel.launch import launch
from utils.recipes import parse_with_recipe
from utils.run.dry_run import dry_run
from utils.run.folder import create_run_folder, network_name, pretrained_suffix, save_arguments
from utils.run.loop import TrainingRun
from utils.run.optimisation import make_optimizer, make_schedule
from utils.run.setup import (clip_batches, clip_settings, clip_videos, find_resumed, loop_options, new_run,
                             prepare_model, start, workers_of)


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    model = add_model_arguments(parser, 'lc', NETWORKS)
    model.add_argument('--num_class', type=positive_int, help='classes (default: as many as classInd.txt lists)')
    model.add_argument('--dropout', default=0.5, type=fraction,
                       help='before the linear layer (default 0.5; 0.9 is reported to be much better; 0 for none)')
    model.add_argument('--train_what', default='last', choices=['last', 'ft', 'all'],
                       help='last: a linear probe on frozen features; ft: everything, pretrained parts at a tenth of '
                            '--lr; all: everything at the same rate (default last)')
    data = add_data_arguments(parser, short_videos='pad')
    data.add_argument('--split', default=1, type=positive_int_or_all,
                      help='split of the data set; all: test a classifier of each of the splits 1, 2 and 3 (default 1)')
    data.add_argument('--label_fraction', default=1., type=positive_fraction, metavar='F',
                      help='train on this part of the training list, the same of every class, chosen by --seed and '
                           'written to label_subset.csv (default 1: all)')
    add_optimisation_arguments(parser, wd=1e-3, schedule='step')
    add_device_arguments(parser)
    add_run_arguments(parser)
    test = parser.add_argument_group('test')
    test.add_argument('--test', metavar='FILE', nargs='+',
                      help='score this classifier on the test split (random: an untrained one), or with --split all '
                           'three, of splits 1, 2 and 3; --net, --img_dim, --num_seq, --seq_len and --ds follow the '
                           'file where they are left out')
    test.add_argument('--crops', default=1, type=int, choices=VIEWS,
                      help='1: centre · 3: along the longer side · 5: corners and centre · 10: these and their mirror '
                           'images; scores are averaged (default 1)')
    test.add_argument('--flip_views', action='store_true', help='average with the mirror image of every crop, too')
    test.add_argument('--clips', default='all', type=positive_int_or_all, metavar='all|K',
                      help='all: overlapping clips that cover the video; a number: so many, evenly spaced '
                           '(default all)')
    test.add_argument('--allow_other_settings', action='store_true',
                      help='with --test: let these flags and the spelling of class names differ from the training\'s')
    parser.set_defaults(net=None, img_dim=None, num_seq=None, seq_len=None, ds=None)  # see settle
    args = parse_with_recipe(parser, 'classify', argv)
    if args.test and len(args.test) == 1:  # a list only where there are several
        args.test, = args.test
    return args


def experiment_name(args):
    labels = f'_lf{args.label_fraction:g}' if args.label_fraction < 1 else ''
    return (f'{Path(args.dataset).name}-{args.img_dim}-sp{args.split}_{network_name(args.net)}_{args.model}'
            f'_bs{args.batch_size}_lr{args.lr:g}_wd{args.wd:g}_ds{args.ds}_seq{args.num_seq}_len{args.seq_len}'
            f'_dp{args.dropout:g}'
            f'_train-{args.train_what}{labels}' + pretrained_suffix(args.pretrain or 'random'))


def test_experiment_name(tests):
    """Only what a test uses. tests: the flags of each split, see tests_of."""
    args = tests[0]
    split = args.split if len(tests) == 1 else 'all'
    views = ''.join('_' + word.replace(' ', '-') for word in special_views(args.crops, args.flip_views, args.clips))
    weights = '+'.join(dict.fromkeys(Path(one.test).name.removesuffix('.pth.tar') for one in tests))
    return (f'{Path(args.dataset).name}-{args.img_dim}-sp{split}_{network_name(args.net)}_{args.model}'
            f'_ds{args.ds}_seq{args.num_seq}_len{args.seq_len}{views}_test={weights}')


def main(args):
    if args.test:
        check_test_flags(args)
        test(args)
    else:
        check_training_flags(args)
        train(args, *look_up(args, args.pretrain))


def look_up(args, origin):
    """Settles `args` and returns (checkpoint `origin`, {} for none, folder of the lists, names of the classes)."""
    checkpoint = {} if origin in (None, 'random') else read_checkpoint(origin)
    settle(args, checkpoint)
    folder = list_folder(args.csv_root, args.dataset, args.img_dim)
    class_names = read_class_list(folder)
    if args.num_class not in (None, len(class_names)):
        raise UserError(f'--num_class {args.num_class}: the classInd.txt of {args.dataset} lists {len(class_names)} '
                        'classes; leave the flag out')
    trained_on = checkpoint.get('settings', {}).get('class_names')
    if args.test and trained_on:
        check_class_names(origin, trained_on, class_names, Path(folder, 'classInd.txt'), args.allow_other_settings)
    return checkpoint, folder, class_names


# ---- training

def train(args, checkpoint, lists, class_names):
    folder, resumed = find_resumed(args)
    precision = start(args, resumed=resumed)

    # model
    model = ActionClassifier(args.net, len(class_names), args.dropout)
    pretrained, missing = load_pretrained(model, checkpoint, args.pretrain)
    if args.train_what == 'last':
        for part in (model.backbone, model.agg):
            part.requires_grad_(False)
    model = prepare_model(args, model, precision)

    # data
    train_videos, val_videos, labelled = labelled_videos(args, lists, class_names)
    multi_label = train_videos.has_several_labels() or val_videos.has_several_labels()
    train_set = training_set(args, train_videos, labels_of(train_videos, class_names, multi_label))
    val_set = ClipDataset(val_videos, **clip_settings(args), crop='centre', flip=0,
                          labels=labels_of(val_videos, class_names, multi_label))
    train_batches = clip_batches(args, train_set, precision, drop_last=True)
    val_batches = clip_batches(args, val_set, precision, drop_last=False)

    # loss
    def compute_loss(network, block, label):
        return classification_loss(network(block), label)

    # optimiser and schedule
    slow = pretrained if args.train_what == 'ft' else []
    optimizer = make_optimizer(args.optimizer, parameter_groups(model, slow, args.lr), args.lr, args.wd)
    schedule = make_schedule(args.schedule, optimizer, args.epochs, args.lr_milestones, args.warmup_epochs)

    # run
    if not args.dry_run:
        folder = folder or new_run(args, experiment_name(args))
    if args.train_what == 'last' and not (resumed or args.dry_run):  # trained parts collect their statistics themselves
        missing = [name for name in missing if name.startswith(('backbone.', 'agg.'))]
        clips = train_set
        if labelled is not None and layers_without_statistics(model, missing):  # these clips need no labels
            whole_list, _ = clip_videos(args, args.split)
            clips = training_set(args, whole_list)
        complete_bn_statistics(model, missing, clips, *bn_options(args, precision))
    if args.sync_bn:  # not before: the estimate deals whole batches out to the processes
        model = distributed.synchronise_batch_norm(model, precision.device)

    def make_run(folder):
        settings = {'model': args.model, 'net': args.net, **clip_settings(args), 'class_names': class_names}
        if multi_label:
            settings['multi_label'] = True
        return TrainingRun(model, compute_loss, optimizer, schedule, precision, folder, settings, **loop_options(args))

    if args.dry_run:
        dry_run(make_run, train_batches, val_batches, args.epochs - (args.start_epoch or 0),
                lambda output: 2 if multi_label else output.shape[1], args.log_dir)
        return
    run = make_run(folder)
    run.start(resumed, args.lr if args.reset_lr else None, args.start_epoch)
    save_arguments(folder, vars(args))
    if labelled is not None and not resumed and distributed.is_main():
        write_list(folder / 'label_subset.csv', labelled)
    run.fit(train_batches, val_batches, args.epochs)


def labelled_videos(args, lists, class_names):
    """(training, validation) videos, and the part of the training list that they are from, None for all of it."""
    if args.label_fraction == 1:
        return *clip_videos(args, args.split), None
    listed = read_split(lists, args.split, 'train', args.frame_root)
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


def training_set(args, videos, labels=None):
    return ClipDataset(videos, **clip_settings(args), crop='resized', flip=args.flip, colour=FINETUNING, labels=labels,
                       seed=args.seed)


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


def bn_options(args, precision):
    """What complete_bn_statistics takes after the clips."""
    return args.batch_size, args.seed, precision, workers_of(args), args.timeout


# ---- test

def test(args):
    # what can be wrong with any of the splits, before any work
    tests = tests_of(args)
    found = [look_up(one, one.test) for one in tests]
    check_splits(tests, [folder for _, folder, _ in found])
    precision = start(tests[0], training=False, views=len(views_of(args.crops, args.flip_views)))
    prepared = [prepare_test(one, *each, precision) for one, each in zip(tests, found)]
    folder = None
    if distributed.is_main():
        folder = create_run_folder(args.log_dir, args.prefix, test_experiment_name(tests))
        save_arguments(folder, {**vars(tests[0]), 'split': args.split, 'test': args.test})

    tables = {}
    for one, each in zip(tests, prepared):
        own = folder
        if folder and len(tests) > 1:
            print(f'split {one.split}')
            own = folder / f'split{one.split}'
            own.mkdir()
        tables[one.split] = test_split(one, *each, precision, own)
    if folder and len(tests) > 1:
        report_mean(folder, facts_of(tests[0], ', '.join(args.test), 'splits 1 to 3'), tables)


def prepare_test(args, checkpoint, folder, class_names, precision):
    """(model, names of its tensors that the checkpoint lacks, protocols, test set, names of the classes)."""
    torch.manual_seed(args.seed)  # random weights don't depend on the other splits
    model = ActionClassifier(args.net, len(class_names), args.dropout)
    missing = load_weights(model, checkpoint, strict=True, origin=args.test).missing if checkpoint else []
    model.requires_grad_(False)
    model = prepare_model(args, model, precision)

    videos = read_split(folder, args.split, 'test', args.frame_root)
    multi_label = is_multi_label(videos, checkpoint, args.test)
    protocols = protocols_for(Path(args.dataset).name, args.num_seq, args.seq_len, args.ds, args.crops,
                              args.flip_views, args.clips, multi_label)
    test_set = VideoDataset(videos, args.num_seq, args.seq_len, args.ds, args.img_dim,
                            labels_of(videos, class_names, multi_label), clips_of_all(protocols),
                            views_of(args.crops, args.flip_views))
    return model, missing, protocols, test_set, class_names


def test_split(args, model, missing, protocols, test_set, class_names, precision, folder):
    """Tests one split and reports to `folder` (None in all processes but the first). Returns report_test's tables."""
    if layers_without_statistics(model, missing):
        train_videos, _ = clip_videos(args, args.split)
        complete_bn_statistics(model, missing, training_set(args, train_videos), *bn_options(args, precision))

    torch.backends.cudnn.benchmark = False  # videos differ in their number of clips: too many shapes to search for
    scores, broken = score_videos(model, test_set, protocols, resources_of(args, precision), len(class_names),
                                  multi_label=test_set.labels.ndim == 2)
    if folder:
        return report_test(folder, facts_of(args, args.test, f'split {args.split}'), test_set.videos.paths(),
                           protocols, scores, broken, class_names, seed=args.split - 1)


def facts_of(args, weights, splits):
    """{name: value}: what was tested, for test_log.md."""
    return {'weights': weights, 'net': args.net, 'data': f'{args.dataset}, {splits}',
            'clip': f'{args.num_seq} blocks of {args.seq_len} frames, ds {args.ds}, {args.img_dim} px'}


if __name__ == '__main__':
    launch(main, parse_args())
