"""What a process has to run videos with."""
from dataclasses import dataclass

from utils.parallel.distributed import world
from utils.parallel.precision import Precision
from utils.run.setup import workers_of


@dataclass(frozen=True)
class Resources:
    """
    precision      the dtype, and the device
    num_workers    processes that read videos; 0: this one reads
    timeout        seconds without a frame read after which they count as hung; 0: never
    clips_at_once  clips on the device together, of several videos
    """
    precision: Precision
    num_workers: int
    timeout: float
    clips_at_once: int


def resources_of(args, precision):
    """The Resources of the flags."""
    return Resources(precision, workers_of(args), args.timeout, -(-args.batch_size // world()))
