"""Run folders: the published names, one run never writes into another's, what a resumed run writes where."""
import json
import subprocess

import pytest

from dpc import main as pretraining
from eval import test as classifier
from eval.classify.setup import settle
from eval.classify.train_classifier import experiment_name
from tests.tiny import PRETRAINING, ROOT, pretrain, run
from utils.cli import UserError
from utils.run.folder import create_run_folder, find_run, pretrained_suffix, run_of_checkpoint, save_arguments


def test_published_names():
    """DESIGN: what a user of the published code finds again, and what it was pretrained from behind `_pt=`."""
    args = pretraining.parse_args('--net resnet34 --dataset k400 --batch_size 44 --img_dim 224 --epochs 150'.split())
    assert pretraining.experiment_name(args) == 'k400-224_r34_dpc-rnn_bs44_lr0.001_seq8_pred3_len5_ds5_train-all'
    args = pretraining.parse_args('--num_seq 8 --pred_step 4 --pretrain a/b/model_best_epoch9.pth.tar'.split())
    assert pretraining.experiment_name(args) == ('ucf101-128_r18_dpc-rnn_bs4_lr0.001_seq8_pred4_len5_ds3_train-all'
                                                 '_pt=model_best_epoch9')
    args = classifier.parse_args('--dataset hmdb51 --split 2 --dropout 0.9 --train_what ft '
                                 '--pretrain x/epoch300.pth.tar'.split())
    settle(args, {})
    assert experiment_name(args) == ('hmdb51-128-sp2_r18_lc_bs4_lr0.001_wd0.001_ds3_seq8_len5_dp0.9_train-ft'
                                                '_pt=epoch300')


def test_a_long_path_of_weights_makes_a_short_name():
    suffix = pretrained_suffix('/data/' + 'deep/' * 50 + 'weights with spaces & signs ' + 'x' * 200 + '.pth.tar')
    assert suffix.startswith('_pt=weights-with-spaces---signs-') and len(suffix) <= 44
    assert pretrained_suffix(None) == ''


def test_a_run_never_takes_anothers_folder(tmp_path):
    folders = [create_run_folder(tmp_path, 'tmp', 'name') for _ in range(3)]
    assert [folder.name for folder in folders] == ['name', 'name-2', 'name-3']
    assert all(folder.is_dir() for folder in folders)
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
    save_arguments(tmp_path, vars(args))
    stored = json.loads((tmp_path / 'args.json').read_text())
    assert {name: stored[name] for name in vars(args)} == vars(args)
    revision = subprocess.run(['git', 'rev-parse', '--short=12', 'HEAD'], cwd=ROOT, text=True, capture_output=True)
    if revision.returncode == 0:
        assert stored['git_revision'].removesuffix('-dirty').endswith(revision.stdout.strip())
    save_arguments(tmp_path, vars(pretraining.parse_args([])))
    assert json.loads((tmp_path / 'args.json').read_text())['lr'] == 0.01
    assert json.loads((tmp_path / 'args-2.json').read_text())['lr'] == 0.001


def test_a_checkpoint_from_elsewhere_cannot_be_resumed(tmp_path):
    """It has no run folder; --pretrain is what the user wants."""
    (tmp_path / 'epoch1.pth.tar').write_bytes(b'')
    with pytest.raises(UserError, match='--resume .*epoch1.pth.tar: .*--pretrain'):
        run_of_checkpoint(tmp_path / 'epoch1.pth.tar', {})


def test_a_log_folder_that_cannot_be_made(csv_root, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    assert run(pretraining, [*PRETRAINING, '--csv_root', csv_root, '--log_dir', tmp_path / 'file']) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and str(tmp_path / 'file') in error and '--log_dir' in error


# ---- which run --resume auto means

def resume_auto(csv_root, log_dir, *flags):
    """Exit status of a run of two epochs with --resume auto."""
    return run(pretraining, [*PRETRAINING, '--csv_root', csv_root, '--log_dir', log_dir, '--epochs', 2,
                             '--resume', 'auto', *flags])


def test_auto_finds_the_run_by_its_flags_not_by_its_name(csv_root, tmp_path, capsys):
    """The learning rate, the prefix's other runs and the number of epochs don't matter."""
    first = pretrain(csv_root, tmp_path)
    pretrain(csv_root, tmp_path, '--seed', 5)  # -2, and newer
    assert resume_auto(csv_root, tmp_path, '--lr', 1e-4, '--reset_lr') == 0
    said = capsys.readouterr().out
    assert f'resumed {first}/model/epoch1.pth.tar' in said and 'learning rate 0.0001' in said
    assert (first / 'model' / 'epoch2.pth.tar').exists()


def test_auto_says_when_it_starts_a_new_run(csv_root, tmp_path, capsys):
    first = pretrain(csv_root, tmp_path)
    assert resume_auto(csv_root, tmp_path, '--img_dim', 64) == 0
    said = capsys.readouterr().out
    assert '--resume auto: no run among 1' in said and f'{first.name}, differs in --img_dim 64 (was 32)' in said
    assert len(list(tmp_path.glob('log_pretrain/*'))) == 2
    assert not (first / 'model' / 'epoch2.pth.tar').exists()


def test_auto_takes_the_furthest_of_equal_runs(csv_root, tmp_path):
    flags = vars(pretraining.parse_args([str(word) for word in PRETRAINING]))
    assert find_run(tmp_path, 'pretrain', flags) == (None, None)
    first = pretrain(csv_root, tmp_path, '--epochs', 2)
    pretrain(csv_root, tmp_path)
    assert find_run(tmp_path, 'pretrain', flags) == (first, first / 'model' / 'epoch2.pth.tar')


def test_auto_continues_in_the_folder_of_a_run_that_never_saved(csv_root, tmp_path):
    folder = pretrain(csv_root, tmp_path)
    for path in (folder / 'model').iterdir():
        path.unlink()
    assert resume_auto(csv_root, tmp_path) == 0
    assert list(tmp_path.glob('log_pretrain/*')) == [folder] and (folder / 'model' / 'epoch2.pth.tar').exists()


def test_auto_finds_a_run_of_earlier_versions(csv_root, tmp_path):
    """Which wrote to log_tmp where no --prefix was given."""
    flags = vars(pretraining.parse_args([str(word) for word in PRETRAINING]))
    old = pretrain(csv_root, tmp_path, '--prefix', 'tmp')
    assert find_run(tmp_path, 'pretrain', flags) == (old, old / 'model' / 'epoch1.pth.tar')
    assert find_run(tmp_path, 'other', flags) == (None, None)


def test_start_epoch_is_for_a_run_that_begins(csv_root, tmp_path):
    """A job that is queued again with the same command would go back to it each time."""
    folder = pretrain(csv_root, tmp_path, '--epochs', 4, '--start-epoch', 3)
    assert [path.name for path in (folder / 'model').glob('epoch*')] == ['epoch4.pth.tar']
    resumed = [*PRETRAINING, '--csv_root', csv_root, '--log_dir', tmp_path, '--epochs', 5, '--start-epoch', 3]
    assert run(pretraining, [*resumed, '--resume', 'auto']) == 0
    assert (folder / 'model' / 'epoch5.pth.tar').exists()


def test_a_data_set_given_by_its_path(csv_root, tmp_path):
    """Its last part names the run, which goes to --log_dir."""
    folder = pretrain(csv_root, tmp_path, '--dataset', csv_root / 'ucf101')
    assert folder.parent == tmp_path / 'log_pretrain'
    assert folder.name == 'ucf101-32_r18_dpc-rnn_bs4_lr0.001_seq3_pred1_len5_ds1_train-all'


def test_a_path_has_the_recipe_of_its_data_set(csv_root, tmp_path, monkeypatch):
    crops = []
    monkeypatch.setattr(pretraining, 'ClipDataset', lambda *args, crop, original=pretraining.ClipDataset, **options: (
        crops.append(crop), original(*args, crop=crop, **options))[1])
    pretrain(csv_root, tmp_path, '--dataset', csv_root / 'ucf101')
    assert crops == ['square', 'centre']
