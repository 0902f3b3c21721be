"""Plain words for whatever should be known before a report is used."""

import math

from .report import Report, Served

__all__ = ["diagnose"]

# Vehtari et al. (2024): above this shape the mean of the weights may not settle at any practical sample size.
_K_HAT_LIMIT = 0.7
_ESS_LIMIT = 0.05
# A known log Z further away than this many standard errors contradicts the estimate.
_REFERENCE_LIMIT = 4.0


def diagnose(report: Report) -> tuple[str, ...]:
    """Warnings about a report, most serious first; empty if there is none."""
    checks = (_k_hat, _ess, _non_finite, _baseline, _reference)
    return tuple(sentence for check in checks if (sentence := check(report)))


def _k_hat(report: Report) -> str:
    if math.isnan(report.k_hat):
        return f"{report.paths} paths are too few to tell a k-hat: nothing is known about the tail of the weights."
    limit = min(1.0 - 1.0 / math.log10(max(report.paths, 11)), _K_HAT_LIMIT)
    if not report.k_hat > limit:
        return ""
    return (
        f"k-hat {report.k_hat:.2f} is above {limit:.2f}: a few weights dominate, so log Z and its standard error "
        "are not to be trusted; the ELBO still is a lower bound. Train longer, or try more steps or another "
        "preconditioner."
    )


def _ess(report: Report) -> str:
    if report.ess_fraction >= _ESS_LIMIT:
        return ""
    return (
        f"effective sample size is {100 * report.ess_fraction:.1f} % of the draws: resampled draws will repeat a few "
        "points. Train longer or use more steps."
    )


def _non_finite(report: Report) -> str:
    if not report.non_finite_paths:
        return ""
    return (
        f"{report.non_finite_paths} of {report.paths} paths met a log density or score that was not finite; they count "
        "with weight zero. If the density is finite there, look at its arithmetic (overflow, log of zero)."
    )


def _baseline(report: Report) -> str:
    if report.served is Served.BASELINE:
        return (
            "training did not beat the preconditioner's Gaussian alone: its draws are served, weighed exactly. Train "
            "longer or lower the learning rate."
        )
    baseline = report.precondition.elbo
    if baseline is None or report.elbo + 2.0 * report.elbo_se >= baseline:
        return ""
    return (
        f"the ELBO {report.elbo:.3f} is below that of the preconditioner's Gaussian alone ({baseline:.3f}): training "
        "did not pay. Train longer or lower the learning rate."
    )


def _reference(report: Report) -> str:
    known = report.reference_log_z
    if known is None or abs(report.log_z - known) <= _REFERENCE_LIMIT * report.log_z_se + 1e-2:
        return ""
    return (
        f"log Z {report.log_z:.3f} +- {report.log_z_se:.3f} contradicts the known value {known:.3f}: modes or tails "
        "of the target are missing."
    )
