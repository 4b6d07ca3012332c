"""Self-supervised pretraining by Dense Predictive Coding: learns video features from unlabelled clips."""
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils.packages

import numpy as np
from torch.nn import SyncBatchNorm

from backbone import AGGREGATOR, NETWORKS
from dpc.model import DPC
from dpc.objective import Objective
from dpc.validation import Validation
from utils.arguments import (
    add_data_arguments,
    add_device_arguments,
    add_model_arguments,
    add_optimisation_arguments,
    add_run_arguments,
)
from utils.checkpoint import load_weights, read_checkpoint
from utils.cli import Parser, fraction, positive_int, whole_number
from utils.data.clips import ClipDataset
from utils.data.colour import PRETRAINING
from utils.data.crops import pretraining_crop
from utils.data.demands import settle_flip
from utils.data.lists import list_folder
from utils.data.splits import at_frame_rate, has_labels, has_lists, videos_below
from utils.default_settings import default_ds, default_settings
from utils.next_step import command, data_flags, run_flags, say_next
from utils.parallel import distributed
from utils.parallel.launch import launch
from utils.recipes import parse_with_recipe
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
from utils.run.optimisation import make_optimizer, make_schedule
from utils.run.proposal import say_proposal
from utils.run.setup import clip_batches, clip_settings, clip_videos, prepare_model, start, training_settings
from utils.run.state import Run
from utils.run.training import train_epoch
from utils.run.validation import validate


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    model = add_model_arguments(parser, 'dpc-rnn', NETWORKS)
    model.add_argument('--pred_step', default=3, type=positive_int, help='P, blocks to predict (default 3)')
    model.add_argument('--prediction', default='sequential', choices=['sequential', 'parallel'],
                       help='feed predictions back, or all from one state: the ablation "no Seq." (default sequential)')
    model.add_argument('--feature_map', default='dense', choices=['dense', 'pooled'],
                       help='keep the locations of the map, or average them: the ablation "no Map" (default dense)')
    model.add_argument('--train_what', default='all', choices=['all', 'last'],
                       help='everything, or only aggregator and predictor on a frozen backbone (default all)')
    model.add_argument('--dropout', default=0.1, type=fraction, help='on ConvGRU states (default 0.1; 0 for none)')
    data = add_data_arguments(parser, short_videos='drop')
    data.add_argument('--split', default=1, type=positive_int,
                      help='split whose training list is read, so that its test videos stay unseen (default 1)')
    data.add_argument('--clips_per_video', default=1, type=positive_int, metavar='K',
                      help='clips of each video in a batch, which then has batch_size/K videos; without overlap where '
                           'a video is long enough (default 1)')
    optimisation = add_optimisation_arguments(parser, wd=1e-5, schedule='constant')
    optimisation.add_argument('--negatives', default='all', choices=['all', 'local'],
                              help='from the clips of all processes, or of each its own, as published (default all)')
    optimisation.add_argument('--loss_chunk', type=positive_int, metavar='ROWS',
                              help='rows of the score matrix held at a time; lowers memory (default: all at once)')
    add_device_arguments(parser)
    run = add_run_arguments(parser, 'pretrain')
    run.add_argument('--knn_every', default=0, type=whole_number, metavar='EPOCHS',
                     help='log the top-1 of a 10-NN on the labelled validation videos, this often (default 0: never)')
    args = parse_with_recipe(parser, 'pretrain', argv)
    if args.pred_step >= args.num_seq:
        parser.error(f'--pred_step {args.pred_step} leaves none of the --num_seq {args.num_seq} blocks to be seen')
    side = -(-args.img_dim // 32)  # of the feature map
    if args.batch_size * args.pred_step * (1 if args.feature_map == 'pooled' else side * side) == 1:
        parser.error('the batch has a single location to predict, and so no negatives: raise --batch_size or --img_dim')
    args.ds = args.ds or default_ds(args.dataset, args.csv_root)
    settle_flip(args)
    args.prefix = args.prefix or 'pretrain'
    return args


def experiment_name(args):
    clips = f'_cpv{args.clips_per_video}' if args.clips_per_video > 1 else ''
    ablation = ''.join(f'_{value}' for value in (args.prediction, args.feature_map) if value in ('parallel', 'pooled'))
    split = f'-sp{args.split}' if args.split > 1 else ''  # published names have none
    return (f'{Path(args.dataset).name}-{args.img_dim}{split}_{network_name(args.net)}_{args.model}_bs{args.batch_size}'
            f'_lr{args.lr:g}_seq{args.num_seq}_pred{args.pred_step}_len{args.seq_len}_ds{args.ds}'
            f'{rate_suffix(args.fps)}_train-{args.train_what}' + clips + ablation + pretrained_suffix(args.pretrain))


def main(args):
    folder, resumed = find_resumed(vars(args))
    if not args.dry_run:
        announce_folder(folder, args.log_dir, args.prefix, experiment_name(args))
    lists = list_folder(args.csv_root, args.dataset, args.img_dim)
    checkpoint = {} if args.pretrain in (None, 'random') else read_checkpoint(args.pretrain)
    precision = start(args, resumed)
    if not (has_lists(lists) or resumed):
        say_proposal(at_frame_rate(videos_below(lists), args.fps).n_frames, args, precision.device.type)

    # model
    model = DPC(args.net, args.pred_step, args.dropout, args.prediction, args.feature_map)
    if checkpoint:
        load_weights(model, checkpoint, origin=args.pretrain)
    if args.train_what == 'last':
        model.backbone.requires_grad_(False)
    model = prepare_model(args, model, precision)
    if args.sync_bn and distributed.world() > 1:
        model = SyncBatchNorm.convert_sync_batchnorm(model)

    # data
    train_videos, val_videos = clip_videos(args, args.split)
    clip = clip_settings(args)
    train_set = ClipDataset(train_videos, clip, crop=pretraining_crop(Path(args.dataset).name), flip=args.flip,
                            colour=PRETRAINING, seed=args.seed, clips_per_video=args.clips_per_video)
    val_set = ClipDataset(val_videos, clip, crop='centre', flip=0, clips_per_video=args.clips_per_video,
                          labels=np.arange(len(val_videos)))
    train_batches = clip_batches(args, train_set, precision, drop_last=True)
    val_batches = clip_batches(args, val_set, precision, drop_last=False)

    # loss
    objective = Objective(args.negatives, args.loss_chunk)
    validation = Validation(objective, val_videos, args.knn_every, args.clips_per_video)

    def compute_loss(network, block, label):
        scored = objective(*network(block))
        return scored.loss, scored.statistics

    # optimiser and schedule
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = make_optimizer(args.optimizer, trainable, args.lr, args.wd)
    schedule = make_schedule(args.schedule, optimizer, args.epochs, args.lr_milestones, args.warmup_epochs)

    # run
    settings = {'model': args.model, 'net': args.net, 'aggregator': AGGREGATOR, **clip._asdict(),
                'pred_step': args.pred_step, 'prediction': args.prediction, 'feature_map': args.feature_map,
                **training_settings(args, train_videos, val_videos, checkpoint)}
    run = Run(model, optimizer, schedule, precision, settings, args.epochs, args.seed)
    run.epoch = args.start_epoch or 0
    train = partial(train_epoch, compute_loss=compute_loss, clip_grad=args.clip_grad,
                    skip_nonfinite=args.skip_nonfinite)
    if args.dry_run:
        processes = distributed.world() if args.negatives == 'all' else 1
        dry_run(run, train, validation, train_batches, val_batches,
                lambda output: processes * output[1].shape[:3].numel(), args.log_dir)
        return
    folder = folder or new_folder(args.log_dir, args.prefix, experiment_name(args))
    run.open(folder, args.keep, args.save_minutes)
    if resumed:
        run.resume(resumed, val_videos, args.lr if args.reset_lr else None)
    save_arguments(folder, vars(args))

    with run.logged():
        while run.epoch < args.epochs:
            trained = train(run, train_batches, print_freq=args.print_freq)
            validated = validate(run, val_batches, validation)
            run.log_epoch(trained, validated)
            run.save_epoch(validated)
    if distributed.is_main():
        say_next(*next_commands(args, run.saver.best(), has_labels(lists)))


def next_commands(args, weights, labelled):
    """What to do with the checkpoint `weights`. labelled: whether classes of the videos are known."""
    data, name = data_flags(args), Path(args.dataset).name
    if not labelled:
        return [command('eval/features.py', **data, weights=weights, out=f'features_{name}.npz'),
                command('eval/visualise.py', **data, weights=weights, out=f'pictures_{name}')]
    default = default_settings(args.dataset, args.csv_root)
    clip = {name: getattr(args, name) for name in default if name != 'net' and getattr(args, name) != default[name]}
    return [command('eval/frozen.py', **data, weights=weights, out=f'frozen_{name}'),
            command('eval/test.py', **run_flags(args), pretrain=weights, train_what='ft', **clip,
                    fps=args.fps or None, batch_size=args.batch_size, epochs=50)]


if __name__ == '__main__':
    launch(main, parse_args())
