"""Running statistics for BatchNorm layers whose weights were stored without them, estimated from training clips."""
import torch

from utils.data.batches import make_loader, next_item, start_reading
from utils.data.colour import to_block
from utils.parallel.distributed import rank, sum_over_processes, world
from utils.random_streams import stream
from utils.run.log import say
from utils.text import counted

MAX_BATCHES = 200
MAX_CLIPS = 32  # in a batch: bounds the memory of a process whatever --batch_size


def layers_without_statistics(model, missing):
    """BatchNorm layers of the model whose running statistics are among the tensor names `missing` of a LoadReport."""
    missing = set(missing)
    return [layer for name, layer in model.named_modules()
            if missing & {f'{name}.running_mean', f'{name}.running_var'}]


def choose_batches(length, batch_size, seed):
    """Indices into a data set of `length` training clips, int64 [batches, B]; not random beyond the seed."""
    size = min(max(batch_size, 2), MAX_CLIPS, length)
    count = min(length // size, MAX_BATCHES)
    order = stream('bn_statistics', seed).permutation(length)
    return order[:count * size].reshape(count, size)


def training_blocks(dataset, batches, precision, num_workers, timeout):
    """Yields blocks [B, N, C, T, H, W] of a ClipDataset: this process's share of `batches` int64 [batches, B].

    Batches are shared out whole, because BN normalises by a batch: the same ones for any number of processes."""
    keys = [[(0, int(index)) for index in batch] for batch in batches[rank()::world()]]
    loader = make_loader(dataset, num_workers, timeout, batch_sampler=keys)
    clips = start_reading(loader)
    for _ in keys:
        batch = next_item(clips, loader)
        colour = batch['colour'] and {name: value.to(precision.device) for name, value in batch['colour'].items()}
        yield to_block(batch['frames'].to(precision.device), colour, dataset.num_seq, precision.dtype)


@torch.no_grad()
def estimate_bn_statistics(model, layers, blocks, precision):
    """Sets the running statistics of `layers` to plain averages over the batches `blocks` of all processes.

    Everything else stays in eval mode: no dropout, and other layers keep their statistics. Works for any BatchNorm
    layer with PyTorch's buffers and meaning of momentum; one that is never called keeps mean 0 and variance 1.
    """
    momenta = [layer.momentum for layer in layers]
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative average
        layer.train()
    for block in blocks:
        with precision.autocast():
            model(block)
    for layer, momentum in zip(layers, momenta):
        layer.eval()
        layer.momentum = momentum
        average_over_processes(layer)


def complete_bn_statistics(model, missing, dataset, batch_size, seed, precision, num_workers, timeout):
    """Estimates the BN running statistics that are among the tensor names `missing`, if any, from the training clips of
    a ClipDataset. batch_size: at most MAX_CLIPS of it are used."""
    layers = layers_without_statistics(model, missing)
    if not layers:
        return
    batches = choose_batches(len(dataset), batch_size, seed)
    count, size = batches.shape
    say(f'estimating BN statistics of {len(layers)} layers from {count} '
        f'{"batch" if count == 1 else "batches"} of {counted(size, "training clip")}')
    estimate_bn_statistics(model, layers, training_blocks(dataset, batches, precision, num_workers, timeout), precision)


def average_over_processes(layer):
    """Combines cumulative averages; each process weighs as many batches as it has seen."""
    seen = layer.num_batches_tracked.double()
    total = sum_over_processes(seen)
    if total > 0:
        for buffer in (layer.running_mean, layer.running_var):
            buffer.copy_(sum_over_processes(buffer.double() * seen) / total)
    layer.num_batches_tracked.copy_(total)
