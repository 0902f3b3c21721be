"""Uncontrolled kernels of overdamped bridges: how far a step shrinks towards the prior's centre, and how it spreads.

With m the prior's centre and s_n the diffusion's standard deviations (`schedule.py`), a reference fixes

    F_n: x_{n+1} ~ N( m + a_n (x_n - m) + ...,  f_n^2 ),     B_n: x_n ~ N( m + c_n (x_{n+1} - m) + ...,  b_n^2 )

where the dots are the drifts that a bridge adds, in units of the variance.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from .prior import Prior
from .schedule import Diffusion

__all__ = ["BrownianBridge", "EulerMaruyama", "OrnsteinUhlenbeck", "Reference", "Steps"]


class Steps(NamedTuple):
    """The reference on the whole grid, each `steps x dim`; a shrinkage of None is one."""

    forward_shrink: Tensor | None
    """a_n."""
    forward_scale: Tensor
    """f_n."""
    backward_shrink: Tensor | None
    """c_n."""
    backward_scale: Tensor
    """b_n."""


class Reference(ABC):
    """The interface of a reference."""

    @abstractmethod
    def steps(self, prior: Prior, diffusion: Diffusion) -> Steps:
        """The steps for this prior and this diffusion, differentiable in both."""


class EulerMaruyama(Reference):
    """Brownian steps both ways: a = c = 1, f = b = s."""

    def steps(self, prior: Prior, diffusion: Diffusion) -> Steps:
        scale = diffusion()
        return Steps(None, scale, None, scale)


class OrnsteinUhlenbeck(Reference):
    """The prior's own Ornstein-Uhlenbeck process, exact and reversible (DDS, Vargas et al. 2023).

    a = c = exp(-s^2 / 2), f = b = sqrt(1 - a^2) times the prior's standard deviation.
    """

    def steps(self, prior: Prior, diffusion: Diffusion) -> Steps:
        half = 0.5 * diffusion().square()
        shrink, scale = (-half).exp(), (-torch.expm1(-2.0 * half)).sqrt() * prior.spread()
        return Steps(shrink, scale, shrink, scale)


class BrownianBridge(Reference):
    """Brownian steps forward, pinned at the centre backward (PIS, Zhang and Chen 2022).

    The prior is the law of the first point after the pin, at time t_0 = its variance; t_{n+1} = t_n + s_n^2,
    c_n = t_n / t_{n+1}, b_n^2 = s_n^2 c_n.
    """

    def steps(self, prior: Prior, diffusion: Diffusion) -> Steps:
        scale = diffusion()
        variance = scale.square()
        later = prior.spread().square() + variance.cumsum(0)
        shrink = (later - variance) / later
        return Steps(None, scale, shrink, scale * shrink.sqrt())
