"""Pretraining by Dense Predictive Coding: learns video features from unlabelled clips. `--help` lists the flags."""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from dpc.loss import dense_info_nce, top_k
from dpc.model import DPC
from utils.arguments import (add_data_arguments, add_model_arguments, add_optimisation_arguments, add_run_arguments,
                             default_ds, positive_int)
from utils.augmentation import pretraining_crop
from utils.checkpoint import load_weights, read_checkpoint
from utils.colour import PRETRAINING
from utils.dataset import ClipDataset
from utils.device import Precision, choose_device
from utils.errors import UserError, run_cli
from utils.loader import DevicePrefetcher, clip_loader
from utils.logs import RunLog
from utils.run_folder import create_run_folder, network_name, pretrained_suffix, run_folder_of, save_arguments
from utils.splits import train_and_validation, usable
from utils.training import TrainingRun


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    model = add_model_arguments(parser, model='dpc-rnn')
    model.add_argument('--pred_step', default=3, type=positive_int, help='P, blocks to predict (default 3)')
    model.add_argument('--prediction', default='sequential', choices=['sequential', 'parallel'],
                       help='feed predictions back, or make all from one state: the ablation "no Seq." (default sequential)')
    model.add_argument('--feature_map', default='dense', choices=['dense', 'pooled'],
                       help='keep the places of the map, or average them: the ablation "no Map" (default dense)')
    model.add_argument('--train_what', default='all', choices=['all', 'last'],
                       help='everything, or only aggregator and predictor on a frozen backbone (default all)')
    add_data_arguments(parser, short_videos='drop')
    optimisation = add_optimisation_arguments(parser, wd=1e-5)
    optimisation.add_argument('--loss_chunk', type=positive_int, metavar='ROWS',
                              help='rows of the score matrix held at a time; lowers memory (default: all at once)')
    add_run_arguments(parser)
    args = parser.parse_args(argv)
    if args.pred_step >= args.num_seq:
        parser.error(f'--pred_step {args.pred_step} leaves none of the --num_seq {args.num_seq} blocks to be seen')
    args.ds = args.ds or default_ds(args.dataset)
    return args


def experiment_name(args):
    return (f'{args.dataset}-{args.img_dim}_{network_name(args.net)}_{args.model}_bs{args.batch_size}_lr{args.lr:g}'
            f'_seq{args.num_seq}_pred{args.pred_step}_len{args.seq_len}_ds{args.ds}_train-{args.train_what}'
            + pretrained_suffix(args.pretrain))


def main(args):
    device = choose_device(args.gpu)
    torch.manual_seed(args.seed)

    # weights to start from, read first: a wrong path should fail at once
    resumed = read_checkpoint(args.resume) if args.resume else None
    folder = run_folder_of(args.resume) if args.resume else None

    # data
    videos = train_and_validation(args.csv_root, args.dataset, split=1, img_dim=args.img_dim, frame_root=args.frame_root,
                                  val_on=args.val_on, val_fraction=args.val_fraction, seed=args.seed)
    clip_frames = args.num_seq * args.seq_len * args.ds
    train_videos, val_videos = (usable(part, clip_frames, args.short_videos, purpose)
                                for part, purpose in zip(videos, ('training', 'validation')))
    clip = {'num_seq': args.num_seq, 'seq_len': args.seq_len, 'ds': args.ds, 'img_dim': args.img_dim, 'seed': args.seed}
    train_set = ClipDataset(train_videos, crop=pretraining_crop(args.dataset), flip=args.flip, colour=PRETRAINING, **clip)
    val_set = ClipDataset(val_videos, crop='centre', flip=0, **clip)

    # model
    model = DPC(args.net, args.pred_step, prediction=args.prediction, feature_map=args.feature_map)
    if args.pretrain and args.pretrain != 'random':
        load_weights(model, args.pretrain)
    frozen = [model.backbone] if args.train_what == 'last' else []
    for part in frozen:
        part.requires_grad_(False)
    model.to(device)

    # optimiser
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=args.lr, weight_decay=args.wd, fused=device.type == 'cuda')
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1)

    # run folder, log, resumption
    if not args.resume:
        folder = create_run_folder(args.log_dir, args.prefix, experiment_name(args))
    save_arguments(folder, args)
    precision = Precision(args.amp, device)
    run = TrainingRun(model, args.net, optimizer, schedule, precision, device, RunLog(folder), seed=args.seed,
                      print_freq=args.print_freq, keep=args.keep, frozen=frozen)
    if args.resume:
        run.resume(resumed, args.resume, reset_lr=args.lr if args.reset_lr else None)
    if args.start_epoch is not None:
        run.epoch = args.start_epoch
    print(f'{args.net}, {args.model}: {len(train_set)} training and {len(val_set)} validation videos, '
          f'{precision.name} on {device}, run folder {folder}')

    def batches(dataset, drop_last):
        loader = clip_loader(dataset, args.batch_size, args.num_workers, shuffle=True, seed=args.seed, drop_last=drop_last)
        return DevicePrefetcher(loader, device, args.num_seq)

    def compute_loss(model, batch):
        prediction, target = model(batch.block)
        loss, rank = dense_info_nce(prediction, target, args.loss_chunk)
        return loss, {f'top{k}': top_k(rank, k) / len(rank) for k in (1, 3, 5)}

    train_batches, val_batches = batches(train_set, drop_last=True), batches(val_set, drop_last=False)
    for _ in range(run.epoch, args.epochs):
        run.train_epoch(train_batches, compute_loss)
        stats = run.evaluate(val_batches, compute_loss)
        run.finish_epoch(accuracy=stats['top1'])
    run.log.close()


if __name__ == '__main__':
    run_cli(main, parse_args())
