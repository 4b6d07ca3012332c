"""What both scripts do between their flags and the training loop: what lies below it takes named values, not `args`."""
from pathlib import Path

import torch

from utils.parallel import distributed
from utils.arguments import default_workers
from utils.checkpoint import read_checkpoint
from utils.data.clips import ClipDataset
from utils.parallel.device import Precision, choose_device, obstacle_to_compilation, uses_cuda
from utils.cli import UserError
from utils.data.batches import clip_loader
from utils.run.contract import check_backbone, check_precision
from utils.run.log import open_log, say
from utils.run.metrics import Averages
from utils.run.optimisation import make_optimizer, make_schedule
from utils.data.prefetcher import DevicePrefetcher
from utils.run.folder import FIXED_ON_RESUMPTION, changed_flags, create_run_folder, run_folder_of, save_arguments
from utils.run.saving import Saver, newest_checkpoint
from utils.data.splits import train_and_validation, usable
from utils.run.loop import TrainingRun


def prepare(args):
    """The device of this process, set up; weights will be drawn alike in every process."""
    torch.manual_seed(args.seed)
    return choose_device(args.gpu, distributed.local_rank())


def put_on(model, device):
    """Moves the model; on GPUs the weights of the backbone's convolutions get the layout that they compute in."""
    if device.type != 'cpu':
        model.backbone.to(memory_format=torch.channels_last_3d)
    return model.to(device)


def check_network(args, model, device):
    """UserError when the backbone breaks its contract, or can't be trained in the precision of the flags."""
    check_backbone(model.backbone, args.net, args.img_dim, args.seq_len)
    check_precision(model.backbone, args.net, args.img_dim, args.seq_len, device, Precision(args.amp, device).dtype)


def open_run_folder(args, experiment):
    """(run folder, path of the checkpoint to go on from or None). Without `--resume` a new folder.

    UserError: flags that don't go together, with each other or with the run that is to go on."""
    check_training_flags(args)
    if args.resume == 'auto':
        folder, path = None, None
        if distributed.is_main():
            folder = create_run_folder(args.log_dir, args.prefix, experiment, exist_ok=True)
            path, _ = newest_checkpoint(folder)
        folder, path = distributed.from_main((folder, path))
        changed = changed_flags(folder, args) if path else {}
        if changed:
            raise UserError(f'--resume auto: the run in {folder} began with other flags: '
                            f'{", ".join(changed.values())}. Give this one another --prefix, or go on from there with '
                            f'--resume {path}')
    elif args.resume:
        folder, path = run_folder_of(args.resume), Path(args.resume)
        changed = changed_flags(folder, args)
        fixed = [text for name, text in changed.items() if name in FIXED_ON_RESUMPTION]
        if fixed:
            raise UserError(f'--resume {path}: this run began with other flags: {", ".join(fixed)}. Give those, or '
                            'start a new run from its weights with --pretrain')
        if changed:
            say(f'warning: this run began with other flags: {", ".join(changed.values())}')
    else:
        path = None
        folder = create_run_folder(args.log_dir, args.prefix, experiment) if distributed.is_main() else None
        folder = distributed.from_main(folder)
    return folder, path


def check_training_flags(args):
    if (args.start_epoch or 0) >= args.epochs:
        raise UserError(f'--start-epoch {args.start_epoch} leaves nothing of --epochs {args.epochs}')
    obstacle = obstacle_to_compilation(uses_cuda(args.gpu)) if args.compile else None
    if obstacle:
        raise UserError(f'--compile: {obstacle}; mend that or leave it out')


def clip_datasets(args, split, train_augmentation, labels_of=None):
    """(training, validation) ClipDatasets of the flags. labels_of: VideoList -> labels, None for unlabelled clips."""
    videos = train_and_validation(args.csv_root, args.dataset, split, args.img_dim, args.frame_root, args.val_on,
                                  args.val_fraction, args.seed)
    datasets = []
    for part, purpose, augmentation in zip(videos, ('training', 'validation'),
                                           (train_augmentation, {'crop': 'centre', 'flip': 0})):
        part = usable(part, args.num_seq * args.seq_len * args.ds, args.short_videos, purpose)
        print(f'{purpose}: {len(part)} videos')
        datasets.append(ClipDataset(part, args.num_seq, args.seq_len, args.ds, img_dim=args.img_dim, seed=args.seed,
                                    labels=labels_of(part) if labels_of else None, **augmentation))
    return datasets


def batches_of(args, dataset, device, drop_last):
    """Shuffled batches of a ClipDataset on the device: this process's share."""
    loader = clip_loader(dataset, args.batch_size, workers_of(args), seed=args.seed, drop_last=drop_last,
                         rank=distributed.rank(), world=distributed.world(), timeout=args.timeout)
    return DevicePrefetcher(loader, device, args.num_seq, Precision(args.amp, device).dtype)


def workers_of(args):
    return default_workers() if args.num_workers is None else args.num_workers


def start_run(args, model, compute_loss, groups, frozen, device, folder, resumed):
    """The TrainingRun of the flags, at its beginning or where the checkpoint `resumed` was saved."""
    if args.sync_bn:
        distributed.synchronise_batch_norm(model)
    model.encode_chunks = args.encode_chunks
    if args.compile:
        model.backbone.compile(dynamic=False)  # the backward pass must recompute with the forward pass's graph
    optimizer = make_optimizer(args.optimizer, groups, args.lr, args.wd)
    schedule = make_schedule(args.schedule, optimizer, args.epochs, args.lr_milestones, args.lr_gamma,
                             args.warmup_epochs)
    run = TrainingRun(model, args.net, compute_loss, optimizer, schedule, Precision(args.amp, device), device,
                      open_log(folder), Saver(folder, args.keep, args.save_minutes), args.seed, args.print_freq, frozen,
                      args.clip_grad, args.skip_nonfinite)
    if resumed:
        run.resume(read_checkpoint(resumed), resumed, reset_lr=args.lr if args.reset_lr else None)
    else:
        run.log.begin()
    if distributed.is_main():
        save_arguments(folder, args)
    if args.start_epoch is not None:
        run.epoch, run.step, run.averages = args.start_epoch, 0, Averages()
    print(f'{args.net}, {args.model}: {run.precision.name} on {device}, {distributed.world()} process(es), '
          f'run folder {folder}')
    return run
