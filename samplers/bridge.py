"""A bridge: a prior, forward kernels F_n and backward kernels B_n on one grid n = 0 (prior), ..., N (target).

For a path z_0 ~ p_0, z_{n+1} ~ F_n(. | z_n),

    log w = log gamma(x_N) - log p_0(z_0) + sum_n [ log B_n(z_n | z_{n+1}) - log F_n(z_{n+1} | z_n) ]

has E_F[w] = Z for any kernels. A state z is the point x itself, or the point with a momentum. `simulate.py` draws the
paths, `weigh.py` evaluates log F and log B on them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from .memo import Memo
from .path import Node, Path

__all__ = ["Bridge", "Chain", "Evaluate", "Increments"]

Evaluate = Callable[[Tensor], Node]
"""State `batch x state_dim` -> the node there: what the target and the prior say about its point."""

Chain = Callable[[int, Node, Tensor, Evaluate], Node]
"""(n, node, noise, evaluate) -> the node that transition n leads to. A forward chain starts from the node at n, a
backward one from the node at n + 1; `noise` is `step_rows x batch x dim`, standard normal."""


class Increments(NamedTuple):
    """Log densities of m consecutive transitions along given paths, each `m x batch` in float64.

    A bridge with a momentum counts log N(v_N; 0, 1) to the last backward kernel: gamma is the law of x_N alone.
    """

    forward: Tensor
    """log F_n."""
    backward: Tensor
    """log B_n."""
    shared: Tensor
    """log F_n with the control outputs detached: equal in value, live only in parameters that both directions share
    (diffusion, prior, annealing)."""


class Bridge(nn.Module, ABC):
    """The interface of a bridge; algorithms build one from parts.

    Attributes:
        dim: Dimension of the points.
        state_dim: Dimension of a state: dim, or 2 dim with a momentum in the second half.
        steps: Transitions N, at least 1.
        start_rows: Rows of `batch x dim` normal noise that the start of a path takes.
        step_rows: Rows that each transition takes.
        frugal: Whether `increments` of constant paths takes any number of transitions at a bounded cost of memory.
    """

    dim: int
    state_dim: int
    steps: int
    start_rows: int
    step_rows: int
    frugal: bool = False

    @property
    @abstractmethod
    def horizon(self) -> Tensor | None:
        """Log of how far the untrained dynamics move in each coordinate, `(dim,)`, live; None where that is not free.

        It is free for Langevin dynamics, which may run for any time, and is the logarithm of a diffusion coefficient or
        of a time. A process that has to carry a prior to a target is not.
        """

    @property
    def noise_rows(self) -> int:
        """Rows of `batch x dim` standard normal noise behind a path."""
        return self.start_rows + self.steps * self.step_rows

    @abstractmethod
    def start(self, noise: Tensor) -> Tensor:
        """States z_0 ~ p_0, `batch x state_dim`, from normal noise `start_rows x batch x dim`."""

    @abstractmethod
    def start_log_density(self, state: Tensor) -> Tensor:
        """log p_0 at states `batch x state_dim`, `(batch,)` in float64."""

    @abstractmethod
    def forward_chain(self) -> Chain:
        """The forward kernels; whatever does not depend on the points is computed once, here."""

    def noting_chain(self, noise: Tensor) -> tuple[Chain, Memo | None]:
        """The forward kernels, and a memo of the paths that they are about to draw from `noise`, if they take notes.

        `noise` is that of the transitions, `steps * step_rows x batch x dim`.
        """
        return self.forward_chain(), None

    @abstractmethod
    def backward_chain(self) -> Chain:
        """The backward kernels, likewise."""

    @abstractmethod
    def end(self, x: Tensor, noise: Tensor) -> Tensor:
        """States z_N at points x, `batch x dim`; a momentum is drawn from `noise`, `batch x dim`."""

    @abstractmethod
    def increments(self, path: Path, first: int, last: int) -> Increments:
        """Log densities of transitions first, ..., last - 1 of stored paths, with live parameters."""
