"""Statistical assertions with a stated false-alarm rate.

Every check below fails a correct program with probability at most `FALSE_ALARM_RATE`, as far as its central limit or
asymptotic law holds at the given sample size: a suite of a thousand checks fails by chance once in a thousand runs.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

__all__ = ["FALSE_ALARM_RATE", "assert_mean_equals", "gof_pvalue_1d", "standard_errors"]

FALSE_ALARM_RATE = 1e-6
"""Probability that one check fails although the claim holds."""


def standard_errors(rate: float = FALSE_ALARM_RATE) -> float:
    """Two-sided normal quantile: a mean is further than this many standard errors off with probability `rate`."""
    return float(stats.norm.isf(rate / 2))


def assert_mean_equals(samples: ArrayLike, expected: ArrayLike, rate: float = FALSE_ALARM_RATE) -> None:
    """The mean over the first axis of independent samples, `n x ...`, is `expected`, up to chance.

    The rate is shared evenly among the components (Bonferroni). Needs finite variance and n large enough for the
    central limit theorem.
    """
    values = np.asarray(samples, dtype=np.float64)
    mean, error = values.mean(0), values.std(0, ddof=1) / np.sqrt(len(values))
    allowed = standard_errors(rate / max(1, mean.size)) * error
    claimed = np.asarray(expected, dtype=np.float64)
    deviation = np.abs(mean - claimed)
    assert (deviation <= allowed).all(), f"mean {mean} is not {claimed}: off by {deviation}, allowed {allowed}"


def gof_pvalue_1d(samples: ArrayLike, cdf: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> float:
    """P-value of the Kolmogorov-Smirnov test that independent samples, (n,), have the continuous law `cdf`."""
    return float(stats.kstest(np.asarray(samples, dtype=np.float64), cdf).pvalue)
