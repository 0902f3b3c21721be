"""Overdamped bridges: a reference process with fixed drifts and learned controls.

With G_n = beta_n * score + (1 - beta_n) * prior score, H the prior score, the steps (a, f, c, b) of a `Reference` and
controls u (forward) and v (backward),

    F_n: x_{n+1} ~ N( m + a_n (x_n - m)     + f_n^2 ( k_F G_n(x_n)         + h_F H(x_n)     + u_n(x_n) ),          f_n^2 )
    B_n: x_n     ~ N( m + c_n (x_{n+1} - m) + b_n^2 ( k_B G_{n+1}(x_{n+1}) + h_B H(x_{n+1}) + v_{n+1}(x_{n+1}) ), b_n^2 )

The backward kernel uses beta_{n+1} and the time step of n. Which reference, drifts and controls is the algorithm's
choice: `algorithms/` (the table is in samplers.md, section 1.0).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .bridge import Bridge, Chain, Evaluate, Increments
from .control import Control
from .kernel import GaussianKernel
from .path import Node, Path
from .prior import Prior
from .reference import Reference, Steps
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

    def prior_score(self, x: Tensor) -> Tensor:
        return self.prior.score(x)

    def end(self, x: Tensor, noise: Tensor) -> Tensor:
        return x

    def forward_chain(self) -> Chain:
        steps, control = self._steps(), self.forward_control
        side = _Side(self._dynamics.forward, steps.forward_shrink, steps.forward_scale)
        return self._chain(side, control, 0, 1.0)

    def backward_chain(self) -> Chain:
        steps, control = self._steps(), self.forward_control if self.mirrored else self.backward_control
        side = _Side(self._dynamics.backward, steps.backward_shrink, steps.backward_scale)
        return self._chain(side, control, 1, -1.0 if self.mirrored else 1.0)

    def increments(self, path: Path, first: int, last: int) -> Increments:
        x, steps = path.state[first : last + 1], self._steps()
        guide = self._guide(x, path.score[first : last + 1], self.annealing()[first : last + 1, None, None])
        u, v = self._fields(x, guide.annealed, first, last)
        forward = _Side(self._dynamics.forward, steps.forward_shrink, steps.forward_scale)
        backward = _Side(self._dynamics.backward, steps.backward_shrink, steps.backward_scale)
        centre = self.prior.centre()
        earlier, later, rows = guide.at(slice(None, -1)), guide.at(slice(1, None)), slice(first, last)
        fixed = None if u is None else u.detach()
        return Increments(
            forward=forward.kernel(centre, x[:-1], earlier, u, rows).log_density(x[1:]),
            backward=backward.kernel(centre, x[1:], later, v, rows).log_density(x[:-1]),
            shared=forward.kernel(centre, x[:-1], earlier, fixed, rows).log_density(x[1:]),
        )

    def _steps(self) -> Steps:
        return self._dynamics.reference.steps(self.prior, self.diffusion)

    def _chain(self, side: "_Side", control: Control | None, offset: int, sign: float) -> Chain:
        """Kernels that start from grid point n + offset, with sign times the control."""
        beta, centre = self.annealing()[:, None, None], self.prior.centre()
        features = None if control is None else control.features(self.times)

        def transition(n: int, node: Node, noise: Tensor, evaluate: Evaluate) -> Node:
            at = n + offset
            x = node.state[None]
            guide = self._guide(x, node.score[None], beta[at])
            field = None
            if control is not None and features is not None:
                field = sign * control(x, guide.annealed, features.between(at, at + 1))
            kernel = side.kernel(centre, x, guide, field, slice(n, n + 1))
            return evaluate(kernel.sample(noise)[0])

        return transition

    def _guide(self, x: Tensor, score: Tensor, beta: Tensor) -> "_Guide":
        prior = self.prior.score(x)
        return _Guide(torch.lerp(prior, score, beta) if self._dynamics.from_prior else beta * score, prior)

    def _fields(self, x: Tensor, annealed: Tensor, first: int, last: int) -> tuple[Tensor | None, Tensor | None]:
        """u at the earlier and v at the later points of transitions first, ..., last - 1."""
        forward, backward = self.forward_control, self.backward_control
        if self.mirrored and forward is not None:
            u = forward(x, annealed, forward.features(self.times).between(first, last + 1))
            return u[:-1], -u[1:]
        u, v = None, None
        if forward is not None:
            u = forward(x[:-1], annealed[:-1], forward.features(self.times).between(first, last))
        if backward is not None:
            v = backward(x[1:], annealed[1:], backward.features(self.times).between(first + 1, last + 1))
        return u, v


class _Guide(NamedTuple):
    """The scores that drifts are made of, at points `m x batch x dim`."""

    annealed: Tensor
    prior: Tensor

    def at(self, rows: slice) -> "_Guide":
        return _Guide(self.annealed[rows], self.prior[rows])


class _Side(NamedTuple):
    """One direction: its drift, and shrinkage and scale on the whole grid."""

    drift: Drift
    shrink: Tensor | None
    scale: Tensor

    def kernel(self, centre: Tensor, x: Tensor, guide: _Guide, field: Tensor | None, rows: slice) -> GaussianKernel:
        """The kernels of transitions `rows` from points x, `m x batch x dim`."""
        scale = self.scale[rows, None]
        parts = [(self.drift.annealed, guide.annealed), (self.drift.prior, guide.prior)]
        terms = [weight * part for weight, part in parts if weight] + ([] if field is None else [field])
        mean = x if self.shrink is None else torch.lerp(centre, x, self.shrink[rows, None])
        if terms:
            mean = torch.addcmul(mean, scale.square(), sum(terms[1:], start=terms[0]))
        return GaussianKernel(mean, scale)
