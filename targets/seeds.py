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
from torch.nn.functional import softplus

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
_COEFFICIENTS = 4
# softplus(z) is z beyond this point, to double precision.
_EXACT = 40.0


class Seeds(Target):
    """The posterior of the Seeds model, 26-d.

    >>> round(float(Seeds().log_density(torch.zeros(1, 26, dtype=torch.float64))), 4)
    -124.6711
    """

    dim = 26
    log_z = -73.40617
    """Within 0.00005: quadrature over log tau and the effects, quasi-Monte Carlo over the rest (in the tests)."""
    sites = (Site("a_0", ()), Site("a_1", ()), Site("a_12", ()), Site("a_2", ()), Site("b", (21,)), Site("tau", ()))

    def __init__(self) -> None:
        """Precompute what does not depend on the point."""
        r, n, x1, x2 = np.array(ROWS, dtype=np.float64).T
        # Rows as the coordinates lie in a point: a_0, a_1, a_12, a_2, then b, then log tau.
        design = np.vstack([np.ones_like(r), x1, x1 * x2, x2, np.eye(len(ROWS)), np.zeros_like(r)])
        self._design, self._seeds, self._counted_design = Constant(design), Constant(n), Constant((design * n).T)
        power = np.zeros(self.dim)
        power[-1] = _GAMMA_SHAPE + 0.5 * len(ROWS)
        self._linear = Constant(design @ r + power)
        # Logarithms of the prior scales' inverses: constant for the coefficients, log tau / 2 for the effects. log tau
        # has a column too, with nothing in it: arrays stay contiguous.
        index = np.arange(self.dim)
        coefficient, effect = index < _COEFFICIENTS, (index >= _COEFFICIENTS) & (index < self.dim - 1)
        self._log_root = Constant(np.where(coefficient, -math.log(_COEFFICIENT_SCALE), 0.0))
        self._half_effect = Constant(0.5 * effect)
        # Half the sum over everything for the log density, over the effects for the derivative in log tau.
        self._halves = Constant(np.stack([0.5 * (coefficient | effect), 0.5 * effect], 1))
        self._constant = _log_constant(r, n)

    def _log_density(self, x: Tensor) -> Tensor:
        return self._log_density_and_score(x)[0]

    def _log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As few operations as there are: small batches pay for each more than for its numbers."""
        log_tau = x[:, -1:]
        logit = x @ self._design.like(x)
        # exp(log_tau / 2) rather than tau: it overflows later, and 0 * inf never arises at b = 0.
        root = torch.addcmul(self._log_root.like(x), log_tau, self._half_effect.like(x)).exp_()
        standard = root * x
        halves = (standard.square() @ self._halves.like(x)).add_(log_tau.exp(), alpha=_GAMMA_RATE)
        linear = self._linear.like(x)
        quadratic = torch.addmv(halves[:, 0], softplus(logit, threshold=_EXACT), self._seeds.like(x))
        log_density = torch.addmv(quadratic, x, linear, beta=-1.0) + self._constant
        pull = root * standard
        pull[:, -1:] = halves[:, 1:]
        return log_density, linear - torch.addmm(pull, logit.sigmoid(), self._counted_design.like(x))

    def _constrain(self, x: Tensor) -> dict[str, Tensor]:
        names = ("a_0", "a_1", "a_12", "a_2")
        return {name: x[:, i] for i, name in enumerate(names)} | {"b": x[:, 4:25], "tau": x[:, 25].exp()}


def _log_constant(r: NDArray[np.float64], n: NDArray[np.float64]) -> float:
    """Binomial coefficients and normalisations of the priors; the Jacobian of exp is in the power of tau."""
    binomial = sum(math.lgamma(b + 1) - math.lgamma(a + 1) - math.lgamma(b - a + 1) for a, b in zip(r, n, strict=True))
    gamma = _GAMMA_SHAPE * math.log(_GAMMA_RATE) - math.lgamma(_GAMMA_SHAPE)
    return binomial + gamma - 4 * math.log(_COEFFICIENT_SCALE) - (4 + len(ROWS)) * LOG_SQRT_2PI
