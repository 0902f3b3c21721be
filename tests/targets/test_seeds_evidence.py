"""The evidence of Seeds, by integrating out what can be.

Given tau and the coefficients, the 21 effects are independent: a trapezium rule each, which converges faster than any
power for an analytic integrand. Given tau, the coefficients are all but Gaussian: importance sampling on Sobol points
around their mode. What remains is a smooth function of log tau.
"""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import gammaln, log_expit, logsumexp, ndtri
from scipy.stats import qmc

from gephyra.targets.seeds import ROWS, Seeds

_Array = NDArray[np.float64]
_R, _N, _X1, _X2 = np.array(ROWS, dtype=np.float64).T
_DESIGN = np.stack([np.ones_like(_R), _X1, _X1 * _X2, _X2])
_BINOMIAL = float((gammaln(_N + 1) - gammaln(_R + 1) - gammaln(_N - _R + 1)).sum())
_STEP = 0.25
# The posterior of log tau outside of (-3, 8) is below 1e-6.
_LOG_TAUS = np.arange(-3.0, 8.01, _STEP)


def _log_joint(coefficients: _Array, sigma: float) -> _Array:
    """Log density of the data and the coefficients, `n x 4`, given the scale of the effects."""
    z = np.linspace(-9.0, 9.0, int(min(400, 61 + 40 * sigma)))
    log_weight = -0.5 * z**2 - 0.5 * math.log(2 * math.pi) + math.log(z[1] - z[0])
    total = _BINOMIAL - 0.5 * (coefficients**2).sum(1) / 100.0 - 4 * math.log(10.0) - 2 * math.log(2 * math.pi)
    for r, n, row in zip(_R, _N, _DESIGN.T, strict=True):
        logit = (coefficients @ row)[:, None] + sigma * z
        total = total + logsumexp(r * log_expit(logit) + (n - r) * log_expit(-logit) + log_weight, axis=1)
    return np.asarray(total)


def _curvature(mode: _Array, sigma: float) -> _Array:
    """Minus the Hessian, by central differences of all pairs of coordinates at once."""
    steps = 1e-3 * np.eye(4)
    plus, minus = steps[:, None] + steps, steps[:, None] - steps
    corners = [_log_joint(mode + by.reshape(16, 4), sigma).reshape(4, 4) for by in (plus, minus, -minus, -plus)]
    return -(corners[0] - corners[1] - corners[2] + corners[3]) / 4e-6


def _given(sigma: float, start: _Array, normal: _Array) -> tuple[float, _Array]:
    """Log evidence given the scale, and the mode of the coefficients."""
    found = minimize(lambda a: -_log_joint(a[None], sigma)[0], start, method="BFGS")
    factor = np.linalg.cholesky(np.linalg.inv(_curvature(found.x, sigma))) * 1.05
    log_weight = _log_joint(found.x + normal @ factor.T, sigma) + 0.5 * (normal**2).sum(1)
    constant = 2 * math.log(2 * math.pi) + np.log(np.diag(factor)).sum() - math.log(len(normal))
    return float(logsumexp(log_weight) + constant), found.x


@pytest.mark.slow
def test_the_known_evidence_is_the_integral() -> None:
    normal = ndtri(qmc.Sobol(4, seed=0).random(4096))
    mode, terms = np.zeros(4), []
    for log_tau in _LOG_TAUS:
        evidence, mode = _given(math.exp(-0.5 * log_tau), mode, normal)
        prior = 0.01 * math.log(0.01) - math.lgamma(0.01) + 0.01 * log_tau - 0.01 * math.exp(log_tau)
        terms.append(evidence + prior)
    assert abs(logsumexp(terms) + math.log(_STEP) - Seeds.log_z) < 2e-4
