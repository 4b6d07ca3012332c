"""One dict of statistics goes to the screen, to TensorBoard and to log.jsonl."""
import fcntl
import json
import os
import socket
import sys
import threading
import time

import cv2
from tensorboardX import SummaryWriter
from tqdm import tqdm

from utils.cli import UserError
from utils.parallel.distributed import is_main
from utils.run.read_log import duration

# One process draws bars: tqdm's default lock for several would be reported as leaked when a run ends abruptly.
tqdm.set_lock(threading.RLock())


def progress_bar(iterable, description, total=None, initial=0):
    """A bar on a terminal; nothing in a log file, where the printed lines tell how far the run is."""
    return tqdm(iterable, desc=description, total=total, initial=initial, disable=None if is_main() else True,
                leave=False, dynamic_ncols=True)


def say(line):
    """Prints a line without breaking a progress bar."""
    tqdm.write(line)


def warn(line):
    """Prints a warning on stderr, from any process of a group, without breaking a progress bar."""
    tqdm.write(f'warning: {line}', file=sys.stderr)


def open_log(folder):
    """The log of a run folder; in a group of processes only the first one writes."""
    return RunLog(folder) if is_main() else SilentLog()


class RunLog:
    """The log of one run folder. `write` sends the same dict to all three.

    UserError if another process is writing to the folder.
    """

    def __init__(self, folder):
        self.folder = folder
        self.file = open(folder / 'log.jsonl', 'a', buffering=1)
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock's, not inherited by data workers
        except (BlockingIOError, PermissionError):
            raise UserError(f'{folder}: another process is writing to this run; wait for it or stop it') from None
        except OSError:
            pass  # some network file systems have no locks
        self.board = None

    def begin(self, size=0, iteration=0):
        """Starts logging after the first `size` bytes of log.jsonl and after `iteration`: a resumed run drops what was
        logged after its checkpoint, as it will be logged again."""
        self.file.truncate(min(size, self.size()))  # it is shorter if a resumed run stopped before its first line
        (self.folder / 'img').mkdir(exist_ok=True)
        self.board = SummaryWriter(str(self.folder / 'img'), purge_step=iteration + 1)
        self.store('start', iteration, {}, host=socket.gethostname(), pid=os.getpid())

    def write(self, kind, iteration, stats, **position):
        """Logs `stats` {name: number} under `kind` ('step', 'train', 'val') at `iteration` (the x axis of TensorBoard).

        position: epoch, epochs and perhaps step, steps, counted from 1: stored, not plotted. Steps are printed; of an
        epoch the screen gets `epoch_line`.
        """
        if kind == 'step':
            say(step_line(stats, **position))
        self.store(kind, iteration, stats, **position)
        for name, value in stats.items():
            self.board.add_scalar(f'{kind}/{name}', value, iteration)

    def store(self, kind, iteration, stats, **more):
        line = {'time': round(time.time(), 3), 'kind': kind, 'iteration': iteration, **more, **stats}
        self.file.write(json.dumps(line) + '\n')

    def warn(self, iteration, text, **position):
        """Shows and stores a warning about the run. position: epoch, epochs."""
        warn(text)
        self.store('warning', iteration, {}, **position, text=text)

    def write_picture(self, name, picture):
        """Stores `picture` uint8 [H, W, 3] as img/{name}.png and in TensorBoard."""
        cv2.imwrite(str(self.folder / 'img' / f'{name}.png'), picture[:, :, ::-1])
        self.board.add_image(name, picture, 0, dataformats='HWC')

    def size(self):
        """Bytes of log.jsonl so far; checkpoints store it."""
        return os.fstat(self.file.fileno()).st_size

    def end(self, how):
        """Notes how the run ended and closes the log."""
        self.store('end', 0, {}, how=how)
        self.file.close()
        self.board.close()


class SilentLog:
    """Stands in for a RunLog in the other processes of a group."""

    def begin(self, size=0, iteration=0):
        pass

    def write(self, kind, iteration, stats, **position):
        pass

    def warn(self, iteration, text, **position):
        pass

    def size(self):
        return 0

    def end(self, how):
        pass


def step_line(stats, epoch, epochs, step, steps):
    """What the screen shows of some steps."""
    return (f'epoch {epoch}/{epochs}  step {step}/{steps}  loss {stats["loss"]:.4g}  top-1 {stats["top1"]:.1%}  '
            f'{speed_text(stats)}')


def epoch_line(epoch, epochs, train, val, seconds):
    """What the screen shows of an epoch, at most 100 characters: training and validation side by side.

    train, val: their statistics; train is None if they were logged before, and has no speed if this process didn't
    train in the epoch. seconds: that an epoch takes."""
    if not train:
        return f'epoch {epoch}/{epochs}  loss val {val["loss"]:.4g}  top-1 val {val["top1"]:.1%}'
    speed = [speed_text(train), f'ETA {duration(seconds * (epochs - epoch))}'] if 'clips_per_s' in train else []
    return '  '.join([f'epoch {epoch}/{epochs}', f'loss {train["loss"]:.4g}, val {val["loss"]:.4g}',
                      f'top-1 {train["top1"]:.1%}, val {val["top1"]:.1%}', *speed])


def speed_text(stats):
    return f'{stats["clips_per_s"]:.4g} clips/s  waiting {stats["data_wait"]:.0%}'
