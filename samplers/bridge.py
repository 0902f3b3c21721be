"""A bridge: a prior, forward kernels F_n and backward kernels B_n on one grid n = 0 (prior), ..., N (target).

For a path x_0 ~ p_0, x_{n+1} ~ F_n(. | x_n),

    log w = log gamma(x_N) - log p_0(x_0) + sum_n [ log B_n(x_n | x_{n+1}) - log F_n(x_{n+1} | x_n) ]

has E_F[w] = Z for any kernels. `simulate.py` draws the paths, `weigh.py` evaluates log F and log B on them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from .kernel import GaussianKernel

__all__ = ["Bridge", "Chain", "Transitions"]

Chain = Callable[[int, Tensor, Tensor], GaussianKernel]
"""(n, x, score) -> the kernel of transition n from points x with the target's score there, both `batch x dim`: F_n from
x = x_n for a forward chain, B_n from x = x_{n+1} for a backward one."""


class Transitions(NamedTuple):
    """Kernels of m consecutive transitions, evaluated along given paths; means are `m x batch x dim`."""

    forward: GaussianKernel
    """F_n(. | x_n): the law of the later point."""
    backward: GaussianKernel
    """B_n(. | x_{n+1}): the law of the earlier point."""
    shared: GaussianKernel | None = None
    """F_n with the control outputs detached: live only in parameters that both directions share (diffusion, prior,
    annealing). None where nothing is shared."""


class Bridge(nn.Module, ABC):
    """The interface of a bridge; algorithms build one from parts.

    Attributes:
        dim: Dimension of the points.
        steps: Transitions N, at least 1.
    """

    dim: int
    steps: int

    @abstractmethod
    def prior_kernel(self) -> GaussianKernel:
        """The law of x_0."""

    @abstractmethod
    def forward_chain(self) -> Chain:
        """The forward kernels; whatever does not depend on the points is computed once, here."""

    @abstractmethod
    def backward_chain(self) -> Chain:
        """The backward kernels, likewise."""

    @abstractmethod
    def transitions(self, first: int, x: Tensor, score: Tensor) -> Transitions:
        """Kernels along paths for transitions first, ..., first + m - 1.

        Args:
            first: Index of the first transition.
            x: Points x_first, ..., x_{first+m}, `(m + 1) x batch x dim`.
            score: The target's score at those points, same shape.
        """
