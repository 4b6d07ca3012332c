"""Tests a classifier on every video of a test list, or one of each split on all three."""
import contextlib
import io
from pathlib import Path

import numpy as np
import torch

from eval.classify.scores import clips_of_all, protocols_for, score_videos, special_views
from eval.classify.setup import bn_options, check_splits, check_test_flags, look_up, tests_of, training_set
from eval.classify.test_report import report_mean, report_test
from eval.extract.resources import resources_of
from eval.metrics.multi_label import is_multi_label
from eval.metrics.protocol_hash import protocol_hash
from eval.model import ActionClassifier
from eval.networks.bn_statistics import complete_bn_statistics, layers_without_statistics
from eval.networks.seen import check_unseen
from utils.checkpoint import load_weights
from utils.cli import UserError, warn
from utils.data.classes import labels_of
from utils.data.clips import VideoDataset
from utils.data.crops import views_of
from utils.data.demands import demands
from utils.data.lists import VideoList, csv_file
from utils.data.splits import at_frame_rate, has_lists, read_split, split_by_class
from utils.next_step import command, say_next
from utils.parallel import distributed
from utils.run.folder import announce_folder, create_run_folder, network_name, rate_suffix, save_arguments
from utils.run.setup import clip_settings, clip_videos, frames_taken, prepare_model, start_evaluation


def test_experiment_name(tests):
    """Only what a test uses. tests: the flags of each split, see tests_of."""
    args = tests[0]
    split = args.split if len(tests) == 1 else 'all'
    views = ''.join('_' + word.replace(' ', '-') for word in special_views(args.crops, args.flip_views, args.clips))
    weights = '+'.join(dict.fromkeys(Path(one.test).absolute().name.removesuffix('.pth.tar') for one in tests))
    return (f'{Path(args.dataset).name}-{args.img_dim}-sp{split}_{network_name(args.net)}_{args.model}'
            f'_ds{args.ds}{rate_suffix(args.fps)}_seq{args.num_seq}_len{args.seq_len}{views}_test={weights}')


def test_classifier(args):
    check_test_flags(args)
    # what can be wrong with any of the splits, before any work
    tests = tests_of(args)
    with contextlib.redirect_stdout(io.StringIO()) as settings_said:
        found = [look_up(one, one.test) for one in tests]
    checkpoints, folders, _ = zip(*found)
    check_splits(tests, checkpoints, folders)
    announce_folder(None, args.log_dir, args.prefix, test_experiment_name(tests))
    print(settings_said.getvalue(), end='')
    if distributed.is_main():
        warn_of_mirrored_views(args)
    precision = start_evaluation(tests[0], views=len(views_of(args.crops, args.flip_views)))
    prepared = [prepare_test(one, *each, precision) for one, each in zip(tests, found)]
    seen = [check_unseen(one, one.test, checkpoint, test_set.videos)
            for one, checkpoint, (_, _, _, test_set, _) in zip(tests, checkpoints, prepared)]
    folder = None
    if distributed.is_main():
        folder = create_run_folder(args.log_dir, args.prefix, test_experiment_name(tests))
        save_arguments(folder, {**vars(tests[0]), 'split': args.split or tests[0].split, 'test': args.test})

    tables = {}
    for one, checkpoint, lists, each, text in zip(tests, checkpoints, folders, prepared, seen):
        own = folder
        if folder and len(tests) > 1:
            print(f'split {one.split}')
            own = folder / f'split{one.split}'
            own.mkdir()
        scores, broken = score_split(one, *each, precision)
        if own:
            _, _, protocols, test_set, class_names = each
            facts = facts_of(one, one.test, f'split {one.split}', [text])
            hashes = hashes_of(one, checkpoint, lists, protocols, test_set.videos, broken)
            tables[one.split] = report_test(own, facts, test_set.videos, protocols, scores, broken, class_names,
                                            hashes)
    if folder and len(tests) > 1:
        report_mean(folder, facts_of(tests[0], ', '.join(args.test), 'splits 1 to 3', seen), tables)
    if folder:
        video = prepared[0][3].videos.path(0)
        prediction = [command('eval/predict.py', video, weights=tests[0].test, gpu=args.gpu)]
        say_next(*prediction * (tests[0].test != 'random'), command('eval/report.py', folder, out='report.html'))


def warn_of_mirrored_views(args):
    mirrored = any(view.mirrored for view in views_of(args.crops, args.flip_views))
    if mirrored and demands(args.csv_root, args.dataset, args.img_dim).get('flip') == 0:
        warn(f'{args.dataset}: its classes tell left from right, but scores are averaged with those of mirror images: '
             'leave out --flip_views, and give --crops 5 for 10')


def prepare_test(args, checkpoint, folder, class_names, precision):
    """(model, names of its tensors that the checkpoint lacks, protocols, test set, names of the classes)."""
    torch.manual_seed(args.seed)  # random weights don't depend on the other splits
    model = ActionClassifier(args.net, len(class_names), args.dropout)
    missing = load_weights(model, checkpoint, strict=True, origin=args.test).missing if checkpoint else []
    model.requires_grad_(False)
    model = prepare_model(args, model, precision)

    videos = at_frame_rate(read_split(folder, args.split, 'test', args.frame_root, by_class=True), args.fps)
    multi_label = is_multi_label(videos, checkpoint, args.test)
    protocols = protocols_for(Path(args.dataset).name, args.num_seq, args.seq_len, args.ds, args.crops,
                              args.flip_views, args.clips, multi_label)
    test_set = VideoDataset(videos, clip_settings(args), labels_of(videos, class_names, multi_label),
                            clips_of_all(protocols), views_of(args.crops, args.flip_views))
    return model, missing, protocols, test_set, class_names


def score_split(args, model, missing, protocols, test_set, class_names, precision):
    """Tests one split. Returns what score_videos does."""
    if layers_without_statistics(model, missing):
        train_videos, _ = clip_videos(args, args.split)
        complete_bn_statistics(model, missing, training_set(args, train_videos), *bn_options(args, precision))

    torch.backends.cudnn.benchmark = False  # videos differ in their number of clips: too many shapes to search for
    return score_videos(model, test_set, protocols, resources_of(args, precision), len(class_names),
                        multi_label=test_set.labels.ndim == 2)


def hashes_of(args, checkpoint, folder, protocols, videos, broken):
    """{name of a protocol: its hash} of a test on the readable ones of a test list `videos`.

    The training list is that of the split in `folder` if there is one, whatever part was held out for validation."""
    train = VideoList.from_rows([], [])
    with contextlib.suppress(UserError):
        train = (VideoList.read_csv(csv_file(folder, args.split, 'train'), args.frame_root) if has_lists(folder) else
                 split_by_class(folder, args.split)[0]['train'])
    test = videos.select(np.setdiff1d(np.arange(len(videos)), [index for index, _ in broken]))
    trained_on = checkpoint.get('settings', {}).get('label_fraction', 1)
    return {protocol.name: protocol_hash(train, test, protocol=protocol.name, label_fraction=trained_on,
                                         **clip_settings(args)._asdict())
            for protocol in protocols}


def facts_of(args, weights, splits, seen):
    """{name: value}: what was tested, for test_log.md. seen: of check_unseen, for each of the splits."""
    seen = {f'seen{f" in split {split}" if len(seen) > 1 else ""}': text for split, text in enumerate(seen, 1) if text}
    return {'weights': weights, 'net': args.net, 'data': f'{args.dataset}, {splits}',
            'clip': f'{args.num_seq} blocks of {args.seq_len} frames, {frames_taken(args)}, {args.img_dim} px', **seen}
