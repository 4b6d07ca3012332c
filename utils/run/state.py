"""One training run: what is trained, where its folder is, and how far it is. Checkpoints store all of it."""
import contextlib
import signal

import torch

from utils.checkpoint import load_weights, read_checkpoint
from utils.cli import UserError
from utils.data.seen import record_of, seen_by, trainings_of
from utils.parallel import distributed
from utils.parallel.memory import peak_gb
from utils.parallel.signals import Stopped, StopSignals
from utils.run.averages import Averages
from utils.run.best_and_newest import Saver, readable_checkpoints
from utils.run.clip_picture import draw_clips
from utils.run.log import epoch_line, open_log, say, warn
from utils.run.optimisation import follow_schedule, load_optimizer, set_learning_rate, step_schedule
from utils.text import first_line

SHOWN_REPLACEMENTS = 10  # samples with unreadable frames that are named per epoch; all are counted


class Run:
    """A model with its optimiser, schedule, log and checkpoints, at a point of its training.

    `epoch`, `step` (in the epoch) and `iteration` (in the run) are the next ones. Everything random in a step is seeded
    by (seed, iteration, rank), so a resumed run continues exactly as an undisturbed one would.

    model: what checkpoints store. optimizer, schedule: see utils.run.optimisation.
    precision: utils.parallel.precision.Precision, which has the device.
    settings: what checkpoints say about the model and its clips, see utils.checkpoint.
    epochs: of the whole run. `network` is the model, wrapped for the group of processes if there is one.
    """

    def __init__(self, model, optimizer, schedule, precision, settings, epochs, seed=0):
        self.model, self.network = model, distributed.wrap(model, precision.device)
        self.optimizer, self.schedule, self.precision = optimizer, schedule, precision
        self.settings, self.epochs, self.seed = settings, epochs, seed
        self.epoch = self.step = self.iteration = 0
        self.best_acc = 0.
        self.replaced = 0  # samples of this epoch whose frames could not be read, in this process
        self.skipped = 0   # non-finite steps of the run
        self.averages = Averages()  # of this epoch, until they are logged
        self.epoch_seconds = 0.     # that an epoch takes
        self.log_position = 0, 0    # bytes of log.jsonl and iteration after which logging starts
        self.signals = StopSignals()

    def open(self, folder, keep=3, save_minutes=10.):
        """Opens the log and the checkpoints of a run folder. keep, save_minutes: see Saver."""
        self.log, self.saver = open_log(folder), Saver(folder, keep, save_minutes)

    def resume(self, path, validated, lr=None):
        """Continues from the checkpoint at `path`, with the learning rate `lr` if given. UserError: it doesn't fit.

        validated: the VideoList for validation; says how many of its videos the run has trained on, as when its lists
        have changed."""
        checkpoint = read_checkpoint(path, resumable=True)
        load_weights(self.model, checkpoint, strict=True, origin=f'--resume {path}')
        try:
            load_optimizer(self.optimizer, checkpoint['optimizer'])
            if type(checkpoint['schedule'].get('last_epoch')) is not int:
                raise ValueError('its schedule has no last_epoch')
            self.schedule.load_state_dict(checkpoint['schedule'])
            follow_schedule(self.optimizer, self.schedule)
            if self.precision.name == 'fp16' and checkpoint['scaler'].get('scale', 1.) != 1.:  # else as it begins
                self.precision.scaler.load_state_dict(checkpoint['scaler'])
            self.averages.load_state_dict(checkpoint['averages'])
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(f'--resume {path}: its optimiser or schedule does not fit ({first_line(error)}): resume '
                            'with the flags of the first run, which args.json beside it lists') from error
        for name in ('epoch', 'step', 'iteration', 'best_acc', 'skipped'):
            setattr(self, name, checkpoint[name])
        self.settings = {**self.settings, **started_from(self.settings, checkpoint)}
        self.replaced = checkpoint['replaced'] if distributed.is_main() else 0
        self.log_position = checkpoint['log_size'], self.iteration
        self._warn_of_newer(path)
        seen = seen_by(trainings_of(checkpoint)[:1], validated)
        if seen.any() and distributed.is_main():
            warn(f'--resume {path}: this run was trained on {seen.sum()} of the {len(validated)} validation videos, so '
                 'validation is too good: its lists, or how videos are held out, have changed since it began')
        if lr is not None:
            set_learning_rate(self.optimizer, self.schedule, lr)
        say(f'resumed {path}: epoch {self.epoch + 1}, step {self.step + 1}, best accuracy {self.best_acc:.2%}, '
            f'learning rate {self.learning_rate():g}')

    def _warn_of_newer(self, resumed):
        """Checkpoints newer than the resumed one will be deleted at the next save."""
        if distributed.is_main():
            newer = [path.name for path, iteration in readable_checkpoints(self.saver.folder.parent).items()
                     if iteration > self.iteration]
            if newer:
                warn(f'{", ".join(newer)} went further than {resumed.name}, and will be deleted when this run saves: '
                     'stop now and copy them if you want to keep them')
        distributed.wait_for_main()

    @contextlib.contextmanager
    def logged(self):
        """Begins the log, and notes in it how the run ended."""
        if self.epoch >= self.epochs:
            say(f'nothing to train: the run has done {self.epoch} of --epochs {self.epochs}; give more to continue')
            yield
            return
        self.log.begin(*self.log_position)
        try:
            yield
        except Exception as error:
            with contextlib.suppress(OSError):  # the disk may be full
                self.log.end((first_line(error) or type(error).__name__).split(';')[0])
            raise
        self.log.end('finished')
        say(f'finished --epochs {self.epochs}; best validation accuracy {self.best_acc:.2%}, in {self.saver.best()}')

    def log_epoch(self, train, val):
        """The line of an epoch on the screen. train: None if nothing was left to train in it; val: of `validate`."""
        if distributed.is_main():
            say(epoch_line(self.epoch + 1, self.epochs, train, val, self.epoch_seconds))

    def save_epoch(self, val):
        """Moves to the next epoch, steps the schedule and saves. val: of `validate`; its top-1 decides what is best. It
        counts as 0 where batches were skipped."""
        step_schedule(self.schedule)
        self.epoch += 1
        self.step = self.replaced = 0
        top1 = 0. if val['skipped'] else val['top1']
        best = self.saver.is_best(top1, self.best_acc)
        if best:
            self.best_acc = top1
        self.saver.save_epoch({**self.checkpoint(), 'best': best}, self.epoch, best)

    def save_last(self):
        """Saves within an epoch; returns the path."""
        return self.saver.save_last(self.checkpoint())

    def stop(self, signum):
        """Saves and ends the run, as a signal asked."""
        path = self.save_last()
        name = signal.Signals(signum).name
        raise Stopped(signum, f'stopped by {name} in epoch {self.epoch + 1} after step {self.step}. '
                              f'Resume with the same command and --resume {path}')

    def checkpoint(self):
        """All that a resumed run needs; every process of a group calls this together."""
        return {'epoch': self.epoch, 'step': self.step, 'iteration': self.iteration, 'net': self.settings['net'],
                'settings': self.settings, 'best_acc': self.best_acc, 'state_dict': self.model.state_dict(),
                'optimizer': self.optimizer.state_dict(), 'schedule': self.schedule.state_dict(),
                'precision': self.precision.name, 'scaler': self.precision.scaler.state_dict(),
                'averages': self.averages.state_dict(), 'replaced': distributed.total(self.replaced),
                'skipped': self.skipped, 'log_size': self.log.size()}

    def count_replaced(self, broken):
        """Names and counts the unreadable samples of a batch, which others replaced."""
        for message in broken:
            if self.replaced < SHOWN_REPLACEMENTS:
                warn(f'replaced a sample: {message}')
            self.replaced += 1

    def draw(self, kind, block, title):
        """Stores a picture of a batch, with the blocks to predict marked."""
        if distributed.is_main():
            self.log.write_picture(f'{kind}_frames', draw_clips(block, self.settings.get('pred_step', 0), title))

    def gauges(self):
        return {'lr': self.learning_rate(), 'memory_gb': peak_gb(self.precision.device)}

    def learning_rate(self):
        """Of the parameter group with the highest rate."""
        return max(group['lr'] for group in self.optimizer.param_groups)


def started_from(settings, checkpoint):
    """{'started_from': trainings} for the `settings` of a run that resumes a checkpoint: also the run so far, if its
    list was another. {} if the checkpoint stores no list."""
    trainings = trainings_of(checkpoint)
    if not trainings:
        return {}
    own, *before = map(record_of, trainings)
    same = torch.equal(own['train_list']['videos'], settings['train_list']['videos'])
    return {'started_from': before if same else [own, *before]}
