"""Functions run in a group of processes."""
import importlib
import multiprocessing
import os
import pickle
import socket
import sys
import tempfile

import torch

from tests import forked
from utils.parallel import distributed


def in_group(function, world):
    """What `function(world)`, of a module of tests, returns in each of `world` processes of a group, by rank."""
    with tempfile.NamedTemporaryFile() as file:
        argv = ['-m', 'tests.groups', function.__module__, function.__name__, world, file.name]
        forked.run(argv, cwd=forked.ROOT, check=True)
        return pickle.load(file)


def process(number, world, port, function, results):
    torch.set_num_threads(1)
    os.environ.update(RANK=str(number), WORLD_SIZE=str(world), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    with distributed.group(timeout=60):
        results.put((number, function(world)))


def main(module, function, world, path):
    function = getattr(importlib.import_module(module), function)
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    results = multiprocessing.Queue()
    processes = [multiprocessing.Process(target=process, args=(number, world, port, function, results))
                 for number in range(world)]
    for each in processes:
        each.start()
    values = dict(results.get(timeout=100) for _ in processes)
    for each in processes:
        each.join()
        assert each.exitcode == 0
    with open(path, 'wb') as file:
        pickle.dump([values[number] for number in range(world)], file)


if __name__ == '__main__':
    main(*sys.argv[1:3], int(sys.argv[3]), sys.argv[4])
