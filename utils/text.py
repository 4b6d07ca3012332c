"""Text that may hold bytes that are not UTF-8, as names of files and classes do: how it is read, written and shown."""

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
