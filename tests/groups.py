"""Functions run in a group of processes."""
import importlib
import multiprocessing
import os
import pickle
import socket
import sys
import tempfile
import time

import torch

from tests import forked
from utils.parallel import distributed


def in_group(function, world, timeout=60, late=0):
    """What `function(world)`, of a module of tests, returns in each of `world` processes of a group, by rank.

    timeout: of the group, s. late: seconds that the last process starts after the others."""
    with tempfile.NamedTemporaryFile() as file:
        argv = ['-m', 'tests.groups', function.__module__, function.__name__, world, timeout, late, file.name]
        forked.run(argv, cwd=forked.ROOT, check=True)
        return pickle.load(file)


def process(number, world, port, function, timeout, results):
    torch.set_num_threads(1)
    os.environ.update(RANK=str(number), WORLD_SIZE=str(world), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    with distributed.group(timeout):
        results.put((number, function(world)))


def main(module, function, world, timeout, late, path):
    function = getattr(importlib.import_module(module), function)
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    results = multiprocessing.Queue()
    processes = [multiprocessing.Process(target=process, args=(number, world, port, function, timeout, results))
                 for number in range(world)]
    for each in processes:
        time.sleep(late * (each is processes[-1]))
        each.start()
    values = dict(results.get(timeout=100) for _ in processes)
    for each in processes:
        each.join()
        assert each.exitcode == 0
    with open(path, 'wb') as file:
        pickle.dump([values[number] for number in range(world)], file)


if __name__ == '__main__':
    main(*sys.argv[1:3], *map(int, sys.argv[3:6]), sys.argv[6])
