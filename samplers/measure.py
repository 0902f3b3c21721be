"""Measure a bridge once, on fresh paths: the one place where a report is filled in."""

from collections.abc import Callable
from dataclasses import replace

from .bridge import Bridge
from .coordinates import Coordinates
from .counted import CountedTarget
from .diagnose import diagnose
from .evaluate import EUBO_PATHS, estimate_eubo, estimate_fresh
from .report import Facts, Report

__all__ = ["measure"]


def measure(
    bridge: Bridge,
    coordinates: Coordinates,
    target: CountedTarget,
    stream: str,
    seed: int,
    paths: int,
    facts: Facts,
    on_block: Callable[[float], None] = lambda fraction: None,
) -> Report:
    """A report on `paths` fresh paths of a stream.

    Args:
        bridge: The bridge, in the coordinates.
        coordinates: Where it lives.
        target: The target in its own coordinates; the evaluations counted so far go into the report.
        stream: Name of the noise.
        seed: Seed of the noise.
        paths: Number of fresh forward paths.
        facts: What is known from elsewhere: times, preconditioner, caveats.
        on_block: Told the share of paths done.

    Raises:
        ValueError: Where fewer than two paths had positive weight.
    """
    view = coordinates.view(target)
    estimates, non_finite = estimate_fresh(bridge, view, stream, seed, paths, on_block)
    eubo = estimate_eubo(bridge, view, seed, min(paths, EUBO_PATHS))
    report = Report(
        **estimates._asdict(),
        **eubo._asdict(),
        paths=paths,
        seed=seed,
        non_finite_paths=non_finite,
        target_evaluations=target.evaluations,
        times=facts.times,
        precondition=facts.precondition,
        served=facts.served,
        reference_log_z=target.log_z,
    )
    return replace(report, warnings=(*diagnose(report), *facts.caveats))
