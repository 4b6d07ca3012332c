"""Networks by name, third-party ones and our own, with random weights; and the clips that they take."""
import math

from backbone import select_backbone
from eval.model import Representation
from eval.networks.third_party import ThirdPartyRepresentation, on_meta
from eval.networks.weights import entry_of
from utils.cli import UserError
from utils.default_settings import CLIP
from utils.run.check_backbone import check_backbone, run_on_meta
from utils.run.log import say
from utils.text import first_line


def build_representation(net):
    """The network `net`, third-party or of backbone/, with random weights, for clips [B, N, C, T, H, W]."""
    entry = entry_of(net)
    return Representation(net) if entry is None else ThirdPartyRepresentation(entry)


def own_clip(net, flags):
    """{'num_seq', 'seq_len', 'img_dim'} of the clips for a third-party network of fixed size: where flags are left out,
    those that its weights are used with. {} for one that takes any clip.

    flags: {name: value} of these three, None for those left out."""
    entry = entry_of(net)
    if not entry.fixed_size:
        return {}
    num_seq, seq_len = flags['num_seq'], flags['seq_len']
    num_seq = num_seq or (max(1, entry.frames // seq_len) if seq_len else math.gcd(entry.frames, CLIP['num_seq']))
    return {'num_seq': num_seq, 'seq_len': seq_len or max(1, entry.frames // num_seq),
            'img_dim': flags['img_dim'] or entry.img_dim}


def announce(net, clip):
    """Says what clips a third-party network gets. UserError: it doesn't run on them."""
    entry = entry_of(net)
    check_representation(on_meta(entry), net, clip)
    given, own = (clip.num_seq * clip.seq_len, clip.img_dim), (entry.frames, entry.img_dim)
    said = 'as in its config' if given == own else f'its weights are used with {own[0]} frames of {own[1]} px'
    say(f'{net}: clips of {given[0]} frames of {given[1]} px, {said}')


def check_representation(model, net, clip):
    """UserError unless the network runs on such clips. clip: {num_seq, seq_len, ds, img_dim}."""
    num_seq, seq_len, _, img_dim = clip
    entry = entry_of(net)
    if entry is None:
        check_backbone(model.backbone, net, img_dim, seq_len)
        return
    check_clip(net, entry, num_seq * seq_len, img_dim)
    try:
        feature, vector = run_on_meta(model, (2, num_seq, 3, seq_len, img_dim, img_dim))
    except NotImplementedError:  # an operation without a meta version: the first batch will tell
        return
    except Exception as error:  # any kind, from third-party code
        raise UserError(f'{net} fails on clips of {num_seq * seq_len} frames of {img_dim} px ({type(error).__name__}: '
                        f'{first_line(error)}): raise --img_dim, or --num_seq or --seq_len') from error
    size = entry.size
    if feature.dim() != 4 or feature.shape[-1] != size or vector.shape != (2, 1, size):
        raise UserError(f'{net}: the network of this entry in eval/networks gives {list(feature.shape)} and '
                        f'{list(vector.shape)}; it must give [2, 1, M, {size}] and [2, 1, {size}] here, where {size} '
                        'is the size in its entry')


def check_clip(net, entry, frames, img_dim):
    """UserError unless a third-party network takes so many frames of that size."""
    if entry.fixed_size and img_dim != entry.img_dim:
        raise UserError(f'{net} takes frames of {entry.img_dim} px, and --img_dim is {img_dim}: leave the flag out')
    if frames % entry.frame_steps if entry.frame_steps else frames != entry.frames:
        takes = f'a multiple of {entry.frame_steps}' if entry.frame_steps else entry.frames
        raise UserError(f'{net} takes clips of {takes} frames, and --num_seq times --seq_len is {frames}: leave both '
                        'flags out')


def token_shape(net, clip):
    """(M, D) of the tokens that the network `net` makes of a clip, see `check_representation`."""
    num_seq, frames = clip.num_seq, (3, clip.seq_len, clip.img_dim, clip.img_dim)
    entry = entry_of(net)
    if entry is not None:
        return tuple(run_on_meta(on_meta(entry), (2, num_seq, *frames))[0].shape[2:])
    _, size, _, h, w = run_on_meta(select_backbone(net), (2, *frames)).shape
    return num_seq * h * w, size
