"""Measure a bridge once, on fresh paths: the one place where a report is filled in."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from gephyra.targets.base import Target

from .bridge import Bridge
from .components import Components
from .coordinates import Coordinates
from .counted import CountedTarget
from .diagnose import diagnose, sides_disagree
from .estimate import estimate, standard_error
from .evaluate import BLOCK_SIZE, Fresh, Pool, simulate_fresh
from .given import GivenDraws
from .modes import modes_drawn, one_each
from .polish import step_scale, tune
from .report import EuboSource, Facts, PolishReport, Report
from .shift import Weighted, shift
from .upper import UPPER_PATHS, backward_log_weights, exact_pool, polished_pool, upper_bounds

__all__ = ["Candidate", "measure"]

_POLISH_STEPS = 20


class Candidate(NamedTuple):
    """What is measured."""

    bridge: Bridge
    """In the coordinates."""
    coordinates: Coordinates
    components: Components | None
    """Of the mixture that the preconditioner found there; one a mode where it saw several modes."""
    given: GivenDraws | None = None
    """Draws of the target there, brought along by the caller."""


class _Progress:
    """Blocks done, as a share."""

    def __init__(self, blocks: int, tell: Callable[[float], None]) -> None:
        self._done, self._blocks, self._tell = 0, blocks, tell

    def block(self) -> None:
        self._done += 1
        self._tell(self._done / self._blocks)


def measure(
    candidate: Candidate,
    target: CountedTarget,
    stream: str,
    seed: int,
    paths: int,
    facts: Facts,
    tell: Callable[[float], None] = lambda fraction: None,
) -> Report:
    """A report on `paths` fresh paths of a stream.

    Args:
        candidate: A bridge and where it lives.
        target: The target in its own coordinates; the evaluations counted so far go into the report.
        stream: Name of the noise.
        seed: Seed of the noise.
        paths: Number of fresh forward paths.
        facts: What is known from elsewhere: times, preconditioner, caveats.
        tell: Told the share of the work done.

    Raises:
        ValueError: Where fewer than two paths had positive weight.
    """
    bridge = candidate.bridge
    modes = _modes(candidate.components, facts.precondition.modes)
    view, upper_paths = candidate.coordinates.view(target), _upper_paths(paths)
    pool, source = _brought(candidate, view, upper_paths, seed)
    polish = None
    progress = _Progress(_blocks(paths) + (1 if pool else 2) * _blocks(upper_paths), tell)
    fresh = simulate_fresh(bridge, view, modes, stream, seed, paths, upper_paths, progress.block)
    estimates = estimate(fresh.log_weight)
    if pool is None:
        pool, polish = _polished(candidate, target, fresh, seed, progress)
        source = EuboSource.POLISHED
    upper = upper_bounds(backward_log_weights(bridge, view, pool.u, seed, progress.block), pool, source)
    report = Report(
        **estimates._asdict(),
        **upper._asdict(),
        paths=paths,
        seed=seed,
        non_finite_paths=int(fresh.log_weight.isinf().sum()),
        target_evaluations=target.evaluations,
        times=facts.times,
        precondition=facts.precondition,
        served=facts.served,
        reference_log_z=target.log_z,
        polish=polish,
        modes_seen=None if modes is None else modes.mean.shape[0],
        modes_drawn=_modes_drawn(fresh, modes),
    )
    report = _allowing(report)
    # What both sides agree to say is no contradiction any more: look for one first.
    warnings = (*diagnose(report), *facts.caveats)
    return replace(_reconciled(report), warnings=warnings)


def _brought(candidate: Candidate, view: Target, count: int, seed: int) -> tuple[Pool | None, EuboSource]:
    """End points of backward paths that are no work of the sampler: the target's own draws, or else given ones."""
    exact = exact_pool(view, count, seed)
    if exact is None and candidate.given is not None:
        return candidate.given.pool(count), EuboSource.GIVEN
    return exact, EuboSource.EXACT


def _allowing(report: Report) -> Report:
    """The interval reaches up to what was found beyond the sampler's start."""
    beyond, high = report.precondition.beyond, report.log_z_high
    return _reaching(report, high + math.log1p(beyond)) if beyond and high is not None else report


def _upper_paths(paths: int) -> int:
    """A quarter of the forward paths, but a block at least, where there are so many."""
    return min(UPPER_PATHS, max(paths // 4, min(paths, BLOCK_SIZE)))


def _reconciled(report: Report) -> Report:
    """The interval reaches up to what exact draws say; where they contradict it, it is no longer claimed.

    Mass that forward paths hardly ever meet lowers log Z without a trace in their weights. Exact draws meet it, and
    there 1 / w is small: it is just then that their side is the reliable one.
    """
    forward, error = report.log_z_forward, report.log_z_forward_se
    if report.eubo_source is not EuboSource.EXACT or forward is None or error is None:
        return report
    holds = report.interval_holds and not sides_disagree(report)
    return replace(_reaching(report, forward + 2.0 * error), interval_holds=holds)


def _reaching(report: Report, end: float) -> Report:
    """The interval reaches up to this end, and the standard error with it."""
    low, high = report.log_z_low, report.log_z_high
    if low is None or high is None:
        return report
    high = max(high, end)
    return replace(report, log_z_high=high, log_z_se=max(report.log_z_se, standard_error(low, high)))


def _blocks(paths: int) -> int:
    return -(-paths // BLOCK_SIZE)


def _polished(
    candidate: Candidate, target: CountedTarget, fresh: Fresh, seed: int, progress: _Progress
) -> tuple[Pool, PolishReport]:
    """The pool of fresh paths after MALA steps, and what those did to it."""
    pool, view = fresh.pool, candidate.coordinates.view(target)
    like = next(candidate.bridge.parameters())
    few = slice(BLOCK_SIZE)
    scale = step_scale(view.dim, candidate.components)
    langevin = tune(view, scale, pool.u[few].to(like), pool.log_weight[few].to(like.device), seed)
    moved, acceptance = polished_pool(view, pool, langevin, _POLISH_STEPS, seed, like, progress.block)
    before, after = (Weighted(view.to_target(part.u), part.log_weight) for part in (pool, moved))
    found = PolishReport(
        draws=pool.u.shape[0],
        steps=_POLISH_STEPS,
        step_size=langevin.step_size,
        imh_acceptance=None,
        mala_acceptance=acceptance,
        **shift(before, after)._asdict(),
    )
    return moved, found


def _modes(components: Components | None, count: int) -> Components | None:
    """One component a mode; None where there is one mode, which a mixture may fit better than a Gaussian does."""
    return one_each(components, count) if components is not None and count > 1 else None


def _modes_drawn(fresh: Fresh, components: Components | None) -> int | None:
    if fresh.mode is None or components is None:
        return None
    return modes_drawn(fresh.mode, fresh.log_weight, components)
