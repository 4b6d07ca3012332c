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

from utils.data.colour import IMAGENET_MEAN, IMAGENET_STD
from utils.parallel.distributed import is_main
from utils.cli import UserError

# Bars are drawn by one process: tqdm's own lock for several would be reported as leaked when a run ends at once.
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
    """The log of one run folder. `write` takes the same dict for all three places.

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
        """Starts logging after the first `size` bytes of log.jsonl and after `iteration`: a run that goes on from a
        checkpoint forgets what was logged behind it, for it will be logged again."""
        self.file.truncate(size)
        self.board = SummaryWriter(str(self.folder / 'img'), purge_step=iteration + 1)
        self.store('start', iteration, {}, host=socket.gethostname(), pid=os.getpid())

    def write(self, kind, iteration, stats, **place):
        """Logs `stats` {name: number} under `kind` ('step', 'train', 'val') at `iteration` (the x axis of TensorBoard).

        place: epoch, epochs and perhaps step, steps, counted from 1: printed and stored, not plotted.
        """
        printed = ' '.join(f'{name} {place[name]}/{place[name + "s"]}' for name in ('epoch', 'step') if name in place)
        say(f'{kind:5s} {printed}  ' + '  '.join(f'{name} {readable(value)}' for name, value in stats.items()))
        self.store(kind, iteration, stats, **place)
        for name, value in stats.items():
            self.board.add_scalar(f'{kind}/{name}', value, iteration)

    def store(self, kind, iteration, stats, **more):
        line = {'time': round(time.time(), 3), 'kind': kind, 'iteration': iteration, **more, **stats}
        self.file.write(json.dumps(line) + '\n')

    def write_frames_once(self, kind, block, clips=4):
        """Stores the first clips of the run's first batch, as the network sees them, as a picture: a row for each clip.

        block: normalised [B, N, C, T, H, W].
        """
        path = self.folder / 'img' / f'{kind}_frames.png'
        if path.exists():
            return
        shown = block[:clips].float().cpu()
        mean, std = (shown.new_tensor(values).view(3, 1, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        shown = (shown * std + mean).clamp(0, 1).permute(0, 4, 1, 3, 5, 2)      # [clips, H, N, T, W, C]
        grid = shown.flatten(2, 4).flatten(0, 1).mul(255).byte().numpy()        # [clips·H, N·T·W, C]
        self.board.add_image(f'{kind}/frames', grid, 0, dataformats='HWC')
        cv2.imwrite(str(path), grid[:, :, ::-1])

    def size(self):
        """Bytes of log.jsonl so far; a checkpoint holds it."""
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

    def write(self, kind, iteration, stats, **place):
        pass

    def write_frames_once(self, kind, block):
        pass

    def size(self):
        return 0

    def end(self, how):
        pass


def readable(value):
    return str(value) if isinstance(value, int) else f'{value:.4g}'
