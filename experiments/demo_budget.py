"""What fits into the time of a demo, from the speed that was measured last."""
import math
from dataclasses import dataclass

MINUTES = 10, 15       # where --minutes is left out: the first, up to the second where the machine needs it
PRETRAINING_SHARE = 0.6  # of the time, at least: fine-tuning gets what is left above it
ENOUGH = 3000          # clips of pretraining after which frozen features show something
FINETUNING_STEPS = 100   # of each classifier: with fewer it stays at chance
# seconds of one idle core besides starting scripts and running networks
PROTOCOLS, PICTURES = 40, 15


@dataclass
class Machine:
    """What was measured: clips of training per second, seconds in which a training script starts and ends, and
    seconds of validation and saving after each epoch. The values here are those of a slow machine."""
    clips_per_s: float = 10.
    start: float = 10.
    save: float = 2.

    @property
    def slowness(self):
        """Seconds here that one second takes there, for what is not measured."""
        return 10 / self.clips_per_s


@dataclass
class Sizes:
    """Numbers of videos and clips. networks: evaluated frozen, with random weights of several seeds."""
    training: int    # unlabelled clips in an epoch
    labelled: int    # labelled videos, training and test
    batch_size: int
    networks: int = 4


def evaluation_seconds(machine, sizes):
    """Frozen evaluation, pictures of predictions and the report. A forward pass is a third of a step of training."""
    forward = sizes.labelled * sizes.networks / 3 / machine.clips_per_s
    return 3 * machine.start + forward + machine.slowness * (PROTOCOLS + PICTURES)


def finetuning_seconds(machine, sizes):
    """Both fine-tunings and their tests."""
    return 2 * (FINETUNING_STEPS * sizes.batch_size / machine.clips_per_s + 2 * machine.start)


def epoch_seconds(machine, sizes):
    return sizes.training / machine.clips_per_s + machine.save


def epochs_that_fit(seconds, machine, sizes):
    """More epochs of pretraining in so many seconds, the evaluation included; 0 or more."""
    left = seconds - evaluation_seconds(machine, sizes) - machine.start
    return max(0, math.floor(left / epoch_seconds(machine, sizes)))


def finetuning_fits(minutes, used, machine, sizes):
    """Whether PRETRAINING_SHARE of all minutes is left for pretraining with the fine-tunings. used: seconds of other
    steps so far."""
    rest = 60 * minutes - used - evaluation_seconds(machine, sizes) - finetuning_seconds(machine, sizes)
    return rest >= PRETRAINING_SHARE * 60 * minutes


def minutes_needed(seconds, machine, sizes):
    """Minutes of a demo that pretrains on ENOUGH clips. seconds: of its other steps so far."""
    epochs = math.ceil(ENOUGH / sizes.training)
    return (seconds + 2 * machine.start + epochs * epoch_seconds(machine, sizes)
            + evaluation_seconds(machine, sizes)) / 60


def minutes_to_take(given, needed):
    """The minutes of a demo: those given, or as many as are needed between MINUTES."""
    return given or min(max(MINUTES[0], needed), MINUTES[1])
