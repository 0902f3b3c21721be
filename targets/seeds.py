"""Seeds: random effects logistic regression of germination on 21 plates (Crowder 1978; BUGS examples).

    tau ~ Gamma(0.01, rate 0.01),  a_0, a_1, a_2, a_12 ~ N(0, 10),  b_j ~ N(0, 1 / sqrt(tau)),
    r_j ~ Binomial(n_j, sigmoid(a_0 + a_1 x1_j + a_2 x2_j + a_12 x1_j x2_j + b_j)),  j = 1..21,

the second number of N a standard deviation, binomial coefficients included. Unconstrained coordinates, in this
order: a_0, a_1, a_12, a_2, b_1..b_21, log tau.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from .base import Target
from .constant import Constant
from .gaussian import LOG_SQRT_2PI
from .program import Site

__all__ = ["ROWS", "Seeds"]

ROWS = (
    (10, 39, 0, 0), (23, 62, 0, 0), (23, 81, 0, 0), (26, 51, 0, 0), (17, 39, 0, 0), (5, 6, 0, 1), (53, 74, 0, 1),
    (55, 72, 0, 1), (32, 51, 0, 1), (46, 79, 0, 1), (10, 13, 0, 1), (8, 16, 1, 0), (10, 30, 1, 0), (8, 28, 1, 0),
    (23, 45, 1, 0), (0, 4, 1, 0), (3, 12, 1, 1), (22, 41, 1, 1), (15, 30, 1, 1), (32, 51, 1, 1), (3, 7, 1, 1),
)  # fmt: skip
"""One plate a row: germinated r, seeds n, seed type x1, root extract x2."""

_GAMMA_SHAPE = _GAMMA_RATE = 0.01
_COEFFICIENT_SCALE = 10.0


class Seeds(Target):
    """The posterior of the Seeds model, 26-d.

    >>> round(float(Seeds().log_density(torch.zeros(1, 26, dtype=torch.float64))), 4)
    -124.6711
    """

    dim = 26
    log_z = -73.406
    """Within 0.002: importance sampling with inner Gauss-Hermite quadrature, NUTS and bridge sampling."""
    sites = (Site("a_0", ()), Site("a_1", ()), Site("a_12", ()), Site("a_2", ()), Site("b", (21,)), Site("tau", ()))

    def __init__(self) -> None:
        """Precompute what does not depend on the point."""
        r, n, x1, x2 = np.array(ROWS, dtype=np.float64).T
        self._r, self._n = Constant(r), Constant(n)
        # Rows as the coefficients lie in a point: a_0, a_1, a_12, a_2.
        self._design = Constant(np.stack([np.ones_like(r), x1, x1 * x2, x2]))
        self._constant = _log_constant(r, n)

    def _log_density(self, x: Tensor) -> Tensor:
        return self._log_density_and_score(x)[0]

    def _log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        coefficients, effects, log_tau = x[:, :4], x[:, 4:25], x[:, 25:]
        r, n, design = self._r.like(x), self._n.like(x), self._design.like(x)
        logit = effects + coefficients @ design
        # Twice exp(log_tau / 2) rather than tau: it overflows later, and 0 * inf never arises at b = 0.
        root_tau = (0.5 * log_tau).exp()
        standard = root_tau * effects
        squares, tau = standard.square().sum(-1, keepdim=True), log_tau.exp()
        power = _GAMMA_SHAPE + 0.5 * len(ROWS)
        log_density = (
            self._constant
            + logit @ r
            + logsigmoid(-logit) @ n
            - 0.5 * (coefficients / _COEFFICIENT_SCALE).square().sum(-1)
            + (power * log_tau - _GAMMA_RATE * tau - 0.5 * squares)[:, 0]
        )
        residual = r - n * logit.sigmoid()
        score = (
            residual @ design.mT - coefficients / _COEFFICIENT_SCALE**2,
            residual - root_tau * standard,
            power - _GAMMA_RATE * tau - 0.5 * squares,
        )
        return log_density, torch.cat(score, dim=-1)

    def _constrain(self, x: Tensor) -> dict[str, Tensor]:
        names = ("a_0", "a_1", "a_12", "a_2")
        return {name: x[:, i] for i, name in enumerate(names)} | {"b": x[:, 4:25], "tau": x[:, 25].exp()}


def _log_constant(r: NDArray[np.float64], n: NDArray[np.float64]) -> float:
    """Binomial coefficients and normalisations of the priors; the Jacobian of exp is in the power of tau."""
    binomial = sum(math.lgamma(b + 1) - math.lgamma(a + 1) - math.lgamma(b - a + 1) for a, b in zip(r, n, strict=True))
    gamma = _GAMMA_SHAPE * math.log(_GAMMA_RATE) - math.lgamma(_GAMMA_SHAPE)
    return binomial + gamma - 4 * math.log(_COEFFICIENT_SCALE) - (4 + len(ROWS)) * LOG_SQRT_2PI
