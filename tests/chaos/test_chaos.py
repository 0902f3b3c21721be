"""Kills under load lose nothing that was acknowledged (P1, P2, P4, P5); a failure names the seed to repeat it with."""

from pathlib import Path

import pytest

from tests.chaos.campaign import campaign


async def _without_fault(folder: Path, seed: int, kills: int, url: str = "") -> None:
    outcome = await campaign(folder, seed, kills, url)
    print(outcome)
    again = f"python -m tests.chaos.campaign --seed {seed} --kills {kills}"
    assert outcome.ledger.faults == [], f"{again}\n{outcome}"
    assert len(outcome.kills) >= kills, outcome
    assert outcome.ledger.acknowledged > kills, outcome
    assert outcome.ledger.jobs, outcome


@pytest.mark.timeout(300)
async def test_a_few_kills_under_load_lose_nothing(tmp_path: Path) -> None:
    await _without_fault(tmp_path, 0, 2)


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 11))
async def test_two_hundred_kills_under_load_lose_nothing(tmp_path: Path, seed: int) -> None:
    """In ten campaigns of twenty."""
    await _without_fault(tmp_path, seed, 20)


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(21, 26))
async def test_fifty_kills_on_postgresql_lose_nothing(url: str, tmp_path: Path, seed: int) -> None:
    """In five campaigns of ten."""
    await _without_fault(tmp_path, seed, 10, url)
