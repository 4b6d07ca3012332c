"""Text that may hold bytes that are not UTF-8, as names of files and classes do: how it is read, written and shown."""
import itertools
from collections.abc import Iterable

# Arguments of open(), read_text() and write_text(): bytes that are not UTF-8 are written as they were read.
ENCODING = {'encoding': 'utf-8', 'errors': 'surrogateescape'}


def printable(text: str) -> str:
    r"""The text with bytes that are not UTF-8 escaped, for screens and pictures.

    >>> from utils.text import printable
    >>> printable('ü and \udcff')
    'ü and \\udcff'
    """
    return text.encode('utf-8', 'backslashreplace').decode('utf-8')


def counted(number: int, noun: str) -> str:
    """
    >>> counted(1, 'epoch'), counted(90, 'epoch')
    ('1 epoch', '90 epochs')
    """
    return f'{number} {noun}' + 's' * (number != 1)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without the rest of a long one; '' if it has none."""
    return (str(error).splitlines() or [''])[0][:200]


def distinct(names: Iterable[str], joint: str) -> list[str]:
    """The names, numbered where several are alike.

    >>> distinct(['run', 'run', 'run_2'], '_')
    ['run', 'run_2', 'run_2_2']
    """
    found = {}  # a set in order
    for name in names:
        numbered = itertools.chain([name], (f'{name}{joint}{number}' for number in itertools.count(2)))
        found[next(each for each in numbered if each not in found)] = None
    return list(found)
