"""Where workers that train together listen, and how they find each other."""

import socket
from pathlib import Path

import psutil
import torch

from gephyra.protos import worker_pb2
from gephyra.samplers.gloo import Gloo
from gephyra.samplers.group import Alone, Group
from gephyra.service.worker import place
from tests.samplers.together import together


def listening() -> set[str]:
    """Addresses on which this process listens."""
    found = psutil.Process().net_connections(kind="tcp")
    return {each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN}


def test_without_a_group_a_worker_trains_alone() -> None:
    assert isinstance(place.join(worker_pb2.WorkerCommand.Train()), Alone)


def test_on_one_machine_nobody_else_can_reach_them(tmp_path: Path) -> None:
    before = listening()

    def work(group: Group) -> set[str]:
        command = worker_pb2.WorkerCommand.Train()
        command.group.CopyFrom(worker_pb2.WorkerCommand.Group(rank=group.rank, size=2, store=str(tmp_path / "another")))
        mine = place.join(command)
        assert (mine.rank, mine.size) == (group.rank, 2)
        group.sum(mine.sum(torch.ones(1)))
        found = listening()
        # Nobody leaves before all have looked.
        group.sum(torch.ones(1))
        return found

    for found in together(tmp_path, 2, work):
        assert found - before == {"127.0.0.1"} - before
        assert "127.0.0.1" in found


def test_on_several_machines_they_meet_on_the_address_that_is_given(tmp_path: Path) -> None:
    address = place._address()
    with socket.socket() as probe:
        probe.bind((address, 0))

    def work(group: Group) -> tuple[float, set[str]]:
        mine = Gloo(tmp_path / "far", group.rank, 2, here=f"machine {group.rank}", address=address, timeout=20.0)
        total = float(mine.sum(torch.tensor([group.rank + 1.0])))
        found = listening()
        group.sum(torch.ones(1))
        return total, found

    for total, found in together(tmp_path, 2, work):
        assert total == 3.0
        assert address in found
