"""dpc/main.py as a user runs it, on tiny data: what a run leaves, exact resumption, what is trained, broken frames."""
import json
import math
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dpc import main as pretraining
from dpc.model import DPC
from tests import forked
from tests.forked import NARROW_WIDTHS
from tests.tiny import PRETRAINING, ROOT, checkpoint, equal, pretrain, read_log, run, write_rows
from utils.checkpoint import load_weights
from utils.data.clips import Clip, ClipDataset
from utils.data.colour import to_block
from utils.data.splits import train_and_validation
from utils.random_streams import stream
from utils.run import training

NOT_REPEATABLE = {'time', 'clips_per_s', 'data_wait', 'memory_gb'}  # how fast and with how much memory a machine did it


def numbers(folder, kind):
    """A run's log without what depends on the machine."""
    return [{name: value for name, value in record.items() if name not in NOT_REPEATABLE}
            for record in read_log(folder, kind)]


def training_state(folder, name):
    """A checkpoint without the size of the log, whose lines hold times."""
    return {key: value for key, value in checkpoint(folder, name).items() if key != 'log_size'}


def test_what_a_run_leaves_behind(pretrained):
    """The published folder and file names, the flags and the git revision, a picture, TensorBoard, the log."""
    assert pretrained.parent.name == 'log_pretrain'
    assert pretrained.name == 'ucf101-32_r18_dpc-rnn_bs4_lr0.001_seq3_pred1_len5_ds1_train-all'
    assert {entry.name for entry in (pretrained / 'model').iterdir()} == {'epoch1.pth.tar', 'model_best_epoch1.pth.tar'}
    arguments = json.loads((pretrained / 'args.json').read_text())
    assert arguments['num_seq'] == 3 and arguments['git_revision']
    assert {'train_frames.png', 'val_frames.png'} <= {entry.name for entry in (pretrained / 'img').iterdir()}
    assert list((pretrained / 'img').glob('events.out.tfevents*'))
    for kind in ('train', 'val'):
        record, = read_log(pretrained, kind)
        assert {'loss', 'top1', 'top3', 'top5', 'iteration'} <= record.keys()
        assert 0 <= record['top1'] <= record['top3'] <= record['top5'] <= 1
    assert {'lr', 'clips_per_s', 'data_wait', 'replaced'} <= read_log(pretrained, 'train')[0].keys()


def test_the_validation_numbers(pretrained, csv_root):
    """Loss and accuracies of the log equal those of the saved model, worked out location by location with a loop."""
    arguments = json.loads((pretrained / 'args.json').read_text())
    _, videos = train_and_validation(csv_root / 'ucf101', 1, None, 'train', arguments['val_fraction'], seed=0)
    dataset = ClipDataset(videos, Clip(3, 5, 1, 32), 'centre', flip=0)
    model = DPC('resnet18', pred_step=1)
    load_weights(model, pretrained / 'model' / 'epoch1.pth.tar')
    model.eval()
    # batches as the run made them: validation is shuffled by (seed, epoch 0)
    order = stream('order', 0, 0).permutation(len(videos))
    losses, hits = [], {1: [], 3: [], 5: []}
    for start in range(0, len(order), 4):
        batch = [dataset[0, int(index)]['frames'] for index in order[start:start + 4]]
        with torch.no_grad():
            prediction, target = model(to_block(torch.stack(batch), None, 3))
        rows, columns = prediction.flatten(0, 2), target.flatten(0, 2)
        for i, row in enumerate(rows):
            scores = [torch.dot(row, column).item() for column in columns]
            losses.append(math.log(sum(math.exp(score - scores[i]) for score in scores)))
            better = sum(score > scores[i] for score in scores)
            for k in hits:
                hits[k].append(better < k)
    record, = read_log(pretrained, 'val')
    assert record['loss'] == pytest.approx(np.mean(losses), rel=1e-4)
    for k, hit in hits.items():
        assert record[f'top{k}'] == pytest.approx(np.mean(hit), abs=1e-6)


def test_epoch_averages_are_over_all_samples(csv_root, tmp_path):
    """Not over the last printed window: with a line for every step, the epoch's numbers are the mean of the steps'."""
    folder = pretrain(csv_root, tmp_path, '--print_freq', 1)
    steps, (epoch,) = read_log(folder, 'step'), read_log(folder, 'train')
    assert len(steps) == 2  # 9 clips in batches of 4
    for name in ('loss', 'top1', 'top3', 'top5'):
        assert epoch[name] == pytest.approx(np.mean([step[name] for step in steps]), rel=1e-6)


@pytest.mark.parametrize('flags', [[], ['--clips_per_video', '2']], ids=['a clip a video', 'two'])
def test_two_epochs_equal_one_and_a_resumed_one(csv_root, tmp_path, flags):
    """To the last bit, in weights, optimiser, schedule and log; also when the number of workers changes."""
    whole = pretrain(csv_root, tmp_path / 'whole', *flags, '--epochs', 2)
    parts = pretrain(csv_root, tmp_path / 'parts', *flags, '--epochs', 1)
    resume = [*flags, '--resume', parts / 'model' / 'epoch1.pth.tar', '--epochs', 2, '--num_workers', 1]
    assert pretrain(csv_root, tmp_path / 'parts', *resume) is None  # no second folder
    assert equal(training_state(whole, 'epoch2'), training_state(parts, 'epoch2'))
    for kind in ('train', 'val'):
        a, b = numbers(whole, kind), numbers(parts, kind)
        for record in a + b:
            del record['epochs']  # of how many was asked for later
        assert a == b and len(a) == 2


def test_clips_per_video(csv_root, tmp_path, capsys, monkeypatch):
    """9 training videos, two in a batch of 4 clips; validation, too; the name says it; another K is another run."""
    seen = []
    train_step = training.train_step
    monkeypatch.setattr(training, 'train_step', lambda run, batch, *about: (
        seen.append(batch), train_step(run, batch, *about))[1])
    folder = pretrain(csv_root, tmp_path, '--clips_per_video', 2)
    assert folder.name == 'ucf101-32_r18_dpc-rnn_bs4_lr0.001_seq3_pred1_len5_ds1_train-all_cpv2'
    assert len(seen) == 4
    videos = [batch.index.tolist() for batch in seen]
    assert all(a == b and c == d and a != c for a, b, c, d in videos)
    assert not any(torch.equal(batch.block[0], batch.block[1]) for batch in seen)
    assert 'of 9 videos are too short for 2 clips without overlap' in capsys.readouterr().out
    flags = [*PRETRAINING, '--csv_root', csv_root, '--log_dir', tmp_path]
    assert run(pretraining, [*flags, '--clips_per_video', 3]) == 2
    assert 'error: --batch_size 4 is not a whole number of videos of --clips_per_video 3' in capsys.readouterr().err
    resume = ['--resume', folder / 'model' / 'epoch1.pth.tar', '--epochs', 2, '--clips_per_video', 4]
    assert run(pretraining, [*flags, *resume]) == 2
    assert '--clips_per_video 4 (was 2)' in capsys.readouterr().err


@pytest.mark.parametrize('where', ['dpc.main.validate', 'utils.run.training.after_step'])
def test_resumed_behind_the_last_step_of_an_epoch(csv_root, pretrained, tmp_path, monkeypatch, recwarn, where, capsys):
    """A run that ended while it validated, or just before, has nothing left to train; the result is that of an undisturbed
    one, and the training values of the epoch are logged once."""
    flags = [*PRETRAINING, '--csv_root', csv_root, '--log_dir', tmp_path]
    function = pkgutil.resolve_name(where)

    def stopped(run, *args):
        if run.step == read_log(pretrained, 'train')[0]['iteration']:
            os.kill(os.getpid(), signal.SIGTERM)
        return function(run, *args)

    with monkeypatch.context() as patch:
        patch.setattr(where, stopped)
        assert run(pretraining, flags) == 128 + signal.SIGTERM
    assert run(pretraining, [*flags, '--resume', 'auto']) == 0
    folder, = tmp_path.glob('log_*/*')
    assert equal(training_state(folder, 'epoch1'), training_state(pretrained, 'epoch1'))
    (train,), (undisturbed,) = (read_log(each, 'train') for each in (folder, pretrained))
    assert {**undisturbed, **train, **{name: 0 for name in NOT_REPEATABLE}} == {**undisturbed, **{name: 0 for name in NOT_REPEATABLE}}
    assert 'nan' not in capsys.readouterr().out
    assert not [warning for warning in recwarn if 'lr_scheduler' in str(warning.message)]


def test_the_log_survives_a_look_at_an_earlier_checkpoint(csv_root, tmp_path, capsys):
    """Nothing is left to train from it, so nothing is cut; the newest one then resumes as if nothing had been."""
    folder = pretrain(csv_root, tmp_path, '--epochs', 2)
    before = (folder / 'log.jsonl').read_bytes()
    assert run(pretraining, [*PRETRAINING, '--csv_root', csv_root, '--log_dir', tmp_path, '--epochs', 1,
                             '--resume', folder / 'model' / 'epoch1.pth.tar']) == 0
    assert 'nothing to train' in capsys.readouterr().out
    assert (folder / 'log.jsonl').read_bytes() == before
    (folder / 'log.jsonl').write_bytes(before[:100])  # as a kill at the wrong moment would leave it
    assert run(pretraining, [*PRETRAINING, '--csv_root', csv_root, '--log_dir', tmp_path, '--epochs', 3,
                             '--resume', 'auto']) == 0
    assert b'\0' not in (folder / 'log.jsonl').read_bytes()


def test_resuming_with_another_learning_rate(csv_root, pretrained, tmp_path, capsys):
    """The checkpoint's rate is kept, unless --reset_lr asks for that of --lr."""
    for flags, expected in (([], 0.001), (['--reset_lr'], 0.0001)):
        folder = tmp_path / f'{len(flags)}' / 'log_pretrain' / pretrained.name
        shutil.copytree(pretrained, folder)
        argv = [*PRETRAINING, '--csv_root', csv_root, '--log_dir', tmp_path, '--epochs', 2, '--lr', 0.0001,
                '--resume', folder / 'model' / 'epoch1.pth.tar', *flags]
        assert run(pretraining, argv) == 0
        assert ('--lr 0.0001 (was 0.001) is ignored' in capsys.readouterr().err) == (not flags)
        assert [record['lr'] for record in read_log(folder, 'train')] == pytest.approx([0.001, expected])


def test_train_what_last_freezes_the_backbone(csv_root, pretrained, tmp_path):
    """Bit for bit, running statistics included, while aggregator and predictor move."""
    folder = pretrain(csv_root, tmp_path, '--train_what', 'last', '--pretrain', pretrained / 'model' / 'epoch1.pth.tar')
    before, after = checkpoint(pretrained)['state_dict'], checkpoint(folder)['state_dict']
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {name for name in before if name.startswith('backbone.')}
    assert folder.name.endswith('_train-last_pt=epoch1')


def test_curriculum(csv_root, pretrained, tmp_path, capsys):
    """Weights of one number of blocks start a run with another (the 4-4 stage of the paper)."""
    folder = pretrain(csv_root, tmp_path, '--num_seq', 4, '--pred_step', 2, '--lr', 0, '--wd', 0,
                      '--pretrain', pretrained / 'model' / 'epoch1.pth.tar')
    assert 'tensors loaded' in capsys.readouterr().out
    before, after = checkpoint(pretrained)['state_dict'], checkpoint(folder)['state_dict']
    parameters = {name for name, _ in DPC('resnet18').named_parameters()}
    assert all(torch.equal(before[name], after[name]) for name in parameters)


def test_ablations(csv_root, tmp_path):
    """"no Seq." has a predictor for each step, "no Map" one location for each block: 4 clips, 2 blocks, 8 candidates."""
    folder = pretrain(csv_root, tmp_path, '--prediction', 'parallel', '--feature_map', 'pooled',
                      '--pred_step', 2, '--img_dim', 64)
    assert 'network_pred.1.0.weight' in checkpoint(folder)['state_dict']
    model = DPC('resnet18', 2, prediction='parallel', feature_map='pooled')
    load_weights(model, checkpoint(folder), strict=True)
    prediction, target = model(torch.randn(4, 3, 3, 5, 64, 64))
    assert prediction.shape == target.shape == (4, 2, 1, NARROW_WIDTHS[-1])


@pytest.mark.parametrize('dataset,ds', [('ucf101', 3), ('hmdb51', 3), ('k400', 5), ('demo', 3)])
def test_default_frame_step(dataset, ds):
    assert pretraining.parse_args(['--dataset', dataset]).ds == ds
    assert pretraining.parse_args(['--dataset', dataset, '--ds', '2']).ds == 2


def test_published_defaults():
    args = pretraining.parse_args([])
    published = {'net': 'resnet18', 'model': 'dpc-rnn', 'dataset': 'ucf101', 'seq_len': 5, 'num_seq': 8, 'pred_step': 3,
                 'batch_size': 4, 'lr': 1e-3, 'wd': 1e-5, 'epochs': 10, 'print_freq': 5, 'prefix': 'pretrain',
                 'train_what': 'all', 'img_dim': 128, 'reset_lr': False}
    assert {name: getattr(args, name) for name in published} == published


def own_copy(csv_root, tmp_path):
    """A copy of the tiny UCF101 that a test may break; returns (its csv_root, its training rows)."""
    rows = []
    for line in (csv_root / 'ucf101' / 'train_split01.csv').read_text().splitlines():
        path, count = line.rsplit(',', 1)
        copy = tmp_path / 'frames' / Path(path).parent.name / Path(path).name
        shutil.copytree(path, copy)
        rows.append((copy, count))
    write_rows(tmp_path / 'csv' / 'ucf101' / 'train_split01.csv', rows)
    return tmp_path / 'csv', rows


def test_broken_frames_are_replaced_counted_and_logged(csv_root, tmp_path, capsys):
    """A truncated JPEG in the middle of one video and a missing frame in another don't end the run."""
    own_root, rows = own_copy(csv_root, tmp_path)
    kept = {Path(path) for path in read_paths(own_root)}
    truncated, missing = (sorted(kept)[i] for i in (1, 4))
    frame = truncated / 'image_00010.jpg'
    frame.write_bytes(frame.read_bytes()[:200])
    (missing / 'image_00010.jpg').unlink()
    folder = pretrain(own_root, tmp_path, '--batch_size', 3)  # 9 training videos: an epoch has them all
    record, = read_log(folder, 'train')
    assert record['replaced'] >= 2 and math.isfinite(record['loss'])
    said = capsys.readouterr().err
    assert f'replaced a sample: {frame}' in said and str(missing / 'image_00010.jpg') in said


def read_paths(csv_root):
    """The videos that are trained on, not held out."""
    train, _ = train_and_validation(csv_root / 'ucf101', 1, None, 'train', 0.25, seed=0)
    return train.paths()


def by_the_interpreter(argv, cwd):
    return subprocess.run([sys.executable, *argv], cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, 'OMP_NUM_THREADS': '1'})


@pytest.mark.parametrize('command, folder, run', [
    (['main.py'], 'dpc', by_the_interpreter), (['dpc/main.py'], '.', forked.run), (['-m', 'dpc.main'], '.', forked.run)])
def test_as_a_program(csv_root, tmp_path, command, folder, run):
    """From its folder, from the root, as a module: status 0, statistics on the screen, no bar where no terminal is."""
    argv = [*PRETRAINING, '--csv_root', str(csv_root), '--log_dir', str(tmp_path)]
    done = run([*command, *argv], cwd=ROOT / folder)
    assert done.returncode == 0, done.stderr
    assert 'top-1' in done.stdout and 'clips/s' in done.stdout and '%|' not in done.stdout + done.stderr
    assert list(tmp_path.glob('log_pretrain/*/model/epoch1.pth.tar'))
