"""Mistakes that the user can mend end as one line on the screen, not as a traceback."""
import sys


class UserError(Exception):
    """A mistake in the input (file, flag, data set). The message names the file or flag and the remedy."""


def run_cli(main, args):
    """Calls `main(args)`; a `UserError` becomes the line `error: …` on stderr and exit status 2."""
    try:
        main(args)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
