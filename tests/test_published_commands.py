"""The five commands of the published work parse exactly as written, from their folders, and run on tiny data."""
import shlex

import pytest

from dpc import main as pretraining
from eval import test as classifier
from eval.classify.setup import settle
from tests.tiny import ROOT, read_log, run

COMMANDS = [
    ('dpc', 'python main.py --gpu 0,1 --net resnet18 --dataset k400 --batch_size 128 --img_dim 128 --epochs 300'),
    ('dpc', 'python main.py --gpu 0,1,2,3 --net resnet34 --dataset k400 --batch_size 44 --img_dim 224 --epochs 150'),
    ('eval', 'python test.py --gpu 0,1 --net resnet18 --dataset ucf101 --batch_size 128 --img_dim 128 '
             '--pretrain {model.pth.tar} --train_what ft --epochs 300'),
    ('eval', 'python test.py --gpu 0,1 --net resnet18 --dataset ucf101 --batch_size 128 --img_dim 128 '
             '--test {finetune_model.pth.tar}'),
    ('eval', 'python test.py --gpu 0,1 --net resnet34 --dataset ucf101 --batch_size 44 --img_dim 224 '
             '--pretrain {model.pth.tar} --train_what ft --epochs 300'),
]
SCRIPTS = {'main.py': pretraining, 'test.py': classifier}
# appended to a command, so that it fits the tiny data sets; on a machine with GPUs it runs on the CPU all the same
TINY = ['--batch_size', '4', '--num_seq', '3', '--ds', '1', '--epochs', '1', '--num_workers', '0', '--amp', 'off',
        '--val_fraction', '0.25', '--gpu', 'cpu']


def words(command, files):
    """The flags of a command, with its placeholders replaced."""
    for placeholder, path in files.items():
        command = command.replace(placeholder, str(path))
    return shlex.split(command)


@pytest.mark.parametrize('folder,command', COMMANDS)
def test_each_flag_means_what_it_says(folder, command):
    """And what is not given has the published default."""
    _, script, *flags = words(command, {})
    args = SCRIPTS[script].parse_args(flags)
    assert (ROOT / folder / script).is_file()
    for flag, value in zip(flags[::2], flags[1::2]):
        assert str(getattr(args, flag.removeprefix('--'))) == value
    if script == 'test.py':
        settle(args, {})
    assert (args.num_seq, args.seq_len, args.ds, args.lr) == (8, 5, 5 if args.dataset == 'k400' else 3, 1e-3)
    if script == 'main.py':
        assert (args.pred_step, args.train_what) == (3, 'all')


def test_they_run(csv_root, tmp_path, monkeypatch, capsys):
    """One after the other: pretraining of both nets, fine-tuning from what that made, the test of what that made."""
    made_by = {}  # (script, net) -> checkpoint
    for folder, command in COMMANDS:
        net = 'resnet34' if 'resnet34' in command else 'resnet18'
        files = {'{model.pth.tar}': made_by.get(('main.py', net)),
                 '{finetune_model.pth.tar}': made_by.get(('test.py', net))}
        _, script, *flags = words(command, files)
        # the second command must read Kinetics' frames of short side 256: those for more than 140 px
        img_dim = 160 if command == COMMANDS[1][1] else 32
        tiny = [*TINY, '--csv_root', csv_root, '--log_dir', tmp_path, '--img_dim', img_dim]
        if script == 'main.py':
            tiny += ['--pred_step', 1]
        monkeypatch.chdir(ROOT / folder)
        before = set(tmp_path.glob('log_*/*'))
        assert run(SCRIPTS[script], [*flags, *tiny]) == 0, command
        made, = set(tmp_path.glob('log_*/*')) - before
        said = capsys.readouterr()
        if 'k400' in command:
            assert ('k400_150' if net == 'resnet18' else 'k400_256') in said.out
        if '--test' in flags:
            assert 'every video: 12 videos' in said.out
        else:
            assert len(read_log(made, 'train')) == 1
            made_by[script, net] = made / 'model' / 'epoch1.pth.tar'
