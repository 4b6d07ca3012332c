"""Which checkpoints a run folder holds: the newest epochs, the best model, and the point at which a run was stopped."""
import os
import re
import time
from pathlib import Path

from utils.checkpoint import read_checkpoint, write_checkpoint
from utils.cli import UserError
from utils.parallel.distributed import is_main, saved, wait_for_main
from utils.run.log import warn

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
            self.folder.mkdir(exist_ok=True)
            for left_behind in self.folder.glob('*.tmp'):  # by a run that was killed while it saved
                left_behind.unlink()

    def is_due(self):
        return 0 < self.seconds <= time.monotonic() - self.saved_at

    def is_best(self, top1, best_acc):
        """Whether the model of this validation top-1 is better than the best so far, of `best_acc`, or the first."""
        return top1 > best_acc or self.best() is None

    def save_last(self, checkpoint):
        """Saves in the middle of an epoch; returns the path."""
        if is_main():
            write_checkpoint(checkpoint, self.folder / LAST)
        self._saved(self.folder / LAST)
        return self.folder / LAST

    def save_epoch(self, checkpoint, epoch, best):
        """Saves after `epoch` epochs, and as the best model so far if it is; removes what is no longer kept."""
        if is_main():
            self._write_epoch(checkpoint, epoch, best)
        self._saved(self.folder / f'epoch{epoch}.pth.tar')

    def _saved(self, path):
        wait_for_main()
        saved(path)
        self.saved_at = time.monotonic()

    def _write_epoch(self, checkpoint, epoch, best):
        path = self.folder / f'epoch{epoch}.pth.tar'
        if best:  # best first: if killed in between, the resumed run repeats this epoch and writes both
            best_path = self.folder / f'model_best_epoch{epoch}.pth.tar'
            write_checkpoint(checkpoint, best_path)
            write_again(checkpoint, best_path, path)
        else:
            write_checkpoint(checkpoint, path)
        # Later epochs are left from before the run was resumed from an earlier checkpoint.
        epochs = [file for file in self.epochs() if epoch_of(file) <= epoch]
        bests = [file for file in self.bests() if epoch_of(file) < epoch + best]
        for old in set(self.epochs() + self.bests()) - set(epochs[-self.keep:] + bests[-1:]):
            old.unlink()
        (self.folder / LAST).unlink(missing_ok=True)

    def epochs(self):
        return by_epoch(self.folder, 'epoch')

    def bests(self):
        return by_epoch(self.folder, 'model_best_epoch')

    def best(self):
        """Path of the best model, or None before the first epoch has ended."""
        return self.bests()[-1] if self.bests() else None


def write_again(checkpoint, written, path):
    """Stores the checkpoint at `path`, too: as a hard link to the file `written`, or as a copy where links don't
    work."""
    temporary = path.with_name(path.name + '.tmp')
    try:
        os.link(written, temporary)
        os.replace(temporary, path)
    except OSError:
        write_checkpoint(checkpoint, path)


def epoch_of(path):
    """'…/epoch12.pth.tar' -> 12"""
    return int(re.search(r'epoch(\d+)', path.name)[1])


def by_epoch(folder, prefix):
    """The files {prefix}{n}.pth.tar of a folder, by n."""
    files = [path for path in folder.glob(f'{prefix}*') if re.fullmatch(prefix + r'\d{1,9}\.pth\.tar', path.name)]
    return sorted(files, key=epoch_of)


def readable_checkpoints(folder):
    """{path: iteration} of the checkpoints of a run folder that can be resumed. Warns about those that can't be
    read."""
    found = {}
    model = Path(folder) / 'model'
    for path in [*by_epoch(model, 'epoch'), *model.glob(LAST)]:
        try:
            found[path] = read_checkpoint(path, resumable=True)['iteration']
        except UserError as error:
            warn(f'{error}; skipped')
    return found


def newest_checkpoint(folder):
    """(path, iteration) of the checkpoint of a run folder that went furthest, or (None, -1)."""
    found = readable_checkpoints(folder)
    # Between the last step of an epoch and the end of its validation both files have the same iteration.
    return max(found.items(), key=lambda item: (item[1], item[0].name != LAST), default=(None, -1))
