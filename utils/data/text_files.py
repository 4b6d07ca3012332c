"""Text files that people write: their lines, and parts of them for messages. No torch."""
from utils.cli import UserError

# File names are bytes on disk; 'surrogateescape' brings those that aren't valid UTF-8 through unharmed.
ENCODING = {'encoding': 'utf-8', 'errors': 'surrogateescape'}
MAX_LINE = 2 ** 14  # characters


def lines_of(file, path):
    """The lines of a text file. UserError: one of over MAX_LINE characters, which is no list (a picture, say)."""
    number = 1
    while line := read_line(file, path):
        if len(line) == MAX_LINE:
            raise UserError(f'{path}:{number}: a line of {MAX_LINE} characters or more, {brief(line)}; write the file '
                            'again with process_data/write_csv.py')
        yield line
        number += 1


def read_line(file, path):
    try:
        return file.readline(MAX_LINE)
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror})') from error


def brief(text):
    """Quotes a text, shortened in the middle."""
    return repr(text if len(text) <= 120 else f'{text[:60]}…{text[-30:]}')
