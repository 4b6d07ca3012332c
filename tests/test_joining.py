"""How a group comes together: what is wrong with its environment is one line, and a process may come late."""
import socket
import threading

import pytest
import torch.distributed as dist

from tests.groups import in_group
from utils.cli import UserError
from utils.parallel import distributed, joining
from utils.parallel.environment import group_in_environment, in_environment, local_rank

GOOD = {'WORLD_SIZE': '2', 'RANK': '1', 'LOCAL_RANK': '1', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': '29500'}


@pytest.fixture
def environment(monkeypatch):
    def set_to(**values):
        for name, value in {**GOOD, 'GLOO_SOCKET_IFNAME': None, **values}.items():
            monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    return set_to


def test_a_right_environment(environment):
    environment()
    assert in_environment() and group_in_environment() == (1, 2, '127.0.0.1', 29500) and local_rank() == 1
    environment(GLOO_SOCKET_IFNAME='lo', LOCAL_RANK=None)
    assert group_in_environment().rank == 1 and local_rank() == 0
    for world in (None, '1'):
        environment(WORLD_SIZE=world, RANK=None, MASTER_ADDR='')
        assert not in_environment()


@pytest.mark.parametrize('name, value, words', [
    *((name, value, f'{name} is {value!r}, and must be a whole number') for name, value in (
        ('WORLD_SIZE', ''), ('WORLD_SIZE', 'abc'), ('WORLD_SIZE', '0'), ('RANK', '2'), ('RANK', '-1'), ('LOCAL_RANK', ''),
        ('MASTER_PORT', 'abc'), ('MASTER_PORT', '99999'), ('MASTER_PORT', ''))),
    *((name, None, f'WORLD_SIZE is 2, but {name} is .*not set') for name in ('RANK', 'MASTER_ADDR', 'MASTER_PORT')),
    ('MASTER_ADDR', '', 'MASTER_ADDR is empty or not set: start the run with torchrun, or set RANK'),
    ('MASTER_ADDR', 'no machine', "MASTER_ADDR: the machine 'no machine' cannot be found"),
    ('GLOO_SOCKET_IFNAME', 'eth99', r"GLOO_SOCKET_IFNAME: this machine has no network interface 'eth99' \(it has: .*lo")])
def test_a_wrong_environment_is_one_line(environment, name, value, words):
    environment(**{name: value})
    with pytest.raises(UserError, match=words) as error:
        in_environment()
        group_in_environment()
    assert len(str(error.value).splitlines()) == 1


def test_a_port_in_use():
    with socket.socket() as other:
        other.bind(('0.0.0.0', 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f'MASTER_PORT {port} is in use on this machine: choose another'):
            joining.connect('127.0.0.1', port, 2, serves=True)


def rank_of(world):
    return distributed.rank(), distributed.any_process([distributed.rank()])


def test_a_process_may_start_later_than_a_collective_may_take():
    assert in_group(rank_of, 2, timeout=4, late=6) == [(0, [1]), (1, [1])]


def test_the_first_process_says_for_whom_it_waits(monkeypatch, capfd):
    monkeypatch.setattr(joining, 'NOTICE_SECONDS', 0)
    store = dist.HashStore()
    for number in (0, 2):
        store.set(f'joined/{number}', '')
    late = threading.Timer(0.3, store.set, ['joined/1', ''])
    late.start()
    joining.wait_for_all(store, 3)
    late.join()
    assert capfd.readouterr().err == 'waiting for process 1 of 3\n' and store.check(['all have joined'])


def test_a_process_that_never_comes(monkeypatch):
    monkeypatch.setattr(joining, 'JOIN_SECONDS', 0.2)
    store = dist.HashStore()
    store.set('joined/0', '')
    with pytest.raises(UserError, match='processes 1, 2 of 3 did not join within 0.2 s'):
        joining.wait_for_all(store, 3)
    with pytest.raises(UserError, match='process 1 of 3 waited .* process 0 is gone'):
        joining.wait_for_first(store, 1, 3)
