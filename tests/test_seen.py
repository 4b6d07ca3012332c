"""What checkpoints say of their training list: splits follow it, and test videos that were trained on are noticed."""
import json
import re
import shutil
from argparse import Namespace
from dataclasses import replace

import numpy as np
import pytest
import torch

from dpc import main as pretraining
from eval import features, frozen
from eval import test as classifier_cli
from eval.networks.seen import check_unseen, seen_text, split_to_follow
from eval.protocols.protocol import Outcome
from eval.protocols.results import difference_rows, row_of
from eval.protocols.splits import mean_difference, mean_row
from tests.tiny import CLASSIFIER, CLIP, PRETRAINING, checkpoint, classify, make_videos, pretrain, run, write_rows
from utils.checkpoint import read_checkpoint
from utils.cli import UserError
from utils.data.lists import VideoList
from utils.data.seen import depth_for, hashes, seen_by, train_list

FROZEN = [*CLIP, '--gpu', 'cpu', '--amp', 'off', '--num_workers', '0']


def videos_of(paths):
    return VideoList.from_rows(paths, [9] * len(paths))


def training(trained, listed=None, model='lc', **others):
    return {'model': model, 'dataset': 'ucf101', 'split': 1, 'train_list': train_list(videos_of(trained),
                                                                                      listed or trained), **others}


# ---- hashes

def test_every_form_of_a_video_is_the_same_video():
    forms = ['/a/frames/run/v_1', '/b/run/v_1.avi', 'run/v_1.mp4', '/run/v_1.zip', '/x//run/v_1/']
    assert len(set(hashes(forms, 2).tolist())) == 1
    assert len(set(hashes(['/a/run/v_1', '/a/jump/v_1', '/a/run/v_10', '/a/run/v.1'], 2).tolist())) == 4


def test_a_lookup_equals_comparing_names():
    """For random lists, whatever their order and root."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        names = [f'{a}/{b}' for a in 'xyz' for b in range(9)]
        trained, tested = (rng.permutation(names)[:rng.integers(1, 20)].tolist() for _ in range(2))
        found = seen_by([training([f'/old/{name}' for name in trained], [f'/old/{name}' for name in names])],
                        videos_of([f'/new/place/{name}.mp4' for name in tested]), labels=True)
        assert found.tolist() == [name in trained for name in tested]
        assert not seen_by([training(trained)], videos_of(tested), labels=False).any()


def test_takes_that_are_numbered_in_every_folder():
    """{person}/{class}/{take}: the person belongs to the name, or another one's take would count as seen."""
    listed = [f'/d/{person}/run/{take}' for person in 'ab' for take in range(3)]
    assert depth_for(listed) == 3 and depth_for([*listed[:3], '/d/a/jump/0']) == 2
    assert depth_for([*listed[:3], '/d/a/jump/0', '/d/a/run/0.mp4']) == 2  # two forms of one video
    found = seen_by([training(listed[:3], listed)], videos_of(listed), labels=True)
    assert found.tolist() == [True] * 3 + [False] * 3


def test_videos_of_one_folder_may_move():
    """Where all videos are in one folder, which may have any name, the name of a video says which it is."""
    listed = [f'/data/20bn/{i}.webm' for i in range(6)]
    found = seen_by([training(listed[:3], listed)], videos_of([f'/fast/frames/{i}' for i in range(6)]), labels=True)
    assert found.tolist() == [True] * 3 + [False] * 3


def test_spellings_of_a_class_are_one_class():
    assert hashes(['/a/air drumming/v_1'], 2) == hashes(['/b/air_drumming/v_1'], 2)


# ---- what a run stores

@pytest.fixture(scope='module')
def lists(tmp_path_factory):
    """csv_root of a data set 'six': the train videos of split 2 are the test videos of split 1, and vice versa."""
    root = tmp_path_factory.mktemp('six')
    rows = make_videos(root / 'frames', lambda name, i: f'v_{name}_g{i + 1:02d}_c01', (16, 18, 17, 20, 16, 19), seed=7)
    part = np.arange(len(rows)) % 6
    for split, tested in ((1, part < 3), (2, part >= 3), (3, part == 5)):
        write_rows(root / 'six' / f'train_split{split:02d}.csv', [row for row, is_test in zip(rows, tested) if not is_test])
        write_rows(root / 'six' / f'test_split{split:02d}.csv', [row for row, is_test in zip(rows, tested) if is_test])
    names = ('ApplyEyeMakeup', 'Archery', 'YoYo')
    (root / 'six' / 'classInd.txt').write_text(''.join(f'{i} {name}\n' for i, name in enumerate(names, 1)))
    return root


@pytest.fixture(scope='module')
def runs(lists, tmp_path_factory):
    """(pretraining of split 2, a classifier of split 1 that starts from it)."""
    logs = tmp_path_factory.mktemp('runs')
    first = pretrain(lists, logs, '--dataset', 'six', '--split', 2)
    weights = first / 'model' / 'epoch1.pth.tar'
    return weights, classify(lists, logs, '--dataset', 'six', '--split', 1, '--pretrain', weights) / 'model' / weights.name


def test_what_a_checkpoint_stores(lists, runs):
    """Data set, split and the videos trained on, not those held out; a classifier also those of its pretraining."""
    weights, classifier = runs
    assert weights.parent.parent.name.startswith('six-32-sp2_r18')
    assert json.loads((weights.parent.parent / 'args.json').read_text())['split'] == 2
    settings = read_checkpoint(weights)['settings']
    assert (settings['dataset'], settings['split'], settings['started_from']) == ('six', 2, [])
    assert len(settings['train_list']['videos']) == 6  # 9 listed, a group of each class held out
    listed = VideoList.read_csv(lists / 'six' / 'train_split02.csv')
    assert np.isin(settings['train_list']['videos'], hashes(listed.paths(), 2)).all()
    settings = read_checkpoint(classifier)['settings']
    assert (settings['dataset'], settings['split']) == ('six', 1)
    before, = settings['started_from']
    assert before['model'] == 'dpc-rnn' and before['split'] == 2 and 'class_names' not in before


def error_of(script, capsys, *argv):
    assert run(script, argv) == 2
    return capsys.readouterr().err


def test_the_test_follows_the_file(lists, runs, tmp_path, capsys):
    """Without --split it is the file's; on another split the videos that were trained on are counted."""
    weights, classifier = runs
    chosen = torch.load(classifier, weights_only=True)
    assert chosen['best'] is True and chosen['settings']['val_on'] == 'train'
    chosen['settings']['val_on'] = 'test'
    torch.save(chosen, tmp_path / 'chosen.pth.tar')
    folder = classify(lists, tmp_path, '--dataset', 'six', '--test', tmp_path / 'chosen.pth.tar')
    said = capsys.readouterr().out
    text = 'pretraining saw 6 of these 9 test videos (without labels); its epoch was chosen on these test videos'
    assert '-sp1_' in folder.name and f'- seen: {text}\n' in (folder / 'test_log.md').read_text() and text in said
    shown, = re.findall('; hash ([0-9a-f]{8})\n', said)
    assert f' | {shown} |\n' in (folder / 'test_log.md').read_text()
    error = error_of(classifier_cli, capsys, *CLASSIFIER, '--csv_root', lists, '--log_dir', tmp_path, '--dataset', 'six',
                     '--test', classifier, '--split', 2)
    assert 'trained on 6 of these 9 test videos with their labels (six, split 1)' in error
    error = error_of(classifier_cli, capsys, *CLASSIFIER, '--csv_root', lists, '--log_dir', tmp_path, '--dataset', 'six',
                     '--test', classifier, classifier, 'random', '--split', 'all')
    assert 'given for split 2, but was trained on split 1' in error
    assert classify(lists, tmp_path, '--dataset', 'six', '--pretrain', weights).name.startswith('six-32-sp2')


def test_frozen_features_follow_the_file(lists, runs, tmp_path, capsys):
    weights, classifier = runs
    common = ['--csv_root', lists, '--dataset', 'six', '--no_pictures', '--no_random']
    assert run(frozen, [*FROZEN, *common, '--weights', weights, '--split', 1, '--out', tmp_path / 'a',
                        '--protocols', 'retrieval']) == 0
    assert 'epoch1.pth.tar: pretraining saw 6 of these 9 test videos' in (tmp_path / 'a' / 'results.md').read_text()
    assert run(frozen, [*FROZEN, *common, '--weights', weights, '--out', tmp_path / 'b', '--protocols',
                        'retrieval']) == 0
    text = (tmp_path / 'b' / 'results.md').read_text()
    assert 'split 2' in text and 'saw' not in text
    capsys.readouterr()
    error = error_of(frozen, capsys, *FROZEN, *common, '--weights', classifier, '--split', 2, '--out', tmp_path / 'c')
    assert 'with their labels' in error
    assert run(features, [*FROZEN, *common[:4], '--weights', classifier, '--split', 2, '--out', tmp_path / 'f.npz']) == 0
    assert 'with their labels' in capsys.readouterr().err


def test_features_over_time_say_what_was_seen(lists, runs, tmp_path, capsys):
    """Of the test videos of a list, and of given videos; in each .json, too."""
    tested = VideoList.read_csv(lists / 'six' / 'test_split01.csv').paths()
    data = ['--csv_root', lists, '--dataset', 'six', '--split', 1]
    pretrained = 'pretraining saw {} (without labels)'
    for weights, given, expected in (
            (runs[0], data, pretrained.format('6 of these 9 test videos')),
            (runs[0], tested, pretrained.format('6 of these 9 videos')),
            (runs[1], [*data[:5], 2], 'it was trained on 6 of these 9 test videos with their labels (six, split 1)')):
        capsys.readouterr()
        flags = [*FROZEN, '--weights', weights, '--every', 9, '--frame_rate', 25, '--out', tmp_path / 'out']
        assert run(features, [*flags, *given]) == 0
        assert f'{weights}: {expected}\n' in capsys.readouterr().err
        assert {json.loads(path.read_text())['seen'] for path in (tmp_path / 'out').glob('*.json')} == {expected}
        shutil.rmtree(tmp_path / 'out')


def test_whose_epoch_was_chosen_on_the_test_videos():
    """The best by --val_on test, on that split; of files that store nothing, nothing is said."""
    def said(split=1, dataset='/lists/ucf101', best=True, model='lc', **settings):
        listed = {'settings': {**training(['/f/run/1'], model=model), **settings}, 'best': best}
        args = Namespace(dataset=dataset, split=split, allow_other_settings=False)
        return check_unseen(args, 'a', listed, videos_of(['/f/run/2']))

    assert said(val_on='test') == 'its epoch was chosen on these test videos'
    assert said(val_on='test', model='dpc-rnn') == 'its epoch was chosen on these test videos (without labels)'
    assert not any([said(val_on='train'), said(), said(val_on='test', best=False), said(2, val_on='test'),
                    said(dataset='hmdb51', val_on='test'), said(val_on='test', best=None)])
    videos = videos_of(['/f/run/2'])
    assert check_unseen(Namespace(dataset='ucf101', split=1, allow_other_settings=False), 'a', {'net': 'x'}, videos) is None


def test_other_videos_of_the_same_names(lists, runs, tmp_path, capsys):
    """Names alone can't tell other videos from the same in another data set: the user says so, and the log repeats it."""
    shutil.copytree(lists / 'six', tmp_path / 'csv' / 'other')
    common = ['--csv_root', tmp_path / 'csv', '--dataset', 'other', '--split', 2]
    command = [*CLASSIFIER, *common, '--log_dir', tmp_path, '--test', runs[1]]
    assert 'if these are other videos of the same names, give --allow_other_settings' in error_of(
        classifier_cli, capsys, *command)
    assert 'six, split 1): evaluate it on the split' in error_of(
        classifier_cli, capsys, *command, '--csv_root', lists, '--dataset', 'six', '--allow_other_settings')
    folder = classify(tmp_path / 'csv', tmp_path, *common, '--test', runs[1], '--allow_other_settings')
    assert ('- seen: it was trained on 6 of these 9 test videos with their labels (six, split 1), or on others of the '
            'same names') in (folder / 'test_log.md').read_text()


def test_one_list_has_no_mean_over_splits(lists, runs, tmp_path, capsys):
    (tmp_path / 'one').mkdir()
    for part in ('train', 'test'):
        shutil.copy(lists / 'six' / f'{part}_split01.csv', tmp_path / 'one' / f'{part}_split.csv')
    shutil.copy(lists / 'six' / 'classInd.txt', tmp_path / 'one')
    error = error_of(frozen, capsys, *FROZEN, '--csv_root', tmp_path, '--dataset', 'one', '--weights', runs[0], '--split',
                     'all', '--out', tmp_path / 'out')
    assert 'one has only' in error and error.endswith('leave --split out\n')


def test_files_of_several_splits(runs):
    one, two = ({'settings': training(['/f/run/1'], split=split)} for split in (1, 2))
    assert split_to_follow({'a': two, 'random': {}}, '/lists/ucf101') == 2
    assert split_to_follow({'a': two}, 'hmdb51') == split_to_follow({'published': {'net': 'resnet18'}}, 'ucf101') == 1
    with pytest.raises(UserError, match='a was trained on split 1 of ucf101, b on split 2'):
        split_to_follow({'a': one, 'b': two}, 'ucf101')
    assert seen_text({'settings': {}}, videos_of(['/f/run/1'])) is None  # nothing is claimed


# ---- resuming

def test_a_resumed_run_keeps_what_the_first_has_seen(lists, runs, tmp_path, capsys):
    """Another --seed, --val_fraction or --val_on would hold out videos that were trained on; a repaired list may lack
    some."""
    weights, _ = runs
    folder = tmp_path / 'log_pretrain' / weights.parent.parent.name
    shutil.copytree(weights.parent.parent, folder)
    resume = ['--resume', folder / 'model' / weights.name]
    common = ['--dataset', 'six', '--split', 2, '--epochs', 2]
    for flags in (['--seed', 1], ['--val_fraction', 0.5], ['--val_on', 'test']):
        error = error_of(pretraining, capsys, *tiny_flags(lists, tmp_path), *common, *resume, *flags)
        assert f'began with other flags: {flags[0]}' in error
    shutil.copytree(lists / 'six', tmp_path / 'csv' / 'six')
    path = tmp_path / 'csv' / 'six' / 'train_split02.csv'
    rows = path.read_text().splitlines()
    trained = checkpoint(folder)['settings']['train_list']['videos']
    gone = next(row for row in rows if int(hashes([row.split(',')[0]], 2)[0]) in trained.tolist())
    path.write_text('\n'.join(row for row in rows if row != gone) + '\n')
    assert run(pretraining, [*tiny_flags(tmp_path / 'csv', tmp_path), *common, *resume]) == 0
    resumed = {'settings': checkpoint(folder, 'epoch2')['settings']}
    validated = np.setdiff1d(hashes([row.split(',')[0] for row in rows if row != gone], 2),
                             resumed['settings']['train_list']['videos'])
    seen = np.isin(validated, trained).sum()  # without a video others are held out
    assert seen and f'trained on {seen} of the {len(validated)} validation videos' in capsys.readouterr().err
    assert seen_text(resumed, videos_of([gone.split(',')[0]])) is not None


def tiny_flags(lists, logs):
    return [*PRETRAINING, '--csv_root', lists, '--log_dir', logs]


@pytest.mark.parametrize('spoil', [
    lambda settings: settings.update(train_list={}),
    lambda settings: settings['train_list'].update(videos=torch.zeros(3)),
    lambda settings: settings['train_list'].update(depth=0),
    lambda settings: settings.update(split='all'),
    lambda settings: settings.update(val_on=True),
    lambda settings: settings.update(started_from=[{}]),
    lambda settings: settings.update(started_from={'model': 'lc'})])
def test_a_spoilt_list_is_refused(runs, tmp_path, spoil):
    stored = torch.load(runs[0], weights_only=True)
    spoil(stored['settings'])
    torch.save(stored, tmp_path / 'odd.pth.tar')
    with pytest.raises(UserError, match='its settings is not'):
        read_checkpoint(tmp_path / 'odd.pth.tar')


# ---- the mean over splits

def test_the_mean_over_splits_of_frozen_features(lists, runs, tmp_path, capsys):
    """A folder for each split, as its own evaluation writes it; the mean of the three values; each file of its split."""
    weights, _ = runs
    common = [*FROZEN, '--csv_root', lists, '--dataset', 'six', '--no_pictures', '--protocols', 'knn', 'retrieval', '--feature',
              'block', '--split', 'all']
    assert run(frozen, [*common, '--weights', weights, 'random', '--out', tmp_path / 'all']) == 0
    splits = [json.loads((tmp_path / 'all' / f'split{split}' / 'results.json').read_text()) for split in (1, 2, 3)]
    mean = json.loads((tmp_path / 'all' / 'results.json').read_text())
    assert len(mean) >= 6 and {row['weights'] for row in mean} == {str(weights), 'random'}
    for row in mean:
        values = [each['value'] for rows in splits for each in rows
                  if [each[name] for name in ('weights', 'protocol', 'metric')] == [row['weights'], row['protocol'],
                                                                                   row['metric']]]
        assert row['value'] == pytest.approx(np.mean(values)) and row['deviation'] == pytest.approx(np.std(values, ddof=1))
    assert len({row['hash'] for rows in [*splits, mean] for row in rows}) == 8  # of two protocols
    value = {(row['weights'], row['protocol'], row['metric']): row['value'] for row in mean}
    differences = json.loads((tmp_path / 'all' / 'differences.json').read_text())
    assert len(differences) == len(mean) / 2
    for row in differences:
        key = row['protocol'], row['metric']
        assert row['value'] == pytest.approx(value[(str(weights), *key)] - value[('random', *key)])
    said = (tmp_path / 'all' / 'results.md').read_text()
    assert 'split 1: ' + f'{weights}: pretraining saw 6 of these 9' in said
    assert said.startswith('## Frozen features\n\n**pretrained ')
    capsys.readouterr()
    error = error_of(frozen, capsys, *common, '--weights', weights, weights.parent / 'model_best_epoch1.pth.tar', 'random',
                     '--out', tmp_path / 'two')
    assert 'three files' in error
    copies = [shutil.copy(weights, tmp_path / f'{name}.pth.tar') for name in 'abc']
    error = error_of(frozen, capsys, *common, '--weights', *copies, '--out', tmp_path / 'three')
    assert 'a.pth.tar is given for split 1, but was trained on split 2' in error


def test_a_video_that_three_splits_test_on_is_drawn_once(monkeypatch):
    """As in HMDB51: three equal lists tell no more than one, and their mean has the interval of one."""
    monkeypatch.setattr('eval.metrics.intervals.RESAMPLES', 2000)
    rng = np.random.default_rng(0)
    outcome = Outcome('knn', 'all labels', 'top1', (rng.random((1, 60)) < 0.6).astype(float), np.arange(60) // 2)
    row = {**row_of('x', 'block', outcome, ['1']), 'hash': 'a'}
    mean = mean_row([row] * 3, [outcome] * 3)
    assert mean['sha256'] == ['1']
    assert mean_row([{**row, 'sha256': [each]} for each in '123'], [outcome] * 3)['sha256'] == ['1', '2', '3']
    assert (mean['low'], mean['high']) == pytest.approx((row['low'], row['high'])) and mean['groups'] == 30
    other = replace(outcome, hits=1 - outcome.hits)
    difference = mean_difference('y', [row] * 3, [outcome] * 3, [other] * 3)
    alone, = difference_rows({('x', 'block'): [outcome], ('y', 'block'): [other]}, [('x', 'y')])
    assert difference.keys() == alone.keys()
    assert [difference[name] for name in ('value', 'low', 'high')] == pytest.approx([alone[name] for name in
                                                                                    ('value', 'low', 'high')])
    apart = [replace(outcome, group=np.arange(60) // 2 + 100 * split) for split in range(3)]
    independent = mean_row([row] * 3, apart)
    assert independent['groups'] == 90
    assert (independent['high'] - independent['low']) * 3 ** 0.5 == pytest.approx(row['high'] - row['low'], rel=0.15)
