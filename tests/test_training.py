"""Non-finite losses, full disks, parts of batches, schedules, recipes and the table of runs."""
import json
import math
import os
import resource
import subprocess
import sys
import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from dpc import main as pretraining
from dpc.loss import dense_info_nce
from eval import test as classifier_script
from eval.page.sources import read_training
from eval.page.tables import run_row
from tests import tiny
from tests.tiny import PRETRAINING, ROOT, read_log
from utils.checkpoint import read_checkpoint, write_checkpoint
from utils.cli import UserError
from utils.parallel.gpus import choose_device
from utils.run.best_and_newest import Saver, newest_checkpoint
from utils.run.optimisation import make_optimizer, make_schedule, set_learning_rate, step_schedule
from utils.run.state import Run
from utils.run.status import describe
from utils.run.validation import LossOnly, validate

# ---- non-finite losses

def explode(csv_root, log_dir, *flags):
    """A run whose weights are finite but huge after its first step: the next losses are not finite. Exit status."""
    return tiny.run(pretraining, [*PRETRAINING, '--csv_root', csv_root, '--log_dir', log_dir, '--batch_size', 2,
                                  '--optimizer', 'sgd', '--lr', 1e25, '--print_freq', 1, *flags])


def test_nonfinite_loss_stops_the_run(csv_root, tmp_path, capsys):
    assert explode(csv_root, tmp_path) == 2
    error = capsys.readouterr().err
    assert 'non-finite loss or gradient at epoch 1, step 2, lr 1e+25' in error
    assert error.count('/v_') == 2, 'the paths of both clips of the batch'
    folder, = tmp_path.glob('log_*/*')
    saved = read_checkpoint(folder / 'model' / 'last.pth.tar')
    assert saved['iteration'] == 2 == read_log(folder, 'step')[-1]['iteration']
    assert all(torch.isfinite(tensor).all() for tensor in saved['state_dict'].values())
    assert 'non-finite' in read_log(folder, 'end')[0]['how']


def test_a_validation_without_a_finite_loss_counts_as_zero(csv_root, tmp_path, capsys, monkeypatch):
    """NaN saved as the best accuracy would never be beaten, nor resumed from."""
    def exploding(*args, **kwargs):
        loss, rank = dense_info_nce(*args, **kwargs)
        return loss if torch.is_grad_enabled() else loss * math.nan, rank

    monkeypatch.setattr('dpc.objective.dense_info_nce', exploding)
    folder = tiny.pretrain(csv_root, tmp_path)
    val, = read_log(folder, 'val')
    assert val['skipped'] > 0 and f'{val["skipped"]} of {val["skipped"]} validation batches' in capsys.readouterr().err
    assert read_checkpoint(folder / 'model' / 'epoch1.pth.tar', resumable=True)['best_acc'] == 0


class Watched:
    """What `validate` needs of a run; logged: [(kind, statistics or text)]."""
    epoch, epochs, iteration, replaced, epoch_seconds = 1, 2, 9, 0, 0.
    model, precision, signals = torch.nn.Linear(1, 1), SimpleNamespace(autocast=nullcontext), SimpleNamespace(received=0)

    def __init__(self):
        self.log, self.logged = self, []

    def write(self, kind, iteration, stats, **position):
        self.logged.append((kind, stats))

    def warn(self, iteration, text, **position):
        self.logged.append(('warning', text))

    def count_replaced(self, broken):
        assert not broken


class Losses(list):
    """Batches of two clips whose loss is an item of this list; top-1 is 0.9."""

    def epoch(self, number):
        return [SimpleNamespace(block=torch.full((2,), loss), label=None, broken=[]) for loss in self]

    def validated(self):
        """(statistics, what was logged)"""
        run = Watched()
        return validate(run, self, LossOnly(lambda model, block, label: (block[0], {'top1': torch.tensor(0.9)}))), run.logged


def test_a_validation_counts_the_batches_that_it_leaves_out():
    stats, (val, warning) = Losses([math.nan] * 9 + [1.]).validated()
    assert stats == {'loss': 1, 'top1': pytest.approx(0.9), 'skipped': 9} and val == ('val', {**stats, 'replaced': 0})
    assert warning[0] == 'warning' and '9 of 10 validation batches' in warning[1]
    stats, logged = Losses([1., 3.]).validated()
    assert (stats['loss'], stats['skipped'], len(logged)) == (2, 0, 1)


def test_an_epoch_with_such_a_validation_is_not_the_best(tmp_path):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.)
    run = SimpleNamespace(schedule=make_schedule('constant', optimizer, 9), epoch=0, best_acc=0., checkpoint=dict,
                          saver=Saver(tmp_path))
    for top1, skipped, best, chosen in ((.2, 0, .2, 1), (.9, 1, .2, 1), (.3, 0, .3, 3), (math.nan, 5, .3, 3)):
        Run.save_epoch(run, {'top1': top1, 'skipped': skipped})
        assert run.best_acc == best and run.saver.best().name == f'model_best_epoch{chosen}.pth.tar'
        newest = torch.load(tmp_path / 'model' / f'epoch{run.epoch}.pth.tar', weights_only=True)
        assert newest['best'] is (chosen == run.epoch)
    records = [{'kind': 'val', 'epoch': epoch, 'time': 1., 'top1': top1, 'skipped': skipped}
               for epoch, (top1, skipped) in enumerate([(.2, 0), (.9, 1), (.3, 0)], 1)]
    (tmp_path / 'log.jsonl').write_text('\n'.join(map(json.dumps, records)))
    assert describe(tmp_path / 'log.jsonl', tmp_path)['best'] == .3
    row = run_row(read_training('a', tmp_path))
    assert (row['best'], row['best_epoch']) == (.3, 3)


def test_skip_nonfinite_tolerates_some(csv_root, tmp_path, capsys):
    assert explode(csv_root, tmp_path, '--skip_nonfinite', 100) == 0
    folder, = tmp_path.glob('log_*/*')
    epoch, = read_log(folder, 'train')
    assert epoch['skipped'] == 3 and math.isfinite(epoch['loss']), 'steps 2 to 4, of which the last ends the epoch'
    assert [record['step'] for record in read_log(folder, 'step')] == [1, 2, 3, 4]
    assert 'warning: non-finite' in capsys.readouterr().err
    state = read_checkpoint(folder / 'model' / 'epoch1.pth.tar')['state_dict']
    assert state['backbone.bn1.num_batches_tracked'] == 1, 'BN has recorded the first batch and forgotten the others'
    assert torch.isfinite(state['backbone.bn1.running_var']).all() and state['backbone.bn1.running_mean'].any()


# ---- saving

@pytest.fixture
def small_disk(request):
    """Files may not grow beyond 1 MB in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_ends_a_run_with_one_line(csv_root, tmp_path, small_disk, capsys):
    assert tiny.run(pretraining, [*PRETRAINING, '--csv_root', csv_root, '--log_dir', tmp_path]) == 2
    error = tiny.without_the_small_validation(capsys.readouterr().err)
    assert error.startswith('error: cannot write the checkpoint') and error.count('\n') == 1
    folder, = tmp_path.glob('log_*/*')
    assert list((folder / 'model').iterdir()) == []


def test_killed_while_saving(tmp_path):
    """The checkpoint is whole, the old or the new one, whenever the process that writes it is killed."""
    path = tmp_path / 'last.pth.tar'
    code = (f'import sys, torch\nsys.path.insert(0, {str(ROOT)!r})\nfrom utils.checkpoint import write_checkpoint\n'
            'for epoch in range(10 ** 6):\n'
            '    state = torch.full((2_000_000,), float(epoch))\n'
            f'    write_checkpoint({{"epoch": epoch, "state_dict": {{"all": state}}}}, {str(path)!r})\n')
    for moment in (0.05, 0.15):
        process = subprocess.Popen([sys.executable, '-c', code])
        while not path.exists():
            time.sleep(0.02)
        time.sleep(moment)
        process.kill()
        process.wait()
        saved = read_checkpoint(path)
        assert (saved['state_dict']['all'] == saved['epoch']).all()
        path.unlink()


def test_saver_keeps_the_newest_and_the_best(tmp_path):
    model = tmp_path / 'model'
    model.mkdir()
    (model / 'epoch1.pth.tar.tmp').write_text('left behind')
    saver = Saver(tmp_path, keep=2)
    assert list(model.iterdir()) == []
    for epoch, best in ((1, True), (2, False), (9, True), (10, False), (11, False)):
        saver.save_last({'epoch': epoch - 1})
        saver.save_epoch({'epoch': epoch}, epoch, best)
    assert sorted(file.name for file in model.iterdir()) == [
        'epoch10.pth.tar', 'epoch11.pth.tar', 'model_best_epoch9.pth.tar']
    # resuming from an earlier epoch abandons the later ones, and a best model of theirs
    saver.save_epoch({'epoch': 11}, 11, best=True)
    saver.save_epoch({'epoch': 11}, 11, best=False)
    assert saver.best() is None
    saver.save_epoch({'epoch': 10}, 10, best=True)
    assert sorted(file.name for file in model.iterdir()) == ['epoch10.pth.tar', 'model_best_epoch10.pth.tar']


@pytest.mark.parametrize('links', [True, False])
def test_the_best_model_takes_no_room_of_its_own(tmp_path, monkeypatch, links):
    """It is the file of its epoch under another name, where the file system has such names."""
    def no_links(*args):
        raise PermissionError

    if not links:
        monkeypatch.setattr(os, 'link', no_links)
    model = tmp_path / 'model'
    model.mkdir()
    saver = Saver(tmp_path, keep=1)
    for epoch in (1, 2):
        saver.save_epoch({'epoch': epoch}, epoch, best=epoch == 1)
    saver.save_epoch({'epoch': 3}, 3, best=True)
    epoch, best = model / 'epoch3.pth.tar', model / 'model_best_epoch3.pth.tar'
    assert sorted(model.iterdir()) == [epoch, best]
    assert read_checkpoint(epoch) == read_checkpoint(best) == {'epoch': 3}
    assert epoch.samefile(best) == links
    saver.save_epoch({'epoch': 4}, 4, best=False)
    assert read_checkpoint(best) == {'epoch': 3}


def test_the_newest_checkpoint_is_the_one_of_most_iterations(csv_root, pretrained, tmp_path, capsys):
    """Whatever the times of the files, as after a copy; broken files are skipped, others' names ignored."""
    folder = tmp_path / 'run'
    assert newest_checkpoint(folder) == (None, -1)
    model = folder / 'model'
    model.mkdir(parents=True)
    saved = read_checkpoint(pretrained / 'model' / 'epoch1.pth.tar')
    for name, iteration in (('epoch10', 20), ('epoch9', 18), ('last', 21), ('epoch11', 22)):
        write_checkpoint({**saved, 'iteration': iteration}, model / f'{name}.pth.tar')
    (model / 'epoch_of_mine.pth.tar').write_bytes(b'')
    os.utime(model / 'epoch9.pth.tar', (time.time() + 10, time.time() + 10))
    broken = model / 'epoch11.pth.tar'
    broken.write_bytes(broken.read_bytes()[:-200])
    assert newest_checkpoint(folder) == (model / 'last.pth.tar', 21)
    assert 'epoch11.pth.tar' in capsys.readouterr().err
    write_checkpoint({**saved, 'iteration': 20}, model / 'last.pth.tar')  # stopped in the validation of epoch 10
    assert newest_checkpoint(folder) == (model / 'epoch10.pth.tar', 20)


def test_resuming_from_an_earlier_checkpoint_says_what_it_will_delete(csv_root, tmp_path, capsys):
    folder = tiny.pretrain(csv_root, tmp_path, '--epochs', 3)
    resume = ['--epochs', 2, '--resume', folder / 'model' / 'epoch1.pth.tar']
    tiny.pretrain(csv_root, tmp_path, *resume)
    assert 'epoch2.pth.tar, epoch3.pth.tar went further than epoch1.pth.tar' in capsys.readouterr().err
    assert not (folder / 'model' / 'epoch3.pth.tar').exists() and (folder / 'model' / 'epoch2.pth.tar').exists()


# ---- steps, schedules, recipes

def test_parts_of_a_batch_give_the_gradient_of_the_whole(csv_root, tmp_path, classifier):
    """--encode_chunks encodes in parts; on a frozen network, whose BN doesn't mix clips, trained weights are the same."""
    flags = ['--train_what', 'last', '--pretrain', classifier / 'model' / 'epoch1.pth.tar', '--dropout', 0]
    folders = [tiny.classify(csv_root, tmp_path / str(steps), *flags, '--encode_chunks', steps) for steps in (1, 2)]
    weights = [tiny.checkpoint(folder)['state_dict'] for folder in folders]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('gpu, local_rank, chosen', [(None, 0, 0), (None, 3, 3), ('2', 0, 2), ('1,3', 1, 3)])
def test_each_process_takes_its_gpu(monkeypatch, gpu, local_rank, chosen):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 4)
    taken = []
    monkeypatch.setattr(torch.cuda, 'set_device', taken.append)
    before = torch.get_float32_matmul_precision()
    try:
        assert choose_device(gpu, local_rank) == torch.device('cuda', chosen) == taken[0]
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.benchmark = False
    with pytest.raises(UserError, match='start one process per GPU'):
        choose_device('0', 1)
    with pytest.raises(UserError, match='there is no GPU 7'):
        choose_device('7', 0)


def rates(name, epochs, **options):
    """The learning rate of each epoch."""
    weights = [torch.nn.Parameter(torch.zeros(1))]
    optimizer = make_optimizer('sgd', weights, 1., 0.)
    schedule = make_schedule(name, optimizer, epochs, **options)
    seen = []
    for _ in range(epochs):
        seen.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        step_schedule(schedule)
    return seen


def test_schedules():
    assert rates('constant', 4) == [1] * 4
    assert rates('step', 5, milestones=[2, 4]) == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert rates('cosine', 4) == pytest.approx([0.5 + 0.5 * math.cos(epoch * math.pi / 4) for epoch in range(4)])
    assert rates('constant', 4, warmup_epochs=3) == pytest.approx([0.25, 0.5, 0.75, 1])


def test_a_cosine_schedule_resumed_with_more_epochs_is_the_longer_one(csv_root, tmp_path):
    flags = ['--schedule', 'cosine', '--lr', 0.001]
    folder = tiny.pretrain(csv_root, tmp_path, *flags, '--epochs', 2)
    resume = ['--log_dir', tmp_path, '--csv_root', csv_root, '--resume', 'auto', '--epochs', 4]
    assert tiny.run(pretraining, [*PRETRAINING, *flags, *resume]) == 0
    rates = [record['lr'] for record in read_log(folder, 'train')]
    assert rates == pytest.approx([0.001, 0.0005, 0.0005, 0.001 * (1 - math.sqrt(0.5)) / 2])


def test_reset_lr_keeps_the_schedule_and_the_ratio_of_groups():
    groups = [{'params': [torch.nn.Parameter(torch.zeros(1))], 'lr': lr} for lr in (1e-4, 1e-3)]
    optimizer = make_optimizer('adam', groups, 1e-3, 0.)
    schedule = make_schedule('step', optimizer, 4, milestones=[1, 2])
    optimizer.step()
    schedule.step()
    set_learning_rate(optimizer, schedule, 5e-3)
    assert [group['lr'] for group in optimizer.param_groups] == pytest.approx([5e-5, 5e-4])
    optimizer.step()
    schedule.step()
    assert [group['lr'] for group in optimizer.param_groups] == pytest.approx([5e-6, 5e-5])


@pytest.mark.parametrize('path', sorted((ROOT / 'recipes').glob('*.json')), ids=lambda path: path.stem)
def test_recipes_are_defaults_that_flags_override(path):
    recipe = json.loads(path.read_text())
    script = {'pretrain': pretraining, 'classify': classifier_script}[recipe['script']]
    args = vars(script.parse_args(['--recipe', path.stem, '--batch_size', '7']))
    assert args['batch_size'] == 7
    assert {name: args[name] for name in recipe['flags'] if name != 'batch_size'} == {
        name: value for name, value in recipe['flags'].items() if name != 'batch_size'}


@pytest.mark.parametrize('name', ['pretrain-ucf101-r18', 'pretrain-ucf101-r18-noseq', 'pretrain-ucf101-r18-nomap'])
def test_pretraining_on_ucf101_has_the_authors_schedule(name):
    """400 epochs at 1e-3, then 70 at 1e-4."""
    args = pretraining.parse_args(['--recipe', name])
    factors = rates(args.schedule, args.epochs, milestones=args.lr_milestones, warmup_epochs=args.warmup_epochs)
    assert args.lr == 1e-3 and factors == pytest.approx([1] * 400 + [0.1] * 70) and args.batch_size == 128


def test_unknown_recipe(capsys):
    with pytest.raises(SystemExit) as end:
        pretraining.parse_args(['--recipe', 'classify-ucf101-r18'])
    assert end.value.code == 2 and 'choose one of pretrain-k400-r18' in capsys.readouterr().err
