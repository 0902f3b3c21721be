"""Plain words for whatever should be known before a report is used."""

import math

from .pareto import k_hat_limit
from .report import EuboSource, Report, Served

__all__ = ["contrast", "diagnose", "sides_disagree"]

_ESS_LIMIT = 0.05
# Weights this equal have no tail to speak of, whatever shape is fitted to it.
_EQUAL = 0.99
# Less of Z than this may be missing in silence.
_BEYOND = 1e-3
# A known log Z further away than this many standard errors contradicts the estimate.
_REFERENCE_LIMIT = 4.0
# Two estimates further apart than this many standard errors contradict each other.
_CONTRADICTION = 4.0
# Two evaluations of one sampler that differ by more: one in twenty does by chance.
_CONTRAST = 1.96
# Polishing moves draws by chance; beyond this many standard errors and this part of a standard deviation it tells.
_SHIFT_ERRORS, _LEAST_SHIFT = 4.0, 0.1
# Draws behind an EUBO that may not be the target's, and what is said of them when they are not.
_UNSURE = {
    EuboSource.POLISHED: "the polished draws behind it have not reached the target",
    EuboSource.GIVEN: "the samples behind it are no draws of the target",
}


def diagnose(report: Report) -> tuple[str, ...]:
    """Warnings about a report, most serious first; empty if there is none."""
    checks = (
        _k_hat,
        _unbounded,
        _ess,
        _beyond,
        _modes,
        _reference,
        _two_sides,
        _given_side,
        _upper_side,
        _shift,
        _non_finite,
        _baseline,
    )
    return tuple(sentence for check in checks if (sentence := check(report)))


def contrast(report: Report, earlier: Report) -> tuple[str, ...]:
    """A warning where two evaluations of one sampler on other paths differ by more than their errors; else empty."""
    apart, error = abs(report.log_z - earlier.log_z), math.hypot(report.log_z_se, earlier.log_z_se)
    if not apart > _CONTRAST * error:
        return ()
    sentence = (
        f"log Z {report.log_z:.4f} +- {report.log_z_se:.4f} is {apart / error:.1f} standard errors from that of the "
        f"sampler's own report, {earlier.log_z:.4f} +- {earlier.log_z_se:.4f}: one evaluation in twenty is so by "
        "chance. Evaluate on more paths before either is used."
    )
    return (sentence,)


def _k_hat(report: Report) -> str:
    if math.isnan(report.k_hat):
        return f"{report.paths} paths are too few to tell a k-hat: nothing is known about the tail of the weights."
    limit = k_hat_limit(report.paths)
    if not report.k_hat > limit or report.ess_fraction > _EQUAL:
        return ""
    return (
        f"k-hat {report.k_hat:.2f} is above {limit:.2f}: a few weights dominate, so log Z and its standard error "
        "are not to be trusted; the ELBO still is a lower bound. Train longer, or try more steps or another "
        "preconditioner."
    )


def _unbounded(report: Report) -> str:
    if report.log_z_low is None or report.log_z_high is not None:
        return ""
    return (
        f"log Z has no upper end: the weights are so heavy-tailed that paths which were not met may hold most of Z. "
        f"Only the lower end, {report.log_z_low:.3f}, is claimed."
    )


def _ess(report: Report) -> str:
    if report.ess_fraction >= _ESS_LIMIT:
        return ""
    return (
        f"effective sample size is {100 * report.ess_fraction:.1f} % of the draws: resampled draws will repeat a few "
        "points. Train longer or use more steps."
    )


def _beyond(report: Report) -> str:
    beyond = report.precondition.beyond
    if not beyond > _BEYOND:
        return ""
    return (
        f"the target goes on beyond where the sampler started: {100 * beyond:.1f} % of Z or more lie in ends that few "
        "paths reach, if any. log Z may be too low by as much; its interval allows for it. Such ends belong to "
        "hierarchical scales: another parametrisation of them, or a prior that rules them out, would help."
    )


def _modes(report: Report) -> str:
    seen, drawn = report.modes_seen, report.modes_drawn
    if seen is None or drawn is None or drawn >= seen:
        return ""
    return (
        f"only {drawn} of the {seen} modes that the preconditioner found hold a tenth or more of their share of the "
        "draws: the others are missing or were over-estimated, and log Z may lack their part. Use precondition "
        "annealed or auto, or train longer."
    )


def _reference(report: Report) -> str:
    known = report.reference_log_z
    if known is None or abs(report.log_z - known) <= _REFERENCE_LIMIT * report.log_z_se + 1e-2:
        return ""
    return (
        f"log Z {report.log_z:.3f} +- {report.log_z_se:.3f} contradicts the known value {known:.3f}: modes or tails "
        "of the target are missing."
    )


def sides_disagree(report: Report) -> bool:
    """Whether paths back from exact draws of the target say more than chance does that log Z is higher."""
    forward, error = report.log_z_forward, report.log_z_forward_se
    if report.eubo_source is not EuboSource.EXACT or forward is None or error is None:
        return False
    return forward - report.log_z > _CONTRADICTION * math.hypot(error, report.log_z_se)


def _two_sides(report: Report) -> str:
    if not sides_disagree(report):
        return ""
    return (
        f"paths back from exact draws of the target put log Z at {report.log_z_forward:.3f}, paths forward at "
        f"{report.log_z:.3f} +- {report.log_z_se:.3f}: the sampler does not reach all of the target."
    )


def _given_side(report: Report) -> str:
    forward, error = report.log_z_forward, report.log_z_forward_se
    if report.eubo_source is not EuboSource.GIVEN or forward is None or error is None:
        return ""
    if forward - report.log_z <= _CONTRADICTION * math.hypot(error, report.log_z_se):
        return ""
    return (
        f"paths back from the given samples put log Z at {forward:.3f}, paths forward at {report.log_z:.3f} +- "
        f"{report.log_z_se:.3f}: the sampler does not reach all of the target, or the samples are no draws of it."
    )


def _upper_side(report: Report) -> str:
    eubo, error, whose = report.eubo, report.eubo_se, _UNSURE.get(report.eubo_source)
    if whose is None or eubo is None or error is None:
        return ""
    if eubo + _CONTRADICTION * math.hypot(error, report.log_z_se) >= report.log_z:
        return ""
    return (
        f"the EUBO {eubo:.3f} lies below log Z {report.log_z:.3f}, which no upper bound does: {whose}. "
        "Do not use the EUBO."
    )


def _shift(report: Report) -> str:
    polish = report.polish
    if polish is None or not polish.mean_shift > max(_SHIFT_ERRORS * polish.shift_se, _LEAST_SHIFT):
        return ""
    return (
        f"{polish.steps} Metropolis steps moved the mean of a coordinate by {polish.mean_shift:.2f} of its standard "
        "deviation: the weighted draws are not yet those of the target. Train longer, or ask for polished draws."
    )


def _non_finite(report: Report) -> str:
    if not report.non_finite_paths:
        return ""
    return (
        f"{report.non_finite_paths} of {report.paths} paths met a log density or score that was not finite; they count "
        "with weight zero. If the density is finite there, look at its arithmetic (overflow, log of zero)."
    )


def _baseline(report: Report) -> str:
    if report.served is not Served.BASELINE:
        return ""
    return (
        f"the draws are the preconditioner's own law with ELBO {report.elbo:.3f}: training did not pay. Train longer "
        "or lower the learning rate, unless that law is good enough."
    )
