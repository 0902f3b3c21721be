"""Overdamped bridges: a reference process with fixed drifts and learned controls.

With G_n = beta_n * score + (1 - beta_n) * prior score, H the prior score, the steps (a, f, c, b) of a `Reference`,
its centre m and controls u (forward) and v (backward),

  F_n: x_{n+1} ~ N( m + a_n (x_n - m)     + f_n^2 ( k_F G_n(x_n)         + h_F H(x_n)     + u_n(x_n) ),         f_n^2 )
  B_n: x_n     ~ N( m + c_n (x_{n+1} - m) + b_n^2 ( k_B G_{n+1}(x_{n+1}) + h_B H(x_{n+1}) + v_{n+1}(x_{n+1}) ), b_n^2 )

The backward kernel uses beta_{n+1} and the time step of n. Which reference, drifts and controls is the algorithm's
choice: `algorithms/`. Controls see the points and a guide like G_n (`guide.py`).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .bridge import Bridge, Chain, Evaluate, Increments
from .control import Control, Sight
from .guide import Guide
from .linear import Known, LinearKernels
from .memo import Memo
from .path import Node, Path
from .prior import Prior, Scorer
from .reference import Reference
from .schedule import Annealing, Diffusion
from .sweep import Driver, Role, Scene, sweep

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

    frugal = True
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
        self.guide = Guide(prior, self.steps, from_prior=dynamics.from_prior)

    @property
    def horizon(self) -> Tensor | None:
        return self.diffusion.log_sigma if self._dynamics.forward.annealed else None

    def start(self, noise: Tensor) -> Tensor:
        return self.prior.sample(noise)

    def start_log_density(self, state: Tensor) -> Tensor:
        return self.prior.log_density(state)

    def end(self, x: Tensor, noise: Tensor) -> Tensor:
        return x

    def forward_chain(self) -> Chain:
        return self._chain(self._kernels()[0], self.forward_control, 0, 1.0)

    def noting_chain(self, noise: Tensor) -> tuple[Chain, Memo | None]:
        if not self._has_networks():
            return self.forward_chain(), None
        memo = Memo.of(noise, self.forward_control, rest=self.prior.scorer().rest is not None)
        return self._chain(self._kernels()[0], self.forward_control, 0, 1.0, memo), memo

    def backward_chain(self) -> Chain:
        control = self.forward_control if self.mirrored else self.backward_control
        return self._chain(self._kernels()[1], control, 1, -1.0 if self.mirrored else 1.0)

    def increments(self, path: Path, first: int, last: int) -> Increments:
        rows, known = slice(first, last), self._known_on(path, slice(first, last + 1))
        forward, backward = self._kernels()
        if self._has_networks() and not (known.x.requires_grad or known.score.requires_grad):
            return self._sweep(known, (forward.at(rows), backward.at(rows)), first, last, path.memo)
        u, v = self._fields(known, first, last)
        early, late = known.at(slice(None, -1)), known.at(slice(1, None))
        live, shared = forward.log_density(late.x, early, u, rows)
        return Increments(live, backward.log_density(early.x, late, v, rows)[0], shared)

    def _sweep(
        self, known: Known, kernels: tuple[LinearKernels, LinearKernels], first: int, last: int, memo: Memo | None
    ) -> Increments:
        """The increments of constant paths."""
        beta = self.guide.beta[first : last + 1, None, None]

        def look(points: slice) -> Sight:
            part = known.at(points)
            return Sight.of(part.x, self.guide(*part, beta[points]))

        forward, backward = self.forward_control, self.backward_control
        controls = [control for control in (forward, backward) if control is not None]
        features = [control.features(self.times).between(first, last + 1) for control in controls]
        drivers = tuple(map(Driver, features, [control.layers() for control in controls]))
        ahead = Role(None if forward is None else 0, 1.0, 0)
        back = Role(None if backward is None else len(controls) - 1, 1.0, 1)
        if self.mirrored:
            back = Role(ahead.driver, -1.0, 1)
        noted = None if memo is None else memo.between(first, last)
        return sweep(Scene(known, look, (ahead, back), noted), kernels, drivers)

    def _known_on(self, path: Path, points: slice) -> Known:
        """What is known at some grid points of paths."""
        scorer, x, score = self.prior.scorer(), path.state[points], path.score[points]
        if path.memo is None or path.memo.rest is None or scorer.rest is None:
            return _known(scorer, x, score)
        rest = path.memo.rest[points]
        if points.stop > self.steps:
            # No transition has started from the last point.
            rest[-1] = scorer.rest(x[-1])
        return Known(x, score, rest)

    def _has_networks(self) -> bool:
        """Whether controls are networks with passes written out; any other module can stand in for one."""
        controls = (self.forward_control, self.backward_control)
        return all(control is None or isinstance(control, Control) for control in controls)

    def _kernels(self) -> tuple[LinearKernels, LinearKernels]:
        """Forward and backward kernels without their fields."""
        steps, beta = self._dynamics.reference.steps(self.prior, self.diffusion), self.annealing()[:, None]
        forward = self._side(self._dynamics.forward, beta[:-1], steps.forward_shrink, steps.forward_scale)
        return forward, self._side(self._dynamics.backward, beta[1:], steps.backward_shrink, steps.backward_scale)

    def _side(self, drift: Drift, beta: Tensor, shrink: Tensor | None, scale: Tensor) -> LinearKernels:
        """k G + h H and the shrinkage, with G and H written out."""
        scorer, score, prior = self.prior.scorer(), None, None
        if drift.annealed:
            score = (drift.annealed * beta).expand_as(scale)
        if drift.annealed and self._dynamics.from_prior:
            prior = (drift.annealed + drift.prior) - drift.annealed * beta
        elif drift.prior:
            prior = torch.full_like(beta, drift.prior)
        nothing = torch.zeros_like(scale)
        constant, slope = (nothing, nothing) if prior is None else (prior * scorer.offset, prior * scorer.slope)
        if shrink is not None:
            pull = (shrink - 1.0) / scale.square()
            constant, slope = constant - pull * self.prior.centre(), slope + pull
        rest = None if prior is None or scorer.rest is None else prior.expand_as(scale)
        return LinearKernels(constant, slope, score, rest, scale)

    def _chain(
        self, kernels: LinearKernels, control: Control | None, offset: int, sign: float, memo: Memo | None = None
    ) -> Chain:
        """Kernels that start from grid point n + offset, with sign times the control; what it does goes to the memo."""
        steps, scorer, beta = kernels.steps(), self.prior.scorer(), self.guide.beta.unbind()
        ask = None if control is None else _questions(control, self.times, memo)

        def transition(n: int, node: Node, noise: Tensor, evaluate: Evaluate) -> Node:
            at, known, field = n + offset, _known(scorer, node.state, node.score), None
            if memo is not None and memo.rest is not None and known.rest is not None:
                memo.rest[at] = known.rest
            if ask is not None:
                field = ask(at, known.x, self.guide(*known, beta[at]))
                field = field if sign == 1.0 else -field
            return evaluate(steps.draw(n, known, field, noise[0]))

        return transition

    def _fields(self, known: Known, first: int, last: int) -> tuple[Tensor | None, Tensor | None]:
        """u at the earlier and v at the later points of transitions first, ..., last - 1."""
        forward, backward = self.forward_control, self.backward_control
        if forward is None and backward is None:
            return None, None
        x, hint = known.x, self.guide(*known, self.guide.beta[first : last + 1, None, None])
        if self.mirrored and forward is not None:
            u = forward(x, hint, forward.features(self.times).between(first, last + 1))
            return u[:-1], -u[1:]
        u, v = None, None
        if forward is not None:
            u = forward(x[:-1], hint[:-1], forward.features(self.times).between(first, last))
        if backward is not None:
            v = backward(x[1:], hint[1:], backward.features(self.times).between(first + 1, last + 1))
        return u, v


def _known(scorer: Scorer, x: Tensor, score: Tensor) -> Known:
    return Known(x, score, None if scorer.rest is None else scorer.rest(x))


def _questions(control: Control, times: Tensor, memo: Memo | None) -> Callable[[int, Tensor, Tensor], Tensor]:
    """(grid point, x, score) -> u there; what was seen and found goes to the memo."""
    if memo is None:
        features = control.features(times).each()
        return lambda at, x, score: control(x, score, features[at])
    grid, sights, hidden = control.on_grid(times), memo.sight, memo.hidden

    def noted(at: int, x: Tensor, score: Tensor) -> Tensor:
        sight = Sight.of(x, score, None if sights is None else sights.at(at))
        return grid(at, sight, None if hidden is None else hidden[at])

    return noted
