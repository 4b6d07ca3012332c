"""Action classification on DPC features: fine-tune, train a linear probe, or test."""
import sys
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F

from backbone import NETWORKS
from eval.model import ActionClassifier
from eval.protocol import score_videos, summarise
from eval.report import confusion_matrix, draw_confusion, write_log, write_predictions
from utils.parallel import distributed
from utils.arguments import (add_data_arguments, add_device_arguments, add_model_arguments,
                             add_optimisation_arguments, add_run_arguments, default_ds)
from utils.checkpoint import load_weights
from utils.cli import Parser, UserError, fraction, positive_int
from utils.data.colour import FINETUNING
from utils.data.clips import VideoDataset
from utils.parallel.device import Precision
from utils.parallel.launch import launch
from utils.data.batches import video_loader
from utils.recipes import parse_with_recipe
from utils.run.folder import create_run_folder, network_name, pretrained_suffix, save_arguments
from utils.run.setup import (batches_of, check_network, clip_datasets, open_run_folder, prepare, put_on, start_run,
                             workers_of)
from utils.data.splits import read_split, usable
from utils.data.lists import csv_file, fits, labels_of, read_class_list

BN_BATCHES = 200  # batches from which missing running statistics are estimated


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    model = add_model_arguments(parser, 'lc', NETWORKS)
    model.add_argument('--num_class', type=positive_int, help='classes (default: as many as classInd.txt lists)')
    model.add_argument('--dropout', default=0.5, type=fraction,
                       help='before the linear layer (default 0.5; 0.9 is reported to be much better; 0 for none)')
    model.add_argument('--train_what', default='last', choices=['last', 'ft', 'all'],
                       help='last: a probe on frozen features; ft: everything, pretrained parts at a tenth of --lr; '
                            'all: everything alike (default last)')
    data = add_data_arguments(parser, short_videos='pad')
    data.add_argument('--split', default=1, type=positive_int, help='which split of the data set (default 1)')
    add_optimisation_arguments(parser, wd=1e-3, schedule='step')
    add_device_arguments(parser)
    run = add_run_arguments(parser)
    run.add_argument('--test', metavar='FILE', help='score this classifier on the test split; random: an untrained one')
    args = parse_with_recipe(parser, 'classify', argv)
    args.ds = args.ds or default_ds(args.dataset)
    args.lr_milestones = args.lr_milestones or default_milestones(args.dataset, args.img_dim)
    return args


def default_milestones(dataset, img_dim):
    """The published recipe's; data sets it doesn't name are treated like UCF101."""
    if dataset == 'hmdb51':
        return [150, 250, 300]
    return [300, 400, 500] if img_dim > 140 else [60, 80, 100]


def experiment_name(args):
    tested = f'_test={Path(args.test).name.removesuffix(".pth.tar")}' if args.test else ''
    return (f'{args.dataset}-{args.img_dim}-sp{args.split}_{network_name(args.net)}_{args.model}_bs{args.batch_size}'
            f'_lr{args.lr:g}_wd{args.wd:g}_ds{args.ds}_seq{args.num_seq}_len{args.seq_len}_dp{args.dropout:g}'
            f'_train-{args.train_what}' + (tested or pretrained_suffix(args.pretrain or 'random')))


def parameter_groups(model, train_what, pretrained, lr):
    """Freezes what `train_what` leaves alone and groups the rest for the optimiser; returns (groups, frozen parts).

    pretrained: the parts of the model (of backbone and agg) that came from a checkpoint. Every trainable parameter is
    in exactly one group.
    """
    features, head = [model.backbone, model.agg], [model.final_bn, model.final_fc]
    frozen = features if train_what == 'last' else []
    for part in frozen:
        part.requires_grad_(False)
    slow = [part for part in features if train_what == 'ft' and part in pretrained]
    fast = [part for part in features + head if part not in frozen and part not in slow]
    groups = [{'params': [parameter for part in parts for parameter in part.parameters()], 'lr': rate}
              for parts, rate in ((slow, lr / 10), (fast, lr)) if parts]
    grouped = [id(parameter) for group in groups for parameter in group['params']]
    trainable = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
    assert sorted(grouped) == sorted(trainable), 'the groups must cover every trainable parameter once'
    return groups, frozen


def load_pretrained(model, pretrain):
    """Returns (the parts of the model that came from the file, whether BN running statistics did)."""
    if pretrain in (None, 'random'):
        return [], False
    report = load_weights(model, pretrain)
    parts = [part for name, part in (('backbone', model.backbone), ('agg', model.agg))
             if any(used.startswith(name + '.') for used in report.used)]
    return parts, report.has_bn_statistics


def main(args):
    device = prepare(args)
    class_names = read_class_list(Path(csv_file(args.csv_root, args.dataset, args.split, 'test', args.img_dim)).parent)
    if args.num_class not in (None, len(class_names)):
        raise UserError(f'--num_class {args.num_class}: the classInd.txt of {args.dataset} lists {len(class_names)} '
                        'classes; leave the flag out')
    model = ActionClassifier(args.net, len(class_names), args.dropout)
    if args.test:
        test(args, model, class_names, device)
    else:
        train(args, model, class_names, device)


def train(args, model, class_names, device):
    pretrained, has_bn_statistics = load_pretrained(model, args.pretrain)
    groups, frozen = parameter_groups(model, args.train_what, pretrained, args.lr)
    check_network(args, model, device)
    put_on(model, device)

    # data
    train_set, val_set = clip_datasets(args, args.split, {'crop': 'resized', 'flip': args.flip, 'colour': FINETUNING},
                                       labels_of=lambda videos: labels_of(videos, class_names))
    train_batches = batches_of(args, train_set, device, drop_last=True)
    val_batches = batches_of(args, val_set, device, drop_last=False)

    # loss
    def compute_loss(network, block, label):
        logits = network(block)
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == label.unsqueeze(1)
        accuracy = {'top1': best[:, 0].float().mean(), 'top5': best.any(dim=1).float().mean()}
        return F.cross_entropy(logits, label), accuracy

    # optimiser, run folder, resumption
    folder, resumed = open_run_folder(args, experiment_name(args))
    if frozen and not has_bn_statistics and not resumed:
        estimate_bn_statistics(model, train_batches, Precision(args.amp, device))
    run = start_run(args, model, compute_loss, groups, frozen, device, folder, resumed)
    run.fit(train_batches, val_batches, args.epochs)


def estimate_bn_statistics(model, batches, precision):
    """Running statistics of the backbone's BN from unlabelled training clips, for weights that came without any."""
    batches.loader.sampler.set_position(0)
    print(f'estimating BN statistics from {min(BN_BATCHES, len(batches))} batches of training clips')
    with precision.autocast():
        torch.optim.swa_utils.update_bn((batch.block for batch in islice(batches, BN_BATCHES)), model)


def test(args, model, class_names, device):
    report = None if args.test == 'random' else load_weights(model, args.test, strict=True)
    put_on(model, device)
    if report and not report.has_bn_statistics:
        train_set, _ = clip_datasets(args, args.split, {'crop': 'resized', 'flip': args.flip, 'colour': FINETUNING})
        estimate_bn_statistics(model, batches_of(args, train_set, device, drop_last=True), Precision(args.amp, device))
    videos = usable(read_split(args.csv_root, args.dataset, args.split, 'test', args.img_dim, args.frame_root),
                    clip_frames=0, short_videos='pad', purpose='test')
    test_set = VideoDataset(videos, args.num_seq, args.seq_len, args.ds, args.img_dim, labels_of(videos, class_names))
    if distributed.is_main():  # before the work: a folder that can't be made should fail at once
        folder = create_run_folder(args.log_dir, args.prefix, experiment_name(args))
        save_arguments(folder, args)
    torch.backends.cudnn.benchmark = False  # videos differ in their number of clips: too many shapes to search for
    loader = video_loader(test_set, workers_of(args), distributed.rank(), distributed.world(), args.timeout)
    scores = score_videos(model, loader, args.num_seq, device, Precision(args.amp, device),
                          num_class=len(class_names), clips_at_once=args.batch_size)
    if distributed.is_main():
        report_test(folder, args, videos, scores, class_names)


def report_test(folder, args, videos, scores, class_names):
    """Prints the numbers and writes test_log.md, predictions.csv and confusion.png."""
    # The published test dropped every video that was not longer than a clip.
    clip_frames = args.num_seq * args.seq_len * args.ds
    tables = {'every video': summarise(scores)}
    longer = fits(videos, clip_frames + 1)
    if longer.any():
        tables[f'published (only videos over {clip_frames} frames)'] = summarise(scores.select(longer))
    facts = {'weights': args.test, 'net': args.net, 'data': f'{args.dataset}, split {args.split}',
             'clip': f'{args.num_seq} blocks of {args.seq_len} frames, every {args.ds}, {args.img_dim} px'}
    write_log(folder / 'test_log.md', f'Test of {Path(args.test).name}', facts, tables)
    write_predictions(folder / 'predictions.csv', videos.paths(), scores, class_names)
    matrix = confusion_matrix(scores.label, scores.prediction, len(class_names))
    draw_confusion(folder / 'confusion.png', matrix, class_names)
    for protocol, stats in tables.items():
        print(f'{protocol}: {stats["videos"]} videos, loss {stats["loss"]:.4f}, top-1 {stats["top1"]:.2%}, '
              f'top-5 {stats["top5"]:.2%}, mean per class {stats["mean_class"]:.2%}')
    if not longer.any():
        print(f'published protocol: no video is longer than a clip of {clip_frames} frames')
    print(f'written to {folder}: test_log.md, predictions.csv, confusion.png')


if __name__ == '__main__':
    launch(main, parse_args())
