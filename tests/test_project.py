"""What the project says of itself: version, changelog, citation; examples in docstrings run."""
import doctest
import importlib
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.published_widths  # examples show published sizes
ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ('backbone', 'dpc', 'eval', 'experiments', 'process_data', 'utils')
SOURCES = [ROOT / 'hubconf.py', *(path for package in PACKAGES for path in sorted((ROOT / package).rglob('*.py')))]
WITH_EXAMPLES = [path.relative_to(ROOT) for path in SOURCES if re.search(r'^ *>>> ', path.read_text(), re.MULTILINE)]


def found(pattern, name):
    """What the pattern's first group matches first in a file of the repository."""
    return re.search(pattern, (ROOT / name).read_text(), re.MULTILINE)[1]


def test_version_changelog_and_citation_agree():
    version = found(r'^version = "(.*)"$', 'pyproject.toml')
    assert found(r'^## (\S+)', 'CHANGELOG.md') == found(r'^version: (\S+)$', 'CITATION.cff') == version


@pytest.mark.parametrize('path', WITH_EXAMPLES, ids=str)
def test_examples_in_docstrings(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = '.'.join(path.with_suffix('').parts).removesuffix('.__init__')
    failed, attempted = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert attempted and not failed
