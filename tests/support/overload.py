"""More calls than a server can serve, for a while, and what it is like meanwhile and afterwards."""

import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import psutil

from gephyra.clients.sync import Client
from gephyra.protos import sampler_service_pb2
from tests.support.server import ServerProcess

__all__ = ["Figures", "overload", "percentile"]

_MIB = 2**20
_CROWDS = 2


@dataclass(frozen=True)
class Figures:
    """What was measured; times in milliseconds, memory in MiB."""

    capacity: float
    """Calls a second that were served when few called."""
    offered: float
    """Calls a second under overload."""
    served: list[float]
    refused: list[float]
    other: dict[str, int]
    """Any other end of a call, by what it said."""
    health: list[float]
    unhealthy: int
    """Checks that said something else than SERVING."""
    rss_early: float
    """Memory of the server after a sixth of the time,"""
    rss_late: float
    """and at the end."""
    back: float
    """From the end of the overload until draws had been made as usual."""

    def __str__(self) -> str:
        lines = {
            "capacity, offered (1/s)": f"{self.capacity:.1f}, {self.offered:.1f}",
            "served, refused, other": f"{len(self.served)}, {len(self.refused)}, {self.other}",
            "served p50 p99 (ms)": f"{percentile(self.served, 50):.0f} {percentile(self.served, 99):.0f}",
            "refused p50 p99 max (ms)": " ".join(f"{percentile(self.refused, p):.1f}" for p in (50, 99, 100)),
            "health p50 p99 max (ms)": " ".join(f"{percentile(self.health, p):.1f}" for p in (50, 99, 100)),
            "memory early, late (MiB)": f"{self.rss_early:.0f}, {self.rss_late:.0f}",
            "served as usual after (ms)": f"{self.back:.0f}",
        }
        return "".join(f"\n{name:28}{value}" for name, value in lines.items())


def percentile(values: list[float], percent: int) -> float:
    """Of any number of values, at least one."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)] if values else float("nan")


def overload(
    server: ServerProcess, sampler: sampler_service_pb2.Sampler, factor: float, seconds: float, count: int
) -> Figures:
    """Measure what the server can serve, then have it called `factor` times as often."""
    place = {
        "socket": str(server.socket), "sampler": sampler.name, "target": sampler.target, "count": count, "seed": 0,
    }  # fmt: skip
    usual = _wait(_crowd(place, callers=2, seconds=max(1.0, seconds / 10), seed=10**6))
    capacity = len(usual["served"]) / max(1.0, seconds / 10)
    health = _crowd(place, health=0.02, seconds=seconds)
    crowds = [
        _crowd(place, rate=factor * capacity / _CROWDS, seconds=seconds, seed=10**7 * (n + 1)) for n in range(_CROWDS)
    ]
    time.sleep(seconds / 6)
    early = _rss(server)
    ended = [_wait(crowd) for crowd in crowds]
    over, late = time.monotonic(), _rss(server)
    with Client(f"unix:{server.socket}") as client:
        client.sampler(sampler.name).draw(1000, seed=10**9)
    back, healthy = time.monotonic() - over, _wait(health)
    return Figures(
        capacity, factor * capacity, [t for each in ended for t in each["served"]],
        [t for each in ended for t in each["refused"]], dict(sum((Counter(e["other"]) for e in ended), Counter())),
        healthy["health"], healthy["bad"], early, late, 1000 * back,
    )  # fmt: skip


def _crowd(place: dict[str, Any], **wanted: Any) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tests.support.crowd", json.dumps({**place, **wanted})]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def _wait(crowd: subprocess.Popen[str]) -> dict[str, Any]:
    """What it printed."""
    said, _ = crowd.communicate()
    assert crowd.returncode == 0
    told: dict[str, Any] = json.loads(said)
    return told


def _rss(server: ServerProcess) -> float:
    return float(psutil.Process(server.pid).memory_info().rss) / _MIB
