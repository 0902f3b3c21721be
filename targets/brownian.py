"""Brownian motion with unknown scales, observed at both ends: 30 times, the middle ten unobserved.

    innovation, observation ~ LogNormal(0, 2),  x_0 ~ N(0, innovation),  x_t ~ N(x_{t-1}, innovation),
    y_t ~ N(x_t, observation)  for t = 0..9 and 20..29.

Model and observations as in the inference gym. Unconstrained coordinates, in this order: z_innovation,
z_observation, x_0..x_29, with scale = log(1 + exp(z)).
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .base import AutogradTarget
from .constant import Constant
from .gaussian import LOG_SQRT_2PI
from .logspace import log_softplus, times_exp
from .program import Site

__all__ = ["OBSERVATIONS", "OBSERVED", "Brownian"]

OBSERVED = (*range(10), *range(20, 30))
"""Times that were observed."""
OBSERVATIONS = (
    0.21592641, 0.118771404, -0.07945447, 0.037677474, -0.27885845,
    -0.1484156, -0.3250906, -0.22957903, -0.44110894, -0.09830782,
    -0.8786016, -0.83736074, -0.7384849, -0.8939254, -0.7774566,
    -0.70238715, -0.87771565, -0.51853573, -0.6948214, -0.6202789,
)  # fmt: skip
"""Value at each time of OBSERVED."""

_TIMES = 30
_LOG_SCALE_SD = 2.0


class Brownian(AutogradTarget):
    """The posterior of scales and path, 32-d.

    >>> round(float(Brownian().log_density(torch.zeros(1, 32, dtype=torch.float64))), 4)
    -38.1438
    """

    dim = 2 + _TIMES
    log_z = 1.187749
    """By exact marginalisation of the path and 2-d quadrature, two parametrisations and grids agreeing to 1e-9."""
    sites = (
        Site("innovation_noise_scale", ()),
        Site("observation_noise_scale", ()),
        Site("locs", (_TIMES,)),
    )

    def __init__(self) -> None:
        """Store the observations."""
        self._observations = Constant(OBSERVATIONS)

    def _log_density(self, x: Tensor) -> Tensor:
        z, path = x[:, :2], x[:, 2:]
        log_scale = log_softplus(z)
        steps = torch.cat([path[:, :1], path.diff(dim=-1)], dim=-1)
        errors = path[:, OBSERVED] - self._observations.like(x)
        # A log-normal scale: the power of the scale in its density, and the derivative of softplus.
        standard = log_scale / _LOG_SCALE_SD
        scales = -0.5 * standard.square() - log_scale + logsigmoid(z) - LOG_SQRT_2PI - math.log(_LOG_SCALE_SD)
        return scales.sum(-1) + _log_normal(steps, log_scale[:, :1]) + _log_normal(errors, log_scale[:, 1:])

    def _constrain(self, x: Tensor) -> dict[str, Tensor]:
        scale = log_softplus(x[:, :2]).exp()
        return {
            "innovation_noise_scale": scale[:, 0],
            "observation_noise_scale": scale[:, 1],
            "locs": x[:, 2:],
        }


def _log_normal(deviations: Tensor, log_scale: Tensor) -> Tensor:
    """Log density, (batch,), of independent N(0, exp(log_scale)) at deviations, `batch x n`."""
    standard = times_exp(deviations, -log_scale)
    return -(0.5 * standard.square() + log_scale + LOG_SQRT_2PI).sum(-1)
