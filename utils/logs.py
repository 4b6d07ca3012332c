"""One dict of statistics goes to the screen, to TensorBoard and to log.jsonl."""
import json
import time

from tensorboardX import SummaryWriter
from torchvision.utils import make_grid, save_image
from tqdm import tqdm

from utils.colour import IMAGENET_MEAN, IMAGENET_STD


def progress_bar(iterable, description, total=None, initial=0):
    """A bar on a terminal; nothing in a log file, where the printed lines tell how far the run is."""
    return tqdm(iterable, desc=description, total=total, initial=initial, disable=None, leave=False, dynamic_ncols=True)


def say(line):
    """Prints a line without breaking a progress bar."""
    tqdm.write(line)


class RunLog:
    """The log of one run folder. `write` takes the same dict for all three places."""

    def __init__(self, folder):
        self.folder = folder
        self.file = open(folder / 'log.jsonl', 'a', buffering=1)
        self.board = SummaryWriter(str(folder / 'img'))

    def write(self, kind, iteration, stats, **where):
        """Logs `stats` {name: number} under `kind` ('train', 'val', …) at `iteration` (the x axis of TensorBoard).

        `where` (epoch, step …) is printed and stored, not plotted.
        """
        place = ' '.join(f'{name} {value}' for name, value in where.items())
        say(f'{kind:5s} {place}  ' + '  '.join(f'{name} {readable(value)}' for name, value in stats.items()))
        self.file.write(json.dumps({'time': round(time.time(), 3), 'kind': kind, 'iteration': iteration, **where, **stats}) + '\n')
        for name, value in stats.items():
            self.board.add_scalar(f'{kind}/{name}', value, iteration)

    def write_frames(self, kind, iteration, block, clips=4):
        """Stores the first clips of a batch, as the network sees them, as a picture: a row for each clip.

        block: normalised [B, N, C, T, H, W].
        """
        shown = block[:clips].float().transpose(2, 3).flatten(0, 2).cpu()  # [clips·N·T, C, H, W]
        mean, std = (shown.new_tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        grid = make_grid((shown * std + mean).clamp(0, 1), nrow=block.shape[1] * block.shape[3])
        self.board.add_image(f'{kind}/frames', grid, iteration)
        save_image(grid, self.folder / 'img' / f'{kind}_frames.png')

    def close(self):
        self.file.close()
        self.board.close()


def readable(value):
    return str(value) if isinstance(value, int) else f'{value:.4g}'
