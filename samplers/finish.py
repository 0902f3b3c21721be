"""The end of training: measure the bridge once; serve the preconditioner's own law where the bridge is no better."""

from collections.abc import Callable
from dataclasses import replace

from gephyra.targets.base import Target

from .bridge import Bridge
from .counted import CountedTarget
from .given import GivenDraws
from .measure import Candidate, measure
from .prepare import Prepared, new_baseline
from .report import Facts, Report, Served, Times
from .sampler import Sampler
from .settings import Method, TrainingSettings

__all__ = ["REPORT_PATHS", "finish"]

REPORT_PATHS = 16384
"""Fresh forward paths behind a report; the ESS fraction and k-hat depend on the number."""

# Standard errors by which the baseline must be ahead before it is served instead.
_AHEAD = 2.0


def finish(
    bridge: Bridge,
    prepared: Prepared,
    given: GivenDraws | None,
    target: Target,
    counted: CountedTarget,
    settings: TrainingSettings,
    times: Times,
    progress: Callable[[float], None],
    clock: Callable[[], float],
) -> Sampler:
    """The sampler with its report.

    Args:
        bridge: The trained bridge.
        prepared: Its coordinates.
        given: Draws of the target in them, if the caller brought any.
        target: The target, for the sampler.
        counted: The same target with the evaluations of training counted.
        settings: Settings of the run.
        times: Wall seconds so far.
        progress: Told the share of the evaluation that is done.
        clock: Seconds, monotonic.

    Raises:
        ValueError: Where fewer than two paths had positive weight.
    """
    started, caveats = clock(), _caveats(target, settings, given)

    def measured(candidate: Bridge, served: Served) -> Report:
        facts = Facts(times, prepared.report, served, caveats)
        candidate.requires_grad_(False)
        subject = Candidate(candidate, prepared.coordinates, prepared.components, given)
        return measure(subject, counted, "report", settings.seed, REPORT_PATHS, facts, progress)

    report = measured(bridge, Served.BRIDGE)
    served = bridge
    baseline = prepared.report.elbo
    if baseline is not None and report.elbo < baseline:
        alone = new_baseline(target.dim, settings, prepared.components)
        other = measured(alone, Served.BASELINE)
        # By the error of the baseline: that of a bridge with a few wild paths would excuse anything.
        if report.elbo + _AHEAD * other.elbo_se < other.elbo:
            report, served = other, alone
    report = replace(report, times=replace(times, evaluate_seconds=clock() - started))
    return Sampler(target, prepared.coordinates, prepared.components, served, settings, report)


def _caveats(target: Target, settings: TrainingSettings, given: GivenDraws | None) -> tuple[str, ...]:
    found = []
    if settings.loss.reparametrised and not target.second_derivatives:
        found.append(
            f"loss {settings.loss} took the score of this target as a constant: it has no second derivatives in torch."
        )
    if settings.method is Method.DDPM and given is None:
        found.append(
            "ddpm saw neither the target's score nor, in this run, draws of it: modes that it lost leave no trace in "
            "its weights. Give samples, or take another method."
        )
    return tuple(found)
