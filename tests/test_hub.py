"""hubconf.py as another project uses it, and the preprocessing that comes with its networks."""
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from eval.networks.load import load_model
from eval.networks.preprocessing import Preprocessing
from tests.films import decoded, film, write_film
from tests.test_checkpoint import published_file
from tests.test_features import extract
from tests.tiny import ROOT, checkpoint, classify, make_frames, pretrain
from tests.whole_videos import whole_video
from utils.cli import UserError
from utils.data.clips import Clip, VideoDataset
from utils.data.colour import to_block
from utils.data.lists import VideoList

pytestmark = pytest.mark.published_widths

USE = """
import json, sys
import numpy as np
import torch
root, pretrained, classifier, frames, out = sys.argv[1:]
assert root not in sys.path

def load(name, weights):
    return torch.hub.load(root, name, source='local', weights=weights).requires_grad_(False)

frames = np.load(frames)
backbone, features, scores = (load(*each) for each in (
    ('dpc_backbone', pretrained), ('dpc_features', pretrained), ('dpc_classifier', classifier)))
assert root not in sys.path
block = backbone.transform(frames[:5])
clips = features.transform(frames)
np.savez(out, block=block, feature=backbone(block), clips=clips, context=features(clips),
         logits=scores(scores.transform(frames)))
print(json.dumps({'settings': features.settings, 'names': scores.class_names}))
"""


@pytest.fixture(scope='module')
def pretrained(csv_root, tmp_path_factory):
    """At the published widths: another Python builds these networks."""
    return pretrain(csv_root, tmp_path_factory.mktemp('published_pretrained'))


@pytest.fixture(scope='module')
def classifier(csv_root, tmp_path_factory):
    return classify(csv_root, tmp_path_factory.mktemp('published_classifier'), '--train_what', 'all')


def test_from_an_empty_folder(pretrained, classifier, csv_root, tmp_path):
    """Nothing of ours is on the path; settings and class names are the checkpoint's, numbers those of our commands."""
    video = csv_root.parent / 'frames/ucf101/YoYo/v_YoYo_g04_c02'     # 34 frames, 4 clips
    frames = frames_of(video)
    np.save(tmp_path / 'frames.npy', frames)
    empty = tmp_path / 'elsewhere'
    empty.mkdir()
    files = [pretrained / 'model/epoch1.pth.tar', classifier / 'model/epoch1.pth.tar']
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    argv = [sys.executable, '-B', '-c', USE, ROOT, *files, tmp_path / 'frames.npy', tmp_path / 'out.npz']
    done = subprocess.run(argv, cwd=empty, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(empty.iterdir()) == []
    said = json.loads(done.stdout.splitlines()[-1])
    assert said['settings'] == {'net': 'resnet18', 'img_dim': 32, 'num_seq': 3, 'seq_len': 5, 'ds': 1}
    assert said['names'] == checkpoint(classifier)['settings']['class_names']

    found = np.load(tmp_path / 'out.npz')
    clips = pipeline(video, len(frames), 3, 5, 1, 32)
    assert (found['clips'] == clips.numpy()).all() and (found['block'][0] == found['clips'][0, 0]).all()
    assert found['feature'].shape == (1, 256, 2, 1, 1) and found['logits'].shape == (len(clips), 101)
    features = extract(csv_root, tmp_path / 'f.npz', weights=files[0])
    row = features['path'].tolist().index(str(video))
    assert found['context'].mean(axis=0) == pytest.approx(features['context'][row], abs=1e-5)
    model = load_model('classifier', files[1])
    with torch.no_grad():
        assert found['logits'] == pytest.approx(model(clips).numpy(), abs=1e-5)


def frames_of(folder):
    """uint8 [F, H, W, 3], RGB"""
    return np.stack([cv2.imread(str(path))[:, :, ::-1] for path in sorted(folder.glob('*.jpg'))])


def pipeline(folder, count, num_seq, seq_len, ds, img_dim):
    """The clips of a video as in a test."""
    videos = VideoList.from_rows([str(folder)], [count])
    return to_block(whole_video(VideoDataset(videos, Clip(num_seq, seq_len, ds, img_dim)), 0)['frames'], None, num_seq)


SHADOWED = '''
import sys
import torch
for folder in sys.argv[2:]:
    sys.path.insert(0, folder)
    import utils
    try:
        torch.hub.load(sys.argv[1], 'dpc_features', source='local')
    except ImportError as error:
        print(error)
    sys.path.remove(folder)
    del sys.modules['utils']
'''


def test_beside_another_utils(tmp_path):
    """A package or a module."""
    for name in ('package/utils/__init__.py', 'module/utils.py'):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    folders = [tmp_path / 'package', tmp_path / 'module']
    done = subprocess.run([sys.executable, '-c', SHADOWED, ROOT, *folders], cwd=tmp_path, capture_output=True, text=True)
    for line, folder in zip(done.stdout.splitlines(), folders, strict=True):
        assert line.startswith("the package 'utils' of this repository cannot be imported") and str(folder) in line


@pytest.mark.parametrize('size', [(150, 210), (260, 230), (100, 90)])
@pytest.mark.parametrize('count, num_seq, seq_len, ds', [(11, 2, 3, 1), (47, 3, 4, 3), (1, 2, 2, 2), (13, 1, 1, 5)])
def test_the_transform_is_the_test_pipeline(tmp_path, size, count, num_seq, seq_len, ds):
    """Frames larger and smaller than the crop; videos shorter than a clip, and with a rest."""
    make_frames(tmp_path / 'video', count, seed=count, size=size)
    clips = Preprocessing(num_seq, seq_len, ds, 128)(frames_of(tmp_path / 'video'))
    expected = pipeline(tmp_path / 'video', count, num_seq, seq_len, ds, 128)
    assert clips.shape == expected.shape and clips.dtype == torch.float32 and torch.equal(clips, expected)


def test_frames_of_a_large_video_show_what_the_commands_see(tmp_path):
    """Of a phone's video, on its side in the file: by `read`, and by another reader that turns it."""
    path = write_film(tmp_path / 'phone.mp4', film(8, 1280, 960, blur=12), rotation=90)
    transform = Preprocessing(2, 2, 2, 112)
    expected = pipeline(path, 8, 2, 2, 2, 112)
    assert torch.equal(transform(transform.read(path)), expected)
    others = transform(np.rot90(decoded(path), axes=(1, 2)))
    assert (others - expected).abs().mean() * 255 * 0.225 < 1
    assert Preprocessing(2, 2, 2, 112, fps=5).read(path).shape == (2, 320, 240, 3)
    assert Preprocessing(2, 2, 2, 112, short_side=0).read(path).shape == (8, 1280, 960, 3)
    assert transform.facts()['short_side'] == 240


@pytest.mark.parametrize('img_dim', [112, 64, 50])
def test_small_inputs_differ_by_grey_levels_only(tmp_path, img_dim):
    """There the pipeline decodes JPEGs at a half or quarter of the size."""
    make_frames(tmp_path / 'video', 4, seed=1, size=(241, 323))
    clips = Preprocessing(2, 2, 1, img_dim, short_side=0)(frames_of(tmp_path / 'video'))
    difference = (clips - pipeline(tmp_path / 'video', 4, 2, 2, 1, img_dim)).abs() * 255 * 0.225
    assert difference.mean() < 1 and difference.max() < 6


def test_other_settings_and_random_weights():
    model = load_model('classifier', num_class=7, net='resnet18', img_dim=64, num_seq=2, ds=4)
    clips = model.transform(np.zeros((30, 70, 80, 3), np.uint8))
    assert clips.shape == (1, 2, 3, 5, 64, 64) and model(clips).shape == (1, 7) and len(model.class_names) == 7
    backbone = load_model('backbone', img_dim=64)
    assert backbone(backbone.transform(np.zeros((9, 70, 80, 3), np.uint8))).shape == (1, 256, 3, 2, 2)


def test_a_file_without_statistics(pretrained, tmp_path):
    state = checkpoint(pretrained)['state_dict']
    path = published_file(tmp_path / 'file.pth.tar',
                          {f'module.{name}': tensor for name, tensor in state.items() if 'running' not in name})
    with pytest.raises(UserError, match='batch_statistics=True'):
        load_model('features', path)
    model = load_model('features', path, batch_statistics=True, img_dim=32, num_seq=2)
    block = torch.randn(4, 2, 3, 5, 32, 32)
    reference = load_model('features', pretrained / 'model/epoch1.pth.tar')
    for layer in reference.backbone.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.train()
    with torch.no_grad():
        assert torch.allclose(model(block), reference(block), atol=1e-5)


@pytest.mark.parametrize('kind, options, message', [
    ('classifier', {}, 'is no classifier'),
    ('features', {'net': 'resnet34'}, 'another net'),
    ('features', {'net': 'vgg'}, 'choose one of resnet18'),
    ('classifier', {'class_names': ['a', 'b']}, '2 class names, but .* has 101 classes'),
])
def test_mistakes_end_in_a_line(pretrained, classifier, kind, options, message):
    run = classifier if 'class_names' in options else pretrained
    with pytest.raises(UserError, match=message) as error:
        load_model(kind, run / 'model/epoch1.pth.tar', **options)
    assert '\n' not in str(error.value)


def test_frames_of_another_kind_are_refused():
    transform = Preprocessing(2, 2, 1, 32)
    for frames in (np.zeros((4, 40, 40, 3), np.float32), np.zeros((4, 40, 40), np.uint8),
                   np.zeros((0, 4, 4, 3), np.uint8)):
        with pytest.raises(UserError, match='uint8'):
            transform(frames)
