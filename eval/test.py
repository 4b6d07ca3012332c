"""Action classification on DPC features: fine-tune, train a linear probe, or test. `--help` lists the flags."""
import argparse
import sys
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F

from eval.model import ActionClassifier
from eval.protocol import score_videos, summarise
from eval.report import confusion_matrix, draw_confusion, write_log, write_predictions
from utils.arguments import (add_data_arguments, add_model_arguments, add_optimisation_arguments, add_run_arguments,
                             default_ds, fraction, learning_rate_milestones, positive_int)
from utils.checkpoint import load_weights, read_checkpoint
from utils.colour import FINETUNING
from utils.dataset import ClipDataset, VideoDataset
from utils.device import Precision, choose_device
from utils.errors import UserError, run_cli
from utils.loader import DevicePrefetcher, clip_loader, video_loader
from utils.logs import RunLog
from utils.run_folder import create_run_folder, network_name, pretrained_suffix, run_folder_of, save_arguments
from utils.splits import read_split, train_and_validation, usable
from utils.training import TrainingRun
from utils.video_list import csv_file, fits, labels_of, read_class_list

BN_BATCHES = 200  # batches from which missing running statistics are estimated


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    model = add_model_arguments(parser, model='lc')
    model.add_argument('--num_class', type=positive_int, help='classes (default: as many as classInd.txt lists)')
    model.add_argument('--dropout', default=0.5, type=fraction,
                       help='before the linear layer (default 0.5; 0.9 is reported to be much better; 0 for none)')
    model.add_argument('--train_what', default='last', choices=['last', 'ft', 'all'],
                       help='last: a probe on frozen features; ft: everything, pretrained parts at a tenth of the learning rate; '
                            'all: everything alike (default last)')
    data = add_data_arguments(parser, short_videos='pad')
    data.add_argument('--split', default=1, type=positive_int, help='which train/test split of the data set (default 1)')
    optimisation = add_optimisation_arguments(parser, wd=1e-3)
    optimisation.add_argument('--lr_milestones', type=learning_rate_milestones, metavar='EPOCHS',
                              help='epochs after which the learning rate drops tenfold, as 60,80,100 (default: by data set and '
                                   'img_dim, as published; "" for never)')
    run = add_run_arguments(parser)
    run.add_argument('--test', metavar='FILE', help='score this classifier on the test split, no training; random for an untrained one')
    args = parser.parse_args(argv)
    args.ds = args.ds or default_ds(args.dataset)
    if args.lr_milestones is None:
        args.lr_milestones = default_milestones(args.dataset, args.img_dim)
    return args


def default_milestones(dataset, img_dim):
    """The published recipe's; data sets it doesn't name are treated like UCF101."""
    if dataset == 'hmdb51':
        return [150, 250, 300]
    return [300, 400, 500] if img_dim > 140 else [60, 80, 100]


def experiment_name(args):
    origin = f'_test={Path(args.test).name.removesuffix(".pth.tar")}' if args.test else pretrained_suffix(args.pretrain or 'random')
    return (f'{args.dataset}-{args.img_dim}-sp{args.split}_{network_name(args.net)}_{args.model}_bs{args.batch_size}'
            f'_lr{args.lr:g}_wd{args.wd:g}_ds{args.ds}_seq{args.num_seq}_len{args.seq_len}_dp{args.dropout:g}'
            f'_train-{args.train_what}' + origin)


def parameter_groups(model, train_what, pretrained, lr):
    """Freezes what `train_what` leaves alone and groups the rest for the optimiser; returns (groups, frozen parts).

    pretrained: the parts of the model (of backbone and agg) that came from a checkpoint. Every trainable parameter is in
    exactly one group.
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
    device = choose_device(args.gpu)
    precision = Precision(args.amp, device)
    torch.manual_seed(args.seed)
    class_names = read_class_list(Path(csv_file(args.csv_root, args.dataset, args.split, 'test', args.img_dim)).parent)
    num_class = args.num_class or len(class_names)
    if num_class < len(class_names):
        raise UserError(f'--num_class {num_class}: {args.dataset} has {len(class_names)} classes; leave the flag out')
    model = ActionClassifier(args.net, num_class, args.dropout)
    if args.test:
        test(args, model, class_names, precision, device)
    else:
        train(args, model, class_names, precision, device)


def train(args, model, class_names, precision, device):
    # weights and checkpoints first: a wrong path should fail at once
    pretrained, has_bn_statistics = load_pretrained(model, args.pretrain)
    resumed = read_checkpoint(args.resume) if args.resume else None
    folder = run_folder_of(args.resume) if args.resume else None

    # data
    videos = train_and_validation(args.csv_root, args.dataset, args.split, args.img_dim, args.frame_root,
                                  val_on=args.val_on, val_fraction=args.val_fraction, seed=args.seed)
    clip_frames = args.num_seq * args.seq_len * args.ds
    train_videos, val_videos = (usable(part, clip_frames, args.short_videos, purpose)
                                for part, purpose in zip(videos, ('training', 'validation')))
    clip = {'num_seq': args.num_seq, 'seq_len': args.seq_len, 'ds': args.ds, 'img_dim': args.img_dim, 'seed': args.seed}
    train_set = ClipDataset(train_videos, crop='resized', flip=args.flip, colour=FINETUNING,
                            labels=labels_of(train_videos, class_names), **clip)
    val_set = ClipDataset(val_videos, crop='centre', flip=0, labels=labels_of(val_videos, class_names), **clip)

    def batches(dataset, drop_last):
        loader = clip_loader(dataset, args.batch_size, args.num_workers, shuffle=True, seed=args.seed, drop_last=drop_last)
        return DevicePrefetcher(loader, device, args.num_seq)

    train_batches, val_batches = batches(train_set, drop_last=True), batches(val_set, drop_last=False)

    # optimiser
    groups, frozen = parameter_groups(model, args.train_what, pretrained, args.lr)
    model.to(device)
    optimizer = torch.optim.Adam(groups, lr=args.lr, weight_decay=args.wd, fused=device.type == 'cuda')
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, args.lr_milestones, gamma=0.1)

    # run folder, log, resumption
    if not args.resume:
        folder = create_run_folder(args.log_dir, args.prefix, experiment_name(args))
    save_arguments(folder, args)
    run = TrainingRun(model, args.net, optimizer, schedule, precision, device, RunLog(folder), seed=args.seed,
                      print_freq=args.print_freq, keep=args.keep, frozen=frozen)
    if args.resume:
        run.resume(resumed, args.resume, reset_lr=args.lr if args.reset_lr else None)
    elif frozen and not has_bn_statistics:
        estimate_bn_statistics(model, train_batches, precision)
    if args.start_epoch is not None:
        run.epoch = args.start_epoch
    print(f'{args.net}, {args.model}: {len(train_set)} training and {len(val_set)} validation videos, '
          f'{precision.name} on {device}, run folder {folder}')

    def compute_loss(model, batch):
        logits = model(batch.block)
        loss = F.cross_entropy(logits, batch.label)
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == batch.label.unsqueeze(1)
        return loss, {'top1': best[:, 0].float().mean(), 'top5': best.any(dim=1).float().mean()}

    for _ in range(run.epoch, args.epochs):
        run.train_epoch(train_batches, compute_loss)
        stats = run.evaluate(val_batches, compute_loss)
        run.finish_epoch(accuracy=stats['top1'])
    run.log.close()


def estimate_bn_statistics(model, batches, precision):
    """Running statistics of the backbone's BN from unlabelled training clips, for weights that came without any."""
    batches.loader.sampler.set_position(0)
    print(f'estimating BN statistics from {min(BN_BATCHES, len(batches))} batches of training clips')
    with precision.autocast():
        torch.optim.swa_utils.update_bn((batch.block for batch in islice(batches, BN_BATCHES)), model)


def test(args, model, class_names, precision, device):
    if args.test != 'random':
        load_weights(model, args.test, strict=True)
    model.to(device)
    videos = usable(read_split(args.csv_root, args.dataset, args.split, 'test', args.img_dim, args.frame_root),
                    clip_frames=0, short_videos='pad', purpose='test')
    test_set = VideoDataset(videos, args.num_seq, args.seq_len, args.ds, args.img_dim, labels_of(videos, class_names))
    folder = create_run_folder(args.log_dir, args.prefix, experiment_name(args))
    save_arguments(folder, args)

    scores = score_videos(model, video_loader(test_set, args.num_workers), args.num_seq, device, precision,
                          num_class=model.final_fc[1].out_features, clips_at_once=args.batch_size)

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
    matrix = confusion_matrix(scores.label, scores.prediction, scores.probability.shape[1])[:len(class_names), :len(class_names)]
    draw_confusion(folder / 'confusion.png', matrix, class_names)
    for protocol, stats in tables.items():
        print(f'{protocol}: {stats["videos"]} videos, loss {stats["loss"]:.4f}, top-1 {stats["top1"]:.2%}, '
              f'top-5 {stats["top5"]:.2%}, mean per class {stats["mean_class"]:.2%}')
    if not longer.any():
        print(f'published protocol: no video is longer than a clip of {clip_frames} frames')
    print(f'written to {folder}: test_log.md, predictions.csv, confusion.png')


if __name__ == '__main__':
    run_cli(main, parse_args())
