"""Annealing and diffusion schedules on the grid n = 0, ..., N of a bridge.

`Annealing` gives beta_n of the path gamma^beta p_0^(1 - beta), from beta_0 = 0 to beta_N = 1; `Diffusion` the standard
deviation s_n of each transition, s_n^2 = sigma^2 dt_n with sum of dt_n = 1 and one sigma a dimension.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Annealing", "Diffusion", "cosine_shares"]


# The last shares of time, about: see `cosine_shares`.
_LAST_SHARE = 0.1


def cosine_shares(steps: int) -> Tensor:
    """Initial shares of time, `(steps,)`, up to a factor: cos^2 above a floor.

    Steps shrink towards the target, whose mass may lie in places narrower than an equal step.
    """
    return torch.cos(0.5 * math.pi * torch.arange(steps) / steps).square() + _LAST_SHARE


class Annealing(nn.Module):
    """Increasing beta_0 = 0 < ... < beta_N = 1, linear at the start of training."""

    def __init__(self, steps: int, *, learned: bool = True) -> None:
        super().__init__()
        self.raw_increments = nn.Parameter(torch.zeros(steps), requires_grad=learned)

    def forward(self) -> Tensor:
        """All beta, `(steps + 1,)`."""
        increments = functional.softplus(self.raw_increments)
        inner = increments.cumsum(0)[:-1] / increments.sum()
        # The ends are constants: a schedule that could leave them would no longer start at the prior.
        return torch.cat([inner.new_zeros(1), inner, inner.new_ones(1)])


class Diffusion(nn.Module):
    """Standard deviations of the transitions: one learned sigma a dimension, one learned share of time a step.

    Args:
        dim: Dimension.
        steps: Transitions N.
        sigma: Initial diffusion coefficient, positive, for a time horizon of 1; one number, or one a dimension.
        learned: Whether sigma receives gradients.
        learned_time: Whether the shares of time do.
    """

    def __init__(
        self, dim: int, steps: int, sigma: float | Tensor, *, learned: bool = True, learned_time: bool = True
    ) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.as_tensor(sigma).float().log().expand(dim).clone(), requires_grad=learned)
        self.raw_time = nn.Parameter(cosine_shares(steps).log(), requires_grad=learned_time)

    def forward(self) -> Tensor:
        """Standard deviations, `steps x dim`."""
        log_dt = functional.log_softmax(self.raw_time, 0)
        return (self.log_sigma + 0.5 * log_dt[:, None]).exp()
