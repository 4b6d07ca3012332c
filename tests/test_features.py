"""eval/features.py and eval/frozen.py as a user runs them: vectors against an obvious loop, the cache, bad input."""
import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eval import features as features_cli
from eval import frozen as frozen_cli
from eval.extract.vectors import ARRAYS, LabelledVideos
from eval.metrics.intervals import bootstrap_means
from eval.model import Representation
from eval.networks.weights import hash_of
from tests.test_checkpoint import published_file
from tests.test_classifier_cli import slow_clips
from tests.tiny import CLASSES, checkpoint, run, write_rows
from utils.checkpoint import load_weights
from utils.data.lists import VideoList

CLIP = ['--img_dim', '32', '--num_seq', '3', '--ds', '1', '--num_workers', '0', '--gpu', 'cpu', '--amp', 'off']


def extract(csv_root, out, *flags, weights='random', base=CLIP):
    assert run(features_cli, [*base, '--csv_root', csv_root, '--weights', weights, '--out', out, *flags]) == 0
    with np.load(out) as stored:
        return dict(stored)


def rows_of(csv_root, part, split=1):
    return list(csv.reader(open(csv_root / 'ucf101' / f'{part}_split{split:02d}.csv', newline='')))


def test_features_equal_a_loop_over_videos(csv_root, pretrained, tmp_path):
    """Context and blocks of every video of both lists, of a checkpoint's net, in the order of the lists."""
    found = extract(csv_root, tmp_path / 'f.npz', '--per_clip', weights=pretrained / 'model' / 'epoch1.pth.tar')
    rows = [(path, int(count), part) for part in ('train', 'test') for path, count in rows_of(csv_root, part)]
    assert found['path'].tolist() == [row[0] for row in rows] and found['part'].tolist() == [row[2] for row in rows]
    names = sorted(set(open(csv_root / 'ucf101' / 'classInd.txt').read().split()[1::2]))
    assert [names[label] for label in found['label']] == [path.split('/')[-2] for path, _, _ in rows]

    model = Representation('resnet18')
    load_weights(model, pretrained / 'model' / 'epoch1.pth.tar')
    model.eval()
    clip = 0
    for i, (path, count, _) in enumerate(rows):
        starts, clips = slow_clips(path, count)
        with torch.no_grad():
            feature, state = model(clips)
        assert found['block'][i] == pytest.approx(feature.mean(dim=(0, 1, 2)).numpy(), abs=1e-5)
        assert found['context'][i] == pytest.approx(state.mean(dim=(0, 1)).numpy(), abs=1e-5)
        part = slice(clip, clip + len(starts))
        assert found['clip_start'][part].tolist() == starts and set(found['clip_video'][part]) == {i}
        assert found['clip_block'][part] == pytest.approx(feature.mean(dim=(1, 2)).numpy(), abs=1e-5)
        assert found['clip_context'][part] == pytest.approx(state.mean(dim=1).numpy(), abs=1e-5)
        clip += len(starts)
    assert clip == len(found['clip_start'])
    assert {found[name].dtype for name in ('block', 'context', 'clip_block', 'clip_context')} == {np.dtype('float32')}


def test_features_do_not_depend_on_the_batch(csv_root, pretrained, tmp_path):
    weights = pretrained / 'model' / 'epoch1.pth.tar'
    one, seven = (extract(csv_root, tmp_path / f'{size}.npz', '--batch_size', size, weights=weights) for size in (1, 7))
    for name in ('context', 'block'):
        assert one[name] == pytest.approx(seven[name], abs=1e-5)


@pytest.mark.parametrize('weights', ['stored statistics', 'no statistics'])
def test_two_processes_give_the_features_of_one(csv_root, pretrained, tmp_path, weights):
    """Also for weights without BN statistics: there is one estimate for all processes."""
    path = pretrained / 'model' / 'epoch1.pth.tar'
    if weights == 'no statistics':
        state = checkpoint(pretrained)['state_dict']
        path = published_file(tmp_path / 'file.pth.tar',
                              {f'module.{name}': tensor for name, tensor in state.items() if 'running' not in name})
    one, two = (extract(csv_root, tmp_path / f'{count}.npz', '--num_procs', count, '--batch_size', 4, '--per_clip',
                        weights=path) for count in (1, 2))
    for name in one:
        if name.endswith(('context', 'block')):
            assert one[name] == pytest.approx(two[name], abs=1e-5)
        else:
            assert (one[name] == two[name]).all()


def test_a_cache_serves_only_its_own_weights_list_and_settings(csv_root, pretrained, tmp_path, capsys):
    """The second time nothing is done; anything else makes new features."""
    lists = with_lists(csv_root, tmp_path / 'csv', rows_of(csv_root, 'train')[::4], rows_of(csv_root, 'test')[::6])
    weights = tmp_path / 'weights.pth.tar'
    shutil.copy(pretrained / 'model' / 'epoch1.pth.tar', weights)
    out = tmp_path / 'f.npz'

    def made_anew(*flags, weights=weights):
        extract(lists, out, *flags, weights=weights)
        return 'already' not in capsys.readouterr().out

    assert made_anew() and not made_anew()
    assert made_anew('--per_clip') and not made_anew('--per_clip') and not made_anew()
    assert made_anew('--seq_len', '4', '--allow_other_settings') and made_anew()
    stored = torch.load(weights, weights_only=True)
    stored['state_dict']['backbone.conv1.weight'][0, 0, 0, 0, 0] += 1e-3
    torch.save(stored, weights)
    assert made_anew()
    rows = rows_of(lists, 'test')
    write_rows(lists / 'ucf101' / 'test_split01.csv', rows[:-1])
    assert made_anew()
    shutil.copytree(rows[0][0], tmp_path / 'frames' / 'YoYo' / 'v')
    write_rows(lists / 'ucf101' / 'test_split01.csv', [(tmp_path / 'frames' / 'YoYo' / 'v', rows[0][1])])
    assert made_anew()
    for frame in (tmp_path / 'frames' / 'YoYo' / 'v').iterdir():  # another video under the same name
        frame.write_bytes((Path(rows[1][0]) / frame.name).read_bytes())
    assert made_anew() and not made_anew()
    assert made_anew(weights='random') and not made_anew(weights='random')
    assert made_anew('--seed', '1', weights='random')
    out.write_bytes(out.read_bytes()[:-100])
    assert made_anew('--seed', '1', weights='random')
    out.write_text('not a cache')
    assert made_anew('--seed', '1', weights='random')


def test_all_splits(csv_root, tmp_path):
    """Every video once, with its part in each split."""
    lists = tmp_path / 'csv'
    shutil.copytree(csv_root / 'ucf101', lists / 'ucf101')
    train, test = rows_of(csv_root, 'train'), rows_of(csv_root, 'test')
    write_rows(lists / 'ucf101' / 'train_split02.csv', test)
    write_rows(lists / 'ucf101' / 'test_split02.csv', train)
    write_rows(lists / 'ucf101' / 'train_split03.csv', train[:6])
    write_rows(lists / 'ucf101' / 'test_split03.csv', test[:3])
    found = extract(lists, tmp_path / 'f.npz', '--split', 'all')
    assert found['path'].tolist() == [path for path, _ in train + test]
    third = ['train'] * 6 + [''] * 6 + ['test'] * 3 + [''] * 9
    assert found['part'].tolist() == [['train', 'test', last] for last in third[:12]] + [
        ['test', 'train', last] for last in third[12:]]


def test_bn_statistics_are_of_no_test_video():
    """Of all splits: only videos that none of them tests on, unless each is tested on somewhere."""
    videos = VideoList.from_rows([f'/f/run/{i}' for i in range(4)], [9] * 4)
    part = np.array([['train', 'train'], ['train', 'test'], ['test', 'train'], ['train', '']])
    paths = LabelledVideos(videos, np.zeros(4), part).training().paths()
    assert paths == ['/f/run/0', '/f/run/3']
    assert LabelledVideos(videos, np.zeros(4), part[:, 0]).training().paths() == ['/f/run/0', '/f/run/1', '/f/run/3']
    rows = [1, 2]
    assert LabelledVideos(videos.select(rows), np.zeros(2), part[rows]).training().paths() == ['/f/run/1']


def test_videos_without_labels(csv_root, tmp_path, capsys):
    """An unlabelled list has features, with the label -1; it can't be evaluated."""
    write_rows(tmp_path / 'csv' / 'mine' / 'train_split01.csv', rows_of(csv_root, 'train'))
    found = extract(tmp_path / 'csv', tmp_path / 'f.npz', '--dataset', 'mine')
    assert found['label'].tolist() == [-1] * 12 and found['part'].tolist() == ['train'] * 12
    capsys.readouterr()
    assert 'have no labels' in error_of(tmp_path / 'csv', tmp_path / 'out', capsys, '--dataset', 'mine')


def error_of(csv_root, out, capsys, *flags, weights='random'):
    assert run(frozen_cli, [*CLIP, '--csv_root', csv_root, '--weights', weights, '--out', out, *flags]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('error: '), error
    return error


@pytest.fixture(scope='session')
def evaluated(csv_root, pretrained, tmp_path_factory):
    """The folder of eval/frozen.py on a checkpoint."""
    out = tmp_path_factory.mktemp('evaluated')
    weights = pretrained / 'model' / 'epoch1.pth.tar'
    assert run(frozen_cli, [*CLIP, '--csv_root', csv_root, '--weights', weights, '--out', out]) == 0
    return out, str(weights)


def test_what_frozen_leaves_behind(evaluated):
    """Rows for both kinds of features, all protocols, the checkpoint and random weights; tables, subsets, pictures."""
    out, weights = evaluated
    rows = json.loads((out / 'results.json').read_text())
    keys = {'weights', 'feature', 'protocol', 'setting', 'metric', 'value', 'low', 'high', 'videos'}
    assert all(keys <= row.keys() for row in rows)
    assert all(0 <= row['low'] <= row['value'] <= row['high'] <= 1 and row['videos'] == 12 for row in rows)
    by_feature = {feature: [row for row in rows if row['feature'] == feature]
                  for feature in ('context', 'block', 'frame', 'colour')}
    assert sum(map(len, by_feature.values())) == len(rows)
    for feature in ('context', 'block'):
        assert {row['weights'] for row in by_feature[feature]} == {weights, 'random'}
        assert {(row['protocol'], row['metric']) for row in by_feature[feature]} == {
            ('retrieval', 'R@1'), ('retrieval', 'R@5'), ('retrieval', 'R@10'), ('knn', 'top1'), ('probe', 'top1')}
    for feature, protocol in (('frame', 'one frame'), ('colour', 'colour histogram')):
        assert {(row['weights'], row['protocol']) for row in by_feature[feature]} == {('none', protocol)}
    table = (out / 'results.md').read_text().partition('## Differences')[0]
    assert table.count('| retrieval') == 6
    subsets = json.loads((out / 'label_subsets.json').read_text())
    assert [len(paths) for paths in subsets['50% of labels']] == [6, 6, 6]
    names = {path.name for path in (out / 'pictures').iterdir()}
    assert names == {f'{weights}_{kind}_{picture}.png' for weights in ('epoch1', 'random')
                     for kind in ('context', 'block') for picture in ('retrieval', 'tsne', 'knn', 'probe')}
    assert {path.name for path in (out / 'features').iterdir()} == {
        'epoch1.npz', 'random-0.npz', 'random-1.npz', 'random-2.npz'}


def test_frozen_uses_stored_features(csv_root, evaluated, tmp_path, capsys, monkeypatch):
    """The same numbers again, without a network."""
    before = json.loads((evaluated[0] / 'results.json').read_text())
    out, protocols = tmp_path / 'out', ('retrieval', 'knn')
    shutil.copytree(evaluated[0] / 'features', out / 'features')
    monkeypatch.setattr('eval.extract.setup.load_representation', None)
    flags = ['--weights', evaluated[1], '--out', out, '--protocols', *protocols, '--no_pictures']
    assert run(frozen_cli, [*CLIP, '--csv_root', csv_root, *flags]) == 0
    assert json.loads((out / 'results.json').read_text()) == [row for row in before if row['protocol'] in protocols]
    assert 'are in' in capsys.readouterr().out


def test_one_protocol_and_one_kind_of_features(csv_root, evaluated, tmp_path):
    out = tmp_path / 'out'
    shutil.copytree(evaluated[0] / 'features', out / 'features')
    flags = ['--feature', 'block', '--protocols', 'knn', '--no_pictures']
    assert run(frozen_cli, [*CLIP, '--csv_root', csv_root, '--weights', evaluated[1], '--out', out, *flags]) == 0
    rows = json.loads((out / 'results.json').read_text())
    assert [(row['feature'], row['protocol']) for row in rows] == [('block', 'knn')] * 2
    assert {path.name for path in out.iterdir()} == {'features', 'results.json', 'results.md', 'differences.json',
                                                     'hits.npz'}
    check_differences(out, rows, evaluated[1])


def check_differences(out, rows, weights):
    """Recomputed from hits.npz: the difference of each number from that of random weights, on the same videos."""
    differences = json.loads((out / 'differences.json').read_text())
    stored = np.load(out / 'hits.npz')
    hits = {(row['weights'], row['feature'], row['setting'], row['metric']): values
            for row, values in zip(rows, stored['hits'])}
    assert len(stored['path']) == len(stored['group']) == 12 and len(differences) == len(rows) / 2
    for row in differences:
        key = row['feature'], row['setting'], row['metric']
        difference = hits[(weights, *key)].astype(float) - hits[('random', *key)]
        assert (row['weights'], row['than']) == (weights, 'random')
        assert row['hash'] == next(each['hash'] for each in rows if all(each[name] == row[name] for name in (
            'feature', 'protocol', 'setting', 'metric')))
        low, high = bootstrap_means(difference[:, None], stored['group'])[0]
        assert [row['value'], row['low'], row['high']] == pytest.approx([difference.mean(), low, high], abs=1e-6)


def test_the_mean_over_seeds(csv_root, evaluated, tmp_path):
    """--mean: several checkpoints are one row, its value their mean, with a deviation."""
    other = tmp_path / 'other.pth.tar'
    state = torch.load(evaluated[1], weights_only=True)
    torch.manual_seed(0)
    state['state_dict']['backbone.conv1.weight'] = torch.randn_like(state['state_dict']['backbone.conv1.weight'])
    torch.save(state, other)
    flags = [*CLIP, '--csv_root', csv_root, '--weights', evaluated[1], other, '--protocols', 'knn', '--no_pictures']
    shutil.copytree(evaluated[0] / 'features', tmp_path / 'each' / 'features')
    assert run(frozen_cli, [*flags, '--out', tmp_path / 'each']) == 0
    shutil.copytree(tmp_path / 'each' / 'features', tmp_path / 'mean' / 'features')
    assert run(frozen_cli, [*flags, '--out', tmp_path / 'mean', '--mean']) == 0
    each, mean = (json.loads((tmp_path / name / 'results.json').read_text()) for name in ('each', 'mean'))
    assert [row for row in each if row['weights'] == 'random'] == [row for row in mean if row['weights'] == 'random']
    assert {row['weights']: row['sha256'] for row in each} == {
        evaluated[1]: [hash_of([evaluated[1]])], str(other): [hash_of([other])], 'random': []}
    for feature in ('context', 'block'):
        row, = (row for row in mean if row['weights'] == evaluated[1] and row['feature'] == feature)
        assert row['sha256'] == [hash_of([evaluated[1]]), hash_of([other])]
        values = [row['value'] for row in each if row['weights'] != 'random' and row['feature'] == feature]
        assert row['value'] == pytest.approx(np.mean(values))
        assert row['deviation'] == pytest.approx(np.std(values, ddof=1))


# ---- bad input

def with_lists(csv_root, root, train, test):
    write_rows(root / 'ucf101' / 'train_split01.csv', train)
    write_rows(root / 'ucf101' / 'test_split01.csv', test)
    shutil.copy(csv_root / 'ucf101' / 'classInd.txt', root / 'ucf101')
    return root


def with_a_broken_video(csv_root, root):
    """(csv_root of every other video, of which the third to be tested has an empty frame; that video)"""
    train, test = rows_of(csv_root, 'train')[::2], rows_of(csv_root, 'test')[::2]
    broken = root / CLASSES[0] / 'v_broken_g01_c01'
    shutil.copytree(test[2][0], broken)
    (broken / 'image_00007.jpg').write_bytes(b'')
    test[2] = str(broken), test[2][1]
    return with_lists(csv_root, root / 'csv', train, test), broken


def test_an_unreadable_video_is_skipped_and_named(csv_root, tmp_path, capsys):
    lists, broken = with_a_broken_video(csv_root, tmp_path)
    found = extract(lists, tmp_path / 'f.npz')
    assert str(broken) not in found['path'] and len(found['path']) == 11
    said = capsys.readouterr()
    assert 'skipped 1 unreadable videos' in said.out and str(broken) in said.err
    out = tmp_path / 'out'
    cheap = ['--protocols', 'knn', '--no_pictures']
    assert run(frozen_cli, [*CLIP, '--csv_root', lists, '--weights', 'random', '--out', out, *cheap]) == 0
    assert {row['videos'] for row in json.loads((out / 'results.json').read_text())} == {5}
    assert str(broken) in (out / 'results.md').read_text()

    (broken / 'image_00007.jpg').write_bytes((broken / 'image_00006.jpg').read_bytes())
    assert len(extract(lists, tmp_path / 'f.npz')['path']) == 12, 'a repaired video is read'
    assert 'lacks videos' in capsys.readouterr().out
    shutil.rmtree(broken)
    assert len(extract(lists, tmp_path / 'other.npz')['path']) == 11


def test_all_weights_are_evaluated_on_the_same_videos(csv_root, evaluated, tmp_path, monkeypatch, capsys):
    """A disk that fails at times would compare accuracies over different videos."""
    shutil.copytree(evaluated[0] / 'features', tmp_path / 'features')
    extracted = frozen_cli.features_of

    def forgetful(args, weights, seed, *rest):
        found = extracted(args, weights, seed, *rest)
        rows = slice(1 if seed == 2 else 0, None)
        return replace(found, **{name: getattr(found, name)[rows] for name in ARRAYS})

    monkeypatch.setattr(frozen_cli, 'features_of', forgetful)
    argv = [*CLIP, '--csv_root', csv_root, '--weights', 'random', '--out', tmp_path, '--no_pictures']
    assert run(frozen_cli, argv) == 2
    assert 'for some of the weights only' in capsys.readouterr().err


def test_a_published_file_beside_one_that_stores_its_clips(pretrained, csv_root, tmp_path):
    """The published one is evaluated with the clips of the other."""
    ours = pretrained / 'model' / 'epoch1.pth.tar'
    published = tmp_path / 'published.pth.tar'
    stored = torch.load(ours, weights_only=True)
    torch.save({name: value for name, value in stored.items() if name != 'settings'}, published)
    argv = [*CLIP, '--csv_root', csv_root, '--weights', published, ours, '--out', tmp_path / 'out',
            '--protocols', 'retrieval', '--no_random', '--no_pictures']
    assert run(frozen_cli, argv) == 0
    rows = json.loads((tmp_path / 'out' / 'results.json').read_text())
    values = {name: [row['value'] for row in rows if row['weights'] == str(name)] for name in (published, ours)}
    assert values[published] == values[ours] and len(rows) == 2 * len(values[ours])


def test_a_test_class_without_training_videos(csv_root, tmp_path, capsys):
    train = [row for row in rows_of(csv_root, 'train') if f'/{CLASSES[0]}/' not in row[0]]
    lists = with_lists(csv_root, tmp_path / 'csv', train, rows_of(csv_root, 'test'))
    out = tmp_path / 'out'
    cheap = ['--protocols', 'retrieval', 'knn', '--no_pictures']
    assert run(frozen_cli, [*CLIP, '--csv_root', lists, '--weights', 'random', '--out', out, *cheap]) == 0
    assert f'1 classes of the test list have no training video: {CLASSES[0]}; their 4' in capsys.readouterr().err
    assert max(row['value'] for row in json.loads((out / 'results.json').read_text())) <= 8 / 12


def test_one_line_for_each_mistake(csv_root, pretrained, classifier, tmp_path, capsys):
    out = tmp_path / 'out'
    weights = pretrained / 'model' / 'epoch1.pth.tar'
    assert 'checkpoint of another net' in error_of(csv_root, out, capsys, '--net', 'resnet34', weights=weights)
    assert 'was trained with' in error_of(csv_root, out, capsys, '--num_seq', 4, weights=weights)
    assert 'is not there' in error_of(csv_root, out, capsys, weights=tmp_path / 'none.pth.tar')
    assert 'no such data set' in error_of(csv_root, out, capsys, '--dataset', 'nothing')
    one = rows_of(csv_root, 'train')[:1]
    lists = with_lists(csv_root, tmp_path / 'one', one, rows_of(csv_root, 'test')[:1])
    assert 'fewer than two classes' in error_of(lists, out, capsys)
    twice = with_lists(csv_root, tmp_path / 'twice', one + one, one)
    assert 'is twice in the lists' in error_of(twice, out, capsys)
    (tmp_path / 'file').write_text('')
    assert 'cannot make this folder' in error_of(csv_root, tmp_path / 'file' / 'out', capsys)
    with pytest.raises(SystemExit) as end:
        features_cli.parse_args(['--weights', 'random', '--out', 'features.csv'])
    assert end.value.code == 2 and 'give the name of an .npz file' in capsys.readouterr().err


def test_checkpoints_of_different_settings(csv_root, pretrained, tmp_path, capsys):
    other = tmp_path / 'other.pth.tar'
    stored = checkpoint(pretrained)
    stored['settings']['num_seq'] = 4
    torch.save(stored, other)
    argv = [*CLIP[6:], '--csv_root', csv_root, '--out', tmp_path / 'out',
            '--weights', pretrained / 'model' / 'epoch1.pth.tar', other]
    assert run(frozen_cli, argv) == 2
    assert 'was trained with num_seq 3' in capsys.readouterr().err


def test_a_full_disk(csv_root, tmp_path, capsys):
    """One line; what was there stays."""
    out = '/dev/full/features.npz'
    assert run(features_cli, [*CLIP, '--csv_root', csv_root, '--weights', 'random', '--out', out]) == 2
    assert 'cannot write it' in capsys.readouterr().err
