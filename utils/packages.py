"""Imported first by every command: a package that is missing is one line instead of a traceback. No torch."""
import sys

from utils import ROOT


def explain(kind, error, traceback):
    if not (issubclass(kind, ModuleNotFoundError) and is_third_party(error.name or '')):
        return sys.__excepthook__(kind, error, traceback)
    print(f'error: {sys.executable} lacks the package {error.name}: enter the environment that `make demo` has made '
          f'(source {ROOT}/.venv/bin/activate), or install into one of your own (pip install -r '
          f'{ROOT}/requirements.txt)', file=sys.stderr)


def is_third_party(module):
    top = module.split('.')[0]
    return not (ROOT / top).is_dir() and top not in sys.stdlib_module_names


sys.excepthook = explain
