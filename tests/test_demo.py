"""demo.py: each command it gives is understood by its script, and the table says what the runs' files say."""
import importlib
import json
import re

import cv2
import pytest

from eval.protocols.results import write_results
from experiments import demo, run_script

EPOCHS = {'train': [(4.2, 0.02), (3.1, 0.1)], 'val': [(4.0, 0.03), (3.0, 0.125)]}  # (loss, top1)
SPEED = 40.  # clips/s
ROW = {'feature': 'block', 'protocol': 'knn', 'setting': 'all labels', 'metric': 'top1', 'videos': 64,
       'deviation': None, 'chosen': 'k 5'}
RESULTS = [{**ROW, 'weights': 'model', 'value': 0.5, 'low': 0.4, 'high': 0.6},
           {**ROW, 'weights': 'random', 'value': 0.3, 'low': 0.2, 'high': 0.39},
           {**ROW, 'weights': 'none', 'feature': 'frame', 'protocol': 'one frame', 'value': 0.9, 'low': 0.8,
            'high': 1.}]
DIFFERENCES = [{**ROW, 'weights': 'model', 'than': 'random', 'value': 0.2, 'low': 0.05, 'high': 0.35}]


@pytest.fixture
def commands(monkeypatch):
    """Runs of scripts that only parse their flags and leave behind the files of a run; returns what was run."""
    run_commands = []

    def run(script, *arguments, **flags):
        module = importlib.import_module(script.removesuffix('.py').replace('/', '.'))
        args = module.parse_args([*map(str, arguments), *run_script.command_line(flags)])
        run_commands.append((script, args))
        if 'log_dir' in flags:
            is_test = bool(getattr(args, 'test', None))
            leave_files(flags['log_dir'] / f'log_{args.prefix}' / 'experiment', is_test, args.epochs)
        elif script == 'eval/frozen.py':
            write_results(make_folder(flags['out']), RESULTS, ['facts'], DIFFERENCES)

    monkeypatch.setattr(demo, 'run', run)
    return run_commands


def make_folder(path):
    path.mkdir(parents=True)
    return path


def leave_files(folder, is_test, epochs):
    (folder / 'model').mkdir(parents=True)
    if is_test:
        good = 3 if 'pretrained' in folder.parent.name else 1
        rows = [f'"/x/a,{i}",Grow,{"Grow" if i < good else "Shrink"},0.5000\n' for i in range(4)]
        (folder / 'predictions.csv').write_text('path,label,prediction,probability\n' + ''.join(rows))
    else:
        (folder / 'model' / 'model_best_epoch2.pth.tar').write_text('')
        (folder / 'log.jsonl').write_text(''.join(
            json.dumps({'kind': kind, 'epoch': epoch + 1, 'loss': loss, 'top1': top1, 'clips_per_s': SPEED}) + '\n'
            for epoch in range(min(2, epochs)) for kind in EPOCHS for loss, top1 in [EPOCHS[kind][epoch]]))


def test_demo(commands, tmp_path, capsys):
    """From videos to both tests, in that order; only an earlier demo's runs are removed."""
    output = tmp_path / 'demo_output'
    (output / 'log_pretraining' / 'of an earlier demo').mkdir(parents=True)
    (output / 'log_tmp').mkdir()
    demo.main(demo.parse_args(['--output', str(output)]))

    data = ['process_data/extract_frames.py', 'process_data/write_csv.py', 'process_data/check_frames.py']
    assert [script for script, _ in commands] == [
        'experiments/data/make_demo.py', *data, *data, 'dpc/main.py', 'dpc/main.py', 'eval/frozen.py',
        'eval/visualise.py', 'eval/test.py', 'eval/test.py', 'eval/test.py', 'eval/test.py',
        'eval/report.py']
    trained = [vars(args) for script, args in commands if script == 'eval/test.py' and not args.test]
    differ = {name for name in trained[0] if trained[0][name] != trained[1][name]}
    assert differ == {'pretrain', 'prefix'}  # the same budget
    training = [args for script, args in commands
                if script in ('dpc/main.py', 'eval/test.py') and not getattr(args, 'test', None)]
    assert all(args.flip == 0 for args in training)  # classes are left and right
    assert (output / 'log_tmp').exists() and not (output / 'log_pretraining' / 'of an earlier demo').exists()

    said = capsys.readouterr().out
    lines = [re.findall(r'\d[\d.]*%?', line.split('top-1')[1]) for line in said.splitlines() if line.endswith('%')]
    assert '| block ' in said
    assert 'difference is above zero), most clearly in knn (top1, block): by 20 points' in said
    pretraining, pretrained, random = lines
    speed, args = [args for script, args in commands if script == 'dpc/main.py']
    assert (speed.dataset, speed.epochs, args.dataset) == ('demo', 1, 'demo_unlabelled')  # measured, then pretrained
    assert (args.epochs, trained[0]['epochs']) == demo.epochs_that_fit(SPEED, 60 * 9.5 - 0.1)
    locations = ((args.img_dim + 31) // 32) ** 2
    assert pretraining == ['12.5%', f'{1 / (args.batch_size * args.pred_step * locations):.1%}']
    assert pretrained == ['75.0%', '0.0', '100.0', '100.0', '100.0', '12.5%']
    assert random == ['25.0%', '0.0', '0.0', '0.0', '100.0', '12.5%']
    picture = cv2.imread(str(output / 'curves.png'))
    assert picture.std() > 5
    for name in ('curves.png', 'frozen/', 'confusion.png', 'model_best_epoch2.pth.tar', 'test_log.md'):
        assert name in said


def test_the_length_follows_the_speed():
    """Ten times the speed gives ten times the epochs; the slowest machine gets one. All steps together fit the time."""
    slow, fast = demo.epochs_that_fit(20, 480), demo.epochs_that_fit(200, 480)
    assert demo.epochs_that_fit(1, 480) == (1, 1) and fast[1] == demo.MAX_FINETUNING and slow[0] >= 1
    assert 10 * slow[0] < fast[0] < 20 * slow[0]
    for speed, (pretraining, finetuning) in ((20, slow), (200, fast)):
        clips = (pretraining * demo.PRETRAINING_CLIPS + finetuning * demo.FINETUNING_CLIPS + demo.EVALUATION_CLIPS)
        assert clips / speed + demo.OVERHEAD_SECONDS <= 480


def test_the_verdict_needs_a_difference():
    """Its interval must be above zero; of too few groups there is none."""
    assert demo.verdict(DIFFERENCES).startswith('Frozen features beat those of random weights in 1 of 1')
    for low in (-0.01, None):
        assert demo.verdict([{**DIFFERENCES[0], 'low': low}]).startswith('The frozen features do not beat')


def test_a_failing_script_ends_the_demo(tmp_path, capfd):
    with pytest.raises(SystemExit) as end:
        run_script.run('process_data/check_frames.py', csv=tmp_path / 'none.csv')
    assert 'check_frames.py' in end.value.code and 'none.csv' in capfd.readouterr().err
