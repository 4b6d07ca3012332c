"""Rank, world size and everything that processes say to each other. A single process needs none of it.

The group is joined from the environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), which torchrun sets
and utils/parallel/launch.py sets in the processes it starts.
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
from utils.parallel.signals import Stopped

JOIN_SECONDS = 600  # machines of a cluster may start minutes apart
BEAT_SECONDS = 2


class LostContact(UserError):
    """Another process of the group is gone or silent."""


def is_joined():
    return dist.is_available() and dist.is_initialized()


def rank():
    return dist.get_rank() if is_joined() else 0


def world():
    return dist.get_world_size() if is_joined() else 1


def is_main():
    return rank() == 0


def local_rank():
    """Which of this machine's processes this is: it picks the GPU."""
    return int(os.environ.get('LOCAL_RANK', 0))


def local_world():
    """Processes of the group on this machine."""
    return int(os.environ.get('LOCAL_WORLD_SIZE', 1))


def in_environment():
    """Whether the environment names a group of several processes to join."""
    return int(os.environ.get('WORLD_SIZE', 1)) > 1


class Heartbeat:
    """Tells the other processes every two seconds what this one is doing, so that they can say which one hangs."""

    def __init__(self, store, number):
        self.store, self.key = store, f'beat/{number}'
        self.doing, self.since = 'starting', time.time()
        threading.Thread(target=self._beat, daemon=True).start()

    def now(self, doing):
        self.doing, self.since = doing, time.time()

    def _beat(self):
        with contextlib.suppress(RuntimeError):  # the store goes with the group's first process
            while True:
                self.store.set(self.key, json.dumps([time.time(), self.doing, self.since]))
                time.sleep(BEAT_SECONDS)


_heartbeat = None  # of this process, while it is in a group
_in_step = None  # a gloo group of all processes: what they agree on at each step never waits for a GPU
_store = None
_arrivals = itertools.count()


def doing(what):
    """Notes what this process is doing, for the message when the group breaks."""
    if _heartbeat is not None:
        _heartbeat.now(what)


@contextlib.contextmanager
def group(timeout, nccl=False):
    """Joins the group that the environment names, if any, for the duration of the context.

    timeout: seconds after which a process that doesn't answer breaks the group (0: never). nccl: the processes compute
    on GPUs. Other processes than the first print nothing on stdout.
    LostContact when a collective fails: says what each process was doing.
    """
    global _heartbeat, _in_step, _store
    if not in_environment():
        yield
        return
    number, count = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])
    address, port = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])
    limit = datetime.timedelta(seconds=timeout or 7 * 24 * 3600)
    # torchrun's agent serves a store at that port already.
    serves = number == 0 and os.environ.get('TORCHELASTIC_USE_AGENT_STORE') != 'True'
    store = connect(address, port, count, serves)
    if nccl:  # NCCL ends the process when its limit is over: later than ours, which says why
        dist.init_process_group('cpu:gloo,cuda:nccl', store=store, rank=number, world_size=count, timeout=2 * limit)
    else:
        dist.init_process_group('gloo', store=store, rank=number, world_size=count, timeout=limit)
    _in_step, _store = dist.new_group(backend='gloo', timeout=limit), store
    _heartbeat = Heartbeat(connect(address, port, count, serves=False), number)
    if number > 0:
        sys.stdout = open(os.devnull, 'w')
    try:
        yield
    except Stopped:  # all of them, after the same step
        dist.destroy_process_group()
        raise
    except (dist.DistError, RuntimeError) as error:
        if not is_lost_contact(error):
            raise
        raise LostContact(f'process {number} of {count} lost contact with the others ({first_line(error)}). '
                        + describe_processes(store, count)) from error
    _heartbeat = None
    dist.destroy_process_group()


def connect(address, port, count, serves):
    """A connection of its own to the group's store, which the first process or torchrun's agent `serves`."""
    store = dist.TCPStore(address, port, count, is_master=serves, timeout=datetime.timedelta(seconds=JOIN_SECONDS),
                          wait_for_workers=False)
    restart = os.environ.get('TORCHELASTIC_RESTART_COUNT')  # the agent's store outlives a restart
    return store if restart is None else dist.PrefixStore(restart, store)


def is_lost_contact(error):
    """Whether an error comes from a collective whose other side is gone or silent."""
    text = str(error)
    return isinstance(error, dist.DistError) or any(
        sign in text for sign in ('gloo', 'Connection closed by peer', 'Connection reset', 'NCCL', 'Broken pipe'))


def first_line(error):
    return str(error).splitlines()[0][:200]


def describe_processes(store, count):
    """What each process last said it was doing, in one line."""
    store.set_timeout(datetime.timedelta(seconds=3))
    try:
        beats = [json.loads(store.get(f'beat/{number}')) for number in range(count)]
    except (dist.DistError, RuntimeError):
        return 'Process 0 does not answer: look at how it ended'
    said = []
    for number, (beat, what, since) in enumerate(beats):
        silent = time.time() - beat
        life = f'no sign of life for {silent:.0f} s' if silent > 3 * BEAT_SECONDS else 'alive'
        said.append(f'process {number}: {life}, {what} for {time.time() - since:.0f} s')
    return 'What they were doing: ' + '; '.join(said)


def any_process(flags):
    """Element-wise maximum of a list of ints over all processes. On the CPU: never waits for a GPU."""
    if not is_joined():
        return flags
    flags = torch.tensor(flags)
    dist.all_reduce(flags, dist.ReduceOp.MAX, group=_in_step)
    return flags.tolist()


def wait_for_main():
    """Waits until the first process has come here, too, which may take minutes when it saves to a slow disk. It doesn't
    wait for the others."""
    if is_joined():
        here = f'main is here/{next(_arrivals)}'
        if is_main():
            _store.set(here, '')
        else:
            _store.wait([here], datetime.timedelta(seconds=JOIN_SECONDS))


def lists_of_all(values):
    """The lists of all processes (of anything that pickles), one after the other."""
    if not is_joined():
        return values
    lists = [None] * world()
    dist.all_gather_object(lists, values)
    return sum(lists, [])


def wrap(model, device):
    """The model as each process calls it: gradients are averaged over the group. Alone, the model itself."""
    if not is_joined():
        return model
    # Of 1×1×1 kernels, whose gradients on the CPU differ in the strides of these ones: nothing is slower for it.
    warnings.filterwarnings('ignore', 'Grad strides do not match bucket view strides')
    device_ids = [device] if device.type == 'cuda' else None
    return torch.nn.parallel.DistributedDataParallel(model, device_ids=device_ids)


def sum_over_processes(tensor):
    """The tensor's sum over all processes, without gradients."""
    if is_joined():
        tensor = tensor.clone()
        dist.all_reduce(tensor)
    return tensor


def total(number):
    """The sum of an int over all processes."""
    return int(sum_over_processes(torch.tensor(number)))


def from_main(value):
    """The first process's `value` (anything that pickles), on every process."""
    if not is_joined():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device('cpu'))
    return box[0]


def copy_buffers_from_main(model):
    """Running statistics of the first process for all: they are what its checkpoints hold. (Before each training step
    DistributedDataParallel does the same.)"""
    if is_joined():
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


class _SumWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor):
        return sum_over_processes(tensor)

    @staticmethod
    def backward(ctx, gradient):
        return sum_over_processes(gradient.contiguous())


def differentiable_sum(tensor):
    """The tensor's sum over all processes; its gradient is summed over them too."""
    return _SumWithGradient.apply(tensor) if is_joined() else tensor


def gather(tensor):
    """Concatenates [B_r, …] of all processes r along the first dimension, with gradients; B_r may differ.

    Each process puts its part into zeros of the whole size and the sum is taken: simple, the same on every backend, and
    backward it hands every process the summed gradient of its part.
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


def sync_batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps):
    """torch.nn.functional.batch_norm with the statistics of all processes' batches; x [M, C, …], M may differ."""
    if not training:
        return torch.nn.functional.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    dims = [d for d in range(x.dim()) if d != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    value = x.float()
    count = sum_over_processes(value.new_full((), x.numel() // x.shape[1]))  # filled there: a copy would be waited for
    mean = differentiable_sum(value.sum(dims)) / count
    centred = value - mean.view(shape)
    variance = differentiable_sum((centred * centred).sum(dims)) / count
    if running_mean is not None:
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(variance * count / (count - 1), momentum)
    scale = torch.rsqrt(variance + eps) * weight
    return (centred * scale.view(shape) + bias.view(shape)).to(x.dtype)


def synchronise_batch_norm(model):
    """All BN layers of the model normalise by the batches of all processes together."""
    for module in model.modules():
        if hasattr(module, 'batch_norm'):
            module.batch_norm = sync_batch_norm
