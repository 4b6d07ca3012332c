"""From parsed flags to the parts of a run; the modules below take named values, never `args`."""
from pathlib import Path

import torch

from utils.cli import UserError, cpu_cores
from utils.data.batches import AHEAD, PIECE, ClipBatches
from utils.data.clips import Clip
from utils.data.demands import compare
from utils.data.lists import list_folder
from utils.data.seen import CLASSIFIER, record_of, train_list, trainings_of
from utils.data.splits import TooShort, at_frame_rate, listed_paths, read_split, train_and_validation, usable
from utils.next_step import same_command
from utils.parallel import distributed
from utils.parallel.compilation import obstacle_to_compilation
from utils.parallel.environment import local_rank, local_world
from utils.parallel.gpus import choose_device, uses_cuda
from utils.parallel.memory import available_memory
from utils.parallel.precision import choose_precision
from utils.run.check_backbone import check_backbone, wrong_gradient
from utils.run.log import say, warn
from utils.run.proposal import clip_within

ACTIVATION_BYTES = 250  # per pixel of a clip: what resnet18 keeps for its backward pass in bf16, the least of all nets


def start(args, resumed=None):
    """`start_evaluation` for training, which has more flags. resumed: path of the checkpoint to resume, if any.

    UserError: as there, or for a flag that training on this machine can't follow."""
    if (args.start_epoch or 0) >= args.epochs:
        raise UserError(f'--start-epoch {args.start_epoch} leaves nothing of --epochs {args.epochs}')
    on_cuda = uses_cuda(args.gpu)
    if args.sync_bn and not on_cuda and distributed.world() > 1:
        raise UserError('--sync_bn needs GPUs: with processes on the CPU leave it out')
    obstacle = obstacle_to_compilation(on_cuda)
    if obstacle and args.compile == 'colour' and on_cuda and distributed.is_main():
        warn(f'{obstacle}: colour augmentation is not compiled and will be slow on the GPU')
    if distributed.is_main():
        say_demands(args)
    return start_evaluation(args, resumed, training=True)


def say_demands(args):
    """Says what the flags obey of what the data set demands, and warns of what they don't."""
    obeyed, other = compare(args)
    if obeyed:
        say(obeyed)
    if other:
        warn(other)


def start_evaluation(args, resumed=None, training=False, views=1):
    """Checks the flags against the machine and returns the Precision, which has this process's device.

    Seeds the weights, which every process draws alike. views: of each clip in a test.
    UserError: flags that contradict each other or the machine."""
    torch.manual_seed(args.seed)
    device = choose_device(args.gpu, local_rank())
    check_workers(args.num_workers)
    check_memory(args, device, training, views)
    return choose_precision(args.amp, device, resumed)  # last, as it may measure


def check_workers(num_workers):
    most = 8 * cpu_cores()
    if (num_workers or 0) * local_world() > most:
        raise UserError(f'--num_workers {num_workers}: this machine has {cpu_cores()} cores; give at most '
                        f'{most // local_world()}')


def check_memory(args, device, training, views):
    """UserError if the machine lacks the memory for the frames of a batch, or the CPU for its activations in
    training."""
    pixels = args.num_seq * args.seq_len * args.img_dim ** 2
    share = -(-args.batch_size // distributed.world())
    in_flight = min(share, PIECE) * AHEAD * workers_of(args)
    need = pixels * 3 * (in_flight * views + 2 * share)
    if device.type == 'cpu':
        need += pixels * share * (3 * 4 + (ACTIVATION_BYTES // args.encode_chunks if training else 0))
    need *= local_world()
    if need > available_memory():
        raise UserError(f'batches of {args.batch_size} clips of {args.num_seq}×{args.seq_len} frames, {args.img_dim} '
                        f'px, need at least {need / 1e9:.1f} GB of memory, and {available_memory() / 1e9:.1f} GB are '
                        'free: lower --batch_size, --img_dim, --num_seq or --num_workers')


def workers_of(args):
    """Data workers of this process: `--num_workers`, or its share of the CPU cores."""
    return max(1, min(16, cpu_cores() // local_world())) if args.num_workers is None else args.num_workers


def prepare_model(args, model, precision):
    """The model on its device, as the flags want it to compute. UserError: its backbone can't."""
    check_backbone(model.backbone, args.net, args.img_dim, args.seq_len)
    if precision.device.type == 'cpu' and precision.name == 'bf16':
        leave_wrong_bf16(model.backbone, args.img_dim, args.seq_len, precision, args.amp == 'auto')
    model.encode_chunks = args.encode_chunks
    put_on(model, precision.device)
    if args.compile == 'all':
        if obstacle := obstacle_to_compilation(precision.device.type == 'cuda'):
            raise UserError(f'--compile all: {obstacle}; fix that or leave the flag out')
        model.backbone.compile(dynamic=False)  # recomputation must run the graph of the forward pass
    return model


def leave_wrong_bf16(backbone, img_dim, seq_len, precision, automatic):
    """Training in float32 instead, or with `--amp bf16` a UserError, where bfloat16 gives wrong gradients."""
    wrong = wrong_gradient(backbone, img_dim, seq_len) if distributed.is_main() else None
    distributed.wait_for_main()
    wrong = distributed.from_main(wrong)
    if wrong and not automatic:
        raise UserError(f'--amp bf16: {wrong}; give --amp off')
    if wrong:
        say(f'--amp auto: off after all, as {wrong}')
        precision.use('off')


def put_on(model, device):
    """Moves the model; on GPUs the backbone's volume convolutions get the memory layout that is fastest there."""
    if device.type == 'cuda':
        for weight in model.backbone.parameters():
            if weight.dim() == 5:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last_3d)
    return model.to(device)


def clip_settings(args):
    """The Clip of the flags; its fields are also stored in checkpoints."""
    return Clip(args.num_seq, args.seq_len, args.ds, args.img_dim)


def rate_setting(args):
    """{'fps': --fps} where frames are taken by time: also stored in checkpoints, and part of what is measured."""
    return {'fps': args.fps} if args.fps else {}


def frames_taken(args):
    """How frames are taken, for people."""
    return f'ds {args.ds}' + (f' of {args.fps:g} frames a second' if args.fps else '')


def clip_videos(args, split, train=None):
    """(training, validation) VideoLists of the flags; of a folder of videos without lists, those of a classifier are
    split by class folders. train: the part of the training list to use (None: all of it)."""
    folder = list_folder(args.csv_root, args.dataset, args.img_dim)
    by_class = args.model == CLASSIFIER
    listed = read_split(folder, split, 'train', args.frame_root, by_class) if train is None else train
    train, val = train_and_validation(folder, split, args.frame_root, args.val_on, args.val_fraction, args.seed,
                                      at_frame_rate(listed, args.fps), by_class)
    parts = [train, at_frame_rate(val, args.fps) if args.val_on == 'test' else val]
    clip_frames = args.num_seq * args.seq_len * args.ds
    try:
        parts = [usable(part, clip_frames, args.short_videos, purpose)
                 for part, purpose in zip(parts, ('training', 'validation'))]
    except TooShort as error:
        raise UserError(f'{error}: {same_command(**clip_within(error.longest))}') from None
    say(f'{len(parts[0])} videos to train on, {len(parts[1])} to validate on')
    return parts


def training_settings(args, train, val, checkpoint):
    """What checkpoints store of the data: frame rate, data set, split, which list validates, the videos trained on, and
    the trainings that led to the `checkpoint` that the run starts from ({} for none). train, val: of `clip_videos`."""
    folder = list_folder(args.csv_root, args.dataset, args.img_dim)
    listed = listed_paths(folder, args.split, args.frame_root, train, val)
    return {**rate_setting(args), 'dataset': Path(args.dataset).name, 'split': args.split, 'val_on': args.val_on,
            'train_list': train_list(train, listed), 'started_from': list(map(record_of, trainings_of(checkpoint)))}


def clip_batches(args, dataset, precision, drop_last):
    """This process's share of the batches of a ClipDataset."""
    clips = dataset.clips_per_video
    overlapping = int((dataset.videos.n_frames < clips * dataset.num_frames * dataset.ds).sum())
    if clips > 1 and overlapping:
        say(f'{overlapping} of {len(dataset.videos)} videos are too short for {clips} clips without overlap')
    compiled = args.compile != 'off' and precision.device.type == 'cuda' and not obstacle_to_compilation(on_cuda=True)
    return ClipBatches(dataset, args.batch_size, drop_last, precision, workers_of(args), args.timeout,
                       compiled, (distributed.rank(), distributed.world()))
