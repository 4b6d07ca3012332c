"""Flags that pretraining and classification share, in groups. Defaults that differ between them are arguments."""
import argparse

from utils import ROOT
from utils.cli import fraction, not_negative, number, positive, positive_int, whole_number
from utils.default_settings import BATCH_SIZE, CLIP, EPOCHS, NET
from utils.run.optimisation import OPTIMIZERS, SCHEDULES


def learning_rate_milestones(text):
    parts = [part.strip() for part in text.split(',') if part.strip()]
    epochs = [int(part) for part in parts if part.isdecimal()]
    if len(epochs) < len(parts) or epochs != sorted(set(epochs)):
        raise argparse.ArgumentTypeError(f'{text!r}: give epochs in ascending order, as 60,80,100')
    return epochs


frames_a_second = number(float, lambda value: 0 <= value <= 1000, 'frames a second, from 0 to 1000')

FOLLOWS = "default: the checkpoint's, else"


def add_model_arguments(parser, model, networks, default='default'):
    """model: the only value of the published flag --model; None leaves the flag out. default: what the help says before
    the defaults."""
    group = parser.add_argument_group('model')
    group.add_argument('--net', default=NET, choices=networks, help=f'backbone ({default} {NET})')
    if model is not None:
        group.add_argument('--model', default=model, choices=[model], help=f'kind of model (default {model})')
    for name, meaning in (('img_dim', 'side of the input frames, px'), ('num_seq', 'N, blocks in a clip'),
                          ('seq_len', 'T, frames in a block')):
        group.add_argument(f'--{name}', default=CLIP[name], type=positive_int,
                           help=f'{meaning} ({default} {CLIP[name]})')
    return group


def add_data_arguments(parser, short_videos=None, default='default'):
    """short_videos: the default of that flag; None leaves out the flags that only training has. default: see
    add_model_arguments."""
    group = parser.add_argument_group('data')
    group.add_argument('--dataset', default='ucf101',
                       help='ucf101, hmdb51, k400, demo, the name of any folder under --csv_root, or a path to a '
                            'folder of lists or of unlabelled videos (default ucf101)')
    group.add_argument('--csv_root', default=str(ROOT / 'process_data' / 'data'),
                       help='folder of the data sets\' csv lists (default process_data/data of this repository)')
    group.add_argument('--frame_root', help='folder where relative paths in the csv start (default: they are absolute)')
    group.add_argument('--ds', type=positive_int, help=f'take every ds-th frame ({default} 3, Kinetics 5, or '
                            'what dataset.json of the lists says; 1 takes all)')
    group.add_argument('--fps', default=0, type=frames_a_second,
                       help=f'take so many frames a second of video files, by time ({default} 0, every frame)')
    group.add_argument('--num_workers', type=whole_number,
                       help='processes that read data, for each process of the run (default: the CPU cores, shared '
                            'out, at most 16; 0 reads in the process of the run)')
    if short_videos is None:
        return group
    group.add_argument('--short_videos', default=short_videos, choices=['drop', 'pad'],
                       help='training videos shorter than a clip are left out, or repeat their last frame '
                            f'(default {short_videos})')
    group.add_argument('--flip', type=fraction,
                       help='probability of mirroring a training clip (default 0.5, or what dataset.json of the lists '
                            'says; 0 if classes differ by direction)')
    group.add_argument('--val_on', default='train', choices=['train', 'test'],
                       help='validate on a held-out part of the training list, or as published on the test list '
                            '(default train)')
    group.add_argument('--val_fraction', default=0.1, type=fraction,
                       help='part of the training list held out for validation, in whole groups, at least one per '
                            'class (default 0.1)')
    return group


def add_optimisation_arguments(parser, wd, schedule):
    group = parser.add_argument_group('optimisation')
    group.add_argument('--batch_size', default=BATCH_SIZE, type=positive_int,
                       help=f'clips in a batch, all processes (default {BATCH_SIZE})')
    group.add_argument('--encode_chunks', default=1, type=positive_int, metavar='K',
                       help='encode the batch in K chunks, recomputed in the backward pass: memory of one chunk, a '
                            'third more time; BN statistics are per chunk (default 1)')
    group.add_argument('--optimizer', default='adam', choices=OPTIMIZERS, help='default adam; sgd has momentum 0.9')
    group.add_argument('--lr', default=1e-3, type=not_negative, help='learning rate (default 0.001)')
    group.add_argument('--wd', default=wd, type=not_negative, help=f'weight decay (default {wd:g}; 0 for none)')
    group.add_argument('--schedule', default=schedule, choices=SCHEDULES,
                       help=f'of the learning rate, by epoch (default {schedule})')
    group.add_argument('--lr_milestones', type=learning_rate_milestones, metavar='EPOCHS', default=[],
                       help='for step: epochs after which the learning rate drops tenfold, as 60,80,100')
    group.add_argument('--warmup_epochs', default=0, type=whole_number,
                       help='epochs over which the learning rate rises linearly (default 0: none)')
    group.add_argument('--clip_grad', type=positive, metavar='NORM', help='largest norm of the gradient (default: any)')
    group.add_argument('--epochs', default=EPOCHS, type=positive_int,
                       help=f'epochs in all, resumed ones included (default {EPOCHS})')
    group.add_argument('--start-epoch', default=None, type=whole_number,
                       help='number of the first epoch; the schedule stays, and a resumed run ignores it (default 0)')
    group.add_argument('--skip_nonfinite', default=0, type=whole_number, metavar='K',
                       help='skip up to K steps with a non-finite loss before stopping (default 0)')
    group.add_argument('--seed', default=0, type=whole_number, help='seed of every random choice (default 0)')
    return group


def add_device_arguments(parser, training=True):
    group = parser.add_argument_group('devices')
    group.add_argument('--gpu',
                       help='GPUs, as 0 or 0,1,2,3 (one process each), or cpu (default 0, or cpu where there is none)')
    group.add_argument('--num_procs', default=1, type=positive_int, help='processes, with --gpu cpu (default 1)')
    group.add_argument('--timeout', default=40, type=whole_number, metavar='SECONDS',
                       help='end the run when a process is silent, or no data worker reads a frame, for this long '
                            '(default 40; 0 never)')
    group.add_argument('--amp', default='auto', choices=['auto', 'bf16', 'fp16', 'off'],
                       help='precision of the backbone; off is float32, on GPUs with TF32 (default auto: bf16 where it '
                            'is faster, which a CPU is asked by a short measurement; a resumed run keeps its '
                            'precision)')
    if not training:
        return group
    group.add_argument('--sync_bn', action='store_true', help='BN over the whole batch, not each process\'s share')
    group.add_argument('--compile', default='colour', choices=['off', 'colour', 'all'],
                       help='what torch.compile compiles on a GPU: the colour augmentation, or the backbone, too, for '
                            'a slow start and faster steps (default colour; on the CPU only "all" compiles)')
    return group


def add_run_arguments(parser, prefix):
    """prefix: the default of that flag, in words where it depends on others; the command settles it."""
    group = parser.add_argument_group('run')
    group.add_argument('--pretrain', metavar='FILE',
                       help='start from the weights in this checkpoint or model folder; random for none')
    group.add_argument('--resume', metavar='FILE',
                       help='resume exactly from this checkpoint, in its run folder; auto: the run under log_{prefix} '
                            'that began with the same flags, or a new one if there is none')
    group.add_argument('--reset_lr', action='store_true', help='with --resume: use --lr, not the rate of the run')
    group.add_argument('--dry_run', action='store_true',
                       help='put a few batches through training, validation and saving, print time, memory and loss, '
                            'draw dry_run.png in --log_dir, and leave no run')
    group.add_argument('--print_freq', default=5, type=positive_int, help='steps between printed lines (default 5)')
    group.add_argument('--prefix', help=f'runs go to log_{{prefix}} (default {prefix})')
    group.add_argument('--log_dir', default=str(ROOT), help='folder of log_{prefix} (default: this repository)')
    group.add_argument('--keep', default=3, type=positive_int, help='newest epochs kept, besides the best (default 3)')
    group.add_argument('--save_minutes', default=10., type=not_negative,
                       help='also save in the middle of an epoch, this often (default 10; 0 never)')
    return group
