"""Files that commands write to --out and name after videos: never over a user's own, and each whole or not at all."""
import contextlib
import os

from utils.cli import UserError


def check_out(out, videos, files=()):
    """UserError: the folder --out is one of the videos, or one of the `files` to be written is."""
    for path in videos:
        if os.path.abspath(path) == os.path.abspath(out):
            raise UserError(f'--out {out} is one of the videos: give another folder')
    own = {os.path.realpath(path) for path in videos}
    for path in files:
        if os.path.realpath(path) in own:
            raise UserError(f'--out {out}: {path}, which is one of the videos, would be replaced: give another folder')


def refuse_others(paths):
    """UserError: one is there already. paths: to be written, without those that the command made before."""
    for path in paths:
        if os.path.lexists(path):
            raise UserError(f'{path} is there already, and this command has not made it: give another --out, or move '
                            'that file')


@contextlib.contextmanager
def replacing(path):
    """Gives the path of a temporary file beside the Path `path`, whose place it takes unless the block fails."""
    temporary = path.with_name(f'{path.stem}.tmp{path.suffix}')
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
