"""What fits into the time of a demo, at the speed that was measured last. Times are seconds, unless named minutes."""
import math
from dataclasses import dataclass

MINUTES = 10, 15         # where --minutes is left out: the first, up to the second where the machine needs it
ENOUGH = 1700            # clips of pretraining after which frozen features are better than random ones
PRETRAINING_SHARE = 0.6  # of the time, at least; fine-tuning gets what is left above it
FINETUNING_STEPS = 150   # of each classifier: with fewer it stays near chance
# Of each labelled video clips pass four networks, pretrained and random weights of three seeds; of the training videos,
# three in four, also the random ones to estimate their BN statistics.
PASSES = 4 + 3 * 0.75
PROTOCOLS = 80  # of frozen evaluation on two cores; a machine whose networks are fast, as in bfloat16, needs them, too
# On a machine that trains on SLOW clips a second, besides starting scripts and running networks:
SLOW, VIDEOS, LISTS, PICTURES = 10, 20, 20, 10


@dataclass
class Machine:
    """What was measured. The values here are those of a slow machine, for the first plan.

    clips_per_s: of training. start: until a script begins its work. save: after each epoch, with validation.
    epoch: clips of pretraining in an epoch. labelled: videos."""
    clips_per_s: float = SLOW
    start: float = 8
    save: float = 2
    epoch: int = 866
    labelled: int = 384

    def epochs(self, count):
        return count * (self.epoch / self.clips_per_s + self.save)

    def here(self, seconds):
        """What takes so long on a machine with the speed SLOW."""
        return seconds * SLOW / self.clips_per_s

    def finetuning(self, batch_size):
        """(seconds of training both classifiers, of testing them)."""
        training = FINETUNING_STEPS * batch_size / self.clips_per_s + self.start + 2 * self.save
        return 2 * training, 2 * (self.start + self.labelled / 4 / 3 / self.clips_per_s)

    def rest(self):
        """{step: seconds} after pretraining, without fine-tuning. A forward pass is a third of a step of training."""
        return {'frozen': self.start + PASSES * self.labelled / 3 / self.clips_per_s + PROTOCOLS,
                'predict': self.start + self.here(PICTURES), 'report': self.start / 2}


def plan(seconds, machine, batch_size, took):
    """{step: seconds} of a whole demo; fine-tuning has none if pretraining would get less than its share.

    took: {step: seconds} of the steps that are done."""
    steps = {'data': machine.here(VIDEOS), 'lists': machine.here(LISTS), 'first': machine.start + machine.epochs(1),
             **machine.rest(), **took}
    finetuning = dict(zip(('finetune', 'test'), machine.finetuning(batch_size)))
    left = seconds - sum(each for name, each in steps.items() if name not in ('first', 'pretrain'))
    if left - sum(finetuning.values()) < PRETRAINING_SHARE * seconds:
        finetuning = {'finetune': 0, 'test': 0}
    pretraining = max(0, left - steps['first'] - sum(finetuning.values()))
    return {'pretrain': pretraining, **finetuning, **steps}


def more_epochs(seconds, machine, reserved):
    """Epochs of pretraining that fit into what is left, the next steps excluded. reserved: for fine-tuning."""
    left = seconds - sum(machine.rest().values()) - reserved - machine.start
    return max(0, math.floor(left / machine.epochs(1)))


def minutes_needed(used, machine):
    """Minutes of a demo that pretrains on ENOUGH clips. used: seconds so far, with the first epoch."""
    epochs = max(0, math.ceil(ENOUGH / machine.epoch) - 1)
    return (used + 2 * machine.start + machine.epochs(epochs) + sum(machine.rest().values())) / 60


def minutes_to_take(given, needed):
    """The minutes that were given (None: not), or as many as are needed between MINUTES."""
    return given or min(max(MINUTES[0], needed), MINUTES[1])
