"""An epoch of training: steps, what is logged of them, and what all processes decide together after each."""
import math
import time

import numpy as np
import torch

from utils.cli import UserError
from utils.parallel import distributed
from utils.random_streams import sequence
from utils.run.averages import Averages, Throughput
from utils.run.log import progress_bar, warn


def train_epoch(run, batches, compute_loss, print_freq=5, clip_grad=None, skip_nonfinite=0):
    """Trains a utils.run.state.Run from its current step to the end of the epoch.

    batches: utils.data.batches.ClipBatches.
    compute_loss(network, block, label) -> (loss, {name: 0-d tensor, mean over the batch}).
    print_freq: steps per printed line. clip_grad: largest norm of the gradient (None: any).
    skip_nonfinite: how many steps with a non-finite loss or gradient are skipped before the run stops.
    Returns the statistics of the epoch, {name: number}, without the speed if no step was left in it; None if they have
    been logged before. The model's direct children without trainable parameters stay in eval mode.
    """
    started, first = time.monotonic(), run.step
    run.model.train()
    for part in run.model.children():
        if not any(parameter.requires_grad for parameter in part.parameters()):
            part.eval()
    window, window_speed, epoch_speed = Averages(), Throughput(), Throughput()
    for batch in progress_bar(batches.epoch(run.epoch, run.step), f'epoch {run.epoch + 1}/{run.epochs}',
                              total=len(batches), initial=run.step):
        distributed.doing(f'training, epoch {run.epoch + 1}, step {run.step + 1}')
        if run.iteration == 0:
            run.draw('train', batch.block,
                     'training clips as the network sees them, after random crop and colour jitter')
        buffers = [buffer.clone() for buffer in run.model.buffers()]  # BN's statistics, to restore after a bad step
        values = train_step(run, batch, compute_loss, clip_grad)
        run.count_replaced(batch.broken)
        for averages in (window, run.averages):
            averages.add(len(batch.block), values)
        for speed in (window_speed, epoch_speed):
            speed.add(len(batch.block), batch.wait_seconds)
        if run.step % print_freq == 0:
            run.log.write('step', run.iteration, {**window.read(), **window_speed.read(), **run.gauges()},
                          epoch=run.epoch + 1, epochs=run.epochs, step=run.step, steps=len(batches))
            window = Averages()
        after_step(run, values, buffers, batches.paths(batch.index), skip_nonfinite)
        distributed.doing('waiting for data')
    if not run.averages.weight and run.step == first:
        return None  # resumed in the validation
    speed = {}
    if run.step > first:  # else resumed after the last step, before this was logged
        speed = epoch_speed.read()
        run.epoch_seconds = (time.monotonic() - started) * len(batches) / (run.step - first)
    stats = {**run.averages.read(), **speed, **run.gauges(), 'replaced': distributed.total(run.replaced),
             'skipped': run.skipped}
    run.log.write('train', run.iteration, stats, epoch=run.epoch + 1, epochs=run.epochs)
    run.averages = Averages()
    return stats


def train_step(run, batch, compute_loss, clip_grad=None):
    """One optimiser step; returns {name: mean over the batch}. Reading these numbers waits for the device."""
    torch.manual_seed(step_seed(run.seed, run.iteration, distributed.rank()))
    run.optimizer.zero_grad(set_to_none=True)
    scaler = run.precision.scaler
    with run.precision.autocast():
        loss, values = compute_loss(run.network, batch.block, batch.label)
    scaler.scale(loss).backward()
    scaler.unscale_(run.optimizer)
    values = {'loss': loss, **values, 'grad_norm': gradient_norm(run.model, clip_grad)}
    scaler.step(run.optimizer)  # leaves the weights alone if a gradient isn't finite
    run.precision.update_scale()
    run.step += 1
    run.iteration += 1
    return as_numbers(values)


def gradient_norm(model, clip_grad):
    """Norm of the whole gradient, before it is clipped to `clip_grad` (None: it isn't)."""
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters])
    if clip_grad:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip_grad, norm)
    return norm


def after_step(run, values, buffers, paths, skip_nonfinite):
    """What all processes decide together: skip a non-finite step, stop on a signal, save when due.

    values: of train_step. buffers: the model's, from before the step. paths: of this process's clips."""
    # fp16's scaler meets infinite gradients while it searches for its scale: only the loss counts there.
    watched = values['loss'] if run.precision.name == 'fp16' else values['loss'] + values['grad_norm']
    signum, bad, due = distributed.any_process(
        [run.signals.received, int(not math.isfinite(watched)), int(run.saver.is_due())])
    if bad:
        for buffer, before in zip(run.model.buffers(), buffers):
            buffer.copy_(before)
        skip_or_stop(run, [] if math.isfinite(watched) else paths, skip_nonfinite)
    if signum:
        run.stop(signum)
    if due:
        run.save_last()


def skip_or_stop(run, paths, skip_nonfinite):
    """After a non-finite step, which left the model as it was. paths: this process's clips if its loss was non-finite,
    else []."""
    run.skipped += 1
    message = (f'non-finite loss or gradient at epoch {run.epoch + 1}, step {run.step}, lr {run.learning_rate():g}; '
               f'the weights were left as they were. Clips: {", ".join(distributed.lists_of_all(paths))}')
    if run.skipped > skip_nonfinite:
        path = run.save_last()
        raise UserError(f'{message}. Saved {path}; look at these clips, lower --lr, or tolerate some such steps '
                        f'with --skip_nonfinite (now {skip_nonfinite})')
    if distributed.is_main():
        warn(message)


def as_numbers(values):
    """{name: 0-d tensor} -> {name: float}, in one copy from the device."""
    return dict(zip(values, torch.stack([value.detach().double() for value in values.values()]).tolist()))


def step_seed(seed, iteration, rank):
    """Seed of everything random in a step, dropout above all."""
    return int(sequence('step', seed, iteration, rank).generate_state(1, np.uint64)[0] >> 1)
