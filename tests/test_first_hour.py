"""From a folder of short clips to a tested classifier: what is proposed, evaluated directly, and said to be next."""
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dpc import main as pretraining
from eval import features, frozen, predict, visualise
from eval import test as classifier
from process_data import write_csv
from tests.films import film, write_film
from tests.tiny import CLIP, ROOT, next_lines, run
from utils import next_step
from utils.cli import UserError
from utils.data.lists import VideoList
from utils.data.splits import has_labels, split_by_class, videos_below
from utils.default_settings import CLIP as DEFAULT_CLIP
from utils.next_step import command, same_command
from utils.parallel.signals import StopSignals
from utils.run import proposal
from utils.run.proposal import CLIPS, ENOUGH, changes_for, propose
from utils.run.setup import clip_videos

README = ROOT / 'README.md'
EVALUATION = [*CLIP, '--batch_size', '4', '--num_workers', '0', '--gpu', 'cpu', '--amp', 'off']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Class folders of videos, with groups that their names tell."""
    root = tmp_path_factory.mktemp('hour') / 'videos'
    for seed, name in enumerate(('run', 'jump')):
        for i in range(6):
            write_film(root / name / f'v_{name}_g{i // 2:02d}_c{i % 2:02d}.mp4', film(16 + i, 40, 36, seed=10 * seed + i))
    return root


# ---- values for a folder

def test_what_is_proposed_fits():
    """Most videos hold the clip or are padded, a batch is there, and no longer clip would do."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        n_frames = rng.integers(1, rng.integers(2, 300), rng.integers(4, 400))
        found = propose(n_frames, rng.choice(['cpu', 'cuda']))
        clip = found['num_seq'], found['seq_len'], found['ds']
        fits = np.mean(n_frames >= np.prod(clip))
        assert fits >= ENOUGH or found['short_videos'] == 'pad'
        assert all(np.mean(n_frames >= np.prod(longer)) < ENOUGH for longer in CLIPS[:CLIPS.index(clip)])
        trained_on = len(n_frames) if 'short_videos' in found else fits * len(n_frames)
        assert 2 <= found['batch_size'] <= max(2, trained_on / 2) and 10 <= found['epochs'] <= 300


def flags_with(**changes):
    return SimpleNamespace(**{**DEFAULT_CLIP, 'ds': 3, 'batch_size': 4, 'epochs': 10, 'short_videos': 'drop', 'dataset': 'mine',
                              **changes})


def test_only_what_nobody_has_chosen_is_proposed():
    short, long = np.full(200, 60), np.full(200, 150)
    assert changes_for(short, flags_with(), 'cpu') == {'ds': 1, 'img_dim': 64, 'batch_size': 8, 'epochs': 100}
    assert changes_for(short, flags_with(epochs=7, img_dim=96), 'cpu') == {'ds': 1, 'batch_size': 8}
    assert changes_for(long, flags_with(), 'cuda') == {'batch_size': 32, 'epochs': 300}
    assert changes_for(long, flags_with(num_seq=6), 'cuda') == {'batch_size': 32, 'epochs': 300}
    assert changes_for(long, flags_with(batch_size=5), 'cuda') == changes_for(short, flags_with(ds=1, epochs=3), 'cpu') == {}


def test_a_folder_of_short_clips_gets_its_command(folder, tmp_path, monkeypatch, capsys):
    """An error where nothing can be trained, one line where some videos hold a clip."""
    monkeypatch.setattr(sys, 'argv', [str(ROOT / 'dpc/main.py'), '--dataset', str(folder)])
    flags = ['--dataset', folder, '--log_dir', tmp_path, '--gpu', 'cpu', '--amp', 'off', '--num_workers', '0', '--img_dim', '32']
    assert run(pretraining, flags) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    command = error[error.index(': run ') + 6:]
    assert 'none of its 12 videos of 16 to 21 frames' in error and not list(tmp_path.iterdir())
    assert command.endswith(f'{folder} --num_seq 5 --seq_len 3 --ds 1 --batch_size 2 --epochs 300')
    args = pretraining.parse_args(shlex.split(command)[2:])
    videos = videos_below(str(folder)).n_frames
    assert changes_for(videos, args, 'cpu') == {}
    assert run(pretraining, [*flags, '--fps', '5']) == 2
    assert re.search('none of its 12 videos of [34] to [45] frames', capsys.readouterr().err)
    proposal.say_proposal(videos, flags_with(num_seq=6, seq_len=3, ds=1, img_dim=64), 'cpu')
    assert '12 videos of 16 to 21 frames (median 18): a first run that suits them: ' in capsys.readouterr().out


def test_validation_videos_that_hold_no_clip_get_a_command(folder, monkeypatch):
    """Half of the videos hold a clip of 18 frames, those of g00 don't."""
    words = [str(ROOT / 'dpc/main.py'), '--dataset', str(folder), '--num_seq', '6', '--seq_len', '3', '--ds', '1', '--seed', '2']
    monkeypatch.setattr(sys, 'argv', words)
    videos_below.cache_clear()
    with pytest.raises(UserError, match='none of the 4 videos for validation has the 18 frames') as error:
        clip_videos(pretraining.parse_args(words[1:]), 1)
    command = str(error.value).split('--short_videos pad: ')[1]
    assert command.endswith('--seed 2 --num_seq 5 --seq_len 3 --ds 1')
    assert len(clip_videos(pretraining.parse_args(shlex.split(command)[2:]), 1)[1]) == 4


# ---- class folders are evaluated directly

def test_class_folders_are_split_as_their_lists_would_be(folder, tmp_path):
    write_csv.main(write_csv.parse_args(['--dataset', 'folder', '--videos', str(folder), '--csv_root', str(tmp_path),
                                         '--jobs', '1']))
    parts, class_names = split_by_class(str(folder))
    for part, videos in parts.items():
        listed = VideoList.read_csv(str(tmp_path / 'videos' / f'{part}_split01.csv'))
        for of in ('paths', 'classes', 'groups'):
            assert getattr(videos, of)() == getattr(listed, of)()
        assert videos.n_frames.tolist() == listed.n_frames.tolist()
    assert class_names == ['jump', 'run'] and has_labels(str(folder)) and has_labels(str(tmp_path / 'videos'))
    with pytest.raises(UserError, match='only --split 1'):
        split_by_class(str(folder), 2)


def test_the_five_commands_of_the_readme(folder, tmp_path, monkeypatch, capsys):
    """From a folder to a tested classifier, each with the paths that the one before it has printed for it."""
    section = README.read_text().split('## Your own classes')[1].split('\n## ')[0]
    commands = [shlex.split(line) for line in section.split('```')[1].splitlines()[1:]]
    assert [words[1].split('/')[1] for words in commands] == ['main.py', 'frozen.py', 'test.py', 'test.py', 'predict.py']
    monkeypatch.chdir(folder.parent)
    cheap = ['--num_workers', '0', '--amp', 'off', '--gpu', 'cpu', '--csv_root', str(tmp_path)]
    training = ['--epochs', '1', '--batch_size', '4', '--val_fraction', '0.25', '--log_dir', str(tmp_path)]
    small = [[*cheap, *CLIP, *training, '--pred_step', '1'], [*cheap, '--protocols', 'knn', '--no_pictures', '--batch_size', '4'],
             [*cheap, *CLIP, *training], [*cheap, '--log_dir', str(tmp_path)], cheap]
    paths, printed = {'new.mp4': f'videos/run/{next((folder / "run").iterdir()).name}'}, []
    for words, flags in zip(commands, small):
        script = {'main': pretraining, 'frozen': frozen, 'test': classifier, 'predict': predict}[Path(words[1]).stem]
        argv = [*(paths.get(word, word) for word in words[2:]), *flags]
        assert script is pretraining or any(line[1].endswith(words[1]) for line in printed)
        assert run(script, argv) == 0
        said = capsys.readouterr().out
        if script in (pretraining, classifier):
            assert said.startswith(f'run folder: {tmp_path}/log_') and (script is pretraining or 'settings: ' in said)
        printed += next_lines(said)
        for line in next_lines(said):
            for flag, placeholder in (('--pretrain', '{model.pth.tar}'), ('--test', '{classifier.pth.tar}')):
                if flag in line:
                    paths[placeholder] = line[line.index(flag) + 1]
    assert 'run' in said and '--picture timelines' in said


def test_videos_without_class_folders_name_the_command(folder, tmp_path, capsys):
    flat = tmp_path / 'flat'
    flat.mkdir()
    for path in folder.glob('run/*'):
        os.link(path, flat / path.name)
    for script, flags in ((frozen, ['--weights', 'random', '--out', tmp_path / 'out']), (classifier, ['--pretrain', 'random'])):
        assert run(script, [*EVALUATION, '--dataset', flat, '--csv_root', tmp_path, *flags]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert f'{flat}/{{class}}/' in error and f'write_csv.py --dataset csv --videos {flat} --annotations' in error


# ---- what is next

def test_a_command_runs_where_it_is_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT / 'dpc')
    line = next_step.command('eval/test.py', ROOT / 'dpc' / 'my video', pretrain=None, weights=['a b', 'c'], json=True)
    assert shlex.split(line)[1:] == ['../eval/test.py', 'my video', '--weights', 'a b', 'c', '--json']
    program = shlex.split(line)[0]
    assert subprocess.run([program, '-c', 'import sys; print(sys.prefix)'], capture_output=True, text=True
                          ).stdout.strip() == sys.prefix
    monkeypatch.setenv('PATH', str(tmp_path))
    assert os.path.samefile(next_step.python(), sys.executable)


# ---- before anything slow, and without a traceback

@pytest.mark.parametrize('script, flags', [
    (pretraining, ['--dataset', '{absent}']), (pretraining, ['--dataset', '{folder}', '--pretrain', '{absent}']),
    (classifier, ['--dataset', '{folder}', '--pretrain', '{absent}']), (classifier, ['--dataset', '{absent}', '--test', 'random']),
    (frozen, ['--dataset', '{absent}', '--weights', 'random', '--out', '{out}']),
    (features, ['{folder}', '--weights', '{absent}', '--out', '{out}.npz']),
    (features, ['{absent}', '--weights', 'random', '--out', '{out}.npz']),
    (visualise, ['{folder}', '--weights', '{absent}', '--out', '{out}']),
    (visualise, ['--dataset', '{absent}', '--weights', 'random', '--out', '{out}']),
    (predict, ['{folder}', '--weights', '{absent}'])])
def test_what_is_cheap_to_check_is_checked_first(script, flags, folder, tmp_path, capsys):
    """No precision is measured and no video counted for a path that isn't there."""
    names = {'folder': folder, 'absent': tmp_path / 'absent', 'out': tmp_path / 'out'}
    assert run(script, ['--csv_root', tmp_path, '--gpu', 'cpu', *(flag.format(**names) for flag in flags)]) == 2
    said = capsys.readouterr()
    assert str(tmp_path / 'absent') in said.err and '--amp' not in said.out and 'counting' not in said.err
    assert not list(tmp_path.iterdir())


def test_the_first_ctrl_c_says_what_it_does(monkeypatch, capfd):
    """Only the first process of a group, and only once."""
    for rank in ('0', '1'):
        monkeypatch.setenv('RANK', rank)
        signals = StopSignals()
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == signal.SIGINT
        assert capfd.readouterr().err.strip() == 'stopping after this step; Ctrl-C again quits at once' * (rank == '0')
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert not capfd.readouterr().err


def test_ctrl_c_is_only_taken_while_somebody_looks(monkeypatch, capfd):
    """After the network has run over the videos, the protocols go on for minutes: there it ends the command at once."""
    monkeypatch.setenv('RANK', '0')
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with StopSignals() as signals:
        pass
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert signals.received == 0 and not capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt), StopSignals() as signals:  # nobody has looked
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(UserError), StopSignals() as signals:  # what ends it anyway comes first
        os.kill(os.getpid(), signal.SIGINT)
        raise UserError


@pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has a GPU')
@pytest.mark.parametrize('gpu', ['0', '0,1'])
def test_gpus_that_are_not_there(gpu, tmp_path, capsys):
    assert run(pretraining, ['--gpu', gpu, '--dataset', tmp_path]) == 2
    assert f'--gpu {gpu}: this machine has no CUDA device: leave the flag out, or give --gpu cpu' in capsys.readouterr().err


@pytest.mark.parametrize('script', ['dpc/main.py', 'process_data/write_csv.py'])
def test_an_interpreter_without_the_packages(script, tmp_path):
    done = subprocess.run([sys.executable, '-S', '-E', ROOT / script, '--help'], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count('\n') == 1
    assert f'source {ROOT}/.venv/bin/activate' in done.stderr and f'pip install -r {ROOT}/requirements.txt' in done.stderr


# ---- three messages about weights

def test_weights_of_another_kind(csv_root, pretrained, tmp_path, capsys):
    weights = pretrained / 'model' / 'epoch1.pth.tar'
    assert run(classifier, ['--csv_root', csv_root, '--gpu', 'cpu', '--test', weights]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f'{weights} is a checkpoint of pretraining: train a classifier first: ' in error
    command = shlex.split(error[error.index('first: ') + 7:])
    args = classifier.parse_args(command[2:])
    assert (args.pretrain, args.train_what, args.csv_root) == (str(weights), 'ft', str(csv_root))
    flags = [*EVALUATION, '--csv_root', csv_root, '--log_dir', tmp_path, '--train_what', 'ft', '--val_fraction', '0.25', '--dry_run']
    for pretrain_flags, warned in (([], True), (['--pretrain', 'random'], False)):
        assert run(classifier, [*flags, *pretrain_flags]) == 0
        assert ('--train_what ft without --pretrain fine-tunes random weights' in capsys.readouterr().err) == warned


# ---- lists of one name

def test_lists_of_another_source_are_not_replaced(folder, tmp_path, capsys):
    other = tmp_path / 'other' / 'videos'
    shutil.copytree(folder, other)

    def write(videos, *flags):
        args = write_csv.parse_args(['--dataset', 'folder', '--videos', str(videos), '--csv_root', str(tmp_path / 'csv'),
                                     '--jobs', '1', *flags])
        write_csv.main(args)
        return next_lines(capsys.readouterr().out)

    line, = write(folder)
    before = {path: path.read_bytes() for path in (tmp_path / 'csv').rglob('*.csv')}
    with pytest.raises(UserError, match=f'has the lists of {folder}: give another --name'):
        write(other)
    assert {path: path.read_bytes() for path in (tmp_path / 'csv').rglob('*.csv')} == before
    assert write(os.path.relpath(folder)) == [line]
    args = pretraining.parse_args(write(other, '--name', 'mine')[0][2:])
    assert (args.dataset, args.csv_root) == ('mine', str(tmp_path / 'csv'))
    assert json.loads((tmp_path / 'csv/mine/dataset.json').read_text()) == {'source': str(other)}


def test_this_command_again_replaces_flags(monkeypatch, tmp_path):
    """None stands twice; a file name with a leading dash is given as a path."""
    monkeypatch.setattr(sys, 'argv', [str(ROOT / 'dpc/main.py'), '--epochs', '10', '--dataset', 'mine', '--ds=3', '--dry_run'])
    assert same_command(without=['--dry_run'], epochs=300, ds=1).split('main.py ')[1] == '--dataset mine --epochs 300 --ds 1'
    monkeypatch.chdir(tmp_path)
    assert command('eval/predict.py', Path('-dash.mp4')).endswith('predict.py ./-dash.mp4')
