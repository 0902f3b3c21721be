"""Underdamped bridges: a force moves the point through a momentum; friction, noise and controls act on the momentum.

A state is z = (x, v) with v ~ N(0, 1) at both ends. With H the prior score, G = beta score + (1 - beta) H, one beta a
transition (the mean of its two ends), the force D = k G + h H, and delta_n, c_n of a `Motion`, a transition is O BAB or
O BAB O (samplers.md, section 1.8; Blessing et al. 2025):

    O   v~ ~ N( c_n v_n + e_n (u_n(x_n, v_n) + pull), 1 - c_n^2 )
        backward: v_n ~ N( c_n v~ + e_n w_n(x_n, v~), 1 - c_n^2 )
    B   v^ = v~ + delta_n / 2 D(x_n)
    A   x_{n+1} = x_n + delta_n v^
    B   v' = v^ + delta_n / 2 D(x_{n+1})

Controls are forces too, with the exact push e_n of a constant force under friction. BAB keeps volume; backward it is
run with -delta, so that only the O steps have densities. Without controls the log weight is minus the work, as in
annealed importance sampling.

The map BAB holds learned parameters, so v~ and v' of a stored path are no constants. The constants are the positions
and v_0, and with a closing O every v_n. From them, with live parameters,

    v~_n = (x_{n+1} - x_n) / delta_n - delta_n / 2 D(x_n)
    v'_n = (x_{n+1} - x_n) / delta_n + delta_n / 2 D(x_{n+1}),

and the law of the positions has the Jacobian -sum log delta_n in both directions: it cancels in weights, not in
gradients.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .bridge import Bridge, Chain, Evaluate, Increments
from .control import Control
from .guide import Guide
from .kernel import GaussianKernel
from .motion import Motion, Pace
from .overdamped import Drift
from .path import Node, Path
from .prior import Prior, Scorer
from .refresh import Place, Refresh
from .schedule import Annealing

__all__ = ["OBAB", "OBABO", "Kinetics", "Splitting", "UnderdampedBridge"]


class Splitting(NamedTuple):
    """How a transition is split."""

    refreshes: int
    """O steps a transition, 1 or 2: two share its friction, before and after BAB."""

    @property
    def closed(self) -> bool:
        """Whether BAB is followed by an O step, so that v_{n+1} is free given the positions."""
        return self.refreshes > 1


OBAB = Splitting(refreshes=1)
"""One O step, one evaluation of each control a transition."""
OBABO = Splitting(refreshes=2)
"""Symmetric: two O steps with half the friction each, two evaluations of each control."""


class Kinetics(NamedTuple):
    """What an algorithm fixes beside its controls."""

    force: Drift
    """Of the B steps, the same in both directions."""
    pull: Drift = Drift(0.0, 0.0)
    """What the forward O steps add to u."""


class UnderdampedBridge(Bridge):
    """A bridge with a momentum.

    Args:
        prior: Law of x_0.
        annealing: beta_0, ..., beta_N.
        motion: Friction and step sizes.
        kinetics: Fixed forces.
        splitting: OBAB or OBABO.
        forward_control: u, of states (x, v); None for none.
        backward_control: w; None for none.
        mirrored: w = -u (CMCD); there is no backward control then.
    """

    times: Tensor

    def __init__(
        self,
        prior: Prior,
        annealing: Annealing,
        motion: Motion,
        kinetics: Kinetics,
        splitting: Splitting,
        forward_control: Control | None,
        backward_control: Control | None,
        *,
        mirrored: bool = False,
    ) -> None:
        super().__init__()
        # The name by which learning rates find friction and step sizes, as the diffusion of an overdamped bridge.
        self.prior, self.annealing, self.diffusion = prior, annealing, motion
        self.forward_control, self.backward_control, self.mirrored = forward_control, backward_control, mirrored
        self._kinetics, self._splitting = kinetics, splitting
        self.dim, self.state_dim, self.steps = prior.dim, 2 * prior.dim, annealing.raw_increments.shape[0]
        self.start_rows, self.step_rows = prior.rows + 1, splitting.refreshes
        self.register_buffer("times", torch.linspace(0.0, 1.0, self.steps + 1), persistent=False)
        self.guide = Guide(prior, self.steps)

    @property
    def horizon(self) -> Tensor | None:
        return self.diffusion.log_time if self._kinetics.force.annealed else None

    def start(self, noise: Tensor) -> Tensor:
        return torch.cat([self.prior.sample(noise[:-1]), noise[-1]], -1)

    def start_log_density(self, state: Tensor) -> Tensor:
        x, v = self._split(state)
        return self.prior.log_density(x) + _stationary(v)

    def end(self, x: Tensor, noise: Tensor) -> Tensor:
        return torch.cat([x, noise], -1)

    def forward_chain(self) -> Chain:
        scene, ahead = self._scene(), self._ahead()

        def transition(n: int, node: Node, noise: Tensor, evaluate: Evaluate) -> Node:
            leg, (x, v) = scene.leg(n), self._split(node.state)
            here = scene.place(leg, n, x, node.score)
            v = leg.kick(ahead.sample(leg.pace, here, v, noise[0]), here, 1.0)
            x = x + leg.pace.step * v
            arrived = evaluate(torch.cat([x, v], -1))
            there = scene.place(leg, n + 1, x, arrived.score)
            v = leg.kick(v, there, 1.0)
            if self._splitting.closed:
                v = ahead.sample(leg.pace, there, v, noise[1])
            return arrived._replace(state=torch.cat([x, v], -1))

        return transition

    def backward_chain(self) -> Chain:
        scene, back = self._scene(), self._back()

        def transition(n: int, node: Node, noise: Tensor, evaluate: Evaluate) -> Node:
            leg, (x, v) = scene.leg(n), self._split(node.state)
            there = scene.place(leg, n + 1, x, node.score)
            if self._splitting.closed:
                v = back.sample(leg.pace, there, v, noise[1])
            v = leg.kick(v, there, -1.0)
            x = x - leg.pace.step * v
            arrived = evaluate(torch.cat([x, v], -1))
            here = scene.place(leg, n, x, arrived.score)
            v = back.sample(leg.pace, here, leg.kick(v, here, -1.0), noise[0])
            return arrived._replace(state=torch.cat([x, v], -1))

        return transition

    def increments(self, path: Path, first: int, last: int) -> Increments:
        scene, ahead, back = self._scene(), self._ahead(), self._back()
        leg, move = scene.leg(slice(first, last)), self._move(scene, path, first, last)
        v = self._split(path.state[first : last + 1])[1]
        if not self._splitting.closed:
            arrived = self._move(scene, path, first - 1, first).after if first else v[:1]
            v = torch.cat([arrived, move.after])
        refreshed = [(move.here, v[:-1], move.before)]
        if self._splitting.closed:
            refreshed.append((move.there, move.after, v[1:]))
        jacobian = leg.pace.step.double().log().sum(-1)
        forward = shared = backward = -jacobian
        for place, earlier, later in refreshed:
            live, same = ahead.log_density(leg.pace, place, earlier, later)
            forward, shared = forward + live, shared + same
            backward = backward + back.log_density(leg.pace, place, later, earlier)[0]
        if last == self.steps:
            backward = torch.cat([backward[:-1], backward[-1:] + _stationary(v[-1:])])
        return Increments(forward, backward, shared)

    def _move(self, scene: "_Scene", path: Path, first: int, last: int) -> "_Move":
        """BAB of transitions first, ..., last - 1, found from the positions."""
        leg, x = scene.leg(slice(first, last)), self._split(path.state[first : last + 1])[0]
        here = scene.place(leg, slice(first, last), x[:-1], path.score[first:last])
        there = scene.place(leg, slice(first + 1, last + 1), x[1:], path.score[first + 1 : last + 1])
        drift = (x[1:] - x[:-1]) / leg.pace.step
        return _Move(here, there, leg.kick(drift, here, -1.0), leg.kick(drift, there, 1.0))

    def _scene(self) -> "_Scene":
        beta = self.annealing()
        pace = self.diffusion(self._splitting.refreshes)
        return _Scene(pace, 0.5 * (beta[:-1] + beta[1:])[:, None], self.prior.scorer(), self._kinetics.force)

    def _ahead(self) -> Refresh:
        return Refresh.of(self.forward_control, self.guide, self.prior, self.times, self._kinetics.pull)

    def _back(self) -> Refresh:
        if self.mirrored:
            return Refresh.of(self.forward_control, self.guide, self.prior, self.times, Drift(0.0, 0.0), sign=-1.0)
        return Refresh.of(self.backward_control, self.guide, self.prior, self.times, Drift(0.0, 0.0))

    def _split(self, state: Tensor) -> tuple[Tensor, Tensor]:
        return state[..., : self.dim], state[..., self.dim :]


def _stationary(v: Tensor) -> Tensor:
    """log N(v; 0, 1) of momenta `... x dim`."""
    return GaussianKernel(torch.zeros_like(v), torch.ones_like(v)).log_density(v)


class _Leg(NamedTuple):
    """Pace, beta and force of one transition, or of m of them."""

    pace: Pace
    beta: Tensor
    force: Drift

    def kick(self, v: Tensor, place: Place, sign: float) -> Tensor:
        """Half a step of force, forward (sign 1) or backward (-1)."""
        force = place.along(self.force)
        return v if force is None else torch.addcmul(v, self.pace.step, force, value=0.5 * sign)


class _Move(NamedTuple):
    """BAB between two places, and the momenta before and after it."""

    here: Place
    there: Place
    before: Tensor
    after: Tensor


class _Scene(NamedTuple):
    """What transitions are made of that does not depend on the points."""

    pace: Pace
    beta: Tensor
    scorer: Scorer
    force: Drift

    def leg(self, rows: int | slice) -> _Leg:
        """One transition, or m of them with a batch axis."""
        return _Leg(self.pace.at(rows), self.beta[rows, None], self.force)

    def place(self, leg: _Leg, rows: int | slice, x: Tensor, score: Tensor) -> Place:
        """Points at grid indices `rows` as the transitions of `leg` see them."""
        prior = self.scorer(x)
        return Place(rows, x, score, torch.lerp(prior, score, leg.beta), prior)
