"""The frame root during an extraction: one run per shard, a work folder, leftovers of killed runs, settings."""
import contextlib
import fcntl
import json
import os
import shutil
import tempfile

from process_data import extract_report as report
from utils.cli import UserError

WORK_FOLDER = '.extracting'


@contextlib.contextmanager
def open_workspace(frame_root, shard, settings):
    """Locks a shard ('2of8') of the frame root and gives the path of an empty work folder, removed at the end.

    UserError: another run has the lock, the frame root holds frames with other settings, or cannot be written.
    """
    parent = os.path.join(frame_root, WORK_FOLDER)
    try:
        os.makedirs(parent, exist_ok=True)
        lock = lock_shard(parent, shard)
        sweep(parent, shard)
        work_folder = tempfile.mkdtemp(prefix=shard + '-', dir=parent)
    except OSError as error:
        raise UserError(f'{frame_root}: cannot write there ({error.strerror}); choose another --frame_root') from error
    try:
        keep_settings(frame_root, settings, work_folder)
        yield work_folder
    finally:
        shutil.rmtree(work_folder, ignore_errors=True)
        lock.close()


def lock_shard(parent, shard):
    """-> the open lock file of the shard. The system releases the lock when this process ends, for whatever reason."""
    lock = open(os.path.join(parent, shard + '.lock'), 'w')
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f'{os.path.dirname(parent)}: another run is extracting shard {shard} into it; wait for it or '
                        'stop it') from None
    return lock


def sweep(parent, shard):
    """Removes the work folders of killed runs of this shard."""
    for name in os.listdir(parent):
        if name.startswith(shard + '-'):
            # Rename first, so that a worker that outlived its run cannot move a half-removed folder into place.
            os.rename(os.path.join(parent, name), os.path.join(parent, 'gone-' + name))
    for name in os.listdir(parent):
        if name.startswith('gone-' + shard + '-'):
            shutil.rmtree(os.path.join(parent, name))


def keep_settings(frame_root, settings, work_folder):
    """A frame root holds frames of one size and quality: other settings are refused."""
    path = os.path.join(frame_root, 'extract_settings.json')
    before = report.read_settings(frame_root)
    if before and before != settings:
        raise UserError(f'{path}: these frames were made with {before}, not {settings}; '
                        'use the same flags or another --frame_root')
    if not before:
        # Written in this run's own folder first: all runs of a job array get here at the same time.
        part = os.path.join(work_folder, 'extract_settings.json')
        try:
            with open(part, 'w') as file:
                json.dump(settings, file)
            os.replace(part, path)
        except OSError as error:
            raise UserError(f'{path}: cannot write it ({error.strerror}); fix that and run again') from error
