"""Run folders: the published names, one run never writes into another's, what a resumed run writes where."""
import json
import subprocess

import pytest

from dpc import main as pretraining
from eval import test as classifier
from tests.tiny import PRETRAINING, ROOT, pretrain, run
from utils.cli import UserError
from utils.run.folder import create_run_folder, pretrained_suffix, run_folder_of, save_arguments


def test_published_names():
    """DESIGN: what a user of the published code finds again, and what it was pretrained from behind `_pt=`."""
    args = pretraining.parse_args('--net resnet34 --dataset k400 --batch_size 44 --img_dim 224 --epochs 150'.split())
    assert pretraining.experiment_name(args) == 'k400-224_r34_dpc-rnn_bs44_lr0.001_seq8_pred3_len5_ds5_train-all'
    args = pretraining.parse_args('--num_seq 8 --pred_step 4 --pretrain a/b/model_best_epoch9.pth.tar'.split())
    assert pretraining.experiment_name(args) == ('ucf101-128_r18_dpc-rnn_bs4_lr0.001_seq8_pred4_len5_ds3_train-all'
                                                 '_pt=model_best_epoch9')
    args = classifier.parse_args('--dataset hmdb51 --split 2 --dropout 0.9 --train_what ft '
                                 '--pretrain x/epoch300.pth.tar'.split())
    classifier.settle(args, {})
    assert classifier.experiment_name(args) == ('hmdb51-128-sp2_r18_lc_bs4_lr0.001_wd0.001_ds3_seq8_len5_dp0.9_train-ft'
                                                '_pt=epoch300')


def test_a_long_path_of_weights_makes_a_short_name():
    suffix = pretrained_suffix('/data/' + 'deep/' * 50 + 'weights with spaces & signs ' + 'x' * 200 + '.pth.tar')
    assert suffix.startswith('_pt=weights-with-spaces---signs-') and len(suffix) <= 44
    assert pretrained_suffix(None) == ''


def test_a_run_never_takes_anothers_folder(tmp_path):
    folders = [create_run_folder(tmp_path, 'tmp', 'name') for _ in range(3)]
    assert [folder.name for folder in folders] == ['name', 'name-2', 'name-3']
    assert all((folder / 'img').is_dir() and (folder / 'model').is_dir() for folder in folders)
    assert len(create_run_folder(tmp_path, 'tmp', 'x' * 300).name) <= 255


def test_the_same_command_twice_makes_two_runs(csv_root, tmp_path):
    first = pretrain(csv_root, tmp_path)
    state = {path: path.read_bytes() for path in first.rglob('*') if path.is_file()}
    second = pretrain(csv_root, tmp_path)
    assert second.name == first.name + '-2'
    assert {path: path.read_bytes() for path in first.rglob('*') if path.is_file()} == state


def test_args_json(tmp_path):
    """Every flag and the revision of the code; a resumed run adds its own beside."""
    args = pretraining.parse_args(['--lr', '0.01', '--pretrain', 'a/long/path.pth.tar'])
    save_arguments(tmp_path, args)
    stored = json.loads((tmp_path / 'args.json').read_text())
    assert {name: stored[name] for name in vars(args)} == vars(args)
    revision = subprocess.run(['git', 'rev-parse', '--short=12', 'HEAD'], cwd=ROOT, text=True, capture_output=True)
    if revision.returncode == 0:
        assert stored['git_revision'].removesuffix('-dirty').endswith(revision.stdout.strip())
    save_arguments(tmp_path, pretraining.parse_args([]))
    assert json.loads((tmp_path / 'args.json').read_text())['lr'] == 0.01
    assert json.loads((tmp_path / 'args-2.json').read_text())['lr'] == 0.001


def test_a_checkpoint_from_elsewhere_cannot_be_resumed(tmp_path):
    """It has no run folder to go on in; --pretrain is what the user wants."""
    (tmp_path / 'epoch1.pth.tar').write_bytes(b'')
    with pytest.raises(UserError, match='--resume .*epoch1.pth.tar: .*--pretrain'):
        run_folder_of(tmp_path / 'epoch1.pth.tar')


def test_a_log_folder_that_cannot_be_made(csv_root, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    assert run(pretraining, [*PRETRAINING, '--csv_root', csv_root, '--log_dir', tmp_path / 'file']) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and str(tmp_path / 'file') in error and '--log_dir' in error
