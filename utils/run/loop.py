"""One training run: what is trained, how far it is, and how its epochs go. Pretraining and classification share it."""
import contextlib
import signal

import numpy as np
import torch

from utils.parallel import distributed
from utils.checkpoint import load_weights
from utils.cli import UserError
from utils.run.finite import FiniteCheck
from utils.parallel.signals import Stopped, StopSignals
from utils.run.log import progress_bar, say, warn
from utils.parallel.memory import peak_gb
from utils.run.metrics import Averages, Throughput
from utils.run.optimisation import load_optimizer, set_learning_rate, step_schedule

SHOWN_REPLACEMENTS = 10  # samples with unreadable frames that are named in an epoch; all are counted


class TrainingRun:
    """A model with its optimiser, schedule and log, at a place in the run.

    `epoch`, `step` (in the epoch) and `iteration` (in the run) are those that come next. Everything random in a step is
    seeded by (seed, iteration, rank), so a resumed run goes on exactly as an undisturbed one would.

    model: what checkpoints hold. frozen: its parts that stay in eval mode while the rest trains.
    compute_loss(network, block, label) -> (loss, {name: mean over the batch}) is what differs between tasks; the
    network is the model, wrapped for the group of processes if there is one. 'top1' decides which model is the best.
    clip_grad: largest norm of the gradient (None: any).
    skip_nonfinite: steps with a non-finite loss or gradient that are left out before the run stops.
    """

    def __init__(self, model, net, compute_loss, optimizer, schedule, precision, device, log, saver, seed=0,
                 print_freq=5, frozen=(), clip_grad=None, skip_nonfinite=0):
        self.model, self.net, self.compute_loss = model, net, compute_loss
        self.network = distributed.wrap(model, device)
        self.optimizer, self.schedule, self.precision = optimizer, schedule, precision
        self.device, self.log, self.saver = device, log, saver
        self.seed, self.print_freq, self.frozen = seed, print_freq, frozen
        self.clip_grad, self.skip_nonfinite = clip_grad, skip_nonfinite
        self.epoch = self.step = self.iteration = 0
        self.best_acc = 0.
        self.replaced = 0  # samples of this epoch whose frames could not be read
        self.skipped = 0   # non-finite steps of the run
        self.averages = Averages()  # of this epoch
        # On CUDA the numbers of a step are looked at when the next one has been queued: nothing waits for them.
        self.finite = FiniteCheck(delayed=device.type == 'cuda')
        self.unlogged = None  # the step whose line is due: (iteration, what reads its averages, statistics, place)
        self.signals = StopSignals()

    # ---- epochs

    def fit(self, train_batches, val_batches, epochs):
        """Trains up to epoch number `epochs`; validates and saves after each."""
        if self.epoch >= epochs:
            say(f'nothing to train: {self.epoch} epochs are done; for more raise --epochs {epochs}')
        try:
            while self.epoch < epochs:
                self.train_epoch(train_batches, epochs)
                stats = self.evaluate(val_batches, epochs)
                self.finish_epoch(stats)
        except Exception as error:
            with contextlib.suppress(OSError):  # the disk may be full
                self.log.end(str(error).split(';')[0][:150])
            raise
        self.log.end('finished')
        say(f'finished {epochs} epochs; best validation accuracy {self.best_acc:.2%}, in {self.saver.best()}')

    def train_epoch(self, batches, epochs):
        """Trains from the current step to the end of the epoch."""
        self.model.train()
        for part in self.frozen:
            part.eval()
        batches.loader.sampler.set_position(self.epoch, self.step)
        window, window_speed, epoch_speed = Averages(), Throughput(), Throughput()
        for batch in progress_bar(batches, f'epoch {self.epoch + 1}/{epochs}', total=len(batches), initial=self.step):
            distributed.doing(f'training, epoch {self.epoch + 1}, step {self.step + 1}')
            if self.epoch == 0:
                self.log.write_frames_once('train', batch.block)
            values = self.train_step(batch)
            self.count_replaced(batch.broken)
            for averages in (window, self.averages):
                averages.add(len(batch.block), values)
            for speed in (window_speed, epoch_speed):
                speed.add(len(batch.block), batch.wait_seconds)
            self.log_step()
            if self.step % self.print_freq == 0:
                place = {'epoch': self.epoch + 1, 'epochs': epochs, 'step': self.step, 'steps': len(batches)}
                stats = {**window_speed.read(), **self.gauges()}
                self.unlogged = self.iteration, window.start_reading(), stats, place
                window = Averages()
                if not self.finite.delayed:
                    self.log_step()
            self.after_step(batches.loader.dataset)
            distributed.doing('waiting for data')
        self.settle(batches.loader.dataset)
        if epoch_speed.clips == 0:
            return  # resumed in the validation behind the last step: this has been logged
        self.log.write('train', self.iteration, {**self.averages.read(), **epoch_speed.read(), **self.gauges(),
                                                 'replaced': distributed.total(self.replaced), 'skipped': self.skipped},
                       epoch=self.epoch + 1, epochs=epochs)

    def log_step(self):
        """Writes the line that is due, if one is."""
        if self.unlogged is not None:
            iteration, averages, stats, place = self.unlogged
            self.log.write('step', iteration, {**averages(), **stats}, **place)
            self.unlogged = None

    def train_step(self, batch):
        """One optimiser step; returns {name: mean over the batch}, still on the device."""
        torch.manual_seed(step_seed(self.seed, self.iteration, distributed.rank()))
        self.optimizer.zero_grad(set_to_none=True)
        scaler = self.precision.scaler
        with self.precision.autocast():
            loss, values = self.compute_loss(self.network, batch.block, batch.label)
        scaler.scale(loss).backward()
        scaler.unscale_(self.optimizer)
        values = {'loss': loss.detach(), **values, 'grad_norm': self.gradient_norm()}
        scaler.step(self.optimizer)  # leaves the weights alone where a gradient isn't finite
        self.precision.update_scale()
        # fp16's scaler meets infinite gradients while it looks for its scale: only the loss tells there
        watched = values['loss'] if self.precision.name == 'fp16' else values['loss'] + values['grad_norm']
        place = f'epoch {self.epoch + 1}, step {self.step + 1}, lr {self.learning_rate():g}'
        self.finite.watch(watched, batch.index, place)
        self.step += 1
        self.iteration += 1
        return values

    def gradient_norm(self):
        """Norm of the whole gradient, before it is clipped to `clip_grad`."""
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters])
        if self.clip_grad:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.clip_grad, norm)
        return norm

    def after_step(self, dataset):
        """What all processes do together after a step: notice a non-finite one, stop on a signal, save when due."""
        signum, bad, due = distributed.any_process(
            [self.signals.received, int(self.finite.bad_step is not None), int(self.saver.is_due())])
        if bad:
            self.skip_or_stop(dataset)
        if signum or due:
            self.settle(dataset)
        if signum:
            self.stop(signum)
        if due:
            self.save_last()

    def settle(self, dataset):
        """Looks at the last step, too, before its results are saved or used."""
        self.log_step()
        self.finite.settle()
        bad, = distributed.any_process([int(self.finite.bad_step is not None)])
        if bad:
            self.skip_or_stop(dataset)

    def skip_or_stop(self, dataset):
        self.log_step()
        self.skipped += 1
        restart_nonfinite_statistics(self.model)
        place, index = self.finite.bad_step or ('', [])
        places = distributed.lists_of_all([place] if place else [])
        paths = distributed.lists_of_all([dataset.videos.path(i) for i in index])
        message = (f'non-finite loss or gradient at {places[0]}; the weights were left as they were. '
                   f'Clips: {", ".join(paths)}')
        if self.skipped > self.skip_nonfinite:
            path = self.save_last()
            raise UserError(f'{message}. Saved {path}; look at these clips, lower --lr, or tolerate some such steps '
                            f'with --skip_nonfinite (now {self.skip_nonfinite})')
        warn(message)

    def evaluate(self, batches, epochs):
        """Sample-weighted averages over the validation set: the same clips every time."""
        self.model.eval()
        distributed.copy_buffers_from_main(self.model)
        batches.loader.sampler.set_position(0)
        averages, replaced = Averages(), distributed.total(self.replaced)
        with torch.no_grad():
            for batch in progress_bar(batches, f'validation {self.epoch + 1}/{epochs}', total=len(batches)):
                distributed.doing(f'validating, epoch {self.epoch + 1}')
                with self.precision.autocast():
                    loss, values = self.compute_loss(self.model, batch.block, batch.label)
                averages.add(len(batch.block), {'loss': loss, **values})
                self.count_replaced(batch.broken)
                if self.epoch == 0:
                    self.log.write_frames_once('val', batch.block)
                signum, = distributed.any_process([self.signals.received])
                if signum:
                    self.stop(signum)
        stats = averages.read()
        said = {**stats, 'replaced': distributed.total(self.replaced) - replaced}
        self.log.write('val', self.iteration, said, epoch=self.epoch + 1, epochs=epochs)
        return stats

    def finish_epoch(self, stats):
        """Moves to the next epoch, steps the schedule and saves."""
        step_schedule(self.schedule, stats['loss'])
        self.epoch += 1
        self.step = self.replaced = 0
        self.averages = Averages()
        best = stats['top1'] > self.best_acc or self.saver.best() is None
        if best:
            self.best_acc = stats['top1']
        self.saver.save_epoch(self.checkpoint(), self.epoch, best)

    def count_replaced(self, broken):
        for message in broken:
            if self.replaced < SHOWN_REPLACEMENTS:
                warn(f'replaced a sample: {message}')
            self.replaced += 1

    def gauges(self):
        return {'lr': self.learning_rate(), 'memory_gb': peak_gb(self.device)}

    def learning_rate(self):
        """Of the parameter group with the highest rate."""
        return max(group['lr'] for group in self.optimizer.param_groups)

    # ---- stopping and going on

    def stop(self, signum):
        """Saves and ends the run, as a signal asked."""
        path = self.save_last()
        name = signal.Signals(signum).name
        raise Stopped(signum, f'stopped by {name} in epoch {self.epoch + 1} after step {self.step}; saved {path}. '
                              'Go on with the same command and --resume auto')

    def save_last(self):
        return self.saver.save_last(self.checkpoint())

    def checkpoint(self):
        """All that a resumed run needs; every process of a group calls this together."""
        return {'epoch': self.epoch, 'step': self.step, 'iteration': self.iteration, 'net': self.net,
                'best_acc': self.best_acc, 'state_dict': self.model.state_dict(),
                'optimizer': self.optimizer.state_dict(), 'schedule': self.schedule.state_dict(),
                'scaler': self.precision.scaler.state_dict(), 'averages': self.averages.state_dict(),
                'replaced': distributed.total(self.replaced), 'skipped': self.skipped, 'log_size': self.log.size()}

    def resume(self, checkpoint, path, reset_lr=None):
        """Goes on from a checkpoint of this project; `reset_lr` replaces its learning rate. UserError: it isn't one."""
        lacking = {'schedule', 'scaler', 'step', 'averages', 'log_size'} - checkpoint.keys()
        if lacking:
            raise UserError(f'--resume {path}: it has no {", ".join(sorted(lacking))}: only runs of this project can '
                            'be resumed; give it to --pretrain to start from its weights')
        load_weights(self.model, checkpoint, strict=True, origin=f'--resume {path}')
        try:
            load_optimizer(self.optimizer, checkpoint['optimizer'])
        except ValueError as error:
            raise UserError(f'--resume {path}: its optimiser does not fit ({error}): resume with the flags of the '
                            'first run, which args.json beside it lists') from error
        self.schedule.load_state_dict(checkpoint['schedule'])
        self.precision.scaler.load_state_dict(checkpoint['scaler'])
        self.averages.load_state_dict(checkpoint['averages'], self.device)
        for name in ('epoch', 'step', 'iteration', 'best_acc', 'replaced', 'skipped'):
            setattr(self, name, checkpoint[name])
        self.log.begin(checkpoint['log_size'], self.iteration)
        if reset_lr is not None:
            set_learning_rate(self.optimizer, self.schedule, reset_lr)
        say(f'resumed {path}: epoch {self.epoch + 1}, step {self.step + 1}, best accuracy {self.best_acc:.2%}, '
            f'learning rate {self.learning_rate():g}')


def restart_nonfinite_statistics(model):
    """BN's running statistics have taken in the non-finite batch, unlike the weights: they are collected anew."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and not torch.isfinite(module.running_var).all():
            module.reset_running_stats()


def step_seed(seed, iteration, rank):
    """Seed of everything random in a step, dropout above all."""
    return int(np.random.SeedSequence((seed, iteration, rank)).generate_state(1, np.uint64)[0] >> 1)
