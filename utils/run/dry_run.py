"""`--dry_run`: a few batches through everything that a run does, to see what it will cost and what the network sees."""
import contextlib
import json
import math
import shutil
import tempfile
import time
from pathlib import Path

import cv2
import torch

from utils.cli import UserError
from utils.data.colour import to_block
from utils.next_step import same_command, say_next
from utils.parallel import distributed
from utils.parallel.memory import peak_gb
from utils.parallel.signals import Stopped
from utils.run.clip_picture import draw_clips
from utils.run.log import say
from utils.run.read_log import duration
from utils.run.validation import validate
from utils.text import counted

PICTURE = 'dry_run.png'


def dry_run(run, train, measure, train_batches, val_batches, candidates, log_dir):
    """Trains, validates and saves in a temporary folder under `log_dir`; prints what the whole run would take.

    run: the utils.run.state.Run to try. train: train_epoch with all but its first two arguments and print_freq.
    measure: of validate.
    candidates(output of the network in training) -> how many answers it chooses among: guessing has ln of it as loss.
    """
    first, val = FirstBatches(train_batches), FirstBatches(val_batches)
    chosen_among, epochs = [], run.epochs - run.epoch
    run.epoch = 0  # its clips are those of a run that begins

    def count_candidates(model, inputs, output):
        chosen_among.append(candidates(output))

    with temporary_folder(log_dir) as folder:
        run.open(folder)
        hook = run.model.register_forward_hook(count_candidates)
        run.log.begin()
        try:
            train(run, first, print_freq=1)
            hook.remove()
            stats = validate(run, val, measure)
            start = time.perf_counter()
            run.save_epoch(stats)
            saving = time.perf_counter() - start
        except Stopped as stopped:
            raise Stopped(stopped.signum, 'dry run stopped; nothing is left of it') from None
        except UserError as error:
            raise UserError(f'{error} (a dry run saves nothing for good)') from None
        run.log.end('dry run')
        if distributed.is_main():
            seconds = epochs * (len(train_batches) * first.seconds() + len(val_batches) * val.seconds() + saving)
            say(f'dry run: {counted(len(first), "training step")}, {len(val)} of validation, saved once; '
                'times are of the later half')
            say(f'step       {first.seconds():.3g} s, {first.clips_per_second():.3g} clips/s, '
                f'{first.waiting():.0%} of the time waiting for data; validation {val.seconds():.3g} s a step')
            say(f'memory     {peak_gb(run.precision.device):.2f} GB at the peak')
            say(f'whole run  about {duration(seconds)}: {counted(epochs, "epoch")} of '
                f'{counted(len(train_batches), "training step")}, {len(val_batches)} of validation')
            say(f'loss       {explain_loss(first_loss(folder), chosen_among[0])}')
            picture = draw(train_batches, run.settings.get('pred_step', 0), Path(log_dir, PICTURE))
            say(f'picture    {picture}')
            say_next(same_command(without=['--dry_run']))


class FirstBatches:
    """The first batches of a utils.data.batches.ClipBatches, in its place, timed.

    Two, or as many as the workers read at once, twice: they finish together, and fewer batches would catch one burst.
    The first half doesn't count: workers start, kernels are chosen and compiled.
    """

    def __init__(self, batches):
        self.batches = batches
        at_once = max(1, batches.loader.num_workers // batches.sampler.pieces)
        self.count = min(2 * at_once, len(batches))
        self.half = self.count // 2

    def __len__(self):
        return self.count

    def paths(self, index):
        return self.batches.paths(index)

    def epoch(self, epoch, first_step=0):
        source = self.batches.epoch(epoch, first_step)
        self.asked, self.waited, self.clips = [], [], []
        for _ in range(self.count):
            self.asked.append(time.perf_counter())
            batch = next(source)
            self.waited.append(batch.wait_seconds)
            self.clips.append(len(batch.block) * distributed.world())
            yield batch
        self.asked.append(time.perf_counter())

    def total_seconds(self):
        return self.asked[-1] - self.asked[self.half]

    def seconds(self):
        """Time of a batch, from asking for it to asking for the next."""
        return self.total_seconds() / (self.count - self.half)

    def clips_per_second(self):
        """Of all processes."""
        return sum(self.clips[self.half:]) / self.total_seconds()

    def waiting(self):
        """Share of the time that this process waited for data."""
        return min(1., sum(self.waited[self.half:]) / self.total_seconds())


@contextlib.contextmanager
def temporary_folder(log_dir):
    """A folder on the disk that the run will write to, the same for all processes; removed at the end."""
    folder = None
    if distributed.is_main():
        try:
            Path(log_dir).mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix='.dry_run-', dir=log_dir))
        except OSError as error:
            raise UserError(f'cannot make a folder in {log_dir} ({error.strerror}): give another --log_dir') from error
    folder = distributed.from_main(folder)
    try:
        yield folder
    finally:
        if distributed.is_main():
            shutil.rmtree(folder, ignore_errors=True)


def first_loss(folder):
    """Of the first step, before anything was learned."""
    records = map(json.loads, (folder / 'log.jsonl').read_text().splitlines())
    return next(record['loss'] for record in records if record['kind'] == 'step')


def explain_loss(loss, candidates):
    chance = math.log(candidates)
    if loss < 0.9 * chance:
        meaning = ('better than guessing before any training: expected of pretrained weights; with random ones, '
                   'appearance alone distinguishes the candidates')
    elif loss <= 1.1 * chance:
        meaning = 'no better than guessing, as expected before training'
    else:
        meaning = ('worse than guessing, as untrained weights give large scores; it should soon fall below that of '
                   'guessing: if not, lower --lr')
    return (f'{loss:.3f} in the first step; guessing among {candidates} candidates gives ln {candidates} = '
            f'{chance:.3f}: {meaning}')


def draw(batches, pred_step, path):
    """Draws two training clips, each cropped only and as it is trained on; returns the path."""
    batches.sampler.start(0)
    keys = next(iter(batches.sampler))[:2]
    clips = batches.dataset.__getitems__(keys)
    plain, augmented = (to_block(clips['frames'], colour, batches.dataset.num_seq)
                        for colour in (None, clips['colour']))
    rows = torch.stack([plain, augmented], dim=1).flatten(0, 1)  # [2·B, N, C, T, H, W]
    picture = draw_clips(rows, pred_step, 'training clips as the network sees them, without and with changed colours',
                         captions=['plain', 'augmented'] * len(plain))
    if not cv2.imwrite(str(path), picture[:, :, ::-1]):
        raise UserError(f'cannot write {path}: give another --log_dir')
    return path
