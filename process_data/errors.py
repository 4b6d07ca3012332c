"""How the scripts of process_data end when the user, not the code, has to do something."""
import sys


class UserError(Exception):
    """A mistake the user can mend: the message names the file and the remedy."""


def run_cli(main, args):
    """Calls main(args) and exits with the status it returns; a UserError becomes one line and status 2."""
    try:
        sys.exit(main(args))
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print('stopped: run the same command again to go on from here', file=sys.stderr)
        sys.exit(130)
