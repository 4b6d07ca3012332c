"""How processes find each other: the store of their group, and the wait until all are there."""
import datetime
import os
import sys
import threading
import time

import torch.distributed as dist

from utils.cli import UserError
from utils.text import first_line

JOIN_SECONDS = 600   # machines of a cluster may start minutes apart
NOTICE_SECONDS = 5   # of waiting, before a line says for whom


def join(address, port, number, count, serves):
    """Connects process `number` to the group's store, see `connect`, and waits until all `count` processes have:
    minutes if need be, while a collective that takes so long has failed. UserError: not all join within JOIN_SECONDS.
    """
    notice = threading.Timer(NOTICE_SECONDS, say_waiting, [[0], count, f' at {address}:{port}'])
    notice.daemon = True
    notice.start()
    try:
        store = connect(address, port, count, serves)
    finally:
        notice.cancel()
    store.set(f'joined/{number}', '')
    if number == 0:
        wait_for_all(store, count)
    else:
        wait_for_first(store, number, count)
    return store


def connect(address, port, count, serves):
    """A connection of its own to the group's store, which the first process or torchrun's agent `serves`."""
    try:
        store = dist.TCPStore(address, port, count, is_master=serves, timeout=datetime.timedelta(seconds=JOIN_SECONDS),
                              wait_for_workers=False)
    except RuntimeError as error:
        if 'EADDRINUSE' in str(error):
            raise UserError(f'MASTER_PORT {port} is in use on this machine: choose another for all processes'
                            ) from error
        raise UserError(f'process 0 cannot be reached at {address}:{port} ({first_line(error)}): see how it ended, and '
                        'check MASTER_ADDR and MASTER_PORT') from error
    restart = os.environ.get('TORCHELASTIC_RESTART_COUNT')  # the agent's store outlives a restart
    return store if restart is None else dist.PrefixStore(restart, store)


def wait_for_first(store, number, count):
    """Waits for process 0 to say that all have joined."""
    try:
        store.wait(['all have joined'], datetime.timedelta(seconds=JOIN_SECONDS))
    except RuntimeError as error:
        raise UserError(f'process {number} of {count} waited for the others, and process 0 is gone or does not answer: '
                        'see how it ended') from error


def wait_for_all(store, count):
    """Waits as process 0 for all to join, and says for whom."""
    missing, said, start = list(range(count)), [], time.monotonic()
    while missing := [other for other in missing if not store.check([f'joined/{other}'])]:
        waited = time.monotonic() - start
        if waited > JOIN_SECONDS:
            raise UserError(f'{names(missing, count)} did not join within {JOIN_SECONDS} s: see how it ended')
        if waited > NOTICE_SECONDS and missing != said:
            say_waiting(missing, count)
            said = missing
        time.sleep(0.1)
    store.set('all have joined', '')


def say_waiting(missing, count, where=''):
    print(f'waiting for {names(missing, count)}{where}', file=sys.stderr, flush=True)


def names(numbers, count):
    """'process 1 of 2', 'processes 1, 2, 3, … of 8'"""
    listed = ', '.join(map(str, numbers[:8])) + (', …' if len(numbers) > 8 else '')
    return f'process{"es" if len(numbers) > 1 else ""} {listed} of {count}'
