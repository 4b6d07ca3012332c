"""Third-party models: against plain torchvision code, through the commands, and what may go wrong."""
import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn as nn
from torchvision.models import get_model, get_model_weights

from eval import attentive as attentive_cli
from eval import features as features_cli
from eval import frozen as frozen_cli
from eval.extract.cache import fingerprint
from eval.extract.tokens import open_tokens
from eval.networks.representation import build_representation, token_shape
from eval.networks.third_party import IMAGENET, ThirdPartyModel
from eval.networks.torchvision_models import THIRD_PARTY_MODELS, s3d_feature
from eval.networks.weights import baseline_of, net_of, read_weights, split_weights
from eval.protocols.results import short_names
from tests.test_classifier_cli import slow_clips
from tests.tiny import run
from utils.checkpoint import load_weights
from utils.cli import UserError
from utils.data.clips import Clip
from utils.data.colour import to_block

RUN = ['--num_workers', '0', '--gpu', 'cpu', '--amp', 'off']
SMALL = [*RUN, '--img_dim', '16', '--num_seq', '2', '--seq_len', '3', '--ds', '3']  # a clip of 6 frames from each video
NAMES = [name.removeprefix('torchvision:') for name in THIRD_PARTY_MODELS]
LOCATIONS = {'r3d_18': 4, 'mc3_18': 8 * 4, 'r2plus1d_18': 4, 's3d': 2, 'mvit_v2_s': 4, 'swin3d_t': 4}
HEADS = {'mvit_v2_s': 'head', 'swin3d_t': 'head', 's3d': 'classifier'}


def plain_net(name, seed=0):
    torch.manual_seed(seed)
    return get_model(name, weights=None).eval()


def saved(net, path):
    torch.save(net.state_dict(), path)
    return path


@torch.no_grad()
def classifier_input(net, name, clip):
    """What reaches the classifier of torchvision's net in its own forward pass, for clips [B, 3, F, H, W]."""
    seen = []
    head = getattr(net, HEADS.get(name, 'fc'))
    head.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    if name == 's3d':
        net.avgpool = nn.AdaptiveAvgPool3d(1)  # its own needs 14 frames of 224 px, see the next test
    if name == 'mvit_v2_s':
        frames, height, width = clip.shape[2:]
        net.pos_encoding.temporal_size, net.pos_encoding.spatial_size = frames // 2, (height // 4, width // 4)
    net(clip)
    return seen[0].flatten(1)


# ---- against torchvision

@pytest.mark.parametrize('name', NAMES)
def test_a_file_gives_the_features_of_torchvisions_net(name, tmp_path):
    """From frames 0..255, normalised as its weights want them, to the input of its classifier; and shapes."""
    full, entry = f'torchvision:{name}', THIRD_PARTY_MODELS[f'torchvision:{name}']
    net = plain_net(name)
    file = saved(net, tmp_path / 'net.pth')
    model = build_representation(full).eval()
    load_weights(model, read_weights(f'{full}={file}'), strict=True)
    clip = Clip(num_seq=2, seq_len=8 if name == 's3d' else 4, ds=1, img_dim=32)
    size = 2, 2 * clip.seq_len, 32, 32, 3
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, size, np.uint8))
    with torch.no_grad():
        tokens, states, same = model.all_states(to_block(frames, None, 2))
        locations, vector = model(to_block(frames, None, 2))
    assert locations.shape == (2, 1, *token_shape(full, clip)) and locations.shape[2:] == (LOCATIONS[name], entry.size)
    assert vector.shape == (2, 1, entry.size) and model.backbone.feature_size == entry.size
    assert torch.equal(tokens, locations) and states is None and torch.equal(same, vector)

    preset = get_model_weights(name).DEFAULT.transforms()
    clips = (frames.permute(0, 4, 1, 2, 3) / 255 - torch.tensor(preset.mean).view(3, 1, 1, 1)) / torch.tensor(
        preset.std).view(3, 1, 1, 1)
    expected = classifier_input(net, name, clips)
    scale = expected.abs().max().item()  # without BN statistics those of s3d are tiny
    assert vector[:, 0].numpy() / scale == pytest.approx(expected.numpy() / scale, abs=1e-4)
    if name != 'mvit_v2_s':
        assert locations.mean(dim=(1, 2)).numpy() / scale == pytest.approx(expected.numpy() / scale, abs=1e-4)
    assert (expected[0] - expected[1]).abs().max() > 1e-3 * scale


@torch.no_grad()
@pytest.mark.parametrize('locations', [(2, 7, 7), (4, 8, 7)])
def test_s3d_weights_locations_by_its_windows(locations):
    """Of maps larger than one window, as 32 frames of 256×224 px give."""
    net = get_model('s3d').eval()
    maps = torch.randn(2, 3, *locations)
    net.features = nn.Identity()
    _, vector = s3d_feature(net, maps)
    assert torch.allclose(vector, net.avgpool(maps).mean(dim=(2, 3, 4)), atol=1e-6)
    assert torch.allclose(vector, maps.mean(dim=(2, 3, 4)), atol=1e-6) == (locations == (2, 7, 7))


@pytest.mark.parametrize('name', NAMES)
def test_the_table_says_what_torchvision_says(name):
    preset, entry = get_model_weights(name).DEFAULT.transforms(), THIRD_PARTY_MODELS[f'torchvision:{name}']
    assert preset.crop_size == [entry.img_dim] * 2
    assert (tuple(preset.mean), tuple(preset.std)) == entry.colours


def listed(csv_root):
    return [(path, int(count)) for part in ('train', 'test')
            for path, count in csv.reader(open(csv_root / 'ucf101' / f'{part}_split01.csv', newline=''))]


def test_features_of_a_file_equal_a_loop_with_torchvision(csv_root, tmp_path):
    """eval/features.py: the mean over a video's clips, of both names alike."""
    file = saved(plain_net('r3d_18'), tmp_path / 'r3d.pth')
    out = tmp_path / 'f.npz'
    argv = [*RUN, '--img_dim', 32, '--num_seq', 3, '--seq_len', 2, '--ds', 3, '--csv_root', csv_root, '--out', out]
    assert run(features_cli, [*argv, '--weights', f'torchvision:r3d_18={file}']) == 0
    with np.load(out) as stored:
        found = dict(stored)
    assert found['context'].shape == (24, 512) and (found['context'] == found['block']).all()
    net = plain_net('r3d_18')
    mean, std, own_mean, own_std = (torch.tensor(each).view(3, 1, 1, 1) for each in (
        *IMAGENET, (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)))
    for i, (path, count) in enumerate(listed(csv_root)):
        if i % 5 == 0 and count >= 18:  # shorter ones repeat their last frame, which every third frame may skip
            _, clips = slow_clips(path, count, seq_len=2, ds=3)
            clips = (clips.transpose(1, 2).flatten(2, 3) * std + mean - own_mean) / own_std
            expected = classifier_input(net, 'r3d_18', clips).mean(dim=0).numpy()
            assert found['block'][i] == pytest.approx(expected, abs=1e-4)


# ---- as a user runs it

class TinyNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 8, (2, 8, 8), stride=(2, 8, 8))
        self.norm = nn.BatchNorm3d(8)
        self.out = nn.Linear(8, 5)


def tiny_feature(net, clip):
    locations = net.norm(net.conv(clip)).flatten(2).transpose(1, 2)
    return locations, locations.amax(dim=1)


@pytest.fixture(scope='module', autouse=True)
def own_nets():
    """A network of one's own is one more entry."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ('mine:tiny', 'mine:other'):
            patch.setitem(THIRD_PARTY_MODELS, name, ThirdPartyModel(TinyNet, tiny_feature, 'out', 8, 6, 16, IMAGENET))
        yield


@pytest.fixture(scope='module')
def frozen(csv_root, pretrained, own_nets, tmp_path_factory):
    """(folder of eval/frozen.py on a checkpoint of ours and a file of a net of one's own, both --weights, flags)."""
    out = tmp_path_factory.mktemp('frozen')
    file = saved(TinyNet(), out / 'own.pth')
    weights = [str(pretrained / 'model' / 'epoch1.pth.tar'), f'mine:tiny={file}']
    argv = [*SMALL, '--allow_other_settings', '--csv_root', csv_root, '--out', out, '--no_pictures',
            '--weights', *weights]
    assert run(frozen_cli, [*argv, '--feature', 'block']) == 0
    return out, weights, argv


def test_rows_name_the_net_beside_ours(frozen):
    """Each net has its own random weights, of three seeds; retrieval, k-NN and probe for each."""
    out, weights, _ = frozen
    rows = [row for row in json.loads((out / 'results.json').read_text()) if row['weights'] != 'none']
    for name in (*weights, 'random', 'mine:tiny'):
        own = [row for row in rows if row['weights'] == name]
        assert {row['protocol'] for row in own} == {'retrieval', 'knn', 'probe'}
        assert {row['deviation'] is None for row in own if row['setting'] == 'all labels'} == {name in weights}
    assert {row['weights'] for row in rows} == {*weights, 'random', 'mine:tiny'}
    table = (out / 'results.md').read_text()
    header = next(line for line in table.splitlines() if line.startswith('| feature'))
    assert header.split()[9::2] == ['hash', 'epoch1', 'mine:tiny=own.pth', 'random', 'mine:tiny', 'none']
    assert 'net resnet18, mine:tiny' in table
    assert 'random weights (random, mine:tiny): mean of 3' in table
    assert {path.stem for path in (out / 'features').iterdir()} == {
        'epoch1', 'mine:tiny=own.pth',
        *(f'{name}-{i}' for name in ('random', 'mine:tiny') for i in range(3))}


def test_stored_features_are_used_again(frozen, monkeypatch):
    """The same rows again, and both kinds of vectors."""
    out, weights, argv = frozen
    before = json.loads((out / 'results.json').read_text())
    monkeypatch.setattr('eval.extract.setup.load_representation', None)
    assert run(frozen_cli, [*argv, '--protocols', 'knn']) == 0
    rows = json.loads((out / 'results.json').read_text())
    assert [row for row in rows if row['feature'] == 'block'] == [row for row in before if row['protocol'] == 'knn']
    of_file = [row['value'] for row in rows if row['weights'] == weights[1]]
    assert len(rows) == 8 and len(of_file) == 2


def test_features_of_one_net_are_not_taken_for_another(csv_root, tmp_path, capsys):
    """The same file of features, repeatedly: made anew for each net, seed and file; random weights get statistics."""
    file = saved(TinyNet(), tmp_path / 'own.pth')
    argv = [*SMALL, '--csv_root', csv_root, '--out', tmp_path / 'f.npz']

    def says(*flags):
        assert run(features_cli, [*argv, '--weights', *flags]) == 0
        said = capsys.readouterr().out
        return 'already' in said, 'estimating BN statistics of 1 layers' in said

    assert says('mine:tiny') == (False, True)
    assert says('mine:tiny') == (True, False)
    assert says('mine:tiny', '--seed', 1) == (False, True)
    assert says(f'mine:tiny={file}') == (False, False)
    assert says('mine:other') == (False, True)


def test_fingerprints_differ(tmp_path):
    files = [saved(plain_net('r3d_18', seed), tmp_path / f'{seed}.pth') for seed in range(2)]
    videos = SimpleNamespace(paths=lambda: ['a'], n_frames=[1], fps=None)
    listed = SimpleNamespace(videos=videos, label=np.array([0]), part=['train'])
    names = ['random', *THIRD_PARTY_MODELS, *(f'torchvision:r3d_18={file}' for file in files), str(files[0])]
    prints = [json.dumps(fingerprint(name, 0, 'resnet18', Clip(2, 3, 1, 16), listed, 'off')) for name in names]
    assert len(set(prints)) == len(names)


def test_an_attentive_probe_on_locations(csv_root, tmp_path, capsys):
    """Heads on the last map of the one, on maps and states of the other; tokens of each in files of its own size."""
    argv = [*SMALL, '--csv_root', csv_root, '--out', tmp_path, '--no_pictures', '--head_batch', 4, '--epochs', 1,
            '--weights', 'random', 'mine:tiny']
    assert run(attentive_cli, argv) == 0
    rows = json.loads((tmp_path / 'results.json').read_text())
    assert [(row['feature'], row['weights']) for row in rows] == [
        ('context', 'random'), ('block', 'random'), ('block', 'mine:tiny')]
    assert '9 files in' in capsys.readouterr().out
    with np.load(tmp_path / 'tokens' / 'mine:tiny-0' / 'tokens.npz') as stored:
        assert json.loads(str(stored['fingerprint']))['net'] == 'mine:tiny'
    tokens = open_tokens(tmp_path / 'tokens' / 'mine:tiny-0', ['block'])
    assert tokens.maps['block'].shape[1:] == (3 * 2 * 2, 8)

    # random weights of seed 0, their BN statistics taken from the tokens: mean 0, deviation 1 over training clips
    train = np.concatenate([tokens.maps['block'][slice(*rows)] for rows in tokens.rows[tokens.part == 'train']])
    assert np.abs(train.astype(np.float32).mean(axis=(0, 1))).max() < 0.3
    assert train.astype(np.float32).std(axis=(0, 1)) == pytest.approx(np.ones(8), abs=0.3)
    assert run(attentive_cli, argv) == 0
    assert json.loads((tmp_path / 'results.json').read_text()) == rows
    assert capsys.readouterr().out.count('already') == 6


def test_a_file_of_ones_own_net(csv_root, tmp_path):
    file = saved(TinyNet(), tmp_path / 'own.pth')
    out = tmp_path / 'f.npz'
    argv = [*SMALL, '--csv_root', csv_root, '--out', out, '--weights', f'mine:tiny={file}', '--per_clip']
    assert run(features_cli, argv) == 0
    with np.load(out) as stored:
        assert stored['context'].shape == stored['block'].shape == (24, 8)
        assert (stored['clip_context'] > stored['clip_block']).all(), 'the largest is above the mean'


def test_an_entry_of_the_wrong_size(csv_root, monkeypatch, tmp_path, capsys):
    entry = ThirdPartyModel(TinyNet, tiny_feature, 'out', 9, 6, 16, IMAGENET)
    monkeypatch.setitem(THIRD_PARTY_MODELS, 'mine:tiny', entry)
    argv = [*SMALL, '--csv_root', csv_root, '--out', tmp_path / 'f.npz', '--weights', 'mine:tiny']
    assert run(features_cli, argv) == 2
    assert 'it must give [2, 1, M, 9] and [2, 1, 9]' in capsys.readouterr().err.splitlines()[-1]


# ---- names

def test_what_weights_means():
    assert split_weights('random') == (None, None)
    path = 'log_tmp/ucf101_pt=x/model/epoch1.pth.tar'
    assert split_weights(path) == (None, path)
    assert split_weights('torchvision:s3d') == ('torchvision:s3d', None)
    assert split_weights('torchvision:s3d=a=b.pth') == ('torchvision:s3d', 'a=b.pth')
    assert split_weights('transformers:a=b/mae') == ('transformers:a=b/mae', 'a=b/mae')
    assert split_weights('transformers:a=b/mae=random') == ('transformers:a=b/mae', None)
    assert short_names(['transformers:a/mae/', 'transformers:b/mae', 'transformers:b/mae=random', 'mae.pth.tar']) == [
        'mae', 'mae-2', 'mae=random', 'mae-3']
    assert baseline_of('transformers:a/mae') == baseline_of('transformers:a/mae=random') == 'transformers:a/mae=random'
    assert [net_of(name, 'resnet34') for name in ('random', 'torchvision:s3d=x')] == ['resnet34', 'torchvision:s3d']
    assert short_names(['torchvision:s3d=a/x.pth', 'torchvision:s3d', 'b/x.pth', 'torchvision:s3d=b/x.pth']) == [
        'torchvision:s3d=x.pth', 'torchvision:s3d', 'x.pth', 'torchvision:s3d=x.pth-2']


# ---- bad input

def test_a_file_of_another_model(pretrained, tmp_path):
    """Another shape, other names, one stage deeper, a checkpoint of ours; another number of classes is fine."""
    r3d, swin = plain_net('r3d_18').state_dict(), plain_net('swin3d_t').state_dict()
    deeper = {**swin, 'features.4.6.norm1.weight': torch.ones(384)}
    ours = pretrained / 'model' / 'epoch1.pth.tar'
    for name, state in (('mc3_18', r3d), ('r2plus1d_18', r3d), ('s3d', swin), ('swin3d_t', deeper), ('r3d_18', ours)):
        file = ours if state is ours else tmp_path / 'file.pth'
        if state is not ours:
            torch.save(state, file)
        with pytest.raises(UserError, match=f'is not a state dict of torchvision:{name}') as error:
            read_weights(f'torchvision:{name}={file}')
        assert str(file) in str(error.value) and '\n' not in str(error.value)
    r3d['fc.weight'] = torch.zeros(7, 512)
    torch.save(r3d, tmp_path / 'file.pth')
    read_weights(f'torchvision:r3d_18={tmp_path / "file.pth"}')


def test_one_line_for_each_mistake(csv_root, pretrained, tmp_path, capsys):
    out = tmp_path / 'out'

    def error_of(script, *flags):
        assert run(script, [*SMALL, '--csv_root', csv_root, '--out', out, *flags]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith('error: ')
        return error

    unknown = error_of(frozen_cli, '--weights', 'torchvision:r3d_19')
    assert 'there is no torchvision:r3d_19' in unknown and all(name in unknown for name in THIRD_PARTY_MODELS)
    assert 'give a file after' in error_of(frozen_cli, '--weights', 'torchvision:s3d=')
    assert 'is not there' in error_of(frozen_cli, '--weights', f'torchvision:s3d={tmp_path}/none.pth')
    assert '--net resnet18' in error_of(frozen_cli, '--weights', 'torchvision:s3d', '--net', 'resnet18')
    assert 'of several nets' in error_of(frozen_cli, '--mean', '--weights', 'torchvision:s3d=a', 'b')
    assert '--no_random: give --weights a file' in error_of(frozen_cli, '--no_random', '--weights', 'torchvision:s3d')
    assert 'torchvision:s3d fails on clips of 2 frames of 16 px' in error_of(
        frozen_cli, '--weights', 'torchvision:s3d', '--seq_len', '1')
    assert 'no states to attend over' in error_of(attentive_cli, '--weights', 'torchvision:r3d_18',
                                                  '--feature', 'context')
