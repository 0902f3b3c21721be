"""Eight schools (Rubin 1981), centred and non-centred, each with its own priors.

    centred:      mu ~ N(0, 10), log tau ~ N(5, 1),         theta_i ~ N(mu, tau),              y_i ~ N(theta_i, s_i)
    non-centred:  mu ~ N(0, 5),  tau ~ HalfCauchy(5), theta_raw_i ~ N(0, 1), theta = mu + tau theta_raw,  the same y

Unconstrained coordinates, in this order: mu, log tau, then the eight theta or theta_raw.
"""

import math

from torch import Tensor
from torch.nn.functional import logsigmoid

from .base import AutogradTarget
from .constant import Constant
from .gaussian import LOG_SQRT_2PI
from .logspace import times_exp
from .program import Site

__all__ = ["EFFECTS", "STANDARD_ERRORS", "EightSchools", "EightSchoolsNonCentred"]

EFFECTS = (28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0)
"""Estimated effect y_i of coaching in each school."""
STANDARD_ERRORS = (15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0)
"""Its standard error s_i."""

_HALF_CAUCHY_SCALE = 5.0


class EightSchools(AutogradTarget):
    """The centred posterior, 10-d: a funnel in log tau.

    >>> import torch
    >>> round(float(EightSchools().log_density(torch.zeros(1, 10, dtype=torch.float64))), 4)
    -55.4475
    """

    dim = 10
    log_z = -36.130816
    """By 1-d quadrature over log tau."""
    sites = (Site("mu", ()), Site("tau", ()), Site("theta", (8,)))

    def __init__(self) -> None:
        """Store the data."""
        self._likelihood = _Likelihood()

    def _log_density(self, x: Tensor) -> Tensor:
        mu, log_tau, theta = x[:, :1], x[:, 1:2], x[:, 2:]
        prior = (
            _log_normal(mu, 10.0) + _log_normal(log_tau - 5.0, 1.0) + _log_normal(times_exp(theta - mu, -log_tau), 1.0)
        )
        return prior - theta.shape[1] * log_tau[:, 0] + self._likelihood(theta)

    def _constrain(self, x: Tensor) -> dict[str, Tensor]:
        return {"mu": x[:, 0], "tau": x[:, 1].exp(), "theta": x[:, 2:]}


class EightSchoolsNonCentred(AutogradTarget):
    """The non-centred posterior, 10-d, with the weaker priors of the module's second line."""

    dim = 10
    log_z = -31.31135
    """By 2-d quadrature over mu and log tau."""
    sites = (Site("mu", ()), Site("tau", ()), Site("theta_raw", (8,)), Site("theta", (8,), deterministic=True))

    def __init__(self) -> None:
        """Store the data."""
        self._likelihood = _Likelihood()

    def _log_density(self, x: Tensor) -> Tensor:
        mu, log_tau, raw = x[:, :1], x[:, 1:2], x[:, 2:]
        # Half-Cauchy in log tau: 2 / (pi s (1 + (tau / s)^2)), and tau for the derivative of exp.
        log_ratio = log_tau[:, 0] - math.log(_HALF_CAUCHY_SCALE)
        half_cauchy = math.log(2 / math.pi) + logsigmoid(-2 * log_ratio) + log_ratio
        prior = _log_normal(mu, 5.0) + half_cauchy + _log_normal(raw, 1.0)
        return prior + self._likelihood(mu + times_exp(raw, log_tau))

    def _constrain(self, x: Tensor) -> dict[str, Tensor]:
        raw = x[:, 2:]
        return {"mu": x[:, 0], "tau": x[:, 1].exp(), "theta_raw": raw, "theta": x[:, :1] + times_exp(raw, x[:, 1:2])}


class _Likelihood:
    """Log density, (batch,), of the eight estimates given their true effects, `batch x 8`."""

    def __init__(self) -> None:
        self._effects, self._errors = Constant(EFFECTS), Constant(STANDARD_ERRORS)
        self._constant = -sum(math.log(error) for error in STANDARD_ERRORS)

    def __call__(self, theta: Tensor) -> Tensor:
        return self._constant + _log_normal((self._effects.like(theta) - theta) / self._errors.like(theta), 1.0)


def _log_normal(deviations: Tensor, scale: float) -> Tensor:
    """Log density, (batch,), of independent N(0, scale) at deviations, `batch x n`."""
    return -(0.5 * (deviations / scale).square() + LOG_SQRT_2PI + math.log(scale)).sum(-1)
