"""demo.py: each command it gives is understood by its script, its time goes to pretraining, its end says what files say."""
import importlib
import json
import re

import cv2
import numpy as np
import pytest

from eval.protocols.results import write_results
from experiments import demo, demo_budget, demo_report, run_script
from experiments.demo_budget import Machine

ROW = {'feature': 'block', 'protocol': 'knn', 'setting': 'all labels', 'metric': 'top1', 'videos': 64,
       'deviation': None, 'chosen': 'k 5', 'hash': '12345678'}


class Clock:
    """A clock that only the faked scripts move."""
    def __init__(self):
        self.now = 0.

    def monotonic(self):
        return self.now


@pytest.fixture
def played(monkeypatch, tmp_path):
    """play(clips/s, seconds in which a script starts, flags of the demo): the commands that a demo gives, which only parse
    their flags, take their time and leave behind the files of a run: [(script, flags, seconds)]."""
    def play(speed, start, *flags):
        clock, commands = Clock(), []
        labelled = 8 * demo.DATA['videos_per_class']

        def run(script, *arguments, **flags):
            module = importlib.import_module(script.removesuffix('.py').replace('/', '.'))
            args = module.parse_args([*map(str, arguments), *run_script.command_line(flags)])
            seconds = 100 / speed
            if 'log_dir' in flags:
                folder = flags['log_dir'] / f'log_{args.prefix}' / 'experiment'
                videos = 866 if script == 'dpc/main.py' else 0.64 * labelled
                done = leave_files(folder, bool(getattr(args, 'test', None)), args.epochs, videos, speed)
                seconds = start + done * videos / speed
            elif script == 'eval/frozen.py':
                leave_frozen(flags['out'], str(flags['weights']))
                seconds = start + 6 * labelled / 3 / speed + 80
            clock.now += seconds
            commands.append((script, args, seconds))

        monkeypatch.setattr(demo, 'run', run)
        monkeypatch.setattr(demo, 'time', clock)
        monkeypatch.setattr(demo, 'labelled_videos', lambda: labelled)
        monkeypatch.setattr(demo, 'synthetic_folder', lambda *names: str(tmp_path.joinpath(*names)))
        demo.main(demo.parse_args(['--output', str(tmp_path / 'demo_output'), *flags]))
        return commands
    return play


def leave_frozen(folder, weights):
    folder.mkdir(parents=True)
    rows = [{**ROW, 'weights': weights, 'value': 0.5, 'low': 0.4, 'high': 0.6},
            {**ROW, 'weights': 'random', 'value': 0.3, 'low': 0.2, 'high': 0.39},
            {**ROW, 'weights': 'none', 'feature': 'frame', 'protocol': 'one frame', 'value': 0.125, 'low': 0., 'high': .3}]
    more = [{**row, 'feature': feature, 'protocol': protocol, 'setting': setting, 'metric': metric} for row in rows[:2]
            for feature in ('context', 'block') for protocol, setting, metric in (
                ('retrieval', 'all labels', 'R@5'), ('probe', '20% of labels', 'top1'), *demo_report.SHOWN)]
    more = [row for row in more if (row['feature'], row['protocol']) != ('block', 'knn')]
    differences = [{**ROW, 'weights': weights, 'than': 'random', 'value': 0.2, 'low': 0.05, 'high': 0.35, 'groups': 48}]
    write_results(folder, [*rows, *more], ['facts'], differences)


def leave_files(folder, is_test, epochs, videos, speed):
    """Returns how many epochs are new."""
    (folder / 'model').mkdir(parents=True, exist_ok=True)
    if is_test:
        good = 3 if 'pretrained' in folder.parent.name else 1
        rows = [f'"/x/a,{i}",Grow,{"Grow" if i < good else "Shrink"},0.5000\n' for i in range(4)]
        (folder / 'predictions.csv').write_text('path,label,prediction,probability\n' + ''.join(rows))
        return 0.1
    before = len(list((folder / 'model').glob('*')))
    with open(folder / 'log.jsonl', 'a') as log:
        for epoch in range(before + 1, epochs + 1):
            (folder / 'model' / f'epoch{epoch}.pth.tar').write_text('')
            for kind in ('train', 'val'):
                log.write(json.dumps({'kind': kind, 'epoch': epoch, 'loss': 4. / epoch, 'top1': epoch / 100, 'time': 0.,
                                      'clips_per_s': speed, 'iteration': int(epoch * videos / 8)}) + '\n')
    return epochs - before


def seconds_of(commands, script):
    return sum(seconds for each, _, seconds in commands if each == script)


def test_a_slow_machine(played, tmp_path, capsys):
    """16 clips/s: ten minutes, at least 60% of them for pretraining, on more clips than show something; no fine-tuning."""
    (tmp_path / 'demo_output' / 'log_pretraining' / 'of an earlier demo').mkdir(parents=True)
    (tmp_path / 'demo_output' / 'log_tmp').mkdir()
    commands = played(16., 8.)
    data = ['process_data/extract_frames.py', 'process_data/write_csv.py']
    scripts = [script for script, *_ in commands]
    assert scripts == ['experiments/data/make_demo.py', *data, *data, *['dpc/main.py'] * 3, 'eval/frozen.py',
                       'eval/visualise.py', 'eval/report.py']
    assert sum(seconds for *_, seconds in commands) <= 600 and seconds_of(commands, 'dpc/main.py') >= 0.6 * 600
    trained = [args.epochs for script, args, _ in commands if script == 'dpc/main.py']
    assert trained == sorted(set(trained)) and trained[0] == 1 and trained[-1] * 866 > demo_budget.ENOUGH
    assert (tmp_path / 'demo_output' / 'log_tmp').exists()
    assert not (tmp_path / 'demo_output' / 'log_pretraining' / 'of an earlier demo').exists()

    said = capsys.readouterr().out
    assert [int(number) for number in re.findall(r'^\[(\d)/9\]', said, flags=re.MULTILINE)] == [1, 2, 3, 4, 5, 6, 7, 9]
    assert 'left out: ' in said and re.search(r'python eval/test.py .*--pretrain \S+epoch\d+\.pth\.tar', said)
    table = [line for line in said.splitlines() if line.startswith('| ')]
    assert len({len(line) for line in table}) == 1 and len(table) == 1 + 10
    assert 'pretrained beats random weights in 1 of 1 rows' in said and 'one frame: 12%' in said
    assert ' 1 epochs' not in said and 'too few' not in said and 'next: your own videos' in said
    assert cv2.imread(str(tmp_path / 'demo_output' / 'curves.png')).std() > 5


def test_a_fast_machine_also_fine_tunes(played, capsys):
    """From both weights, equally long, at least so many steps that it leaves chance."""
    commands = played(100., 3.)
    assert sum(seconds for *_, seconds in commands) <= 600 and seconds_of(commands, 'dpc/main.py') >= 0.6 * 600
    trained = [vars(args) for script, args, _ in commands if script == 'eval/test.py' and not args.test]
    differ = {name for name in trained[0] if trained[0][name] != trained[1][name]}
    assert len(trained) == 2 and differ == {'pretrain', 'prefix'}
    videos = 8 * demo.DATA['videos_per_class'] * 0.75 * (1 - trained[0]['val_fraction'])
    assert trained[0]['epochs'] * videos / trained[0]['batch_size'] >= demo_budget.FINETUNING_STEPS
    assert all(args.flip == 0 for script, args, _ in commands
               if script in ('dpc/main.py', 'eval/test.py') and not getattr(args, 'test', None))  # classes: left, right
    said = capsys.readouterr().out
    assert 'fine-tuned from pretrained weights: top-1 75.0%' in said
    assert 'fine-tuned from random weights: top-1 25.0%' in said


def test_too_slow_to_show_anything(played, tmp_path, capsys):
    """It takes more minutes where none were given; what would be enough is said; it ends with results all the same."""
    commands = played(6., 20.)
    assert 10 * 60 < sum(seconds for *_, seconds in commands) <= 15 * 60
    assert 'too few' not in capsys.readouterr().out
    commands = played(3., 16.)
    said = capsys.readouterr().out
    minutes, = re.findall(r'make demo MINUTES=(\d+)', said)
    assert int(minutes) > 15 and (tmp_path / 'demo_output' / 'frozen' / 'results.json').exists()
    commands = played(3., 16., '--minutes', minutes)
    assert 'too few' not in capsys.readouterr().out
    trained = [args.epochs for script, args, _ in commands if script == 'dpc/main.py']
    assert trained[-1] * 866 >= demo_budget.ENOUGH and sum(each[-1] for each in commands) <= 60 * int(minutes)


def test_a_data_set_that_is_there_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, 'synthetic_folder', lambda *names: str(tmp_path))
    assert demo.data_flags() == demo.DATA
    (tmp_path / '.made_with.json').write_text('{"size": 80, "looks": 2, "unlabelled": 2560}')
    assert demo.data_flags() == {'size': 80, 'appearances': 2, 'unlabelled': 2560}


def test_one_epoch_has_no_curves(tmp_path):
    for epochs, drawn in ((1, False), (2, True)):
        leave_files(tmp_path / 'log_pretraining' / 'experiment', False, epochs, 866, 10.)
        demo_report.draw_curves(tmp_path)
        assert (tmp_path / 'curves.png').exists() == drawn


def test_the_plan_is_the_time_that_there_is():
    """The steps add up; pretraining has its share whatever the speed, where that is possible at all."""
    for speed in np.geomspace(10, 500, 12):
        steps = demo_budget.plan(600, Machine(speed, start=5), 8, {})
        assert sum(steps.values()) == pytest.approx(600) and (steps['finetune'] > 0) == (steps['test'] > 0)
        assert steps['first'] + steps['pretrain'] >= 0.6 * 600


def test_the_plan_of_frozen_evaluation_is_what_was_measured():
    """2.8 minutes on two cores that train on 15 clips/s in float32."""
    assert Machine(15., start=8).rest()['frozen'] == pytest.approx(168, rel=0.2)


def test_a_failing_script_ends_the_demo(tmp_path, capfd):
    with pytest.raises(SystemExit) as end:
        run_script.run('process_data/check_frames.py', csv=tmp_path / 'none.csv')
    assert 'check_frames.py' in end.value.code and 'none.csv' in capfd.readouterr().err


def test_how_to_enter_the_environment(tmp_path, monkeypatch):
    """Said where `python` is another one: in an environment that is not active."""
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin' / 'activate').write_text('')
    monkeypatch.setattr(demo_report.sys, 'prefix', str(tmp_path))
    monkeypatch.delenv('VIRTUAL_ENV', raising=False)
    assert f'. {tmp_path}/bin/activate' in demo_report.how_to_enter()
    assert any(line.endswith(f'. {tmp_path}/bin/activate') for line in demo_report.next_commands())
    monkeypatch.setenv('VIRTUAL_ENV', str(tmp_path))
    assert 'activate' not in demo_report.how_to_enter() + ''.join(demo_report.next_commands())
