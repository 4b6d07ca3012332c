"""`pip install -e .` makes the packages importable from any folder."""
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pyprojecttoml = pytest.importorskip('setuptools.config.pyprojecttoml', reason='setuptools is not installed')


@pytest.fixture
def packages():
    return pyprojecttoml.read_configuration(ROOT / 'pyproject.toml')['tool']['setuptools']['packages']


def test_every_package_is_installed(packages):
    """benchmarks and tests are run from the clone."""
    tops = [path.parent for path in ROOT.glob('[!.]*/__init__.py') if path.parent.name not in ('benchmarks', 'tests')]
    folders = [path.parent.relative_to(ROOT) for top in tops for path in top.rglob('__init__.py')]
    assert sorted(packages) == sorted('.'.join(folder.parts) for folder in folders)


def test_an_editable_install_works_from_an_empty_folder(tmp_path, packages):
    """Into a folder of its own, from a copy of the clone, as building writes into the source tree."""
    clone, site, empty = tmp_path / 'clone', tmp_path / 'site', tmp_path / 'empty'
    empty.mkdir()
    for package in {package.split('.')[0] for package in packages}:
        shutil.copytree(ROOT / package, clone / package, ignore=shutil.ignore_patterns('data', '__pycache__')
                        if package == 'process_data' else shutil.ignore_patterns('__pycache__'))
    for name in ('pyproject.toml', 'requirements.txt', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, clone)
    installed = subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check',
                                '--no-deps', '--no-build-isolation', '--no-index', '--target', site, '-e', clone],
                               capture_output=True, text=True)
    assert installed.returncode == 0, installed.stderr
    metadata, = site.glob('*.dist-info/METADATA')
    required = [line.split('#')[0].strip() for line in (ROOT / 'requirements.txt').read_text().splitlines()]
    assert [line.split(' ')[1] for line in metadata.read_text().splitlines() if line.startswith('Requires-Dist: ')
            ] == [line for line in required if line]
    assert list(site.glob('*.dist-info/licenses/LICENSE')) or list(site.glob('*.dist-info/LICENSE'))

    code = (f'import site; site.addsitedir({str(site)!r}); from eval.model import ActionClassifier; '
            f'import importlib, sys; [importlib.import_module(name) for name in {packages!r}]; '
            'print(sys.modules["eval.model"].__file__)')
    done = subprocess.run([sys.executable, '-c', code], cwd=empty, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f'{clone / "eval/model.py"}\n'), done.stderr
