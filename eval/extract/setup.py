"""From flags to features: what the commands of frozen evaluation share."""
from argparse import Namespace
from pathlib import Path

import numpy as np

from backbone import NETWORKS
from eval.extract.cache import fingerprint, stored_or_made
from eval.extract.inputs import names_given, readable_videos
from eval.extract.resources import resources_of
from eval.extract.vectors import LabelledVideos, extract_features, load_representation, read_features, write_features
from eval.networks.representation import announce, own_clip
from eval.networks.seen import split_to_follow
from eval.networks.settings import SPLITS, common_settings, resolve_settings, trained_settings
from eval.networks.weights import net_of, read_weights
from utils.arguments import FOLLOWS, add_data_arguments, add_device_arguments, add_model_arguments
from utils.cli import UserError, positive_int, whole_number
from utils.data.classes import SEPARATOR, labels_of
from utils.data.lists import VideoList, csv_file, list_folder
from utils.data.splits import at_frame_rate, class_names_of, has_lists, read_split
from utils.default_settings import CLIP, default_settings
from utils.parallel import distributed
from utils.run.log import say, warn
from utils.run.setup import clip_settings, start_evaluation
from utils.text import ENCODING


def add_feature_arguments(parser):
    """Flags for what is extracted, and how. --net, --img_dim … default to None: see `prepare`."""
    model = add_model_arguments(parser, None, NETWORKS, FOLLOWS)
    model.add_argument('--allow_other_settings', action='store_true',
                       help='let these flags differ from what the checkpoint was trained with, and test videos be '
                            'named like training videos of another data set')
    data = add_data_arguments(parser, default=FOLLOWS)
    data.add_argument('--batch_size', default=16, type=positive_int,
                      help='clips at a time, of several videos, all processes (default 16)')
    add_device_arguments(parser, training=False)
    parser.add_argument('--seed', default=0, type=whole_number, help='seed of every random choice (default 0)')
    parser.set_defaults(net=None, img_dim=None, num_seq=None, seq_len=None, ds=None, fps=None)


def prepare(args, given=(), by_class=False):
    """Reads the checkpoints and lists that the flags name: ({weights: checkpoint, {} for random}, LabelledVideos, class
    names, Precision). Settings that were left out follow the checkpoints; see also `flags_for`.

    given: names of videos to take instead of the lists, unlabelled. by_class: labels are needed, and those of a folder
    of videos without lists are its class folders.
    UserError: a file that can't be used, checkpoints of different settings, a missing list."""
    weights = [args.weights] if isinstance(args.weights, str) else args.weights
    checkpoints = {name: read_weights(name) for name in weights}
    others = dict.fromkeys(net_of(name, None) for name in weights)  # None: our own
    trained = {name: trained_settings(checkpoint) for name, checkpoint in checkpoints.items()
               if checkpoint and net_of(name, None) is None}
    defaults = default_settings(args.dataset, args.csv_root)
    if None not in others:
        if args.net:
            raise UserError(f'--net {args.net}: --weights names the networks; leave --net out')
        del defaults['net']
    flags = {name: getattr(args, name) for name in CLIP}
    own_clips = {net: own_clip(net, flags) for net in filter(None, others)}
    if None not in others and all(own_clips.values()):
        first = next(iter(own_clips))
        trained = {first: own_clips[first]}
    resolve_settings(args, common_settings(trained) if trained else {}, defaults, origin=next(iter(trained), None))
    args.clips = {net: clip_settings(args)._replace(**own) for net, own in own_clips.items()}
    for net, clip in args.clips.items():
        announce(net, clip)
    given = names_given(given)
    folder = None if given else list_folder(args.csv_root, args.dataset, args.img_dim)
    precision = start_evaluation(args)
    if given:
        videos, failed = readable_videos(given)
        return checkpoints, unlabelled(at_frame_rate(videos, args.fps), failed), [], precision
    args.split = args.split or split_to_follow(checkpoints, args.dataset)
    labelled = by_class or Path(folder, 'classInd.txt').exists()
    class_names = class_names_of(folder) if labelled else []
    if not labelled:
        say(f'{folder} has no classInd.txt: all labels are -1')
    listed = labelled_videos(folder, args.split, args.frame_root, class_names, args.fps)
    return checkpoints, listed, class_names, precision


def flags_for(args, weights):
    """The flags with the clip settings for these --weights: of some third-party models they are their own."""
    clip = args.clips.get(net_of(weights, None), clip_settings(args))
    return Namespace(**{**vars(args), **clip._asdict()})


def unlabelled(videos, failed):
    """The LabelledVideos of `readable_videos`, without labels, all for training."""
    return LabelledVideos(videos, np.full(len(videos), -1), np.full(len(videos), 'train'), failed)


def labelled_videos(folder, split, frame_root, class_names, fps=0):
    """The LabelledVideos of one split of a data set's `list_folder`, or of all three for 'all'.

    A folder of videos without lists is split by its class folders if there are `class_names`. A data set without a test
    list has training videos only. fps: see `at_frame_rate`. UserError: a missing training list, a class that is not in
    `class_names` (unless that is empty)."""
    splits = SPLITS if split == 'all' else [split]
    by_class = bool(class_names) and not has_lists(folder)
    rows, n_frames, label, group, part_of = {}, [], [], [], []  # row of each path
    has_labels = False
    for column, number in enumerate(splits):
        for part in ('train', 'test'):
            if part == 'test' and not by_class and not Path(csv_file(folder, number, part)).exists():
                if distributed.is_main():
                    warn(f'{folder} has no test list')
                continue
            videos = read_split(folder, number, part, frame_root, by_class)
            has_labels |= videos.label is not None
            groups = (group.decode(**ENCODING) for group in videos.group.tolist())
            for path, count, names, own in zip(videos.paths(), videos.n_frames, videos.classes(), groups):
                if path not in rows:
                    rows[path] = len(rows)
                    n_frames.append(count)
                    label.append(SEPARATOR.join(names))
                    group.append(own)
                    part_of.append([''] * len(splits))
                if part_of[rows[path]][column]:
                    raise UserError(f'{path} is twice in the lists of split {number} in {folder}; write them again '
                                    'with process_data/write_csv.py')
                part_of[rows[path]][column] = part
    videos = VideoList.from_rows(list(rows), n_frames, label=label if has_labels else None, group=group)
    videos = at_frame_rate(videos, fps)
    label = (labels_of(videos, class_names, videos.has_several_labels()) if class_names
             else np.full(len(videos), -1))
    part = np.array(part_of)
    return LabelledVideos(videos, label, part if split == 'all' else part[:, 0])


def features_of(args, weights, seed, checkpoint, listed, precision, path, per_clip=False):
    """The Features of the LabelledVideos `listed`: those stored at `path`, or newly extracted and stored there.

    weights: what --weights calls the `checkpoint`; random ones are drawn from `seed`."""
    clip = clip_settings(args)
    expected = distributed.is_main() and fingerprint(weights, seed, args.net, clip, listed, precision.name)

    def make():
        resources = resources_of(args, precision)
        model = load_representation(args.net, checkpoint, weights, seed, listed, clip, resources)
        features = extract_features(model, listed, clip, resources, f'features of {Path(weights).name}', per_clip)
        if distributed.is_main():
            write_features(path, features, expected, weights)
        return features

    def read():
        return read_features(path, expected, per_clip, listed.unusable_lines())

    return stored_or_made(f'features of {weights}', path, read, make)
