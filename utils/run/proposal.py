"""Values for a first pretraining on a folder of videos, from how many there are and how long they are."""
import numpy as np

from utils.cli import UserError
from utils.default_settings import BATCH_SIZE, CLIP, EPOCHS, default_ds
from utils.next_step import same_command
from utils.run.log import say

# (num_seq, seq_len, ds) of a clip, the longest first; it should fit in ENOUGH of the videos
CLIPS = (8, 5, 3), (8, 5, 2), (8, 5, 1), (6, 5, 1), (5, 4, 1), (5, 3, 1)
ENOUGH = 0.8
CLIP_FLAGS = 'num_seq', 'seq_len', 'ds'
BATCH, IMG_DIM = {'cuda': 64, 'cpu': 8}, {'cuda': 128, 'cpu': 64}  # clips and px that both can afford
SEEN = {'cuda': 500_000, 'cpu': 20_000}                            # clips trained on: some hours
EPOCH_RANGE = 10, 300                                              # at least, at most


def propose(n_frames, device):
    """{flag: value} for videos of `n_frames` int [R]; device: 'cuda' or 'cpu'.

    >>> propose(np.full(200, 60), 'cpu')
    {'num_seq': 8, 'seq_len': 5, 'ds': 1, 'img_dim': 64, 'batch_size': 8, 'epochs': 100}
    """
    share = {clip: np.mean(n_frames >= np.prod(clip)) for clip in CLIPS}
    clip = next((clip for clip in CLIPS if share[clip] >= ENOUGH), CLIPS[-1])
    pad = {} if share[clip] >= ENOUGH else {'short_videos': 'pad'}
    videos = len(n_frames) if pad else int(round(share[clip] * len(n_frames)))
    batch = BATCH[device]
    while batch > 2 and batch > videos / 4:
        batch //= 2
    epochs = int(np.clip(SEEN[device] // videos, *EPOCH_RANGE))
    return {**dict(zip(CLIP_FLAGS, clip)), **pad, 'img_dim': IMG_DIM[device], 'batch_size': batch,
            'epochs': epochs}


def clip_within(frames):
    """{flag: value} of the longest of CLIPS in so many frames; padding where none is short enough.

    >>> clip_within(50), clip_within(9)
    ({'num_seq': 8, 'seq_len': 5, 'ds': 1}, {'short_videos': 'pad'})
    """
    clip = next((clip for clip in CLIPS if np.prod(clip) <= frames), None)
    return dict(zip(CLIP_FLAGS, clip)) if clip else {'short_videos': 'pad'}


def changes_for(n_frames, args, device):
    """Those of `propose` that differ from the flags and that nobody has chosen. {}: the flags will do, as half of the
    videos hold a clip and --batch_size or --epochs is given."""
    defaults = {**CLIP, 'ds': default_ds(args.dataset), 'batch_size': BATCH_SIZE, 'epochs': EPOCHS,
                'short_videos': 'drop'}
    chosen = {name for name in defaults if getattr(args, name) != defaults[name]}
    if args.short_videos == 'pad' or np.mean(n_frames >= args.num_seq * args.seq_len * args.ds) >= 0.5:
        if chosen & {'batch_size', 'epochs'}:
            return {}
        chosen |= {*CLIP_FLAGS} if chosen & {*CLIP_FLAGS} else set()
    else:
        chosen -= {*CLIP_FLAGS}
    return {name: value for name, value in propose(n_frames, device).items()
            if name not in chosen and getattr(args, name) != value}


def say_proposal(n_frames, args, device):
    """Prints the command that suits a folder of videos, if this one doesn't. UserError, with that command: no video
    holds a clip."""
    changes = changes_for(n_frames, args, device)
    if not changes:
        return
    better = same_command(**changes)
    length = f'{len(n_frames)} videos of {n_frames.min()} to {n_frames.max()} frames (median {np.median(n_frames):.0f})'
    clip_frames = args.num_seq * args.seq_len * args.ds
    if args.short_videos == 'drop' and n_frames.max() < clip_frames:
        raise UserError(f'--dataset {args.dataset}: none of its {length} holds a clip of {clip_frames}: run {better}')
    say(f'{length}: a first run that suits them: {better}')
