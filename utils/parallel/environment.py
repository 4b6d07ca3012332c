"""The group of processes that the environment names: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and
MASTER_PORT, which torchrun sets and utils/parallel/launch.py sets in the processes it starts."""
import os
import socket
from typing import NamedTuple

from utils.cli import UserError

REMEDY = ('start the run with torchrun, or set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT for each '
          'process; unset WORLD_SIZE for a run without a group')


class Group(NamedTuple):
    rank: int
    world: int
    address: str
    port: int


def in_environment():
    """Whether the environment names a group of several processes to join. UserError: WORLD_SIZE is no number."""
    return number_in('WORLD_SIZE', 1, default=1) > 1


def local_rank():
    """This process's number among those on this machine: it picks the GPU."""
    return number_in('LOCAL_RANK', 0, default=0)


def local_world():
    """Processes of the group on this machine."""
    return number_in('LOCAL_WORLD_SIZE', 1, default=1)


def group_in_environment():
    """The Group to join. UserError, before anything slow, for a variable that is missing or wrong."""
    world = number_in('WORLD_SIZE', 1)
    address = os.environ.get('MASTER_ADDR', '')
    if not address:
        raise UserError(f'WORLD_SIZE is {world}, but MASTER_ADDR is empty or not set: {REMEDY}')
    group = Group(number_in('RANK', 0, world - 1), world, address, number_in('MASTER_PORT', 1, 2 ** 16 - 1))
    local_rank()
    try:
        socket.getaddrinfo(address, group.port)
    except OSError as error:
        raise UserError(f'MASTER_ADDR: the machine {address!r} cannot be found ({error.strerror}); give the name or IP '
                        'address of the machine of process 0') from error
    check_interfaces(os.environ.get('GLOO_SOCKET_IFNAME', ''))
    return group


def number_in(name, least, most=10 ** 6, default=None):
    """A whole number of the environment. UserError: it is none, not from `least` to `most`, or missing without a
    default."""
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    if text is None:
        raise UserError(f'WORLD_SIZE is {os.environ["WORLD_SIZE"]}, but {name} is not set: {REMEDY}')
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UserError(f'{name} is {text!r}, and must be a whole number from {least} to {most}: {REMEDY}')
    return int(text)


def check_interfaces(names):
    """UserError: one of the network interfaces, separated by commas, is not on this machine."""
    there = [name for _, name in socket.if_nameindex()]
    for name in filter(None, names.split(',')):
        if name not in there:
            raise UserError(f'GLOO_SOCKET_IFNAME: this machine has no network interface {name!r} (it has: '
                            f'{", ".join(there)}); correct or unset it')
