"""The code's shape: who imports whom, no module shadowed, entry scripts that run from anywhere, quiet imports."""
import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from eval.export import ONNX_PACKAGES
from tests import forked

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ('backbone', 'utils', 'dpc', 'eval', 'process_data', 'experiments', 'benchmarks', 'tests')
METHOD = {'dpc.model', 'dpc.loss', 'dpc.metrics'}  # what eval may import of dpc
# what each package may import beside itself
MAY_IMPORT = {'backbone': set(), 'utils': set(), 'dpc': {'backbone', 'utils'}, 'eval': {'dpc', 'backbone', 'utils'},
              'process_data': {'utils'}, 'experiments': {'eval', 'process_data', 'utils'}}
# inside eval: what the modules of a wing may import beside those of their own
WINGS = {
    'networks': {'model'}, 'metrics': set(),
    'extract': {'networks', 'metrics', 'model'},
    'classify': {'extract', 'networks', 'metrics', 'model'},
    'forecast': {'extract', 'networks', 'metrics', 'model'},
    'protocols': {'classify', 'forecast', 'extract', 'networks', 'metrics', 'model'},
    'page': {'protocols', 'classify', 'forecast', 'extract', 'networks', 'metrics', 'model'},
}
# all that process_data may import from utils: small modules without torch, so that its scripts start at once
SHARED_WITH_PROCESS_DATA = {'utils.cli', 'utils.data.classes', 'utils.data.demands', 'utils.data.groups',
                            'utils.data.lists', 'utils.data.random_split', 'utils.data.text_files',
                            'utils.video.files', 'utils.video.frame_rate', 'utils.video.frames', 'utils.video.reader',
                            'utils.video.shrink', 'utils.video.sources', 'utils.video.truncated',
                            'utils.next_step', 'utils.packages', 'utils.system_errors'}
ENTRY_SCRIPTS = ('dpc/main.py', 'eval/test.py', 'eval/features.py', 'eval/frozen.py', 'eval/attentive.py',
                 'eval/visualise.py', 'eval/horizon.py', 'eval/surprise.py', 'eval/anticipate.py', 'eval/predict.py',
                 'eval/export.py', 'eval/report.py',
                 'utils/run/status.py',
                 'process_data/extract_frames.py', 'process_data/write_csv.py', 'process_data/check_frames.py',
                 'process_data/pack_frames.py', 'experiments/data/make_demo.py', 'experiments/data/make_puppets.py',
                 'experiments/data/make_events.py')
# what is imported under another name than it is installed
DISTRIBUTION = {'cv2': 'opencv-python-headless', 'PIL': 'pillow', 'sklearn': 'scikit-learn'}


def modules(*packages):
    return sorted(path for package in packages for path in (ROOT / package).rglob('*.py')
                  if path.parent != ROOT / 'process_data' / 'data')


def imported(path):
    """(module, level of a relative import) of every import statement of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or '', node.level


def name_of(path):
    return str(path.relative_to(ROOT))


def ours(path):
    """The modules of this project that a file imports: 'eval.model' also of `from eval import model`."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f'{node.module}.{alias.name}' for alias in node.names]
            names = [name if (ROOT / f'{name.replace(".", "/")}.py').is_file() else node.module for name in names]
        yield from (name for name in names if name.split('.')[0] in PACKAGES)


@pytest.mark.parametrize('package', MAY_IMPORT)
def test_a_package_imports_only_what_it_may(package):
    for path in modules(package):
        for name in ours(path):
            assert name.split('.')[0] in MAY_IMPORT[package] | {package}, f'{name_of(path)}: {name}'
            assert package != 'eval' or not name.startswith('dpc') or name in METHOD, f'{name_of(path)}: {name}'


@pytest.mark.parametrize('wing', WINGS)
def test_imports_inside_eval_never_run_upward(wing):
    for path in modules(f'eval/{wing}'):
        used = {name.split('.')[1] for name in ours(path) if name.startswith('eval.')}
        assert used <= WINGS[wing] | {wing}, name_of(path)


def test_nobody_imports_a_command():
    commands = {script.removesuffix('.py').replace('/', '.') for script in ENTRY_SCRIPTS}
    for path in modules(*MAY_IMPORT):
        assert not commands & set(ours(path)), name_of(path)


def test_no_package_bears_a_commands_name():
    folders = {path.parent.name for path in modules(*MAY_IMPORT)}
    assert not folders & {Path(script).stem for script in ENTRY_SCRIPTS}


@pytest.mark.parametrize('package, below', [
    ('parallel', ()), ('video', ()), ('data', ('parallel', 'video')), ('run', ('parallel', 'video', 'data'))])
def test_the_packages_of_utils_build_on_each_other(package, below):
    """parallel <- data <- run: no import circle."""
    for path in modules(f'utils/{package}'):
        used = {module.split('.')[1] for module in ours(path) if module.startswith('utils.')}
        assert used & {'parallel', 'video', 'data', 'run'} <= {package, *below}, name_of(path)


def test_process_data_imports_only_the_shared_modules_of_utils():
    """And these import nothing else of utils, either."""
    shared = [ROOT / f'{name.replace(".", "/")}.py' for name in SHARED_WITH_PROCESS_DATA]
    for path in [*modules('process_data'), *shared]:
        used = {module for module in ours(path) if module.split('.')[0] == 'utils'}
        assert used <= SHARED_WITH_PROCESS_DATA | {'utils'}, name_of(path)


def test_process_data_starts_without_torch():
    names = [name_of(path).removesuffix('.py').replace('/', '.') for path in modules('process_data')]
    code = f"""
import importlib, sys
for name in {names!r}:
    importlib.import_module(name)
print(sorted({{'torch', 'torchvision', 'pandas', 'matplotlib'}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, '[]\n'), done.stderr


def test_imports_are_absolute():
    """Never `from . import`, never `import model` of a sibling."""
    for path in modules(*PACKAGES):
        siblings = {other.stem for other in path.parent.glob('*.py')} - {'__init__'}
        for module, level in imported(path):
            assert level == 0, f'{name_of(path)}: relative import'
            assert module.split('.')[0] not in siblings - set(PACKAGES), f'{name_of(path)}: import {module}'


@pytest.mark.parametrize('package', PACKAGES)
def test_every_folder_is_a_package_and_nothing_shadows_one(package):
    for path in modules(package):
        assert (path.parent / '__init__.py').is_file(), f'{path.parent} lacks __init__.py'
        # a script's own folder comes first on sys.path when it is run: dpc/utils.py would hide utils
        assert path.stem not in PACKAGES, name_of(path)
        assert path.stem not in sys.stdlib_module_names, name_of(path)


@pytest.mark.parametrize('script', ENTRY_SCRIPTS)
def test_entry_scripts(script):
    """parse_args(argv=None), main(args), and the root put first on sys.path from __file__ in two lines."""
    text = (ROOT / script).read_text()
    functions = {node.name: ast.unparse(node.args) for node in ast.parse(text).body
                 if isinstance(node, ast.FunctionDef)}
    assert functions['parse_args'] == 'argv=None'
    assert functions['main'] == 'args'
    assert re.search(r"^if __name__ == '__main__':\n", text, re.MULTILINE)
    assert len(re.findall(r'^sys\.path\.insert\(0, ', text, re.MULTILINE)) == 1
    assert "'..'" not in text and '"../' not in text and "'../" not in text


def test_files_of_eval_are_commands_or_libraries():
    """A command has parse_args, main and the lines that run it; a library has none of them."""
    for path in modules('eval'):
        text = path.read_text()
        signs = {sign: sign in text for sign in ('\ndef parse_args(', '\ndef main(', "\nif __name__ == '__main__':")}
        assert len(set(signs.values())) == 1, (name_of(path), signs)
        assert signs['\ndef main('] == (name_of(path) in ENTRY_SCRIPTS), name_of(path)


@pytest.mark.parametrize('script', ENTRY_SCRIPTS)
def test_the_root_is_put_on_the_path(script):
    """Found from __file__, so that an uninstalled clone's scripts run from any folder."""
    names = {'os': os, 'Path': Path, '__file__': str(ROOT / script)}
    text = (ROOT / script).read_text()
    for line in re.findall(r'^ROOT = .*$', text, re.MULTILINE):
        exec(line, names)
    added, = re.findall(r'^sys\.path\.insert\(0, (.*)\)$', text, re.MULTILINE)
    assert Path(eval(added, names)) == ROOT


@pytest.mark.parametrize('script', ENTRY_SCRIPTS)
def test_help_needs_nothing_but_the_parser(script, tmp_path):
    done = forked.run([ROOT / script, '--help'], cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith('usage:'), done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('script', ['eval/predict.py', 'utils/run/status.py', 'process_data/write_csv.py'])
def test_scripts_run_from_any_folder(script, tmp_path):
    """By the interpreter, one of each folder; tests/test_pretraining_cli.py has that of dpc."""
    done = subprocess.run([sys.executable, ROOT / script, '--help'], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith('usage:'), done.stderr


def test_importing_has_no_side_effect(tmp_path):
    """Nothing printed, no file made, no process or thread started, no random number drawn."""
    names = [name_of(path).removesuffix('.py').replace('/', '.').removesuffix('.__init__')
             for path in modules(*MAY_IMPORT, 'benchmarks')]
    code = f"""
import importlib, random, signal, sys, threading
sys.path.insert(0, {str(ROOT)!r})
import numpy, sklearn.preprocessing, torch  # scikit-learn draws a random number where rich is installed
def state():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    return (threading.active_count(), torch.initial_seed(), torch.get_rng_state().sum().item(), random.getstate(),
            numpy.random.get_state()[1].tolist(), torch.get_num_threads(), torch.get_default_dtype(), handlers)
before = state()
for name in {names!r}:
    importlib.import_module(name)
assert state() == before, 'importing changed something'
"""
    done = subprocess.run([sys.executable, '-B', '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', ''), done.stderr
    assert list(tmp_path.iterdir()) == []


def packages_in(name):
    """Packages of a file of requirements."""
    lines = (ROOT / name).read_text().splitlines()
    return {re.match(r'[A-Za-z0-9_.-]+', line)[0].lower() for line in lines if line and not line.startswith('#')}


def test_requirements_name_what_is_imported():
    required, extra, rivals = map(packages_in, ('requirements.txt', 'requirements-export.txt',
                                                'requirements-transformers.txt'))
    used = {module.split('.')[0] for path in [*modules(*PACKAGES), *ROOT.glob('*.py')] for module, _ in imported(path)}
    used -= set(PACKAGES) | set(sys.stdlib_module_names) | {'__future__', *(path.stem for path in ROOT.glob('*.py'))}
    used = {DISTRIBUTION.get(module, module).lower() for module in used}
    assert used - extra - rivals | {'pytest-xdist'} == required  # which runs the tests on all cores
    assert extra == {*ONNX_PACKAGES, 'safetensors'} and rivals == {'transformers', 'safetensors'} <= used


def test_the_project_speaks_of_itself_alone():
    """Paths are relative to the repository or given by flags, never to a machine or a folder beside the clone."""
    tracked = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip('not a git checkout')
    for name in tracked.stdout.split():
        path = ROOT / name
        if path.suffix in ('.py', '.md', '.toml', '.txt', '.json') and name != 'tests/test_layout.py' and path.exists():
            assert not re.search(r'\.\./shared|/root/|/home/\w', path.read_text()), name
