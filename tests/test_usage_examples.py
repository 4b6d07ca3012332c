"""The examples in docstrings say what happens."""
import doctest
import importlib

import pytest

from tests.test_layout import MAY_IMPORT, modules, name_of

pytestmark = pytest.mark.published_widths
EXAMPLES = [name_of(path).removesuffix('.py').replace('/', '.').removesuffix('.__init__')
            for path in modules(*MAY_IMPORT) if '>>> ' in path.read_text()]


@pytest.mark.parametrize('module', EXAMPLES)
def test_examples(module):
    failed, tried = doctest.testmod(importlib.import_module(module))
    assert tried and not failed
