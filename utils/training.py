"""One training run: what is trained, how far it is, and how an epoch goes. Pretraining and classification share it."""
import time

import numpy as np
import torch

from utils.checkpoint import load_weights, write_checkpoint
from utils.errors import UserError
from utils.logs import progress_bar, say
from utils.metrics import Averages


class Throughput:
    """Clips per second and the share of time spent waiting for data since the last `read`."""

    def __init__(self):
        self.clips, self.waited, self.started = 0, 0., time.perf_counter()

    def add(self, clips, waited):
        self.clips += clips
        self.waited += waited

    def read(self):
        elapsed = time.perf_counter() - self.started
        stats = {'clips_per_s': self.clips / elapsed, 'data_wait': self.waited / elapsed}
        self.__init__()
        return stats


class TrainingRun:
    """A model with its optimiser, schedule and log, at a place in the run.

    `epoch`, `step` (in the epoch) and `iteration` (in the run) are those that come next. Everything random in a step is
    seeded by (seed, iteration), so a resumed run goes on exactly as an undisturbed one would.

    compute_loss(model, batch) -> (loss, {name: mean over the batch}) is what differs between tasks.
    frozen: parts of the model that stay in eval mode while the rest trains.
    """

    def __init__(self, model, net, optimizer, schedule, precision, device, log, seed=0, print_freq=5, keep=3, frozen=()):
        self.model, self.net = model, net
        self.optimizer, self.schedule, self.precision = optimizer, schedule, precision
        self.device, self.log = device, log
        self.seed, self.print_freq, self.keep, self.frozen = seed, print_freq, keep, frozen
        self.epoch = self.step = self.iteration = 0
        self.best_acc = 0.
        self.replaced = 0  # samples whose frames could not be read, in this epoch
        self.averages = Averages()  # of this epoch

    def train_epoch(self, batches, compute_loss):
        """Trains to the end of the epoch; returns its sample-weighted averages."""
        self.model.train()
        for part in self.frozen:
            part.eval()
        batches.loader.sampler.set_position(self.epoch, self.step)
        window, window_speed, epoch_speed = Averages(), Throughput(), Throughput()
        bar = progress_bar(batches, f'epoch {self.epoch + 1}', total=len(batches), initial=self.step)
        for batch in bar:
            if self.iteration == 0:
                self.log.write_frames('train', 0, batch.block)
            values = self.train_step(batch, compute_loss)
            clips = len(batch.block)
            self.count_replaced(batch.broken)
            for averages in (window, self.averages):
                averages.add(clips, values)
            for speed in (window_speed, epoch_speed):
                speed.add(clips, batch.wait_seconds)
            if self.step % self.print_freq == 0:
                self.log.write('step', self.iteration, {**window.read(), **window_speed.read(), 'lr': self.learning_rate()},
                               epoch=self.epoch + 1, step=f'{self.step}/{len(batches)}')
                window = Averages()
        stats = {**self.averages.read(), **epoch_speed.read(), 'lr': self.learning_rate(), 'replaced': self.replaced}
        self.log.write('train', self.iteration, stats, epoch=self.epoch + 1)
        return stats

    def train_step(self, batch, compute_loss):
        """One optimiser step; returns the batch's statistics, still on the device."""
        torch.manual_seed(step_seed(self.seed, self.iteration))
        with self.precision.autocast():
            loss, values = compute_loss(self.model, batch)
        scaler = self.precision.scaler
        self.optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(self.optimizer)
        scaler.update()
        self.step += 1
        self.iteration += 1
        return {'loss': loss.detach(), **values}

    @torch.no_grad()
    def evaluate(self, batches, compute_loss):
        """Sample-weighted averages over a validation set: the same clips every time."""
        self.model.eval()
        batches.loader.sampler.set_position(0, 0)
        averages = Averages()
        for batch in progress_bar(batches, f'validation {self.epoch + 1}', total=len(batches)):
            with self.precision.autocast():
                loss, values = compute_loss(self.model, batch)
            averages.add(len(batch.block), {'loss': loss, **values})
            self.count_replaced(batch.broken)
            if self.epoch == 0 and averages.weight == len(batch.block):
                self.log.write_frames('val', 0, batch.block)
        stats = averages.read()
        self.log.write('val', self.iteration, stats, epoch=self.epoch + 1)
        return stats

    def finish_epoch(self, accuracy):
        """Moves to the next epoch, steps the schedule and saves; `accuracy` decides whether this is the best model."""
        self.schedule.step()
        self.epoch += 1
        self.step = self.replaced = 0
        self.averages = Averages()
        best = accuracy > self.best_acc or self.epoch == 1
        if best:
            self.best_acc = accuracy
        self.save(f'epoch{self.epoch}.pth.tar')
        if best:
            self.save(f'model_best_epoch{self.epoch}.pth.tar')
        self.remove_old()

    def count_replaced(self, broken):
        for message in broken:
            if self.replaced < 10:
                say(f'warning: replaced a sample: {message}')
            self.replaced += 1

    def learning_rate(self):
        """Of the parameter group with the highest rate."""
        return max(group['lr'] for group in self.optimizer.param_groups)

    # ---- checkpoints

    def checkpoint(self):
        return {'epoch': self.epoch, 'step': self.step, 'iteration': self.iteration, 'net': self.net,
                'best_acc': self.best_acc, 'state_dict': self.model.state_dict(), 'optimizer': self.optimizer.state_dict(),
                'schedule': self.schedule.state_dict(), 'scaler': self.precision.scaler.state_dict(),
                'averages': self.averages.state_dict(), 'replaced': self.replaced}

    def save(self, name):
        write_checkpoint(self.checkpoint(), self.log.folder / 'model' / name)

    def remove_old(self):
        """Keeps the newest `keep` epochs and the best model."""
        for pattern, kept in (('epoch*.pth.tar', self.keep), ('model_best_epoch*.pth.tar', 1)):
            files = sorted((self.log.folder / 'model').glob(pattern), key=epoch_of)
            for file in files[:-kept]:
                file.unlink()

    def resume(self, checkpoint, path, reset_lr=None):
        """Goes on from a checkpoint of this project; `reset_lr` replaces its learning rate. UserError if it isn't one."""
        lacking = {'schedule', 'scaler', 'step', 'averages'} - checkpoint.keys()
        if lacking:
            raise UserError(f'--resume {path}: it has no {", ".join(sorted(lacking))}: only runs of this project can be resumed; '
                            'give it to --pretrain to start from its weights')
        load_weights(self.model, checkpoint, strict=True)
        try:
            self.optimizer.load_state_dict(checkpoint['optimizer'])
        except ValueError as error:
            raise UserError(f'--resume {path}: its optimiser does not fit ({error}): resume with the same --train_what') from error
        self.schedule.load_state_dict(checkpoint['schedule'])
        self.precision.scaler.load_state_dict(checkpoint['scaler'])
        self.averages.load_state_dict(checkpoint['averages'], self.device)
        for name in ('epoch', 'step', 'iteration', 'best_acc', 'replaced'):
            setattr(self, name, checkpoint[name])
        if reset_lr is not None:
            set_learning_rate(self.optimizer, self.schedule, reset_lr)
        say(f'resumed {path}: epoch {self.epoch + 1}, step {self.step}, best accuracy {self.best_acc:.4f}, '
            f'learning rate {self.learning_rate():g}')


def step_seed(seed, iteration):
    return int(np.random.SeedSequence((seed, iteration)).generate_state(1, np.uint64)[0] >> 1)


def epoch_of(path):
    """'…/epoch12.pth.tar' -> 12"""
    return int(path.name.split('epoch')[-1].split('.')[0])


def set_learning_rate(optimizer, schedule, lr):
    """Scales every group's rate so that the highest initial rate is `lr`; the schedule goes on from there."""
    factor = lr / max(schedule.base_lrs)
    schedule.base_lrs = [base * factor for base in schedule.base_lrs]
    for group in optimizer.param_groups:
        group['initial_lr'] *= factor
        group['lr'] *= factor
