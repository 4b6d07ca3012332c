"""How the scripts of process_data end when the user, not the code, has to do something."""
import sys


class UserError(Exception):
    """A mistake the user can mend: the message names the file and the remedy."""


def run_cli(main, args):
    """Calls main(args) and exits with the status it returns; a UserError becomes one line and status 2."""
    # File names are bytes: those that are no valid UTF-8 are printed escaped.
    sys.stdout.reconfigure(errors='backslashreplace')
    try:
        sys.exit(main(args))
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print('stopped; the same command starts again', file=sys.stderr)
        sys.exit(130)
