"""Rank, world size and everything that processes exchange. A single process needs none of it.

The group is joined from the environment, see utils.parallel.environment.
"""
import contextlib
import datetime
import itertools
import json
import os
import sys
import threading
import time
import warnings

import torch
import torch.distributed as dist

from utils.cli import UserError
from utils.parallel.environment import group_in_environment, in_environment
from utils.parallel.joining import JOIN_SECONDS, connect, join
from utils.parallel.signals import Stopped
from utils.text import first_line

BEAT_SECONDS = 2
SILENT_SECONDS = 3 * BEAT_SECONDS


class LostContact(UserError):
    """Another process of the group is gone or silent. `saved`: path of the last checkpoint, or None."""

    def __init__(self, message, saved):
        super().__init__(message)
        self.saved = saved


def is_joined():
    return dist.is_available() and dist.is_initialized()


def rank():
    return dist.get_rank() if is_joined() else 0


def world():
    return dist.get_world_size() if is_joined() else 1


def is_main():
    return rank() == 0


# ---- the group -------------------------------------------------------------------------------------------------------

_heartbeat = None  # of this process, while it is in a group
_cpu_group = None  # gloo: what the processes agree on at each step never waits for a GPU
_store = None
_arrivals = itertools.count()


class Heartbeat:
    """Tells the other processes every two seconds what this one is doing.

    Without it a run that hangs would end in a timeout that doesn't say which process, on which machine, hung.
    """

    def __init__(self, store, number, count):
        self.store, self.number, self.count = store, number, count
        self.saved = None
        self.now('starting')
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._beat, daemon=True)
        self.thread.start()

    def now(self, doing):
        self.doing, self.since = doing, time.time()

    def _beat(self):
        with contextlib.suppress(RuntimeError):  # the store goes with the group's first process
            while not self.stopped.is_set():
                self.store.set(f'beat/{self.number}', json.dumps([time.time(), self.doing, self.since]))
                self.stopped.wait(BEAT_SECONDS)

    def leave(self):
        """Says so to the others. The thread ends first: one that still beats while Python shuts down aborts the
        process."""
        self.stopped.set()
        self.thread.join(BEAT_SECONDS)
        with contextlib.suppress(RuntimeError):
            self.store.set(f'left/{self.number}', '')

    def lost_contact(self, timeout):
        """What each process last said, in one line, if another one is gone or silent, or this one has waited for
        `timeout` seconds; None if the group is fine. May block for 8 s, the time to detect a killed process."""
        waited = time.time() - self.since >= 0.9 * timeout
        deadline = time.time() + SILENT_SECONDS + BEAT_SECONDS
        self.store.set_timeout(datetime.timedelta(seconds=3))
        try:
            while True:
                beats = [json.loads(self.store.get(f'beat/{number}')) for number in range(self.count)]
                gone = [self.store.check([f'left/{number}']) or time.time() - beat[0] > SILENT_SECONDS
                        for number, beat in enumerate(beats)]
                if any(gone) or time.time() > deadline:
                    break
                time.sleep(0.5)
        except (dist.DistError, RuntimeError):
            return 'Process 0 does not answer: see how it ended'
        if not any(gone) and not waited:
            return None
        said = []
        for number, ((beat, doing, since), silent) in enumerate(zip(beats, gone)):
            life = f'no sign of life for {time.time() - beat:.0f} s' if silent else 'alive'
            said.append(f'process {number}: {life}, {doing} for {time.time() - since:.0f} s')
        return 'What they were doing: ' + '; '.join(said)


def doing(what):
    """Notes what this process is doing, for the message when the group breaks."""
    if _heartbeat is not None:
        _heartbeat.now(what)


def saved(path):
    """Notes the last checkpoint, for the same message."""
    if _heartbeat is not None:
        _heartbeat.saved = path


@contextlib.contextmanager
def group(timeout, nccl=False):
    """Joins the group that the environment names, if any, for the duration of the context.

    timeout: seconds after which a process that doesn't answer breaks the group (0: never); joining has JOIN_SECONDS.
    nccl: the processes compute on GPUs. Only the first process prints on stdout.
    UserError: the environment is wrong, or not all join. LostContact when a collective fails: says what each process
    was doing.
    """
    global _heartbeat, _cpu_group, _store
    if not in_environment():
        yield
        return
    number, count, address, port = group_in_environment()
    timeout = timeout or 7 * 24 * 3600
    limit = datetime.timedelta(seconds=timeout)
    # torchrun's agent already serves a store at that port.
    serves = number == 0 and os.environ.get('TORCHELASTIC_USE_AGENT_STORE') != 'True'
    store = join(address, port, number, count, serves)
    if nccl:  # NCCL ends the process at its limit: later than gloo, whose error says why
        dist.init_process_group('cpu:gloo,cuda:nccl', store=store, rank=number, world_size=count, timeout=2 * limit)
    else:
        dist.init_process_group('gloo', store=store, rank=number, world_size=count, timeout=limit)
    _cpu_group, _store = dist.new_group(backend='gloo', timeout=limit), store
    _heartbeat = Heartbeat(connect(address, port, count, serves=False), number, count)
    if number > 0:
        sys.stdout = open(os.devnull, 'w')
    try:
        yield
    except Stopped:  # all processes, after the same step
        dist.destroy_process_group()
        raise
    except RuntimeError as error:  # a failed collective raises many kinds of them
        said = _heartbeat.lost_contact(timeout)
        if said is None:
            raise
        raise LostContact(f'process {number} of {count} lost contact with the others '
                          f'({first_line(error)}). {said}', _heartbeat.saved) from error
    finally:
        _heartbeat.leave()
        _heartbeat = None
    dist.destroy_process_group()


# ---- what processes tell each other ----------------------------------------------------------------------------------

def any_process(flags):
    """Element-wise maximum of a list of ints over all processes. On the CPU: never waits for a GPU."""
    if not is_joined():
        return flags
    flags = torch.tensor(flags)
    dist.all_reduce(flags, dist.ReduceOp.MAX, group=_cpu_group)
    return flags.tolist()


def wait_for_main():
    """Waits for the first process, which may take minutes to save to a slow disk, but not for the others."""
    if is_joined():
        here = f'main is here/{next(_arrivals)}'
        if is_main():
            _store.set(here, '')
        else:
            _store.wait([here], datetime.timedelta(seconds=JOIN_SECONDS))


def lists_of_all(values):
    """The lists of all processes (of anything that pickles), concatenated."""
    if not is_joined():
        return values
    lists = [None] * world()
    dist.all_gather_object(lists, values)
    return sum(lists, [])


def from_main(value):
    """The first process's `value` (anything that pickles), on every process."""
    if not is_joined():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device('cpu'))
    return box[0]


def total(number):
    """The sum of an int over all processes."""
    return int(sum_over_processes(torch.tensor(number)))


def sum_over_processes(tensor):
    """The tensor's sum over all processes, without gradients."""
    if is_joined():
        tensor = tensor.clone()
        dist.all_reduce(tensor)
    return tensor


class _SumWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor):
        return sum_over_processes(tensor)

    @staticmethod
    def backward(ctx, gradient):
        return sum_over_processes(gradient.contiguous())


def differentiable_sum(tensor):
    """The tensor's sum over all processes; its gradient is summed over them, too."""
    return _SumWithGradient.apply(tensor) if is_joined() else tensor


def gather(tensor):
    """Concatenates [B_r, …] of all processes r along the first dimension, with gradients; B_r may differ.

    Each process writes its part into zeros of the full size and the sum is taken: the same on every backend, and the
    backward pass hands each process the summed gradient of its part.
    Returns (the whole, where this process's part begins).
    """
    if not is_joined():
        return tensor, 0
    sizes = torch.zeros(world(), dtype=torch.long)
    sizes[rank()] = len(tensor)
    sizes = sum_over_processes(sizes).tolist()
    first = sum(sizes[:rank()])
    rest = sum(sizes) - first - len(tensor)
    whole = torch.cat([tensor.new_zeros(first, *tensor.shape[1:]), tensor, tensor.new_zeros(rest, *tensor.shape[1:])])
    return differentiable_sum(whole), first


# ---- models in several processes -------------------------------------------------------------------------------------

def wrap(model, device):
    """The model as each process calls it: gradients are averaged over the group. In a single process, the model
    itself."""
    if not is_joined():
        return model
    # 1×1×1 kernels get gradients of other strides on the CPU, at no cost.
    warnings.filterwarnings('ignore', 'Grad strides do not match bucket view strides')
    device_ids = [device] if device.type == 'cuda' else None
    return torch.nn.parallel.DistributedDataParallel(model, device_ids=device_ids)


def copy_buffers_from_main(model):
    """Gives all processes the first one's running statistics, which its checkpoints store. (DistributedDataParallel
    does the same before each training step.)"""
    if is_joined():
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
