"""What the READMEs name exists: flags, files, commands, links."""
import argparse
import contextlib
import functools
import importlib.util
import io
import re
import runpy
import shlex
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from dpc import main
from dpc.model import DPC
from eval.extract.over_time import write_rows
from eval.extract.vectors import Features, write_features
from eval.model import ActionClassifier
from tests import films
from tests.test_published_commands import COMMANDS

pytestmark = pytest.mark.published_widths

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / 'README.md'
READMES = [README, ROOT / 'CONTRIBUTING.md',
           *(ROOT / folder / 'README.md' for folder in ('dpc', 'eval', 'experiments', 'benchmarks', 'process_data'))]
EVAL = ROOT / 'eval' / 'README.md'
FENCE = re.compile(r'^```(\w*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SHELL = ('sh', 'bash')
PATH_ENDINGS = ('.py', '.md', '.txt', '.toml', '.json', '.jsonl', '.csv', '.png', '.tar', '/')
MADE = ('log_', 'process_data/data/', '.venv')              # what commands make in the repository
WITHOUT_PARSER = ('pytest', 'tests.test_golden_curve')
ELSEWHERE = ('HMDB51/', 'extract_report_iofn.csv')          # made by the reader, and a pattern
SOURCES = '\n'.join(path.read_text() for path in [*ROOT.glob('*.py'), *ROOT.glob('*/*.py'), *ROOT.glob('*/*/*.py')]
                    if 'tests' not in path.relative_to(ROOT).parts)


# ---- taking a README apart

def blocks(text, languages):
    return [body for language, body in FENCE.findall(text) if language in languages]


def spans(text):
    """Contents of the `code spans` outside of fenced blocks."""
    return re.findall(r'`([^`\n]+)`', FENCE.sub('', text))


def words_of(line):
    """A shell line's words; {placeholders} and $VARIABLES get values."""
    line = re.sub(r'\$[A-Z_]+', '1', re.sub(r'\{[^{}]*\}', 'placeholder', line))
    return shlex.split(line if line.count("'") % 2 == 0 else line.replace("'", ' '), comments=True)


def python_commands(text):
    """(folder, script or module, arguments) of every call of a Python script in shell blocks, indented or fenced, and
    in code spans. Arguments that are left out show as '…'."""
    lines = [line for block in blocks(text, SHELL) for line in block.splitlines()]
    lines += re.findall(r'^    (\S.*)$', FENCE.sub('', text), re.MULTILINE)
    lines += [span for span in spans(text) if ' ' in span]
    for line in lines:
        folder = '.'
        for call in re.split(r';|&&', line):
            words = words_of(call)
            if words[:1] == ['cd']:   # holds for the rest of the line
                folder = words[1]
            script = next((i for i, word in enumerate(words) if word.endswith('.py') and i > 0), None)
            if words[:2] == ['python', '-m']:
                yield folder, words[2], words[3:]
            elif script and words[0] in ('python', 'torchrun', 'exec'):
                yield folder, words[script], words[script + 1:]


def module_of(folder, script):
    """'eval', 'test.py' -> 'eval.test'; a module name stays."""
    if not script.endswith('.py'):
        return script
    path = (ROOT / folder / script).resolve()
    assert path.is_file(), f'no such script: {path}'
    return '.'.join(path.relative_to(ROOT).with_suffix('').parts)


@functools.cache
def help_of(module):
    """The --help text of a script."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        importlib.import_module(module).parse_args(['--help'])
    return printed.getvalue()


def flags_in(text):
    return set(re.findall(r'(?<![\w-])--[a-z][\w-]*', text))


def parses(module, arguments):
    try:
        with contextlib.redirect_stderr(io.StringIO()), mock.patch('torch.cuda.is_available', return_value=True):
            importlib.import_module(module).parse_args(arguments)
    except (SystemExit, argparse.ArgumentError):
        return False
    return True


SCRIPTS = ['.'.join(path.relative_to(ROOT).with_suffix('').parts)
           for folder in ('dpc', 'eval', 'process_data', 'benchmarks', 'utils', 'experiments')
           for path in sorted((ROOT / folder).rglob('*.py')) if '\ndef parse_args(' in path.read_text()]


by_readme = pytest.mark.parametrize('readme', READMES, ids=lambda path: str(path.relative_to(ROOT)))


# ---- tests

def test_the_readme_is_short_and_says_what_it_is_about():
    text = README.read_text()
    assert len(text.splitlines()) <= 250 and len(text.encode()) <= 20_000
    for word in ('self-supervised', 'contrastive', 'negatives', 'video'):
        assert word in text.lower()


@by_readme
def test_every_python_command_parses(readme):
    commands = list(python_commands(readme.read_text()))
    assert commands
    for folder, script, arguments in commands:
        module = module_of(folder, script)
        if module in WITHOUT_PARSER:
            assert importlib.util.find_spec(module)
            continue
        assert '…' in arguments or parses(module, arguments), f'{script} {shlex.join(arguments)}'
        assert flags_in(' '.join(arguments)) <= flags_in(help_of(module)), f'{script}: no abbreviations'


@by_readme
def test_every_flag_in_the_text_exists(readme):
    """A span that starts with a flag must parse, value included, where a value is given."""
    known = {module: flags_in(help_of(module)) for module in SCRIPTS}
    for span in spans(readme.read_text()):
        for flag in flags_in(span.split('.py')[-1] if span.startswith('torchrun') else span):
            owners = [module for module in SCRIPTS if flag in known[module]]
            assert owners, f'`{span}`: no script has {flag}'
        words = words_of(span)
        if span.startswith('--') and len(words) == 2:
            owners = [module for module in ('eval.test', 'dpc.main') if words[0] in known[module]]
            assert not owners or any(parses(module, words) for module in owners), f'`{span}` is not accepted'


@by_readme
def test_every_path_named_exists_or_is_made(readme):
    text = readme.read_text()
    for link in re.findall(r'\]\(([^)#:]+)\)', text):
        assert (readme.parent / link).exists(), f'broken link: {link}'
    for span in spans(text):
        if ' ' in span or '{' in span.split('/')[0] or not span.endswith(PATH_ENDINGS):
            continue
        made = span.startswith(MADE) or span in ELSEWHERE or span.rstrip('/').split('/')[-1] in SOURCES
        assert made or (ROOT / span).exists() or (readme.parent / span).exists(), f'`{span}` does not exist'


def anchors(path):
    """Of the headings of a README, as GitHub makes them."""
    return {re.sub(r'[^\w -]', '', line.lstrip('# ')).lower().replace(' ', '-')
            for line in FENCE.sub('', path.read_text()).splitlines() if line.startswith('#')}


@by_readme
def test_links_to_sections_and_make_targets_exist(readme):
    text = readme.read_text()
    for file, anchor in re.findall(r'\]\(([^)#:]*)#([^)]+)\)', text):
        assert anchor in anchors(readme.parent / file if file else readme), f'no section {file}#{anchor}'
    targets = set(re.findall(r'^([a-z]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE))
    assert set(re.findall(r'`make ([a-z]+)`', text) + re.findall(r'^make (\w+)$', text, re.MULTILINE)) <= targets


def test_the_commands_for_own_videos_name_the_checkpoint_that_the_first_leaves():
    """Three commands, one after the other; runs go to the repository, from where they are called."""
    section = README.read_text().split('## Your own videos')[1].split('\n## ')[0]
    (_, _, first), *others = python_commands(section)
    args = main.parse_args(first)
    checkpoint = f'log_{args.prefix}/{main.experiment_name(args)}/model/epoch{args.epochs}.pth.tar'
    assert len(others) == 2 and Path(args.log_dir) == ROOT
    for _, _, arguments in others:
        assert args.dataset in arguments and arguments[arguments.index('--weights') + 1] == checkpoint


def test_the_five_published_commands_are_there_as_written():
    text = README.read_text()
    for folder, command in COMMANDS:
        assert re.search(f'cd {folder}; +{re.escape(command)}\n', text)


def test_every_recipe_has_its_command():
    named = [arguments[arguments.index('--recipe') + 1] for readme in READMES
             for _, _, arguments in python_commands(readme.read_text()) if '--recipe' in arguments]
    assert set(named) == {path.stem for path in (ROOT / 'recipes').glob('*.json')}


def run_example(text, folder, monkeypatch):
    """The names that a Python example leaves, run in `folder`."""
    (folder / 'example.py').write_text(text.replace('{clone}', str(ROOT)).replace('128, 128', '64, 64'))  # sooner
    monkeypatch.chdir(folder)
    with torch.no_grad():
        return runpy.run_path('example.py')


@pytest.fixture
def checkpoints(tmp_path):
    """A folder with checkpoints and a video as the examples name them."""
    settings = {'model': 'dpc-rnn', 'net': 'resnet18', 'img_dim': 64, 'num_seq': 4, 'seq_len': 5, 'ds': 1}
    torch.save({'net': 'resnet18', 'state_dict': DPC('resnet18').state_dict(), 'settings': settings},
               tmp_path / 'model.pth.tar')
    settings.update(model='lc', class_names=['jump', 'run'])
    torch.save({'net': 'resnet18', 'state_dict': ActionClassifier('resnet18', 2).state_dict(), 'settings': settings},
               tmp_path / 'model_best.pth.tar')
    films.write_film(tmp_path / 'video.mp4', films.film(50))
    return tmp_path


def test_the_examples_with_torch_hub_run(checkpoints, monkeypatch):
    example, = blocks(README.read_text(), ('python',))
    assert run_example(example, checkpoints, monkeypatch)['context'].shape == (256,)
    example = blocks(EVAL.read_text(), ('python',))[2]
    names = run_example(example, checkpoints, monkeypatch)
    assert names['probability'].shape == (2,) and names['model'].class_names == ['jump', 'run']


def test_the_example_with_the_model_runs(checkpoints, monkeypatch):
    names = run_example(blocks(EVAL.read_text(), ('python',))[3], checkpoints, monkeypatch)
    assert names['feature'].shape == (1, 8, 4, 256) and names['context'].shape == (1, 4, 256)


def test_the_example_on_stored_features_runs(tmp_path, monkeypatch):
    features = Features(*np.zeros((2, 3, 5), np.float32), np.array(['/a/x', '/a/y', '/b/z']), np.array([0, 0, 1]),
                        np.array(['train', 'train', 'test']), [])
    write_features(tmp_path / 'features.npz', features, {}, 'random')
    names = run_example(blocks(EVAL.read_text(), ('python',))[0], tmp_path, monkeypatch)
    assert names['context'].shape == names['block'].shape == (3, 5)
    assert names['training'].tolist() == [True, True, False]
    assert names['path'].tolist() == ['/a/x', '/a/y', '/b/z'] and names['label'].tolist() == [0, 0, 1]


def test_the_example_on_features_over_time_runs(tmp_path, monkeypatch):
    write_rows(tmp_path / 'run', np.zeros((3, 5), np.float32), {'every': 0.6, 'window': 4.8, 'fps': 25.0})
    names = run_example(blocks(EVAL.read_text(), ('python',))[1], tmp_path, monkeypatch)
    assert names['rows'].shape == (3, 5) and (names['feat_stride'], names['num_frames']) == (15, 120)


def test_the_figure_is_drawn_by_its_script(tmp_path):
    draw_arch = runpy.run_path(str(ROOT / 'asset' / 'draw_arch.py'))
    draw_arch['main'](draw_arch['parse_args'](['--output', str(tmp_path / 'arch.png')]))
    drawn, kept = (path.read_bytes() for path in (tmp_path / 'arch.png', ROOT / 'asset' / 'arch.png'))
    assert drawn[16:24] == kept[16:24]      # width and height in the PNG header
    assert len(kept) < 300_000
