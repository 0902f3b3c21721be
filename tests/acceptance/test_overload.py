"""Ten times what it can serve, for half a minute: quick refusals, health throughout, bounded memory; then as usual."""

from pathlib import Path

import pytest

from tests.support.overload import overload, percentile
from tests.support.server import ServerProcess, gaussian, register, train

COUNT = 4000


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_times_the_load_does_no_harm(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", ["--draw-cache", "0"]) as server:
        sampler = train(server.stubs, register(server.stubs, gaussian(), "normal").name)
        figures = overload(server, sampler, factor=10, seconds=30, count=COUNT)
        print(figures)
    assert len(figures.refused) > len(figures.served)
    assert figures.other == {}
    assert percentile(figures.refused, 99) < 50
    assert figures.unhealthy == 0
    assert percentile(figures.health, 99) < 50
    assert figures.rss_late < figures.rss_early + 64
    assert figures.back < 5000
