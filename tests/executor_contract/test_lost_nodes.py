"""What only executors on several machines can meet: the keeper of a worker dies, its machine, or the server's link."""

import asyncio
import signal
from pathlib import Path

import pytest

from gephyra.service.config import ExecutorName, ServerConfig
from gephyra.service.executor import Exit, NoExecutor, Worker, open_executor
from tests.executor_contract.conftest import Bench, kind_of_next, until
from tests.support.ray_cluster import TwoNodes

pytestmark = pytest.mark.ray


async def heard(bench: Bench) -> Worker:
    worker = await bench.start()
    assert await kind_of_next(worker, "heartbeat") is not None
    return worker


async def test_a_keeper_that_is_killed_takes_its_worker_with_it(ray_bench: Bench) -> None:
    """It counts as the worker's own death: where memory runs out, Ray kills the keeper."""
    worker = await heard(ray_bench)
    keeper = (await ray_bench.process()).parent()
    assert keeper is not None
    keeper.kill()
    assert await kind_of_next(worker, "ready", "stopped") is None
    assert not worker.alive
    await until(lambda: ray_bench.processes() == [], seconds=5)
    assert await worker.close(seconds=1.0) == Exit(-signal.SIGKILL)


async def test_a_node_that_is_lost_is_not_the_fault_of_its_worker(ray_bench: Bench, cluster: TwoNodes) -> None:
    here, there = await asyncio.gather(heard(ray_bench), heard(ray_bench))
    (process,) = [process for process in ray_bench.processes() if cluster.is_on_other(process)]
    first = here if here.pid != process.pid else there  # type: ignore[attr-defined]
    lost = there if first is here else here
    cluster.kill_other()
    try:
        assert await kind_of_next(lost, "ready", "stopped") is None
        end = await lost.close(seconds=1.0)
        assert "is gone" in end.lost
        assert str(end) == end.lost
        await until(lambda: len(ray_bench.processes()) == 1, seconds=5)
        assert first.alive
        # No room is left for a third one until there is another node.
        waiting = asyncio.create_task(heard(ray_bench))
        await asyncio.sleep(1.0)
        assert not waiting.done()
    finally:
        cluster.replace_other()
    await (await waiting).close()
    await first.close()


async def test_workers_of_a_server_that_is_not_heard_of_end(ray_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_bench.executor, "_silence", 2.0)
    worker = await heard(ray_bench)
    await asyncio.sleep(4.0)
    # Idle is not silent: the executor speaks for it.
    assert (worker.alive, len(ray_bench.processes())) == (True, 1)
    ray_bench.executor._beating.cancel()  # type: ignore[attr-defined]
    await until(lambda: ray_bench.processes() == [], seconds=10)
    assert await worker.close(seconds=1.0) == Exit(-signal.SIGKILL)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere"])
async def test_a_cluster_that_is_not_there_is_told(cluster: TwoNodes, tmp_path: Path, address: str) -> None:
    config = ServerConfig(tmp_path, "127.0.0.1:0", executor=ExecutorName.RAY, ray_address=address)
    with pytest.raises(NoExecutor, match=f"there is no Ray cluster at '{address}'"):
        open_executor(config)
