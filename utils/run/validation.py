"""A pass over the validation clips: the same clips every time, sample-weighted averages."""
import time

import torch

from utils.parallel import distributed
from utils.run.averages import Averages
from utils.run.log import progress_bar
from utils.run.training import as_numbers


class LossOnly:
    """What `validate` measures where it is just the loss of training and its statistics."""

    def __init__(self, compute_loss):
        self.compute_loss = compute_loss

    def restart(self):
        """Begins a validation."""

    def __call__(self, model, block, label):
        return self.compute_loss(model, block, label)

    def summary(self, epoch):
        """{name: number} of the whole validation after this epoch, counted from 1."""
        return {}

    def warnings(self, stats):
        """Lines about what is wrong with the run, from the statistics of a validation."""
        return []


def validate(run, batches, measure):
    """Statistics {name: number} of the validation set, all processes together, and `skipped`: the number of batches
    with a value that isn't finite in any process. That process leaves its share of the batch out of the averages.

    measure: LossOnly, or another object with its methods, such as dpc.validation.Validation."""
    started = time.monotonic()
    run.model.eval()
    distributed.copy_buffers_from_main(run.model)
    averages, replaced, skipped = Averages(), run.replaced, 0
    measure.restart()
    with torch.no_grad():
        for batch in progress_bar(batches.epoch(0), f'validation {run.epoch + 1}/{run.epochs}', total=len(batches)):
            distributed.doing(f'validating, epoch {run.epoch + 1}')
            if run.epoch == 0 and not averages.weight:
                run.draw('val', batch.block, 'validation clips as the network sees them: centre crop')
            with run.precision.autocast():
                loss, values = measure(run.model, batch.block, batch.label)
            finite = averages.add(len(batch.block), as_numbers({'loss': loss, **values}))
            run.count_replaced(batch.broken)
            signum, bad = distributed.any_process([run.signals.received, int(not finite)])
            skipped += bad
            if signum:
                run.stop(signum)
    stats = {**averages.read(), **measure.summary(run.epoch + 1), 'skipped': skipped}
    position = {'epoch': run.epoch + 1, 'epochs': run.epochs}
    run.log.write('val', run.iteration, {**stats, 'replaced': distributed.total(run.replaced - replaced)}, **position)
    if skipped:
        run.log.warn(run.iteration, f'{skipped} of {len(batches)} validation batches have a loss or a statistic that '
                     'is not finite: they are left out, and the top-1 of this epoch counts as 0 in the choice of the '
                     'best; lower --lr, or try --amp off', **position)
    for line in measure.warnings(stats):
        run.log.warn(run.iteration, line, **position)
    run.epoch_seconds += time.monotonic() - started
    return stats
