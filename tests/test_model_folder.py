"""Model folders: what is read is what was written, predictions are those of the checkpoint, the card, bad input."""
import errno
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip('safetensors')

import hubconf
from dpc import main as pretraining
from eval import predict
from eval import test as classifier_cli
from eval.extract.cache import fingerprint
from eval.networks.weights import hash_of
from eval.page.model_card import model_card
from eval.protocols.results import short_names
from tests import tiny
from tests.test_checkpoint import one_line, published_file
from tests.test_export import run as run_export
from tests.test_hub import frames_of
from tests.test_predict import FLAGS, answers, rows_of
from tests.tiny import checkpoint, equal, next_lines
from utils.checkpoint import plain_names, read_checkpoint
from utils.data.clips import Clip
from utils.model_folder import CARD, CONFIG, WEIGHTS, packed, write_model_folder
from utils.run.folder import pretrained_suffix

FILES = [CARD, CONFIG, WEIGHTS]  # sorted


@pytest.fixture(scope='module')
def released(classifier, tmp_path_factory):
    """The folder of the tiny classifier."""
    out = tmp_path_factory.mktemp('released') / 'r18'
    assert run_export('--weights', classifier / 'model/epoch1.pth.tar', '--out', f'{out}/') == 0
    return out


def written(stored, out, **facts):
    config, weights = packed(stored, plain_names(stored['state_dict']), facts)
    write_model_folder(out, config, weights, 'a card')
    return out


# ---- what is read is what was written

def some_checkpoint(rng, model):
    """With settings of either kind, as odd as they may be."""
    def training(kind):
        return {'model': kind, 'dataset': str(rng.choice(['ucf101', 'ünïcode', '\udcff'])), 'split': int(rng.integers(1, 4)),
                'train_list': {'depth': 2, 'videos': torch.from_numpy(rng.integers(-2**63, 2**63 - 1, rng.integers(0, 9)))}}

    settings = {'net': 'resnet18', 'img_dim': 32, 'num_seq': 3, 'seq_len': 5, 'ds': 1, 'aggregator': 'convgru'}
    settings.update(training(model) if rng.random() < 0.8 else {'model': model}, started_from=[
        training(kind) for kind in rng.choice(['lc', 'dpc-rnn'], rng.integers(0, 3)).tolist()])
    if model == 'lc':
        settings.update(class_names=['a|b', "Pretend 'x', y", '行', '\udcfe'], multi_label=True, label_fraction=0.1)
    elif rng.random() < 0.5:
        settings.update(fps=12.5, pred_step=2, prediction='parallel')
    tensors = {f't{i}': torch.from_numpy(rng.normal(size=rng.integers(0, 4, rng.integers(0, 3))))
               .to(getattr(torch, rng.choice(['float16', 'bfloat16', 'float32', 'float64']))) for i in range(5)}
    return {'epoch': 3, 'iteration': 12, 'best': True, 'net': 'resnet18', 'settings': settings,
            'state_dict': {**tensors, 'turned': torch.arange(6.).view(2, 3).T, 'count': torch.tensor(7)}}


def test_what_is_read_is_what_was_written(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(20):
        stored = some_checkpoint(rng, 'lc' if number % 2 else 'dpc-rnn')
        read = read_checkpoint(written({**stored, 'optimizer': {}, 'best_acc': 0.5}, tmp_path / str(number)))
        assert equal(read, stored)


def test_published_files_keep_what_they_have(tmp_path):
    """Our names of their tensors, of which two are the same; no settings, and none are made up."""
    weight = torch.randn(3, 3)
    path = published_file(tmp_path / 'a.pth.tar', {'module.agg.ConvGRUCell_00.w': weight,
                                                   'module.agg.cell_list.0.w': weight, 'module.backbone.a': weight[0]})
    read = read_checkpoint(written(read_checkpoint(path), tmp_path / 'out'))
    assert equal(read, {'net': 'resnet18', 'epoch': 108, 'iteration': 12345,
                        'state_dict': {'agg.ConvGRUCell_00.w': weight, 'backbone.a': weight[0]}})


# ---- it takes the place of a checkpoint

def test_predictions_elsewhere_are_those_of_the_checkpoint(csv_root, classifier, released, tmp_path, capsys):
    """Moved, by `predict --json` from within it, and by the hub."""
    folder = shutil.copytree(released, tmp_path / 'elsewhere')
    videos = [row[0] for row in rows_of(csv_root)[:4]]
    expected = answers(capsys, *videos, '--weights', classifier / 'model/epoch1.pth.tar')
    assert expected[0] == 0 and len(expected[1]) == 4
    assert answers(capsys, *videos, '--weights', folder) == expected
    model = hubconf.dpc_classifier(weights=str(folder))
    for each in expected[1]:
        with torch.no_grad():
            probability = model(model.transform(frames_of(Path(each['video'])))).softmax(dim=1).mean(dim=0)
        best = probability.topk(5)
        assert [model.class_names[label] for label in best.indices] == [one['class'] for one in each['top']]
        assert best.values.tolist() == pytest.approx([one['probability'] for one in each['top']], abs=1e-5)


def test_training_starts_from_it(csv_root, pretrained, tmp_path, monkeypatch):
    """As from the checkpoint, to the last bit; what it has seen is stored, and runs are called after it."""
    file = pretrained / 'model/epoch1.pth.tar'
    folder = written(read_checkpoint(file), tmp_path / 'r18')
    runs = [tiny.pretrain(csv_root, tmp_path / name, '--pretrain', weights) for name, weights in (('a', file), ('b', folder))]
    assert equal(*({name: checkpoint(run)[name] for name in ('state_dict', 'settings')} for run in runs))
    assert runs[1].name.endswith('_pt=r18')
    monkeypatch.chdir(folder)
    assert pretrained_suffix('.') == '_pt=r18' and short_names(['.', './']) == ['r18', 'r18-2']


def test_a_test_is_called_after_it(csv_root, released, tmp_path):
    tested = tiny.run_folder(classifier_cli, ['--csv_root', csv_root, *FLAGS, '--test', f'{released}/'], tmp_path)
    assert tested.name.endswith('_test=r18')


def test_features_are_stored_by_the_weights_of_a_folder(released, tmp_path):
    class Nothing:
        """A list of no videos."""
        videos = type('', (), {'paths': list, 'n_frames': [], 'fps': 0})()
        label, part = np.array([]), []

    first = fingerprint(str(released), 0, 'resnet18', Clip(3, 5, 1, 32), Nothing, 'off')
    assert first['weights'] == hashlib.sha256((released / WEIGHTS).read_bytes()).hexdigest()


# ---- the card

def fake_results(folder, weights, value=0.5, others=(), hashes=None):
    """A frozen evaluation of `weights`, with an interval, random weights and appearance."""
    hashes = [hash_of([weights])] if hashes is None else hashes
    row = {'feature': 'context', 'protocol': 'knn', 'setting': 'all labels', 'metric': 'top1', 'low': 0.4, 'high': 0.6,
           'videos': 64, 'groups': 32, 'by_group': None, 'deviation': None, 'hash': '0123abcd'}
    rows = [{**row, 'weights': str(name), 'value': value, 'sha256': hashes if name is weights else ['0']}
            for name in (weights, *others)]
    rows += [{**row, 'weights': 'random', 'sha256': [], 'value': 0.25, 'low': 0.2, 'high': 0.3, 'deviation': 0.01},
             {**row, 'weights': 'none', 'sha256': [], 'value': 0.125, 'protocol': 'one frame', 'feature': 'frame'}]
    differences = [{**row, 'weights': str(weights), 'than': 'random', 'value': value - 0.25}]
    folder.mkdir(parents=True)
    (folder / 'results.json').write_text(json.dumps(rows))
    (folder / 'differences.json').write_text(json.dumps(differences))
    (folder / 'results.md').write_text('- data: /secret/place/ucf101, split 1: 96 training and 64 test videos\n')
    return folder


@pytest.fixture
def run(pretrained, tmp_path):
    """A copy of a run folder, resumed once with more epochs; beside it is place for results."""
    run = shutil.copytree(pretrained, tmp_path / 'private' / 'log_pretrain' / pretrained.name)
    flags = json.loads((run / 'args.json').read_text())
    (run / 'args.json').write_text(json.dumps({**flags, 'git_revision': 'abc123', 'frame_root': '/secret/place/frames'}))
    (run / 'args-2.json').write_text(json.dumps({**flags, 'git_revision': 'def456', 'frame_root': '/secret/place/frames',
                                                 'epochs': 9}))
    with open(run / 'log.jsonl', 'a') as log:
        for iteration, text in ((1, 'a warning'), (10 ** 6, 'a later warning')):
            log.write(json.dumps({'time': 1., 'kind': 'warning', 'iteration': iteration, 'text': text}) + '\n')
    return run


def card_of(run, out, *flags):
    assert run_export('--weights', run / 'model/epoch1.pth.tar', '--out', out, *flags) == 0
    assert sorted(path.name for path in out.iterdir()) == FILES
    return (out / CARD).read_text()


def test_the_card_says_what_the_run_folder_knows(run, tmp_path, capsys):
    stored = checkpoint(run)
    fake_results(run.parent.parent / 'frozen', run / 'model/epoch1.pth.tar', others=['another.pth.tar'])
    text = card_of(run, tmp_path / 'out')
    config = json.loads((tmp_path / 'out' / CONFIG).read_text())
    assert config['settings']['img_dim'] == config['model']['preprocessing']['img_dim'] == 32
    for said in (hash_of([tmp_path / 'out' / WEIGHTS]), hash_of([run / 'model/epoch1.pth.tar']), run.name, '`abc123`, `def456`',
                 f'| ucf101 | 1 | {len(stored["settings"]["train_list"]["videos"])} | not used |',
                 f'{4 * stored["iteration"]} clips seen', '--batch_size 4\n', '--frame_root frames\n', '`--sync_bn`',
                 'resumed with `--epochs 9`', '- a warning\n', 'this model', '50.0% [40.0, 60.0]',
                 '25.0% ±1.0% [20.0, 30.0]', 'pretrained beats random weights in 1 of 1 rows', '| 12.5% [40.0, 60.0]',
                 '- data: ucf101, split 1: 96 training', "'dpc_features'", 'license of the weights | unknown'):
        assert said in text, said
    val = tiny.read_log(run, 'val')[-1]
    assert f'| {val["loss"]:.4g} | {val["top1"]:.4g} |' in text and config['training']['validation']['top1'] == val['top1']
    for unsaid in ('a later warning', 'another', 'private', 'secret', str(tmp_path)):
        assert unsaid not in text + json.dumps(config), unsaid
    _, front, _ = text.split('---\n', 2)
    assert front.startswith('library_name: dense-predictive-coding\npipeline_tag: feature-extraction\ntags:\n- ')
    (_, flag, code), = next_lines(capsys.readouterr().out)
    assert flag == '-c' and compile(code, 'next', 'exec')

    again = tmp_path / 'again'  # from the folder itself: all but the results
    assert run_export('--weights', tmp_path / 'out', '--out', again) == 0
    assert json.loads((again / CONFIG).read_text()) == config and 'None was given' in (again / CARD).read_text()


def test_results_are_taken_where_it_is_clear_whose_they_are(run, pretrained, tmp_path, capsys):
    """One beside the run folders; none of two; those given; by content, wherever the file is or was; not a mean of several."""
    weights = run / 'model/epoch1.pth.tar'
    beside, sha256 = run.parent.parent, hash_of([weights])
    fake_results(beside / 'replaced', weights, hashes=['1'])  # another file stood there
    fake_results(beside / 'mean', weights, hashes=[sha256, '1'])
    (beside / 'broken').mkdir()
    (beside / 'broken' / 'results.json').write_text('{')
    assert 'None was given' in card_of(run, tmp_path / '1')
    fake_results(beside / 'copied', pretrained / 'model/epoch1.pth.tar', 0.75)  # the file that this one is a copy of
    assert '75.0%' in card_of(run, tmp_path / '2')
    fake_results(beside / 'moved', 'gone.pth.tar', 0.625, hashes=[sha256])
    capsys.readouterr()
    assert 'None was given' in card_of(run, tmp_path / '3')
    assert '2 frozen evaluations of these weights, none is taken' in capsys.readouterr().out
    text = card_of(run, tmp_path / '4', '--results', beside / 'moved', beside / 'copied')
    assert text.index('62.5%') < text.index('75.0%')
    fake_results(beside / 'earlier', weights)
    rows = json.loads((beside / 'earlier' / 'results.json').read_text())
    rows = [{name: value for name, value in row.items() if name != 'sha256'} for row in rows]
    (beside / 'earlier' / 'results.json').write_text(json.dumps(rows))
    for folder, said in (('replaced', 'is about other weights'), ('mean', 'is about other weights'),
                         ('earlier', 'does not say by sha256'), ('nothing', 'has no results.json'), ('broken', 'is damaged')):
        assert run_export('--weights', weights, '--out', tmp_path / '5', '--results', beside / folder) == 2
        assert said in capsys.readouterr().err.splitlines()[-1] and not (tmp_path / '5').exists()
    for other in ('copied', 'moved'):
        shutil.rmtree(beside / other)
    fake_results(beside / 'folder', tmp_path / '4', 0.875, hashes=[hash_of([tmp_path / '4' / WEIGHTS])])
    assert '87.5%' in card_of(run, tmp_path / '6')  # of the model folder made of it
    assert f'not taken: {beside}/earlier/results.json does not say' in capsys.readouterr().out
    fake_results(beside / 'checkpoint', weights, 0.75)
    given = '--results', beside / 'folder', beside / 'checkpoint'
    assert run_export('--weights', tmp_path / '6', '--out', tmp_path / '7', *given) == 0  # and the other way round
    assert all(value in (tmp_path / '7' / CARD).read_text() for value in ('87.5%', '75.0%'))


def test_a_card_without_a_run_folder_claims_nothing(classifier, tmp_path):
    """Of a classifier that is alone, and of a published file without statistics."""
    shutil.copy(classifier / 'model/epoch1.pth.tar', tmp_path / 'mine.pth.tar')
    assert run_export('--weights', tmp_path / 'mine.pth.tar', '--out', tmp_path / 'a') == 0
    text = (tmp_path / 'a' / CARD).read_text()
    for said in ('Unknown: the checkpoint was not in the folder of its run', '| ucf101 | 1 |',
                 'video-classification', 'logits [B, 101]', '| classes | 101: ApplyEyeMakeup', '… 81 more', '--json'):
        assert said in text, said
    state = {f'module.{name}': tensor for name, tensor in checkpoint(classifier)['state_dict'].items() if 'running' not in name}
    published_file(tmp_path / 'published.pth.tar', state)
    assert run_export('--weights', tmp_path / 'published.pth.tar', '--out', tmp_path / 'b') == 0
    text = (tmp_path / 'b' / CARD).read_text()
    for said in ('Unknown: the checkpoint does not say', 'assumed, as the checkpoint does not say', 'batch_statistics=True'):
        assert said in text, said


def test_odd_names_stay_within_their_lines():
    """Class names with bars, flags with spaces, bytes that are not UTF-8."""
    model = {'kind': 'classifier', 'net': 'resnet18', 'input': 'clips', 'output': 'logits', 'parameters': 1, 'feature_size': 9,
             'batch_norm_statistics': True, 'preprocessing': {'num_seq': 3, 'seq_len': 5, 'ds': 1, 'img_dim': 32, 'frames': '', 'short_side': 240,
                                                              'crop': '', 'resize': '', 'mean': [0], 'std': [1]}}
    config = {'sha256': '0', 'model': model, 'settings': {'class_names': ['a|b', '\udcff'], 'model': 'lc'},
              'training': {'checkpoint': {'name': 'a b.tar', 'sha256': '0'}, 'run': 'r', 'git_revisions': [], 'resumed_with': [],
                           'flags': {'dataset': "my 'videos'", 'lr_milestones': [60, 80], 'sync_bn': True, 'x': None}}}
    text = model_card('my model', config, 1, [])
    assert 'a\\|b, \\udcff' in text and "--weights 'my model'" in text and '--lr_milestones 60 80\n--sync_bn\n' in text
    assert "--dataset 'my '" in text and 'Not given, or off: `--x`' in text


# ---- bad input

@pytest.fixture
def folder(tmp_path):
    return written(some_checkpoint(np.random.default_rng(3), 'dpc-rnn'), tmp_path / 'model')


def edited(config, **changes):
    config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))


BAD = {
    'no weights': (lambda weights, config: weights.unlink(), 'has no model.safetensors: the copy is not complete'),
    'pickled ones only': (lambda weights, config: weights.rename(weights.with_name('pytorch_model.bin')),
                          r'only pickled weights \(pytorch_model.bin\), which .* can run code'),
    'cut short': (lambda weights, config: os.truncate(weights, weights.stat().st_size - 1), 'is cut short or damaged'),
    'cut in the header': (lambda weights, config: os.truncate(weights, 20), 'is cut short or damaged'),
    'empty': (lambda weights, config: os.truncate(weights, 0), 'is cut short or damaged'),
    'a pointer': (lambda weights, config: weights.write_bytes(b'version https://git-lfs.github.com/spec/v1\n'), 'git lfs pull'),
    'no config': (lambda weights, config: config.unlink(), 'has no config.json: the copy is not complete'),
    'half a config': (lambda weights, config: os.truncate(config, 300), 'config.json is damaged'),
    'bytes': (lambda weights, config: config.write_bytes(b'\xff\xfe{'), 'config.json is damaged'),
    'another kind': (lambda weights, config: config.write_text('{"model_type": "videomae"}'), "is of a 'videomae' model; give"),
    'a list': (lambda weights, config: config.write_text('[]'), 'is of another kind; give'),
    'a later version': (lambda weights, config: edited(config, version=2), 'version 2, and this code reads version 1'),
    'settings of nothing': (lambda weights, config: edited(config, settings={'model': 'gpt'}), 'its settings is not'),
    'another sum': (lambda weights, config: edited(config, sha256=None), 'does not match its sha256'),
    'no hashes': (lambda weights, config: edited(config, settings={'train_list': {'int64, base64': 'x'}}), 'config.json is damaged'),
}


@pytest.mark.parametrize('what', BAD)
def test_a_bad_folder_is_one_line(folder, what):
    spoil, words = BAD[what]
    spoil(folder / WEIGHTS, folder / CONFIG)
    with pytest.raises(Exception, match=words):
        read_checkpoint(folder)
    assert str(folder) in one_line(read_checkpoint, folder)


def test_every_byte_counts(folder):
    """Any change of a single byte of the weights is an error."""
    content = (folder / WEIGHTS).read_bytes()
    for place in np.random.default_rng(0).integers(0, len(content), 20).tolist():
        changed = bytearray(content)
        changed[place] ^= 1
        (folder / WEIGHTS).write_bytes(changed)
        assert 'does not match its sha256' in one_line(read_checkpoint, folder)


def test_files_given_for_the_folder_and_the_missing_package(folder, tmp_path, monkeypatch, capsys):
    assert equal(read_checkpoint(folder / WEIGHTS), read_checkpoint(str(folder)))
    shutil.copy(folder / WEIGHTS, tmp_path / 'weights.pth')
    assert 'is a safetensors file: give the folder that it is in' in one_line(read_checkpoint, tmp_path / 'weights.pth')
    assert 'only runs of this project can be resumed' in one_line(read_checkpoint, folder, resumable=True)
    monkeypatch.setitem(sys.modules, 'safetensors', None)
    monkeypatch.setitem(sys.modules, 'safetensors.torch', None)
    assert 'need the package safetensors: pip install' in one_line(read_checkpoint, folder)
    assert run_export('--weights', 'any', '--out', tmp_path / 'out/') == 2
    assert 'pip install safetensors' in (error := capsys.readouterr().err) and error.count('\n') == 1


@pytest.mark.parametrize('command, flags', [
    (predict, ['video.mp4', '--weights', '{}']), (pretraining, ['--csv_root', '{csv}', '--pretrain', '{}', '--gpu', 'cpu']),
    (classifier_cli, ['--test', '{}', '--gpu', 'cpu'])])
def test_commands_end_in_that_line(csv_root, folder, tmp_path, monkeypatch, capsys, command, flags):
    monkeypatch.chdir(tmp_path)
    Path('video.mp4').touch()
    (folder / WEIGHTS).rename(folder / 'model.pt')
    assert tiny.run(command, [word.format(folder, csv=csv_root) for word in flags]) == 2
    error = capsys.readouterr().err
    assert 'only pickled weights (model.pt)' in error and error.count('\n') == 1
    assert run_export('--weights', folder, '--out', 'new/') == 2 and capsys.readouterr().err == error
    assert sorted(path.name for path in tmp_path.iterdir()) == ['model', 'video.mp4']


def test_nothing_is_written_on_an_error(pretrained, folder, tmp_path, monkeypatch, capsys):
    weights = pretrained / 'model/epoch1.pth.tar'
    (tmp_path / 'empty').mkdir()
    monkeypatch.chdir(tmp_path / 'empty')
    for flags, said in ((['--out', folder], 'is there already'), (['--out', '.'], 'is there already'), (['--out', tmp_path / 'new/', '--img_dim', 64], 'leave it out'),
                        (['--out', tmp_path / 'net.pt2', '--results', folder], 'give --out a folder'),
                        (['--out', '/dev/null/new/'], 'cannot write this folder')):
        assert run_export('--weights', weights, *flags) == 2
        assert said in capsys.readouterr().err.splitlines()[-1]

    def full(descriptor):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    assert run_export('--weights', weights, '--out', tmp_path / 'new') == 2
    assert 'No space left on device' in capsys.readouterr().err and sorted(os.listdir(tmp_path)) == ['empty', 'model']
