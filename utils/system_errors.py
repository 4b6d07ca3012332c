"""Errors of the file system: in one line, with the remedy, and told apart from those of broken files. No torch."""
import errno
import os

FULL, FORBIDDEN = 'make room and resume', 'change its permissions or choose another folder'
FAILS = 'the file system fails; check the disk or the network, then run again'
# What a disk or a network file system answers when it fails itself: no file is to blame.
FAILURES = frozenset((errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EREMOTEIO))
REMEDIES = {**dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), FULL),
            **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), FORBIDDEN), **dict.fromkeys(FAILURES, FAILS)}


def in_one_line(error):
    """What to tell a user of an OSError, or None where no remedy is known.

    >>> in_one_line(OSError(errno.ENOSPC, 'No space left on device', '/runs/log.jsonl'))
    '/runs/log.jsonl: No space left on device; make room and resume'
    """
    if isinstance(error, FileNotFoundError) and 'temporary directory' in str(error):  # of tempfile
        return f'{error.strerror}; make room in one of them, or set TMPDIR to a folder that can be written to'
    remedy = REMEDIES.get(error.errno)
    if remedy is None or (remedy is FORBIDDEN and not error.filename):
        return None
    return f'{error.filename or "a file"}: {error.strerror}; {remedy}'


def is_failure(error):
    """Whether an exception tells of a file system that fails."""
    return isinstance(error, OSError) and error.errno in FAILURES


def failure(path, error):
    """What to tell a user when `is_failure` of an error with the file `path`."""
    return f'{path}: {os.strerror(error.errno)}; {FAILS}'


def failure_at(path):
    """The `failure` of the file system on looking for a file or folder, or None. os.path.exists hides it."""
    try:
        os.stat(path)
    except OSError as error:
        return failure(path, error) if is_failure(error) else None
    return None


def failure_in(path):
    """Reads a file to its end; the `failure` of its file system, or None. Libraries hide the error that they met."""
    try:
        with open(path, 'rb', buffering=0) as file:
            while file.read(2 ** 20):
                pass
    except OSError as error:
        return failure(path, error) if is_failure(error) else None
    return None
