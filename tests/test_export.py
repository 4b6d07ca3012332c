"""eval/export.py as a user runs it: the files against the classifier itself, what their metadata say, bad input."""
import importlib.util
import json
import subprocess
import sys

import pytest
import torch

from eval import export as export_cli
from eval.model import ActionClassifier, ContextEncoder
from eval.networks.preprocessing import Preprocessing
from tests.forked import NARROW_WIDTHS
from tests.test_checkpoint import published_file
from tests.tiny import checkpoint, next_lines
from utils.checkpoint import load_weights
from utils.cli import UserError, run_cli

HAS_ONNX = all(importlib.util.find_spec(name) for name in export_cli.ONNX_PACKAGES)


def run(*argv):
    """The exit status."""
    with pytest.raises(SystemExit) as end:
        run_cli(export_cli.main, export_cli.parse_args([str(word) for word in argv]))
    return end.value.code or 0


def expected_of(run_folder, kind):
    model = ActionClassifier('resnet18', 101) if kind == 'classifier' else ContextEncoder('resnet18')
    load_weights(model, run_folder / 'model/epoch1.pth.tar')
    return model.eval().requires_grad_(False)


def test_torch_export(classifier, tmp_path, capsys):
    """Loaded in another process that has none of our code: other numbers of clips and blocks, and the metadata."""
    assert run('--weights', classifier / 'model/epoch1.pth.tar', '--out', tmp_path / 'net.pt2') == 0
    said = capsys.readouterr().out
    assert said.count('largest difference from PyTorch') == 2
    (_, flag, code), = next_lines(said)
    assert flag == '-c' and compile(code, 'next', 'exec')
    assert [path.name for path in tmp_path.iterdir()] == ['net.pt2']
    block = torch.randn(5, 4, 3, 5, 32, 32)
    torch.save(block, tmp_path / 'block.pt')
    code = """
import json, sys, torch
extra = {'dpc.json': ''}
network = torch.export.load('net.pt2', extra_files=extra).module()
torch.save(network(torch.load('block.pt')), 'out.pt')
assert 'eval' not in sys.modules
print(extra['dpc.json'])
"""
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert torch.allclose(torch.load(tmp_path / 'out.pt'), expected_of(classifier, 'classifier')(block), atol=1e-4)
    facts = json.loads(done.stdout)
    assert facts['class_names'] == checkpoint(classifier)['settings']['class_names'] and facts['net'] == 'resnet18'
    said = facts['preprocessing']
    assert said == json.loads(json.dumps(Preprocessing(3, 5, 1, 32).facts())) and said['img_dim'] == 32
    assert said['mean'] == [0.485, 0.456, 0.406]


@pytest.mark.skipif(not HAS_ONNX, reason='the packages of requirements-export.txt are not installed')
def test_onnx(pretrained, tmp_path):
    import onnxruntime
    assert run('--weights', pretrained / 'model/epoch1.pth.tar', '--out', tmp_path / 'net.onnx') == 0
    assert [path.name for path in tmp_path.iterdir()] == ['net.onnx']
    session = onnxruntime.InferenceSession(tmp_path / 'net.onnx')
    block = torch.randn(5, 4, 3, 5, 32, 32)
    context, = session.run(['context'], {'clips': block.numpy()})
    assert context == pytest.approx(expected_of(pretrained, 'features')(block).numpy(), abs=1e-4)
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts['preprocessing'])['seq_len'] == 5 and json.loads(facts['class_names']) is None


def test_missing_packages_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    assert run('--weights', 'any.pth.tar', '--out', tmp_path / 'net.onnx') == 2
    assert 'requirements-export.txt' in (error := capsys.readouterr().err) and error.count('\n') == 1


def test_a_file_that_differs_is_not_written(pretrained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export_cli, 'read_pt2', lambda path: lambda clips: torch.zeros(len(clips), NARROW_WIDTHS[-1]))
    monkeypatch.setattr(export_cli, 'export', lambda model, clips: None)
    monkeypatch.setattr(export_cli, 'write_pt2', lambda program, path, facts: path.touch())
    assert run('--weights', pretrained / 'model/epoch1.pth.tar', '--out', tmp_path / 'net.pt2') == 2
    assert 'differs by' in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize('flags, message', [
    (['--out', 'net.txt'], '.onnx or .pt2'),
    (['--out', '/dev/null/net.pt2'], 'cannot make this folder'),
    (['--out', 'net.pt2', '--net', 'resnet34'], 'another net'),
    (['--out', 'net.pt2', '--img_dim', '64'], 'trained with --img_dim 32'),
])
def test_mistakes_end_in_a_line(pretrained, tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(tmp_path)
    assert run('--weights', pretrained / 'model/epoch1.pth.tar', *flags) == 2
    assert message in (error := capsys.readouterr().err) and error.count('\n') == 1
    assert not list(tmp_path.iterdir())


def test_a_file_without_bn_statistics_is_refused(pretrained, tmp_path, capsys):
    state = checkpoint(pretrained)['state_dict']
    path = published_file(tmp_path / 'file.pth.tar',
                          {f'module.{name}': tensor for name, tensor in state.items() if 'running' not in name})
    assert run('--weights', path, '--out', tmp_path / 'net.pt2') == 2
    assert 'no BN running statistics' in capsys.readouterr().err


def test_another_aggregator_is_refused():
    model = ContextEncoder('resnet18')
    model.agg = torch.nn.Identity()
    with pytest.raises(UserError, match='exportable_gru'):
        export_cli.scanned(model)
