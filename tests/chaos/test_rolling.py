"""Two servers on one PostgreSQL, restarted in turn under load: no call fails, no job is lost or runs twice (P11)."""

from pathlib import Path

import pytest

from tests.chaos.rolling import rolling


async def _without_fault(folder: Path, url: str, rounds: int, *, kill: bool = False, trainers: int = 3) -> None:
    found = await rolling(folder, url, rounds, kill=kill, trainers=trainers)
    print(found)
    assert found.ledger.faults == [], found
    assert found.restarts == 2 * rounds
    assert len(found.watched) > trainers, found


@pytest.mark.chaos
@pytest.mark.timeout(300)
async def test_each_server_is_restarted_once_and_nobody_notices(url: str, tmp_path: Path) -> None:
    await _without_fault(tmp_path, url, 1, trainers=1)


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
async def test_each_server_is_restarted_several_times_and_nobody_notices(url: str, tmp_path: Path, kill: bool) -> None:
    await _without_fault(tmp_path, url, 4, kill=kill)
