"""Folders of the transformers library: against its own forward, through the commands, and what may go wrong.

The folders are tiny, of random weights, and made here; nothing is downloaded."""
import importlib.util
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eval import attentive as attentive_cli
from eval import features as features_cli
from eval import frozen as frozen_cli
from eval.extract.cache import fingerprint
from eval.extract.tokens import open_tokens
from eval.networks.representation import build_representation, own_clip, token_shape
from eval.networks.third_party import IMAGENET
from eval.networks.transformers_models import KINDS
from eval.networks.weights import entry_of, read_weights
from tests.tiny import run
from utils.checkpoint import load_weights
from utils.cli import UserError
from utils.data.clips import Clip
from utils.data.colour import to_block

pytestmark = pytest.mark.skipif(importlib.util.find_spec('transformers') is None,
                                reason='the packages of requirements-transformers.txt are not installed')

RUN = ['--num_workers', '0', '--gpu', 'cpu', '--amp', 'off']
SIZES = {'hidden_size': 24, 'num_hidden_layers': 2, 'num_attention_heads': 2}
VIT = {**SIZES, 'intermediate_size': 32, 'image_size': 32, 'num_frames': 4}
CONFIGS = {
    'videomae': {**VIT, 'decoder_hidden_size': 12, 'decoder_num_attention_heads': 2, 'decoder_num_hidden_layers': 1,
                 'decoder_intermediate_size': 8},
    'vjepa2': {**SIZES, 'crop_size': 48, 'frames_per_clip': 8, 'mlp_ratio': 2., 'pred_hidden_size': 12,
               'pred_num_attention_heads': 2, 'pred_num_hidden_layers': 1, 'pred_num_mask_tokens': 1},
    'timesformer': VIT, 'vivit': VIT,
}
# frames, px and tokens of a clip of each
CLIPS = {'videomae': (4, 32, 2 * 4), 'vjepa2': (8, 48, 4 * 9), 'timesformer': (4, 32, 4 * 4), 'vivit': (4, 32, 2 * 4)}


def save(kind, folder, network=None, **config):
    """A folder as the hub stores it, of large random weights: zeros, as of position embeddings, would hide mistakes."""
    import transformers
    network = getattr(transformers, network or KINDS[kind].network)
    torch.manual_seed(0)
    net = network(network.config_class(**{**CONFIGS[kind], **config}))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=0.3)
    net.save_pretrained(folder)
    getattr(transformers, KINDS[kind].processor)().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """{kind: its folder}; not to be changed."""
    root = tmp_path_factory.mktemp('folders')
    return {kind: save(kind, root / kind) for kind in CONFIGS}


def loaded(folder):
    model = build_representation(f'transformers:{folder}').eval()
    load_weights(model, read_weights(f'transformers:{folder}'), strict=True)
    return model


def frames_of(kind, count=2):
    frames, px, _ = CLIPS[kind]
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, frames, px, px, 3), np.uint8))


def library_input(folder, kind, frames):
    """What the folder's own processor makes of frames of the right size."""
    import transformers
    processor = getattr(transformers, KINDS[kind].processor).from_pretrained(folder)
    return torch.cat([next(iter(processor(video.permute(0, 3, 1, 2), do_resize=False, do_center_crop=False,
                                          return_tensors='pt').values())) for video in frames])


@torch.no_grad()
def library_output(folder, kind, clips):
    """(all tokens of the library's model, the vector to expect), by its public forward passes."""
    import transformers
    network = getattr(transformers, KINDS[kind].network).from_pretrained(folder).eval()
    if kind == 'vjepa2':
        tokens = network(clips, skip_predictor=True).last_hidden_state
        return tokens, tokens.mean(dim=1)
    seen = []
    network.classifier.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    network(clips)
    tokens = network.base_model(clips).last_hidden_state
    return tokens if kind == 'videomae' else tokens[:, 1:], seen[0]


@torch.no_grad()
@pytest.mark.parametrize('kind', CONFIGS)
def test_a_folder_gives_the_features_of_the_library(kind, folders):
    """From frames 0..255, normalised as the folder's processor does, to what the library's own classifier reads."""
    folder, (count, px, tokens_of_clip) = folders[kind], CLIPS[kind]
    frames = frames_of(kind)
    tokens, expected = library_output(folder, kind, library_input(folder, kind, frames))
    locations, states, vector = loaded(folder).all_states(to_block(frames, None, 2))
    assert states is None
    assert torch.allclose(vector[:, 0], expected, atol=1e-4) and torch.allclose(locations[:, 0], tokens, atol=1e-4)
    assert (vector[0] - vector[1]).abs().max() > 1e-2
    shape = token_shape(f'transformers:{folder}', Clip(2, count // 2, 1, px))
    assert locations.shape == (2, 1, *shape) and shape == (tokens_of_clip, 24)


@torch.no_grad()
def test_a_pretrained_videomae(tmp_path):
    """Without a classifier: the mean of its tokens, which are normalised in it; the decoder is not used."""
    import transformers
    folder = save('videomae', tmp_path, 'VideoMAEForPreTraining', use_mean_pooling=False)
    frames = frames_of('videomae')
    net = transformers.VideoMAEModel.from_pretrained(folder).eval()
    expected = net(library_input(folder, 'videomae', frames)).last_hidden_state.mean(dim=1)
    _, _, vector = loaded(folder).all_states(to_block(frames, None, 2))
    assert net.layernorm is not None and torch.allclose(vector[:, 0], expected, atol=1e-4)


@torch.no_grad()
def test_a_vjepa2_with_a_classifier(tmp_path):
    """The mean of its encoder's tokens: the attentive head of another data set is not used."""
    import transformers
    folder = save('vjepa2', tmp_path, 'VJEPA2ForVideoClassification', num_pooler_layers=1)
    frames = frames_of('vjepa2')
    net = transformers.VJEPA2ForVideoClassification.from_pretrained(folder).eval().vjepa2
    expected = net.get_vision_features(library_input(folder, 'vjepa2', frames)).mean(dim=1)
    _, _, vector = loaded(folder).all_states(to_block(frames, None, 2))
    assert torch.allclose(vector[:, 0], expected, atol=1e-4)


@torch.no_grad()
def test_vjepa2_takes_other_numbers_of_frames(folders):
    folder = folders['vjepa2']
    frames = frames_of('vjepa2')[:, :6]
    _, expected = library_output(folder, 'vjepa2', library_input(folder, 'vjepa2', frames))
    _, _, vector = loaded(folder).all_states(to_block(frames, None, 3))
    assert torch.allclose(vector[:, 0], expected, atol=1e-4)


@torch.no_grad()
def test_shards_half_precision_and_earlier_names(folders, tmp_path):
    """The same features of files as they are published: ViViT's tensors had other names before the library's version 5."""
    import safetensors.torch
    import transformers
    folder = folders['vivit']
    shutil.copytree(folder, tmp_path / 'shards')
    (tmp_path / 'shards' / 'model.safetensors').unlink()
    transformers.VivitForVideoClassification.from_pretrained(folder).half().save_pretrained(
        tmp_path / 'shards', max_shard_size='10KB')
    assert len(list((tmp_path / 'shards').glob('*.safetensors'))) > 1
    shutil.copytree(folder, tmp_path / 'earlier')
    state = safetensors.torch.load_file(f'{folder}/model.safetensors')
    for new, old in (('.layers.', '.encoder.layer.'), ('attention.q_proj', 'attention.attention.query'),
                     ('attention.k_proj', 'attention.attention.key'), ('attention.v_proj', 'attention.attention.value'),
                     ('attention.o_proj', 'attention.output.dense'), ('mlp.fc1', 'intermediate.dense'),
                     ('mlp.fc2', 'output.dense')):
        state = {name.replace(new, old): tensor for name, tensor in state.items()}
    safetensors.torch.save_file(state, tmp_path / 'earlier' / 'model.safetensors', {'format': 'pt'})

    block = to_block(frames_of('vivit'), None, 2)
    expected, shards, earlier = (loaded(each).all_states(block)[2] for each in (
        folder, tmp_path / 'shards', tmp_path / 'earlier'))
    assert torch.equal(earlier, expected)
    assert torch.allclose(shards, expected, atol=0.05) and not torch.equal(shards, expected)


@pytest.mark.parametrize('kind, said, low, high', [
    ('videomae', {'image_mean': IMAGENET[0], 'image_std': IMAGENET[1], 'size': 224,
                  'feature_extractor_type': 'VideoMAEFeatureExtractor'},
     [-mean / std for mean, std in zip(*IMAGENET)], [(1 - mean) / std for mean, std in zip(*IMAGENET)]),
    ('vivit', {'image_mean': [0.5] * 3, 'image_std': [0.5] * 3, 'do_rescale': True, 'rescale_factor': 1 / 127.5,
               'offset': True, 'image_processor_type': 'VivitImageProcessor'}, [-3] * 3, [1] * 3),
    ('timesformer', {'do_normalize': False, 'image_processor_type': 'VideoMAEImageProcessor'}, [0] * 3, [1] * 3),
], ids=['no rescaling named', 'offset', 'not normalised'])
def test_normalisation_is_the_folders(kind, said, low, high, folders, tmp_path):
    """Of the file's earlier name and fields: black becomes `low` and white `high`."""
    shutil.copytree(folders[kind], tmp_path / 'folder')
    (tmp_path / 'folder' / 'video_preprocessor_config.json').unlink()
    (tmp_path / 'folder' / 'preprocessor_config.json').write_text(json.dumps(said))
    mean, std = map(np.array, entry_of(f'transformers:{tmp_path / "folder"}').colours)
    assert -mean / std == pytest.approx(low, abs=1e-5) and (1 - mean) / std == pytest.approx(high, abs=1e-5)


def test_random_weights_are_of_the_folders_config_and_drawn_from_the_seed(folders):
    for folder in folders.values():
        states = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            states.append(build_representation(f'transformers:{folder}').state_dict())
        same, differs = ([name for name in states[0] if torch.equal(states[0][name], other[name])]
                         for other in states[1:])
        assert len(same) == len(states[0]) and set(states[0]) - set(differs), folder
        stored = read_weights(f'transformers:{folder}')['state_dict']
        assert {name: tensor.shape for name, tensor in stored.items()} == {
            name: tensor.shape for name, tensor in states[0].items()}
        assert read_weights(f'transformers:{folder}=random') == {}


@pytest.mark.parametrize('flags, clip', [
    ((None, None, None), (4, 1, 32)), ((2, None, None), (2, 2, 32)), ((None, 4, None), (1, 4, 32)),
    ((4, 1, 64), (4, 1, 64)), ((None, 9, None), (1, 9, 32)), ((9, None, None), (9, 1, 32))])
def test_clips_follow_the_folder_where_flags_are_left_out(flags, clip, folders):
    names = 'num_seq', 'seq_len', 'img_dim'
    assert own_clip(f'transformers:{folders["videomae"]}', dict(zip(names, flags))) == dict(zip(names, clip))
    assert own_clip('torchvision:r3d_18', dict(zip(names, flags))) == {}


# ---- as a user runs it

@pytest.fixture(scope='module')
def frozen(csv_root, pretrained, folders, tmp_path_factory):
    """(folder of eval/frozen.py on a checkpoint of ours and two folders, --weights, flags)."""
    out = tmp_path_factory.mktemp('frozen')
    weights = [str(pretrained / 'model' / 'epoch1.pth.tar'),
               *(f'transformers:{folders[kind]}' for kind in ('videomae', 'vjepa2'))]
    argv = [*RUN, '--csv_root', csv_root, '--no_pictures', '--protocols', 'knn', '--weights', *weights]
    assert run(frozen_cli, [*argv, '--out', out]) == 0
    return out, weights, argv


def test_rivals_stand_beside_ours(frozen):
    """In one table, each beside random weights of its own, with the clips that it was made for, which the hashes tell."""
    out, weights, _ = frozen
    ours, mae, jepa = weights
    rows = json.loads((out / 'results.json').read_text())
    assert [row['weights'] for row in rows if row['feature'] == 'block'] == [
        *weights, 'random', f'{mae}=random', f'{jepa}=random']
    hashes = {row['weights']: row['hash'] for row in rows}
    assert hashes[ours] == hashes['random'] and hashes[mae] == hashes[f'{mae}=random']
    assert len(set(hashes.values())) == 3
    assert {row['weights']: row['deviation'] is None for row in rows} == {
        name: name in weights for name in hashes}
    table = (out / 'results.md').read_text()
    header = next(line for line in table.splitlines() if line.startswith('| feature'))
    assert header.split()[11::2] == ['epoch1', 'videomae', 'vjepa2', 'random', 'videomae=random', 'vjepa2=random']
    for clip in ('3 blocks of 5 frames, ds 1, 32 px; net resnet18', f'4 blocks of 1 frames, ds 1, 32 px; net {mae}',
                 f'8 blocks of 1 frames, ds 1, 48 px; net {jepa}'):
        assert f'clip: {clip}' in table
    assert {path.stem for path in (out / 'features').iterdir()} == {
        'epoch1', 'videomae', 'vjepa2', *(f'{name}-{i}' for name in ('random', 'videomae=random', 'vjepa2=random')
                                          for i in range(3))}
    pairs = {(row['weights'], row['than']) for row in json.loads((out / 'differences.json').read_text())}
    assert pairs == {(ours, 'random'), (mae, f'{mae}=random'), (jepa, f'{jepa}=random'), (mae, ours), (jepa, ours)}


def test_stored_features_are_used_again(frozen, monkeypatch):
    out, _, argv = frozen
    before = (out / 'results.json').read_text()
    monkeypatch.setattr('eval.extract.setup.load_representation', None)
    assert run(frozen_cli, [*argv, '--out', out]) == 0
    assert (out / 'results.json').read_text() == before


def test_flags_give_all_the_same_clips(csv_root, pretrained, folders, tmp_path):
    """Then there is one hash."""
    argv = [*RUN, '--csv_root', csv_root, '--no_pictures', '--no_random', '--protocols', 'knn', '--feature', 'block',
            '--weights', pretrained / 'model' / 'epoch1.pth.tar', f'transformers:{folders["videomae"]}',
            f'transformers:{folders["timesformer"]}', '--num_seq', 2, '--seq_len', 2, '--allow_other_settings']
    assert run(frozen_cli, [*argv, '--out', tmp_path]) == 0
    assert len({row['hash'] for row in json.loads((tmp_path / 'results.json').read_text())}) == 1


def test_features_of_a_folder(csv_root, folders, tmp_path, capsys):
    """eval/features.py: the clips are those of the folder, and the features the same as in a table."""
    out = tmp_path / 'f.npz'
    argv = [*RUN, '--csv_root', csv_root, '--out', out, '--weights', f'transformers:{folders["vjepa2"]}', '--per_clip']
    assert run(features_cli, argv) == 0
    said = capsys.readouterr().out
    assert 'img_dim 48 (checkpoint), num_seq 8 (checkpoint), seq_len 1 (checkpoint), ds 3 (default)' in said
    with np.load(out) as stored:
        assert stored['context'].shape == stored['block'].shape == (24, 24)
        assert (stored['context'] == stored['block']).all() and stored['clip_start'].max() > 0
    assert run(features_cli, argv) == 0 and 'already' in capsys.readouterr().out


def test_an_attentive_probe_on_tokens(csv_root, folders, tmp_path):
    """Of all tokens but the class token."""
    weights = f'transformers:{folders["timesformer"]}'
    argv = [*RUN, '--csv_root', csv_root, '--out', tmp_path, '--no_pictures', '--head_batch', 12, '--epochs', 1]
    assert run(attentive_cli, [*argv, '--weights', weights]) == 0
    rows = json.loads((tmp_path / 'results.json').read_text())
    assert [(row['feature'], row['weights']) for row in rows] == [('block', weights), ('block', f'{weights}=random')]
    tokens = open_tokens(tmp_path / 'tokens' / 'timesformer', ['block'])
    assert tokens.maps['block'].shape[1:] == (4 * 4, 24)


def test_fingerprints_cover_weights_and_config(folders, tmp_path):
    folder = tmp_path / 'folder'
    shutil.copytree(folders['videomae'], folder)
    listed = SimpleNamespace(videos=SimpleNamespace(paths=lambda: ['a'], n_frames=[1], fps=None), label=np.array([0]),
                             part=['train'])

    def prints():
        return [fingerprint(f'transformers:{folder}{end}', 0, None, Clip(2, 2, 1, 32), listed, 'off')
                for end in ('', '=random')]

    def differ(before):
        return [one != other for one, other in zip(before, prints())]

    before = prints()
    assert before[0] != before[1]
    (folder / 'README.md').write_text('a model card')
    assert differ(before) == [False, False]
    with open(folder / 'model.safetensors', 'r+b') as file:
        file.seek(-1, 2)
        file.write(b'\1')
    assert differ(before) == [True, False]
    for name in ('config.json', 'video_preprocessor_config.json'):
        before = prints()
        (folder / name).write_text((folder / name).read_text() + ' ')
        assert differ(before) == [True, True]


# ---- bad input

def change_json(**changes):
    def change(folder):
        path = folder / 'config.json'
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return change


def keep_pickled(folder):
    (folder / 'model.safetensors').rename(folder / 'pytorch_model.bin')


def cut_short(folder):
    path = folder / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:-100])


def lose_a_tensor(folder):
    import safetensors.torch
    state = safetensors.torch.load_file(folder / 'model.safetensors')
    del state['videomae.encoder.layer.1.output.dense.weight']
    safetensors.torch.save_file(state, folder / 'model.safetensors', {'format': 'pt'})


def lose_a_shard(folder):
    (folder / 'model.safetensors').rename(folder / 'model-00001-of-00002.safetensors')
    (folder / 'model.safetensors.index.json').write_text(json.dumps(
        {'weight_map': {'a': 'model-00001-of-00002.safetensors', 'b': 'model-00002-of-00002.safetensors'}}))


@pytest.mark.parametrize('change, flags, message', [
    (lambda folder: shutil.rmtree(folder), [], 'is not a folder'),
    (lambda folder: (folder / 'model.safetensors').unlink(), [], 'has no model.safetensors'),
    (keep_pickled, [], 'pickled weights can run code and are refused'),
    (cut_short, [], 'model.safetensors is cut short or damaged'),
    (lose_a_tensor, [], 'lacks 1 tensors of a VideoMAEForVideoClassification'),
    (lose_a_shard, [], 'model-00002-of-00002.safetensors is not there'),
    (lambda folder: (folder / 'config.json').unlink(), [], 'config.json is not there'),
    (lambda folder: (folder / 'config.json').write_text('{'), [], 'config.json cannot be read'),
    (change_json(model_type='llama'), [], "model_type 'llama': choose a folder of videomae, vjepa2"),
    (change_json(hidden_size='large'), [], 'is no VideoMAEForVideoClassification that transformers can build'),
    (change_json(hidden_size=26), [], 'weights cannot be loaded'),
    (change_json(image_size=[32, 48]), [], 'frames of 32×48 px'),
    (lambda folder: (folder / 'video_preprocessor_config.json').unlink(), [], 'has no preprocessor_config.json'),
    (lambda folder: None, ['--img_dim', 64], 'takes frames of 32 px, and --img_dim is 64'),
    (lambda folder: None, ['--num_seq', 3], 'takes clips of 4 frames, and --num_seq times --seq_len is 3'),
    (lambda folder: None, ['--net', 'resnet18'], '--net resnet18'),
])
def test_one_line_for_each_mistake(change, flags, message, csv_root, folders, tmp_path, capsys):
    folder = tmp_path / 'folder'
    shutil.copytree(folders['videomae'], folder)
    change(folder)
    argv = [*RUN, '--csv_root', csv_root, '--out', tmp_path / 'f.npz', '--weights', f'transformers:{folder}', *flags]
    assert run(features_cli, argv) == 2
    said = capsys.readouterr()
    error, = said.err.splitlines()
    assert error.startswith('error: ') and message in error and not (tmp_path / 'f.npz').exists()


def test_numbers_that_make_no_network(csv_root, folders, tmp_path, capsys):
    """Random weights are built without reading any."""
    shutil.copytree(folders['vivit'], tmp_path / 'folder')
    change_json(num_attention_heads=0)(tmp_path / 'folder')
    argv = [*RUN, '--csv_root', csv_root, '--out', tmp_path / 'f.npz', '--weights', f'transformers:{tmp_path}/folder=random']
    assert run(features_cli, argv) == 2
    error, = capsys.readouterr().err.splitlines()
    assert error.startswith(f'error: {tmp_path}/folder/config.json is no VivitForVideoClassification')


def test_no_folder_is_not_the_current_one():
    with pytest.raises(UserError, match='is not a folder'):
        entry_of('transformers:')


def test_an_odd_number_of_frames(csv_root, folders, tmp_path, capsys):
    argv = [*RUN, '--csv_root', csv_root, '--out', tmp_path / 'f.npz', '--num_seq', 3, '--seq_len', 1,
            '--weights', f'transformers:{folders["vjepa2"]}=random']
    assert run(features_cli, argv) == 2
    assert 'takes clips of a multiple of 2 frames' in capsys.readouterr().err


def test_the_missing_package_is_named(folders, csv_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    argv = [*RUN, '--csv_root', csv_root, '--out', tmp_path / 'f.npz', '--weights', f'transformers:{folders["vivit"]}']
    assert run(features_cli, argv) == 2
    assert 'pip install -r requirements-transformers.txt' in (error := capsys.readouterr().err)
    assert error.count('\n') == 1
