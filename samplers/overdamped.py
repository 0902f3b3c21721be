"""Overdamped bridges: a reference process with fixed drifts and learned controls.

With G_n = beta_n * score + (1 - beta_n) * prior score, H the prior score, the steps (a, f, c, b) of a `Reference`,
its centre m and controls u (forward) and v (backward),

  F_n: x_{n+1} ~ N( m + a_n (x_n - m)     + f_n^2 ( k_F G_n(x_n)         + h_F H(x_n)     + u_n(x_n) ),         f_n^2 )
  B_n: x_n     ~ N( m + c_n (x_{n+1} - m) + b_n^2 ( k_B G_{n+1}(x_{n+1}) + h_B H(x_{n+1}) + v_{n+1}(x_{n+1}) ), b_n^2 )

The backward kernel uses beta_{n+1} and the time step of n. Which reference, drifts and controls is the algorithm's
choice: `algorithms/` (the table is in samplers.md, section 1.0). Controls see a guide like G_n, but with the prior and
the linear annealing that training starts from: constants, so that nothing flows back into what they see.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .bridge import Bridge, Chain, Evaluate, Increments
from .control import Control
from .density import euler_log_density
from .path import Node, Path
from .prior import Prior
from .reference import Reference
from .schedule import Annealing, Diffusion

__all__ = ["Drift", "Dynamics", "OverdampedBridge"]


class Drift(NamedTuple):
    """Coefficients of the fixed drifts, in units of the step's variance."""

    annealed: float
    """k, of the annealed score G."""
    prior: float
    """h, of the prior score H."""


class Dynamics(NamedTuple):
    """What an algorithm fixes beside its controls."""

    reference: Reference
    forward: Drift
    backward: Drift
    from_prior: bool = True
    """Whether the annealed score starts from the prior's; if not, G_n = beta_n * score."""


class OverdampedBridge(Bridge):
    """A reference process with a forward and a backward field.

    Args:
        prior: Law at n = 0.
        annealing: beta_0, ..., beta_N.
        diffusion: s_0, ..., s_{N-1}.
        dynamics: Reference and fixed drifts.
        forward_control: u; None for none.
        backward_control: v; None for none.
        mirrored: v = -u (CMCD); there is no backward control then.
    """

    times: Tensor
    start_rows: int

    def __init__(
        self,
        prior: Prior,
        annealing: Annealing,
        diffusion: Diffusion,
        dynamics: Dynamics,
        forward_control: Control | None,
        backward_control: Control | None,
        *,
        mirrored: bool = False,
    ) -> None:
        super().__init__()
        self.prior, self.annealing, self.diffusion = prior, annealing, diffusion
        self.forward_control, self.backward_control = forward_control, backward_control
        self.mirrored, self._dynamics = mirrored, dynamics
        self.dim = self.state_dim = prior.dim
        self.steps, self.start_rows, self.step_rows = annealing.raw_increments.shape[0], prior.rows, 1
        self.register_buffer("times", torch.linspace(0.0, 1.0, self.steps + 1), persistent=False)

    def start(self, noise: Tensor) -> Tensor:
        return self.prior.sample(noise)

    def start_log_density(self, state: Tensor) -> Tensor:
        return self.prior.log_density(state)

    def end(self, x: Tensor, noise: Tensor) -> Tensor:
        return x

    def forward_chain(self) -> Chain:
        return self._chain(self._forward_side(), self.forward_control, 0, 1.0)

    def backward_chain(self) -> Chain:
        if self.mirrored:
            return self._chain(self._backward_side(), self.forward_control, 1, -1.0)
        return self._chain(self._backward_side(), self.backward_control, 1, 1.0)

    def increments(self, path: Path, first: int, last: int) -> Increments:
        x, score = path.state[first : last + 1], path.score[first : last + 1]
        guides = self._guide()(x, score, self.annealing()[first : last + 1, None, None])
        u, v = self._fields(x, score, first, last)
        centre, rows = self.prior.centre(), slice(first, last)
        forward = self._forward_side().move(centre, x[:-1], guides.at(slice(None, -1)), rows)
        backward = self._backward_side().move(centre, x[1:], guides.at(slice(1, None)), rows)
        live, shared = euler_log_density(x[1:] - forward.base, forward.drift, u, forward.scale)
        return Increments(live, euler_log_density(x[:-1] - backward.base, backward.drift, v, backward.scale)[0], shared)

    def _forward_side(self) -> "_Side":
        steps = self._dynamics.reference.steps(self.prior, self.diffusion)
        return _Side(self._dynamics.forward, steps.forward_shrink, steps.forward_scale)

    def _backward_side(self) -> "_Side":
        steps = self._dynamics.reference.steps(self.prior, self.diffusion)
        return _Side(self._dynamics.backward, steps.backward_shrink, steps.backward_scale)

    def _chain(self, side: "_Side", control: Control | None, offset: int, sign: float) -> Chain:
        """Kernels that start from grid point n + offset, with sign times the control."""
        beta, centre, variance = self.annealing()[:, None, None], self.prior.centre(), side.scale.square()
        guide, hint = self._guide(), self._hint()
        features = None if control is None else control.features(self.times)

        def transition(n: int, node: Node, noise: Tensor, evaluate: Evaluate) -> Node:
            at, x, score = n + offset, node.state[None], node.score[None]
            move = side.move(centre, x, guide(x, score, beta[at]), slice(n, n + 1))
            total = move.drift
            if control is not None and features is not None:
                field = control(x, hint(x, score, self.times[at]), features.between(at, at + 1))
                total = torch.add(total, field, alpha=sign)
            mean = torch.addcmul(move.base, variance[n], total)
            return evaluate(torch.addcmul(mean, side.scale[n], noise)[0])

        return transition

    def _guide(self) -> "Callable[[Tensor, Tensor, Tensor], _Guides]":
        """(x, score, beta) -> the scores that fixed drifts are made of."""
        scorer, from_prior = self.prior.scorer(), self._dynamics.from_prior

        def guide(x: Tensor, score: Tensor, beta: Tensor) -> _Guides:
            prior = scorer(x)
            return _Guides(torch.lerp(prior, score, beta) if from_prior else beta * score, prior)

        return guide

    def _hint(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """(x, score, time) -> what controls see: linear annealing from the prior as it was at first, a constant."""
        if not self._dynamics.from_prior:
            return lambda x, score, times: times * score
        scorer = self.prior.anchor_scorer()
        return lambda x, score, times: torch.lerp(scorer(x), score, times)

    def _fields(self, x: Tensor, score: Tensor, first: int, last: int) -> tuple[Tensor | None, Tensor | None]:
        """u at the earlier and v at the later points of transitions first, ..., last - 1."""
        forward, backward = self.forward_control, self.backward_control
        if forward is None and backward is None:
            return None, None
        hint = self._hint()(x, score, self.times[first : last + 1, None, None])
        if self.mirrored and forward is not None:
            u = forward(x, hint, forward.features(self.times).between(first, last + 1))
            return u[:-1], -u[1:]
        u, v = None, None
        if forward is not None:
            u = forward(x[:-1], hint[:-1], forward.features(self.times).between(first, last))
        if backward is not None:
            v = backward(x[1:], hint[1:], backward.features(self.times).between(first + 1, last + 1))
        return u, v


class _Guides(NamedTuple):
    """The scores that fixed drifts are made of, at points `m x batch x dim`."""

    annealed: Tensor
    prior: Tensor

    def at(self, rows: slice) -> "_Guides":
        return _Guides(self.annealed[rows], self.prior[rows])


class _Move(NamedTuple):
    """Kernels without their field: N(base + scale^2 (drift + field), scale^2)."""

    base: Tensor
    drift: Tensor
    scale: Tensor


class _Side(NamedTuple):
    """One direction: its drift, and shrinkage and scale on the whole grid."""

    drift: Drift
    shrink: Tensor | None
    scale: Tensor

    def move(self, centre: Tensor, x: Tensor, guides: _Guides, rows: slice) -> _Move:
        """The kernels of transitions `rows` from points x, `m x batch x dim`."""
        parts = [(self.drift.annealed, guides.annealed), (self.drift.prior, guides.prior)]
        terms = [weight * part for weight, part in parts if weight]
        drift = sum(terms[1:], start=terms[0]) if terms else torch.zeros_like(x)
        base = x if self.shrink is None else torch.lerp(centre, x, self.shrink[rows, None])
        return _Move(base, drift, self.scale[rows, None])
