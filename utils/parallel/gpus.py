"""What `--gpu` and `--num_procs` mean: how many processes, and the device of each."""
import torch

from utils.cli import UserError, cpu_cores
from utils.parallel.memory import available_memory, keep_freed_memory

PROCESS_BYTES = 5e8  # of a training process beside its model and data, mostly PyTorch itself


def uses_cuda(gpu):
    """Whether a run with this `--gpu` computes on GPUs."""
    return gpu != 'cpu' and torch.cuda.is_available()


def count_processes(gpu, num_procs):
    """Processes that `--gpu` and `--num_procs` ask for on this machine: one per GPU, or `num_procs` on the CPU."""
    if gpu not in (None, 'cpu'):
        check_gpus(gpu)
    if uses_cuda(gpu):
        if num_procs > 1:
            raise UserError(f'--num_procs {num_procs} is for --gpu cpu: on GPUs there is one process for each of --gpu')
        return len(parse_gpu_list(gpu))
    most = max(4, 2 * cpu_cores())
    if num_procs > most:
        raise UserError(f'--num_procs {num_procs}: this machine has {cpu_cores()} cores; give at most {most}')
    if num_procs > 1 and num_procs * PROCESS_BYTES > available_memory():
        raise UserError(f'--num_procs {num_procs} needs at least {num_procs * PROCESS_BYTES / 1e9:.1f} GB of memory; '
                        f'{available_memory() / 1e9:.1f} GB are free')
    return num_procs


def choose_device(gpu, local_rank=0):
    """The torch.device of this process for `--gpu`: None (what the machine has), 'cpu', or a list such as '0' or '0,1'.

    Process `local_rank` of this machine takes that entry of the list. UserError for a GPU that doesn't exist. Sets the
    process up to be fast on the device.
    """
    device = find_device(gpu, local_rank)
    if device.type == 'cuda':
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True  # training has few shapes: search for the fastest kernels once
    else:
        keep_freed_memory()
    return device


def find_device(gpu, local_rank):
    if gpu == 'cpu' or (gpu is None and not torch.cuda.is_available()):
        return torch.device('cpu')
    check_gpus(gpu)
    ids = list(range(torch.cuda.device_count())) if gpu is None else parse_gpu_list(gpu)
    if local_rank >= len(ids):
        raise UserError(f'{len(ids)} GPUs for more processes of the group on this machine: start one process per GPU')
    return torch.device('cuda', ids[local_rank])


def check_gpus(gpu):
    """UserError unless this machine has the GPUs that `--gpu` lists."""
    ids = parse_gpu_list(gpu)
    if not torch.cuda.is_available():
        raise UserError(f'--gpu {gpu}: this machine has no CUDA device: leave the flag out, or give --gpu cpu')
    count = torch.cuda.device_count()
    absent = [i for i in ids if i >= count]
    if absent:
        raise UserError(f'--gpu {gpu}: there is no GPU {absent[0]}, this machine has {count} (0 to {count - 1})')


def parse_gpu_list(gpu):
    """'0,1' -> [0, 1]; None -> [0]. UserError for anything else."""
    if gpu is None:
        return [0]
    ids = [part.strip() for part in gpu.split(',')]
    if not all(part.isdecimal() and len(part) < 5 for part in ids) or len(set(map(int, ids))) != len(ids):
        raise UserError(f'--gpu {gpu}: give the number of a GPU (0), several (0,1), or cpu')
    return [int(part) for part in ids]
