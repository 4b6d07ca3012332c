"""demo.py: each command it gives is understood by its script, and the table says what the runs' files say."""
import importlib
import json

import cv2
import pytest

import demo
import pipeline

EPOCHS = {'train': [(4.2, 0.02), (3.1, 0.1)], 'val': [(4.0, 0.03), (3.0, 0.125)]}  # (loss, top1)


@pytest.fixture
def commands(monkeypatch):
    """Runs of scripts that only parse their flags and leave behind the files of a run; returns what was run."""
    run_commands = []

    def run(script, **flags):
        module = importlib.import_module(script.removesuffix('.py').replace('/', '.'))
        args = module.parse_args(pipeline.command_line(flags))
        run_commands.append((script, args))
        if 'log_dir' in flags:
            is_test = bool(getattr(args, 'test', None))
            leave_files(flags['log_dir'] / f'log_{args.prefix}' / 'experiment', is_test)

    monkeypatch.setattr(demo, 'run', run)
    return run_commands


def leave_files(folder, is_test):
    (folder / 'model').mkdir(parents=True)
    if is_test:
        good = 3 if 'pretrained' in folder.parent.name else 1
        rows = [f'"/x/a,{i}",Grow,{"Grow" if i < good else "Shrink"},0.5000\n' for i in range(4)]
        (folder / 'predictions.csv').write_text('path,label,prediction,probability\n' + ''.join(rows))
    else:
        (folder / 'model' / 'model_best_epoch2.pth.tar').write_text('')
        (folder / 'log.jsonl').write_text(''.join(
            json.dumps({'kind': kind, 'epoch': f'{epoch + 1}/2', 'loss': loss, 'top1': top1}) + '\n'
            for epoch in range(2) for kind in EPOCHS for loss, top1 in [EPOCHS[kind][epoch]]))


def test_demo(commands, tmp_path, capsys):
    """From videos to both tests, in that order; only an earlier demo's runs are removed."""
    output = tmp_path / 'demo_output'
    (output / 'log_pretraining' / 'of an earlier demo').mkdir(parents=True)
    (output / 'log_tmp').mkdir()
    demo.main(demo.parse_args(['--output', str(output)]))

    assert [script for script, _ in commands] == [
        'process_data/make_demo.py', 'process_data/extract_frames.py', 'process_data/write_csv.py',
        'process_data/check_frames.py', 'dpc/main.py', 'eval/test.py', 'eval/test.py', 'eval/test.py', 'eval/test.py']
    trained = [vars(args) for script, args in commands if script == 'eval/test.py' and not args.test]
    differ = {name for name in trained[0] if trained[0][name] != trained[1][name]}
    assert differ == {'pretrain', 'prefix'}  # the same budget
    assert all(args.flip == 0 for _, args in commands if hasattr(args, 'flip'))  # classes are left and right
    assert (output / 'log_tmp').exists() and not (output / 'log_pretraining' / 'of an earlier demo').exists()

    said = capsys.readouterr().out
    lines = {line.rsplit(None, 2)[0].strip(): line.split()[-2:] for line in said.splitlines() if line.endswith('%')}
    pretraining, pretrained, random = lines.values()
    args = next(args for script, args in commands if script == 'dpc/main.py')
    places = ((args.img_dim + 31) // 32) ** 2
    assert pretraining == ['12.5%', f'{1 / (args.batch_size * args.pred_step * places):.1%}']
    assert pretrained == ['75.0%', '12.5%'] and random == ['25.0%', '12.5%']
    picture = cv2.imread(str(output / 'curves.png'))
    assert picture.std() > 5
    for name in ('curves.png', 'confusion.png', 'model_best_epoch2.pth.tar', 'test_log.md'):
        assert name in said


def test_a_failing_script_ends_the_demo(tmp_path, capfd):
    with pytest.raises(SystemExit) as end:
        pipeline.run('process_data/check_frames.py', csv=tmp_path / 'none.csv')
    assert 'check_frames.py' in end.value.code and 'none.csv' in capfd.readouterr().err
