"""Which checkpoints a run folder holds: the last epochs, the best model, and the place where a run was stopped."""
import os
import time
from pathlib import Path

from utils.checkpoint import read_checkpoint, write_checkpoint
from utils.parallel.distributed import is_main, wait_for_main
from utils.cli import UserError
from utils.run.log import say

LAST = 'last.pth.tar'  # in the middle of an epoch


class Saver:
    """Writes a run's checkpoints from the group's first process; every process calls the same methods.

    keep: newest epochs kept besides the best. minutes: time between saves in the middle of an epoch (0: none).
    """

    def __init__(self, folder, keep=3, minutes=10.):
        self.folder = Path(folder) / 'model'
        self.keep, self.seconds = keep, minutes * 60
        self.saved_at = time.monotonic()
        if is_main():
            for left_behind in self.folder.glob('*.tmp'):  # by a run that was killed while it saved
                left_behind.unlink()

    def is_due(self):
        return 0 < self.seconds <= time.monotonic() - self.saved_at

    def save_last(self, checkpoint):
        """Saves the place in the middle of an epoch; returns the path."""
        if is_main():
            write_checkpoint(checkpoint, self.folder / LAST)
        wait_for_main()
        self.saved_at = time.monotonic()
        return self.folder / LAST

    def save_epoch(self, checkpoint, epoch, best):
        """Saves after `epoch` epochs, and as the best model so far if it is; removes what is no longer kept."""
        if is_main():
            self.write_epoch(checkpoint, epoch, best)
        wait_for_main()
        self.saved_at = time.monotonic()

    def write_epoch(self, checkpoint, epoch, best):
        path = self.folder / f'epoch{epoch}.pth.tar'
        if best:  # first: a run killed between the two goes on before this epoch and comes by here again
            best_path = self.folder / f'model_best_epoch{epoch}.pth.tar'
            write_checkpoint(checkpoint, best_path)
            write_again(checkpoint, best_path, path)
        else:
            write_checkpoint(checkpoint, path)
        # Later epochs are of a course of training that was given up for an earlier checkpoint.
        kept = [[file for file in files if epoch_of(file) <= epoch] for files in (self.epochs(), self.bests())]
        for old in set(self.epochs() + self.bests()) - set(kept[0][-self.keep:] + kept[1][-1:]):
            old.unlink()
        (self.folder / LAST).unlink(missing_ok=True)

    def epochs(self):
        return sorted(self.folder.glob('epoch*.pth.tar'), key=epoch_of)

    def bests(self):
        return sorted(self.folder.glob('model_best_epoch*.pth.tar'), key=epoch_of)

    def best(self):
        """Path of the best model, or None before the first epoch has ended."""
        return self.bests()[-1] if self.bests() else None


def write_again(checkpoint, written, path):
    """Puts the checkpoint at `path` too: a second name of the file `written`, or where there are none, another file."""
    temporary = path.with_name(path.name + '.tmp')
    try:
        os.link(written, temporary)
        os.replace(temporary, path)
    except OSError:
        write_checkpoint(checkpoint, path)


def epoch_of(path):
    """'…/epoch12.pth.tar' -> 12"""
    return int(path.name.split('epoch')[-1].split('.')[0])


def newest_checkpoint(folder):
    """(path, checkpoint) of the newest readable one of a run folder, or (None, None). Says which could not be read."""
    files = [file for pattern in ('epoch*.pth.tar', LAST) for file in (Path(folder) / 'model').glob(pattern)]
    for file in sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True):
        try:
            return file, read_checkpoint(file)
        except UserError as error:
            say(f'warning: {error}; trying the one before')
    return None, None
