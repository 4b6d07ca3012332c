"""study.py: a miniature study through the real scripts, that a stopped one resumes, its sizes and what it reports."""
import importlib
import json
import re

import cv2
import numpy as np
import pytest

from experiments import run_script, study, study_budget, study_report, study_steps
from tests import tiny

MINI = ['--img_dim', 32, '--num_seq', 3, '--ds', 1, '--batch_size', 2, '--num_workers', 0, '--device', 'cpu',
        '--seeds', 1, '--minutes', 0.01]


@pytest.fixture
def scripts(monkeypatch):
    """The scripts run in this process; returns those that have ended, as (script, flags)."""
    ended = []
    known = study_steps.finetune.__globals__  # where its `run` is looked up

    def run(script, **flags):
        module = importlib.import_module(script.removesuffix('.py').replace('/', '.'))
        assert tiny.run(module, run_script.command_line(flags)) == 0
        ended.append((script, flags))

    monkeypatch.setitem(known, 'run', run)
    monkeypatch.setitem(study_steps.LABELS, '20% of labels', 0.5)  # a fifth of the tiny list is no batch
    return ended


def study_of(csv_root, output, *flags):
    args = study.parse_args([str(word) for word in
                             [*MINI, '--csv_root', csv_root, '--output', output, '--data', 'ucf101:k400_150', *flags]])
    study.main(args)
    return output / 'ucf101-k400_150'


@pytest.fixture
def two_checkpoints(monkeypatch):
    """Features are evaluated after 1 and 2 epochs, whatever the speed of this machine, and classifiers are trained."""
    monkeypatch.setattr(study, 'FINETUNING_STEPS', 1)
    monkeypatch.setattr(study, 'pretraining_epochs', lambda *about, **more: 2)
    monkeypatch.setattr(study, 'count_of_checkpoints', lambda *about: 2)


@pytest.mark.soak
def test_a_study_that_was_stopped_is_resumed(csv_root, tmp_path, scripts, two_checkpoints, monkeypatch, capsys):
    """Every step is done once; then rows, table and picture are there, and the same command does nothing."""
    evaluate = study_steps.evaluate
    monkeypatch.setitem(study.pretrain_and_evaluate.__globals__, 'evaluate', stopped)
    with pytest.raises(KeyboardInterrupt):
        study_of(csv_root, tmp_path)
    before = list(scripts)
    folder = tmp_path / 'ucf101-k400_150'
    assert {row['weights'] for row in json.loads((folder / 'results.json').read_text())} == {'random', 'none'}

    monkeypatch.setitem(study.pretrain_and_evaluate.__globals__, 'evaluate', evaluate)
    study_of(csv_root, tmp_path)
    done = [(script, flags.get('prefix', flags.get('weights'))) for script, flags in scripts]
    again = done[len(before):]
    assert [script for script, _ in again[:1]] == ['eval/frozen.py']  # resumes where it was stopped
    trained = [(prefix, flags['epochs']) for script, flags in scripts if script == 'dpc/main.py'
               for prefix in [flags['prefix']]]
    assert trained == [('default-0', 1), ('default-0', 1), ('default-0', 2)]  # the first to measure
    names = [prefix for script, prefix in done if script == 'eval/test.py']
    assert sorted(names) == sorted(f'{test}default-{origin}-{part}-0' for test in ('', 'test-')
                                   for origin in ('random', 'pretrained') for part in (1, 0.5))

    check_results(folder)
    said = capsys.readouterr().out
    assert 'step 1 of ' in said and 'of 0.01 minutes used' in said and 'above random ones' in said
    count = len(scripts)
    for step in (folder / 'steps').glob('evaluate-*'):  # as an earlier version called them
        step.rename(step.with_name(step.name.replace('evaluate', 'judge')))
    study_of(csv_root, tmp_path)
    assert len(scripts) == count and not list((folder / 'steps').glob('judge-*'))


def stopped(*about):
    raise KeyboardInterrupt


def check_results(folder):
    rows = json.loads((folder / 'results.json').read_text())
    assert all(0 <= row['low'] <= row['value'] <= row['high'] <= 1 and row['videos'] == 12 for row in rows)
    frozen = [row for row in rows if row['weights'] == 'pretrained' and row['protocol'] == 'knn']
    assert [(row['feature'], row['epoch']) for row in frozen] == [
        ('context', 1), ('block', 1), ('context', 2), ('block', 2)]
    assert frozen[2]['clips'] == 2 * frozen[0]['clips'] > 0 and frozen[2]['minutes'] > frozen[0]['minutes'] > 0
    tuned = {(row['weights'], row['setting']): row for row in rows if row['protocol'] == 'fine-tuning'}
    assert tuned.keys() == {(origin, setting) for origin in ('random', 'pretrained') for setting in study_steps.LABELS}
    assert tuned['pretrained', 'all labels']['epoch'] == 2
    predictions, = folder.glob('log_test-default-random-1-0/*/predictions.csv')
    lines = [line.rsplit(',', 3) for line in predictions.read_text().splitlines()[1:]]
    assert tuned['random', 'all labels']['value'] == np.mean([label == guess for _, label, guess, _ in lines])
    table = ' '.join((folder / 'results.md').read_text().split())
    for cells in ('pretrained, default', 'appearance', 'network | fine-tuning | 20% of labels'):
        assert f'| {cells} |' in table
    assert cv2.imread(str(folder / 'study.png')).std() > 5
    assert not list(folder.glob('log_*random*/*/model')) and len(list(folder.glob('log_default-0/*/model/epoch*'))) == 1


def test_other_flags_or_lists_are_one_line(csv_root, tmp_path, capsys):
    wrong = [['--data', 'ucf101'], ['--data', 'a:b:c'], ['--minutes', '0'], ['--seeds', '0'], ['--variants', 'none'],
             ['--frozen_only', '--variants', 'dropout09']]
    for flags in wrong:
        with pytest.raises(SystemExit) as end:
            study.parse_args(flags)
        assert end.value.code == 2 and capsys.readouterr().err.startswith('error: ')
    with pytest.raises(study.UserError, match='nowhere'):
        study_of(csv_root, tmp_path, '--data', 'ucf101:nowhere')
    args = study.parse_args(['--output', str(tmp_path), '--data', 'ucf101:k400_150', '--csv_root', str(csv_root)])
    one = study.Study(args, 'ucf101:k400_150', tmp_path / 'one', 120)
    one.open()
    one.do('data', lambda study: None)
    args.ds = 3
    one.open()  # nothing has been done with other settings
    one.do('random weights', lambda study: [])
    one.open()
    args.ds = 4
    with pytest.raises(study.UserError, match='--ds 3.*--output'):
        one.open()


@pytest.mark.parametrize('data', ['demo', 'demo8', 'puppets', 'puppets2'])
def test_every_command_parses(data, tmp_path, monkeypatch):
    """All variants on the data sets made here: the scripts know every flag, and what is compared costs the same."""
    commands = []

    def run(script, **flags):
        module = importlib.import_module(script.removesuffix('.py').replace('/', '.'))
        commands.append((script, module.parse_args(run_script.command_line(flags))))
        if not script.startswith(('process_data', 'experiments')):
            raise StopIteration

    monkeypatch.setattr(study_steps, 'run', run)
    monkeypatch.setattr(study_steps, 'newest', lambda *about: 'newest')
    args = study.parse_args(['--output', str(tmp_path), '--data', data, '--device', 'cuda',
                             '--variants', *study.VARIANTS])
    one = study.Study(args, data, tmp_path, 120)
    one.open()
    results = {'size of finetuning': {setting: 7 for setting in study.LABELS},
               'size of pretraining': {'epochs': 24, 'checkpoints': 3}, 'size of the rest': 48}
    for step, result in results.items():
        one.do(step, lambda _, result=result: result)
    for name, work, *about in list(study.steps(one)):
        if name == 'data':
            work(one)
            made = commands[0][1]
            assert getattr(made, 'appearances', None) == {'demo': 1, 'demo8': 8}.get(data)
            assert getattr(made, 'fixed', None) == {'puppets': [], 'puppets2': ['drift', 'size', 'view']}.get(data)
        elif name not in results:
            with pytest.raises(StopIteration):
                work(one, *about)
    assert {script for script, _ in commands} == {
        f'experiments/data/make_{study.MAKERS[data][0]}.py', 'process_data/extract_frames.py',
        'process_data/write_csv.py', 'dpc/main.py', 'eval/frozen.py', 'eval/test.py'}
    costs = {}
    for script, parsed in commands:
        if script == 'dpc/main.py':
            cost = parsed.epochs * parsed.clips_per_video * parsed.num_seq
            name = parsed.prefix.rsplit('-', 1)[0]
            costs[name] = max(cost, costs.get(name, 0))
        if hasattr(parsed, 'gpu'):
            assert parsed.gpu == '0'
        if hasattr(parsed, 'flip'):
            assert parsed.flip == 0
    assert set(costs.values()) == {48 * 4}
    assert set(costs) == {'default'} | {name for name, (own, _) in study.VARIANTS.items() if own}


# ---- sizes

COSTS = {'epoch': 60., 'start': 10., 'evaluation': 40., 'seeds': 3}


def test_sizes_follow_from_the_measured_speed():
    """Twice the time, or half the seconds of an epoch: twice the epochs, but for the overhead. The sum is the time."""
    for seconds in (3000, 9000, 100_000):
        epochs = study_budget.pretraining_epochs(seconds, COSTS, curves=1, others=2, count=6)
        taken = (epochs * 60 * 3) * 3 + (6 + 2) * (3 * 10 + 40)
        assert taken <= seconds < taken + 3 * 3 * 60
        half = study_budget.pretraining_epochs(seconds, {**COSTS, 'epoch': 30.}, curves=1, others=2, count=6)
        assert half in (2 * epochs, 2 * epochs + 1)
    assert study_budget.pretraining_epochs(10, COSTS, curves=1, others=0, count=6) == 1  # however short the time
    # before the last checkpoint: 20 epochs are done
    assert study_budget.pretraining_epochs(10 * 180 + 70, COSTS, curves=1, others=0, count=1, before=20) == 30
    assert study_budget.pretraining_epochs(-100, COSTS, curves=1, others=0, count=1, before=20) == 21
    # epochs that a variant with eight clips a video can match
    assert study_budget.pretraining_epochs(10 * 180 + 70, COSTS, curves=1, others=0, count=1, before=20, unit=8) == 24
    assert study_budget.pretraining_epochs(-100, COSTS, curves=1, others=0, count=1, before=24, unit=8) == 32
    assert study_budget.pretraining_epochs(10, COSTS, curves=1, others=1, count=6, unit=8) == 8

    epochs = study_budget.finetuning_epochs(100, videos=200, labels={'all': 1, 'few': 0.2}, clips_per_second=20, save=1)
    assert epochs == {'all': 9, 'few': 33}  # of 11 and 3 seconds
    assert study_budget.finetuning_epochs(10 ** 6, 200, {'all': 1, 'few': 0.2}, 20, 1) == {'all': 60, 'few': 300}
    assert study_budget.finetuning_epochs(-5, 200, {'all': 1}, 20, 1) == {'all': 1}


def test_checkpoints():
    assert study_budget.checkpoints(100, 6) == [1, 3, 6, 16, 40, 100]
    assert study_budget.checkpoints(1, 6) == [1] and study_budget.checkpoints(3, 6) == [1, 2, 3]
    # each costs 3·10 + 40 s: a third of the time pays for six, for three, or for none
    assert [study_budget.count_of_checkpoints(seconds, COSTS, 1) for seconds in (2000, 700, 10)] == [6, 3, 2]
    assert study_budget.equal_cost(48, {'clips_per_video': 4}, 4) == 12
    assert study_budget.equal_cost(48, {'num_seq': 6}, 4) == 32
    assert study_budget.equal_cost(1, {'clips_per_video': 8}, 4) == 1


@pytest.mark.parametrize('minutes, clips_per_s, seeds, flags, later', [
    (120, 30, 3, [], 1), (120, 30, 3, [], 1.25), (120, 30, 3, [], 0.8), (120, 30, 3, ['--frozen_only'], 1),
    (240, 120, 3, ['--variants', 'cpv4', 'long', 'dropout09'], 1), (30, 600, 3, [], 1.25),
    (20, 600, 1, ['--variants', 'parallel'], 1), (120, 8, 3, [], 1)])
def test_a_study_takes_the_time_it_is_given(tmp_path, monkeypatch, capsys, minutes, clips_per_s, seeds, flags, later):
    """Scripts that only let a clock run: the study ends within 10%, also where speed changes after the measurement.

    Nothing is fine-tuned where it would get too few steps."""
    clock, start, save, videos, epoch_clips = Clock(), 8, 0.5, 192, 2300
    done = {}
    for name in ('mine', 'unlabelled'):
        tiny.write_rows(tmp_path / 'csv' / name / 'train_split01.csv', [(f'/v{i}', 64) for i in range(videos)])

    def pretrain(one, variant, seed, epochs):
        flags, _ = study.VARIANTS[variant]
        clips = epoch_clips * flags.get('clips_per_video', 1)
        each = clips / clips_per_s * flags.get('num_seq', 4) / 4 * (later if done else 1)
        clock.now += start + (epochs - done.get((variant, seed), 0)) * (each * 1.02 + save)
        done[variant, seed] = epochs
        return {'clips': epochs * clips, 'minutes': epochs * each / 60}

    def measure(one):
        pretrain(one, 'default', 0, 1)
        epoch = epoch_clips / clips_per_s * 1.02 + save
        return {'clips_per_s': clips_per_s, 'epoch': epoch, 'save': save, 'start': start}

    def wait(seconds):
        clock.now += seconds

    monkeypatch.setattr(study.time, 'monotonic', lambda: clock.now)
    monkeypatch.setattr(study, 'make_data', lambda one: wait(60))
    monkeypatch.setattr(study, 'evaluate_random', lambda one: wait(20 + 3 * 600 / clips_per_s))
    monkeypatch.setattr(study, 'evaluate', lambda one, *about: wait(15 + seeds * 500 / clips_per_s))
    monkeypatch.setattr(study, 'measure', measure)
    monkeypatch.setattr(study, 'pretrain', pretrain)
    monkeypatch.setattr(study, 'finetune', lambda one, variant, origin, setting, seed: wait(
        2 * start + one.result('size of finetuning')[setting] * (study.LABELS[setting] * videos / clips_per_s + save)))
    monkeypatch.setattr(study, 'report', lambda one: None)
    monkeypatch.setattr(study.Path, 'read_text', read_text_or_nothing(study.Path.read_text))
    args = study.parse_args([str(word) for word in [
        '--minutes', minutes, '--seeds', seeds, '--data', 'mine:unlabelled', '--csv_root', tmp_path / 'csv', '--output',
        tmp_path, *flags]])
    study.main(args)
    assert 0.9 * minutes < clock.now / 60 < 1.1 * minutes
    assert 'cpv4' not in flags or all(done['default', seed] == 4 * done['cpv4', seed] for seed in range(seeds))
    assert len(done) == seeds * (1 + sum(1 for name in args.variants if study.VARIANTS[name][0]))
    steps = {path.name for path in (tmp_path / 'mine-unlabelled' / 'steps').iterdir()}
    assert any('finetune-' in name for name in steps) == (not args.frozen_only and clips_per_s > 8)
    if clips_per_s == 8:
        advised = re.search(r'it takes --minutes (\d+)', capsys.readouterr().out)[1]
        args.minutes, args.output = float(advised), str(tmp_path / 'advised')
        study.main(args)
        assert 'left out' not in capsys.readouterr().out


class Clock:
    now = 0.


def read_text_or_nothing(read):
    """results.md isn't made here."""
    return lambda path: '' if path.name == 'results.md' else read(path)


# ---- report

def row(weights, value, epoch=None, variant=None, **more):
    made = {'weights': weights, 'feature': 'context', 'protocol': 'knn', 'setting': 'all labels', 'metric': 'top1',
            'value': value, 'low': value - 0.05, 'high': value + 0.05, 'videos': 100, 'deviation': 0.01, 'chosen': None,
            'hits': (np.arange(100) < 100 * value).tolist(), 'group': (np.arange(100) // 5).tolist(), **more}
    if epoch:
        made.update(variant=variant or 'default', epoch=epoch, clips=100. * epoch, minutes=0.5 * epoch)
    return made


def test_what_the_table_says(tmp_path):
    """Pretrained weights are those of the last checkpoint; sentences hold only beyond both intervals."""
    rows = [row('random', 0.2), row('none', 0.1, feature='frame', protocol='one frame'), row('pretrained', 0.25, 1),
            row('pretrained', 0.4, 4), row('pretrained', 0.6, 16), row('pretrained', 0.95, 4, 'cpv4'),
            row('pretrained', 0.62, 16, 'pooled')]
    study_report.write_report(tmp_path, rows, ['a fact'], ['default'], ['cpv4', 'pooled'], 0.125)
    text = (tmp_path / 'results.md').read_text()
    line, = (line for line in text.splitlines() if line.startswith('| context | knn') and '20.0%' in line)
    assert '60.0% ±1.0% [55.0, 65.0]' in line and '40.0%' not in line and '- chance: 12.5%' in text
    assert 'from 2.0 minutes on (400 clips, epoch 4)' in text
    assert '- cpv4: better at context, knn, all labels, top1' in text
    assert '- pooled: no difference beyond the intervals' in text
    assert [row['value'] for row in json.loads((tmp_path / 'results.json').read_text())] == [row['value'] for row in rows]
    assert cv2.imread(str(tmp_path / 'study.png')).std() > 5
    study_report.write_report(tmp_path, rows[:3], [], ['default'], [], 0.125)
    assert 'knn, all labels, top1: never' in (tmp_path / 'results.md').read_text()


def test_a_test_video_that_cannot_be_read(csv_root, tmp_path):
    """Fine-tuned classifiers are compared on the videos that all seeds could read, each with its own group."""
    args = study.parse_args(['--output', str(tmp_path), '--data', 'ucf101:k400_150', '--csv_root', str(csv_root),
                             '--seeds', '2'])
    one = study.Study(args, 'ucf101:k400_150', tmp_path / 'one', 120)
    one.open()
    group_of = one.groups()
    read = list(group_of)
    for seed in range(2):
        one.do(f'finetune default random all labels {seed}', lambda study: {video: 1 for video in reversed(read)})
        read = read[1:]
    row, = study_report.rows_of(one)
    assert row['group'] == [group_of[video] for video in sorted(group_of)[1:]] and row['hits'] == [1] * len(row['group'])
    assert study_report.difference(row, {**row, 'group': row['group'][::-1]}) == 0


def test_panels_are_those_of_protocols_that_were_run():
    _, axes = study_report.make_figure()
    rows = [row('random', 0.2), row('random', 0.2, protocol='probe')]
    drawn = [panel for panel, _ in study_report.panels(axes, rows)]
    assert drawn == [('knn', 'all labels', 'top1'), ('probe', 'all labels', 'top1')]
    assert [axis.axison for axis in axes.flat] == [True] * 2 + [False] * 6


def test_data_sets_beside_each_other(tmp_path):
    """Of each variant the last checkpoint is drawn; a variant may be missing on some data set."""
    found = {'one': [row('random', 0.2), row('pretrained', 0.25, 1), row('pretrained', 0.6, 4),
                     row('pretrained', 0.5, 4, 'cpv4')],
             'other': [row('random', 0.1), row('pretrained', 0.2, 2)]}
    study_report.draw_data(tmp_path / 'data.png', found)
    assert cv2.imread(str(tmp_path / 'data.png')).std() > 5
