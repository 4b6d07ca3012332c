"""From flags to clips and a pretrained network: what the commands that show predictions share."""
import os

import numpy as np

from dpc.model import DPC
from eval.extract.inference import broken_of_all, read_pieces
from eval.extract.inputs import WHAT_VIDEOS, names_given, readable_videos
from eval.extract.setup import add_feature_arguments
from eval.networks.bn_statistics import MAX_CLIPS, complete_bn_statistics, layers_without_statistics
from eval.networks.load import is_classifier
from eval.networks.seen import split_to_follow
from eval.networks.settings import SETTINGS, SPLITS, resolve_settings, trained_settings
from eval.networks.weights import split_weights
from utils.checkpoint import load_weights, parameters_among, plain_names, read_checkpoint, weights_in
from utils.cli import UserError, positive_int
from utils.data.clip_starts import count_blocks
from utils.data.clips import ClipDataset, VideoDataset
from utils.data.lists import csv_file, list_folder
from utils.data.splits import at_frame_rate, read_split
from utils.default_settings import default_settings
from utils.next_step import command, data_flags
from utils.random_streams import stream
from utils.run.check_backbone import check_backbone, run_on_meta
from utils.run.log import say
from utils.run.setup import clip_settings, put_on, start_evaluation


def add_prediction_arguments(parser):
    """Flags for the videos, the weights and what is predicted. `check_prediction_arguments` completes them."""
    parser.add_argument('video', nargs='*', metavar='VIDEO',
                        help=f'{WHAT_VIDEOS}, to use as far as they fill batches; default: videos of --dataset')
    parser.add_argument('--weights', required=True, metavar='FILE',
                        help='checkpoint or model folder of pretraining; random: weights drawn from --seed')
    parser.add_argument('--split', type=int, choices=SPLITS,
                        help='split whose test list is read, or training list if there is no other (default: that of '
                             '--weights if they are of this data set, else 1)')
    parser.add_argument('--clips', default=256, type=positive_int,
                        help='videos of the list, drawn at random, of each of which the middle is used (default 256)')
    parser.add_argument('--pred_step', type=positive_int,
                        help='P, blocks predicted in pretraining (default: as stored in the checkpoint, or 3)')
    add_feature_arguments(parser)
    parser.set_defaults(dataset=None)


def check_prediction_arguments(parser, args):
    """Ends the program where parsed flags contradict each other; sets the default data set."""
    if args.video and args.dataset:
        parser.error(f'--dataset {args.dataset} and frames of videos were given: choose one')
    if args.num_procs > 1 or ',' in (args.gpu or ''):
        parser.error('the candidates of a prediction are those of one process: give one GPU, or leave out --num_procs')
    args.dataset = args.dataset or 'ucf101'


def prepare_predictions(args):
    """(DPC on its device, (h, w) of its feature map, VideoList, [(name, error) of given videos that can't be read],
    Precision, the checkpoint). Settings and a split that were left out follow the checkpoint.

    UserError: a file that can't be used, a missing list."""
    checkpoint = read_predictor(args, '' if args.video else args.dataset)
    given = names_given(args.video)
    folder = None if given else list_folder(args.csv_root, args.dataset, args.img_dim)
    precision = start_evaluation(args)
    args.split = args.split or split_to_follow({args.weights: checkpoint}, args.dataset)
    videos, failed = readable_videos(given) if given else (listed_videos(args, folder), [])
    videos = at_frame_rate(videos, args.fps)
    model, size = place_predictor(args, checkpoint, precision)
    return model, size, videos, failed, precision, checkpoint


def read_predictor(args, dataset):
    """The checkpoint of --weights, {} for random ones. Settings that were left out follow it, else the defaults of a
    data set ('' for none). UserError: a file that can't be used, settings that leave no block to be seen."""
    if split_weights(args.weights)[0]:
        raise UserError(f'--weights {args.weights}: third-party models have no predictor: give a checkpoint of '
                        'dpc/main.py')
    checkpoint = {} if args.weights == 'random' else read_checkpoint(args.weights)
    if is_classifier(checkpoint):
        raise UserError(f'{args.weights} is not a checkpoint of pretraining (a classifier\'s has no predictor): give '
                        'one of dpc/main.py')
    resolve_settings(args, trained_settings(checkpoint, (*SETTINGS, 'pred_step')),
                     {**default_settings(dataset, args.csv_root), 'pred_step': 3},
                     args.weights if checkpoint else None)
    if args.pred_step >= args.num_seq:
        raise UserError(f'--pred_step {args.pred_step} leaves none of the --num_seq {args.num_seq} blocks to be seen')
    return checkpoint


def place_predictor(args, checkpoint, precision):
    """(DPC on its device, (h, w) of its feature map). UserError: see `load_network`."""
    model = load_network(args.weights, checkpoint, args.net, args.pred_step)
    check_backbone(model.backbone, args.net, args.img_dim, args.seq_len)
    size = map_size(model, args.seq_len, args.img_dim)
    return put_on(model, precision.device), size


def training_videos(args, checkpoint):
    """The VideoList of the training list of --dataset, of the split that the checkpoint was trained on, else 1."""
    split = split_to_follow({args.weights: checkpoint}, args.dataset)
    videos = read_split(list_folder(args.csv_root, args.dataset, args.img_dim), split, 'train', args.frame_root)
    return at_frame_rate(videos, args.fps)


def complete_statistics(args, model, checkpoint, training, resources):
    """Estimates the BN statistics of a DPC that its checkpoint lacks from `training` videos; returns whether it did.

    UserError: there are none to estimate them from (None)."""
    missing = model.state_dict().keys() - plain_names(weights_in(checkpoint)).keys()
    if not layers_without_statistics(model, missing):
        return False
    if training is None:
        raise UserError(f'--weights {args.weights} has no BN statistics: say with --dataset from whose training videos '
                        'to estimate them')
    clips = ClipDataset(training, clip_settings(args), crop='centre', flip=0)
    complete_bn_statistics(model, missing, clips, MAX_CLIPS, args.seed, resources.precision, resources.num_workers,
                           resources.timeout)
    model.eval()
    return True


def load_network(weights, checkpoint, net, pred_step):
    """The DPC of a pretraining checkpoint, frozen; of random weights if `checkpoint` is {}.

    weights: what messages call it. UserError: another net, or a checkpoint without a predictor."""
    settings = checkpoint.get('settings', {})
    ablations = {name: settings[name] for name in ('prediction', 'feature_map') if name in settings}
    model = DPC(net, pred_step, **ablations)
    if checkpoint:
        lacking = parameters_among(load_weights(model, checkpoint, origin=weights).missing)
        if lacking:
            raise UserError(f'{weights} has no {lacking[0]}: it is not a checkpoint of pretraining with --pred_step '
                            f'{pred_step}; give one of dpc/main.py')
    return model.requires_grad_(False).eval()


def listed_videos(args, folder):
    """`--clips` of the videos listed in a `list_folder`, drawn at random from the seed."""
    part = 'test' if os.path.exists(csv_file(folder, args.split, 'test')) else 'train'
    videos = read_split(folder, args.split, part, args.frame_root)
    return videos.select(stream('shown_clips', args.seed).permutation(len(videos))[:args.clips])


def skipped_lines(failed, broken, count, left_out, batch_size):
    """A line for each video that could not be read; says how many clips fill no batch.

    failed: of prepare_predictions. broken: of read_videos, for `count` videos. UserError: none could be read."""
    if left_out:
        say(f'{left_out} clips that do not fill a batch of {batch_size} are left out: see --batch_size')
    return [f'{name}: {error}' for name, error in failed] + [error for _, error in broken_of_all(broken, count)]


def next_command(args, script, out):
    """Another command for the same weights and videos."""
    return command(script, *args.video, **{**data_flags(args), 'dataset': None if args.video else args.dataset},
                   weights=args.weights, out=out)


def map_size(model, seq_len, img_dim):
    """(h, w) of the feature map, (1, 1) where it is pooled."""
    return (1, 1) if model.pooled else tuple(run_on_meta(model.backbone, (1, 3, seq_len, img_dim, img_dim)).shape[-2:])


def read_videos(dataset, resources, title, broken):
    """Yields the readable ones of `middle_clips`, items of the VideoDataset. broken: gets (index, error) of others."""
    return (video for video in read_pieces(dataset, resources, title, broken) if 'broken' not in video)


def middle_clips(videos, clip):
    """The VideoDataset of one clip in the middle of each video."""
    return VideoDataset(videos, clip, starts_of=lambda n_frames: np.array(
        [(count_blocks(n_frames, clip.num_seq, clip.seq_len, clip.ds) - clip.num_seq) // 2]), most=clip.num_seq)
