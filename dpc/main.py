"""Pretraining by Dense Predictive Coding: learns video features from unlabelled clips."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backbone import NETWORKS
from dpc.loss import dense_info_nce
from dpc.metrics import top_k
from dpc.model import DPC
from utils.parallel import distributed
from utils.arguments import (add_data_arguments, add_device_arguments, add_model_arguments,
                             add_optimisation_arguments, add_run_arguments, default_ds)
from utils.data.augmentation import pretraining_crop
from utils.checkpoint import load_weights
from utils.cli import Parser, fraction, positive_int
from utils.data.colour import PRETRAINING
from utils.parallel.launch import launch
from utils.recipes import parse_with_recipe
from utils.run.folder import network_name, pretrained_suffix
from utils.run.setup import batches_of, check_network, clip_datasets, open_run_folder, prepare, put_on, start_run


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    model = add_model_arguments(parser, 'dpc-rnn', NETWORKS)
    model.add_argument('--pred_step', default=3, type=positive_int, help='P, blocks to predict (default 3)')
    model.add_argument('--prediction', default='sequential', choices=['sequential', 'parallel'],
                       help='feed predictions back, or all from one state: the ablation "no Seq." (default sequential)')
    model.add_argument('--feature_map', default='dense', choices=['dense', 'pooled'],
                       help='keep the places of the map, or average them: the ablation "no Map" (default dense)')
    model.add_argument('--train_what', default='all', choices=['all', 'last'],
                       help='everything, or only aggregator and predictor on a frozen backbone (default all)')
    model.add_argument('--dropout', default=0.1, type=fraction, help='on ConvGRU states (default 0.1; 0 for none)')
    add_data_arguments(parser, short_videos='drop')
    optimisation = add_optimisation_arguments(parser, wd=1e-5, schedule='constant')
    optimisation.add_argument('--negatives', default='all', choices=['all', 'local'],
                              help='from the clips of all processes, or of each its own, as published (default all)')
    optimisation.add_argument('--loss_chunk', type=positive_int, metavar='ROWS',
                              help='rows of the score matrix held at a time; lowers memory (default: all at once)')
    add_device_arguments(parser)
    add_run_arguments(parser)
    args = parse_with_recipe(parser, 'pretrain', argv)
    if args.pred_step >= args.num_seq:
        parser.error(f'--pred_step {args.pred_step} leaves none of the --num_seq {args.num_seq} blocks to be seen')
    side = -(-args.img_dim // 32)  # of the feature map
    if args.batch_size * args.pred_step * (1 if args.feature_map == 'pooled' else side * side) == 1:
        parser.error('the batch has a single place to predict, and so no negatives: raise --batch_size or --img_dim')
    args.ds = args.ds or default_ds(args.dataset)
    return args


def experiment_name(args):
    ablation = ''.join(f'_{value}' for value in (args.prediction, args.feature_map) if value in ('parallel', 'pooled'))
    return (f'{args.dataset}-{args.img_dim}_{network_name(args.net)}_{args.model}_bs{args.batch_size}_lr{args.lr:g}'
            f'_seq{args.num_seq}_pred{args.pred_step}_len{args.seq_len}_ds{args.ds}_train-{args.train_what}'
            + ablation + pretrained_suffix(args.pretrain))


def main(args):
    device = prepare(args)

    # model
    model = DPC(args.net, args.pred_step, args.dropout, prediction=args.prediction, feature_map=args.feature_map)
    if args.pretrain not in (None, 'random'):
        load_weights(model, args.pretrain)
    frozen = [model.backbone] if args.train_what == 'last' else []
    for part in frozen:
        part.requires_grad_(False)
    check_network(args, model, device)
    put_on(model, device)

    # data
    train_set, val_set = clip_datasets(args, split=1, train_augmentation={
        'crop': pretraining_crop(args.dataset), 'flip': args.flip, 'colour': PRETRAINING})
    train_batches = batches_of(args, train_set, device, drop_last=True)
    val_batches = batches_of(args, val_set, device, drop_last=False)

    # loss
    def compute_loss(network, block, label):
        prediction, target = network(block)
        first = 0
        if args.negatives == 'all':
            target, first = distributed.gather(target)
        rows = prediction.shape[1] * prediction.shape[2]
        loss, rank = dense_info_nce(prediction, target, args.loss_chunk, first_positive=first * rows)
        return loss, {f'top{k}': top_k(rank, k) / len(rank) for k in (1, 3, 5)}

    # optimiser, run folder, resumption
    groups = [{'params': [parameter for parameter in model.parameters() if parameter.requires_grad]}]
    folder, resumed = open_run_folder(args, experiment_name(args))
    run = start_run(args, model, compute_loss, groups, frozen, device, folder, resumed)
    run.fit(train_batches, val_batches, args.epochs)


if __name__ == '__main__':
    launch(main, parse_args())
