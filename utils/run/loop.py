"""One training run: what is trained, how far it is, and how its epochs go. Pretraining and classification share it."""
import contextlib
import math
import signal
import time

import numpy as np
import torch

from utils.checkpoint import load_weights, read_checkpoint
from utils.checkpoint_fields import fitting_state
from utils.cli import UserError
from utils.parallel import distributed
from utils.parallel.device import peak_gb
from utils.parallel.signals import Stopped, StopSignals
from utils.run.check_backbone import first_line
from utils.run.log import epoch_line, open_log, progress_bar, say, warn
from utils.run.metrics import Averages, Throughput
from utils.run.optimisation import load_optimizer, set_learning_rate, step_schedule
from utils.run.picture import draw_clips
from utils.run.saving import Saver, readable_checkpoints

SHOWN_REPLACEMENTS = 10  # samples with unreadable frames that are named per epoch; all are counted


class TrainingRun:
    """A model with its optimiser, schedule, log and checkpoints, at a place in the run.

    `epoch`, `step` (in the epoch) and `iteration` (in the run) are the next ones. Everything random in a step is seeded
    by (seed, iteration, rank), so a resumed run continues exactly as an undisturbed one would.

    model: what checkpoints store. Its direct children without trainable parameters stay in eval mode.
    compute_loss(network, block, label) -> (loss, {name: 0-d tensor, mean over the batch}): what differs between tasks;
        `network` is the model, wrapped for the group of processes if there is one. 'top1' decides which model is best.
    optimizer, schedule: see utils.run.optimisation. precision: utils.parallel.device.Precision, which has the device.
    folder: the run folder. settings: what checkpoints say about the model and its clips, see utils.checkpoint.
    pred_step: blocks to predict, as the picture of the first batch marks them.
    validation: measures validation clips as compute_loss does, and has methods `restart()`, called before the first,
        `summary(epoch)` -> {name: number}, called after the last, and `warnings(statistics)` -> lines; None: validation is
        compute_loss.
    keep, save_minutes: see utils.run.saving.Saver. print_freq: steps per printed line.
    clip_grad: largest norm of the gradient (None: any).
    skip_nonfinite: how many steps with a non-finite loss or gradient are skipped before the run stops.
    """

    def __init__(self, model, compute_loss, optimizer, schedule, precision, folder, settings, pred_step=0,
                 validation=None, seed=0, keep=3, save_minutes=10., print_freq=5, clip_grad=None, skip_nonfinite=0):
        self.model, self.compute_loss = model, compute_loss
        self.validation = validation
        self.network = distributed.wrap(model, precision.device)
        self.optimizer, self.schedule, self.precision = optimizer, schedule, precision
        self.log, self.saver = open_log(folder), Saver(folder, keep, save_minutes)
        self.settings, self.pred_step, self.seed, self.print_freq = settings, pred_step, seed, print_freq
        self.clip_grad, self.skip_nonfinite = clip_grad, skip_nonfinite
        self.epoch = self.step = self.iteration = 0
        self.best_acc = 0.
        self.replaced = 0  # samples of this epoch whose frames could not be read, in this process
        self.skipped = 0   # non-finite steps of the run
        self.averages = Averages()  # of this epoch
        self.epoch_stats, self.epoch_seconds = None, 0.  # of the epoch trained last: what was logged, how long it takes
        self.log_place = 0, 0  # bytes of log.jsonl and iteration after which logging starts
        self.signals = StopSignals()

    # ---- epochs

    def fit(self, train_batches, val_batches, epochs):
        """Trains up to epoch number `epochs` on utils.data.batches.ClipBatches; validates and saves after each epoch."""
        if self.epoch >= epochs:
            say(f'nothing to train: the run has done {self.epoch} of --epochs {epochs}; give more to continue')
            return
        self.log.begin(*self.log_place)
        try:
            while self.epoch < epochs:
                self.train_epoch(train_batches, epochs)
                started = time.monotonic()
                stats = self.evaluate(val_batches, epochs)
                if distributed.is_main():
                    say(epoch_line(self.epoch + 1, epochs, self.epoch_stats, stats,
                                   self.epoch_seconds + time.monotonic() - started))
                self.finish_epoch(stats)
        except Exception as error:
            with contextlib.suppress(OSError):  # the disk may be full
                self.log.end((first_line(error) or type(error).__name__).split(';')[0])
            raise
        self.log.end('finished')
        say(f'finished --epochs {epochs}; best validation accuracy {self.best_acc:.2%}, in {self.saver.best()}')

    def train_epoch(self, batches, epochs):
        """Trains from the current step to the end of the epoch."""
        self.epoch_stats = None
        started, first = time.monotonic(), self.step
        self.model.train()
        for part in self.model.children():
            if not any(parameter.requires_grad for parameter in part.parameters()):
                part.eval()
        window, window_speed, epoch_speed = Averages(), Throughput(), Throughput()
        for batch in progress_bar(batches.epoch(self.epoch, self.step), f'epoch {self.epoch + 1}/{epochs}',
                                  total=len(batches), initial=self.step):
            distributed.doing(f'training, epoch {self.epoch + 1}, step {self.step + 1}')
            if self.iteration == 0:
                self.draw('train', batch.block, 'training clips as the network sees them, after random crop and colour jitter')
            values = self.train_step(batch)
            self.count_replaced(batch.broken)
            for averages in (window, self.averages):
                averages.add(len(batch.block), values)
            for speed in (window_speed, epoch_speed):
                speed.add(len(batch.block), batch.wait_seconds)
            if self.step % self.print_freq == 0:
                self.log.write('step', self.iteration, {**window.read(), **window_speed.read(), **self.gauges()},
                               epoch=self.epoch + 1, epochs=epochs, step=self.step, steps=len(batches))
                window = Averages()
            self.after_step(values, batches.paths(batch.index))
            distributed.doing('waiting for data')
        if epoch_speed.clips == 0:
            return  # resumed in the validation after the last step, when this had been logged
        self.epoch_stats = {**self.averages.read(), **epoch_speed.read(), **self.gauges(),
                            'replaced': distributed.total(self.replaced), 'skipped': self.skipped}
        self.epoch_seconds = (time.monotonic() - started) * len(batches) / (self.step - first)
        self.log.write('train', self.iteration, self.epoch_stats, epoch=self.epoch + 1, epochs=epochs)

    def train_step(self, batch):
        """One optimiser step; returns {name: mean over the batch}. Reading these numbers waits for the device."""
        torch.manual_seed(step_seed(self.seed, self.iteration, distributed.rank()))
        self.optimizer.zero_grad(set_to_none=True)
        scaler = self.precision.scaler
        with self.precision.autocast():
            loss, values = self.compute_loss(self.network, batch.block, batch.label)
        scaler.scale(loss).backward()
        scaler.unscale_(self.optimizer)
        values = {'loss': loss, **values, 'grad_norm': self.gradient_norm()}
        scaler.step(self.optimizer)  # leaves the weights alone if a gradient isn't finite
        self.precision.update_scale()
        self.step += 1
        self.iteration += 1
        return as_numbers(values)

    def gradient_norm(self):
        """Norm of the whole gradient, before it is clipped to `clip_grad`."""
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters])
        if self.clip_grad:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.clip_grad, norm)
        return norm

    def after_step(self, values, paths):
        """What all processes decide together after a step: skip a non-finite one, stop on a signal, save when due."""
        # fp16's scaler meets infinite gradients while it searches for its scale: only the loss counts there.
        watched = values['loss'] if self.precision.name == 'fp16' else values['loss'] + values['grad_norm']
        signum, bad, due = distributed.any_process(
            [self.signals.received, int(not math.isfinite(watched)), int(self.saver.is_due())])
        if bad:
            self.skip_or_stop([] if math.isfinite(watched) else paths)
        if signum:
            self.stop(signum)
        if due:
            self.save_last()

    def skip_or_stop(self, paths):
        """After a non-finite step, which left the weights alone. paths: this process's clips if its loss was non-finite, else []."""
        self.skipped += 1
        restart_nonfinite_statistics(self.model)
        message = (f'non-finite loss or gradient at epoch {self.epoch + 1}, step {self.step}, lr '
                   f'{self.learning_rate():g}; the weights were left as they were. '
                   f'Clips: {", ".join(distributed.lists_of_all(paths))}')
        if self.skipped > self.skip_nonfinite:
            path = self.save_last()
            raise UserError(f'{message}. Saved {path}; look at these clips, lower --lr, or tolerate some such steps '
                            f'with --skip_nonfinite (now {self.skip_nonfinite})')
        if distributed.is_main():
            warn(message)

    def evaluate(self, batches, epochs):
        """Sample-weighted averages over the validation set: the same clips every time."""
        self.model.eval()
        distributed.copy_buffers_from_main(self.model)
        averages, replaced = Averages(), self.replaced
        if self.validation:
            self.validation.restart()
        with torch.no_grad():
            for batch in progress_bar(batches.epoch(0), f'validation {self.epoch + 1}/{epochs}', total=len(batches)):
                distributed.doing(f'validating, epoch {self.epoch + 1}')
                if self.epoch == 0 and not averages.weight:
                    self.draw('val', batch.block, 'validation clips as the network sees them: centre crop')
                with self.precision.autocast():
                    loss, values = (self.validation or self.compute_loss)(self.model, batch.block, batch.label)
                averages.add(len(batch.block), as_numbers({'loss': loss, **values}))
                self.count_replaced(batch.broken)
                signum, = distributed.any_process([self.signals.received])
                if signum:
                    self.stop(signum)
        stats = {**averages.read(), **(self.validation.summary(self.epoch + 1) if self.validation else {})}
        self.log.write('val', self.iteration, {**stats, 'replaced': distributed.total(self.replaced - replaced)},
                       epoch=self.epoch + 1, epochs=epochs)
        if not math.isfinite(stats['loss']) and distributed.is_main():
            warn('no batch of the validation has a finite loss: lower --lr, or try --amp off')
        for line in self.validation.warnings(stats) if self.validation else ():
            self.log.warn(self.iteration, line, epoch=self.epoch + 1, epochs=epochs)
        return stats

    def finish_epoch(self, stats):
        """Moves to the next epoch, steps the schedule and saves."""
        step_schedule(self.schedule)
        self.epoch += 1
        self.step = self.replaced = 0
        self.averages = Averages()
        top1 = stats['top1'] if math.isfinite(stats['top1']) else 0.
        best = top1 > self.best_acc or self.saver.best() is None
        if best:
            self.best_acc = top1
        self.saver.save_epoch(self.checkpoint(), self.epoch, best)

    def count_replaced(self, broken):
        for message in broken:
            if self.replaced < SHOWN_REPLACEMENTS:
                warn(f'replaced a sample: {message}')
            self.replaced += 1

    def draw(self, kind, block, title):
        if distributed.is_main():
            self.log.write_picture(f'{kind}_frames', draw_clips(block, self.pred_step, title))

    def gauges(self):
        return {'lr': self.learning_rate(), 'memory_gb': peak_gb(self.precision.device)}

    def learning_rate(self):
        """Of the parameter group with the highest rate."""
        return max(group['lr'] for group in self.optimizer.param_groups)

    # ---- stopping and resuming

    def stop(self, signum):
        """Saves and ends the run, as a signal asked."""
        path = self.save_last()
        name = signal.Signals(signum).name
        raise Stopped(signum, f'stopped by {name} in epoch {self.epoch + 1} after step {self.step}. '
                              f'Resume with the same command and --resume {path}')

    def save_last(self):
        return self.saver.save_last(self.checkpoint())

    def checkpoint(self):
        """All that a resumed run needs; every process of a group calls this together."""
        return {'epoch': self.epoch, 'step': self.step, 'iteration': self.iteration, 'net': self.settings['net'],
                'settings': self.settings, 'best_acc': self.best_acc, 'state_dict': self.model.state_dict(),
                'optimizer': self.optimizer.state_dict(), 'schedule': self.schedule.state_dict(),
                'precision': self.precision.name, 'scaler': self.precision.scaler.state_dict(), 'averages': self.averages.state_dict(),
                'replaced': distributed.total(self.replaced), 'skipped': self.skipped, 'log_size': self.log.size()}

    def start(self, resume=None, reset_lr=None, start_epoch=None):
        """Begins the run, or continues from the checkpoint at the path `resume`, with the learning rate `reset_lr` if
        given. start_epoch: number of the first epoch of a run that begins. UserError: the checkpoint doesn't fit."""
        if resume is None:
            self.epoch = start_epoch or 0
            return
        checkpoint = read_checkpoint(resume, resumable=True)
        load_weights(self.model, checkpoint, strict=True, origin=f'--resume {resume}')
        try:
            load_optimizer(self.optimizer, checkpoint['optimizer'])
            self.schedule.load_state_dict(
                fitting_state(self.schedule.state_dict(), checkpoint['schedule'], 'schedule'))
            if self.precision.name == 'fp16' and checkpoint['scaler'].get('scale', 1.) != 1.:  # else it stays as it begins
                scaler = self.precision.scaler
                scaler.load_state_dict(fitting_state(scaler.state_dict(), checkpoint['scaler'], 'scaler'))
        except ValueError as error:
            raise UserError(f'--resume {resume}: its optimiser or schedule does not fit ({error}): resume with the '
                            'flags of the first run, which args.json beside it lists') from error
        self.averages.load_state_dict(checkpoint['averages'])
        for name in ('epoch', 'step', 'iteration', 'best_acc', 'skipped'):
            setattr(self, name, checkpoint[name])
        self.replaced = checkpoint['replaced'] if distributed.is_main() else 0
        self.warn_of_newer(resume)
        self.log_place = checkpoint['log_size'], self.iteration
        if reset_lr is not None:
            set_learning_rate(self.optimizer, self.schedule, reset_lr)
        say(f'resumed {resume}: epoch {self.epoch + 1}, step {self.step + 1}, best accuracy {self.best_acc:.2%}, '
            f'learning rate {self.learning_rate():g}')

    def warn_of_newer(self, resumed):
        """Warns that checkpoints newer than the resumed one will be deleted at the next save."""
        if distributed.is_main():
            newer = [path.name for path, iteration in readable_checkpoints(self.saver.folder.parent).items()
                     if iteration > self.iteration]
            if newer:
                warn(f'{", ".join(newer)} went further than {resumed.name}, and will be deleted when this run saves: '
                     'stop now and copy them if you want to keep them')
        distributed.wait_for_main()


def as_numbers(values):
    """{name: 0-d tensor} -> {name: float}, in one copy from the device."""
    return dict(zip(values, torch.stack([value.detach().double() for value in values.values()]).tolist()))


def restart_nonfinite_statistics(model):
    """Resets BN's running statistics where they have recorded the non-finite batch, unlike the weights."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and (
                module.running_var is not None and not torch.isfinite(module.running_var).all()):
            module.reset_running_stats()


def step_seed(seed, iteration, rank):
    """Seed of everything random in a step, dropout above all."""
    return int(np.random.SeedSequence((seed, iteration, rank)).generate_state(1, np.uint64)[0] >> 1)
