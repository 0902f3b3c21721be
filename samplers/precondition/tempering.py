"""Tempered sequential Monte Carlo (Del Moral, Doucet and Jasra 2006) from a mixture of Gaussians to the target.

The path is q^(1 - beta) gamma^beta. The next beta keeps the effective sample size of the increments at a half, by
bisection; particles are resampled systematically and moved by Hamiltonian Monte Carlo in the frame that whitens them,
with a step length that follows the acceptance. Scores only. The product of the mean increments estimates Z.

q is the mixture that variational inference found, widened: where the target has mass that q lacks in the wide,
particles get there, and the search for modes (landscape.py) has already looked further out. A start as wide as that
search would spend its temperatures on coming down to where the climbs arrive in fifty evaluations a point, and would
lose modes of small mass on the way.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from ..components import Components, Mixture
from ..random import keyed_generator, normal_noise
from .evaluation import evaluate

__all__ = ["PARTICLES", "Tempered", "temper"]

PARTICLES = 1024
"""Particles of a run."""

_ESS = 0.5
# In the whitened frame a quarter of a turn, 1.6, forgets the energy best; with this cap the longest is 3.2.
_LEAPFROGS = 3
# Moves at each temperature, and at the target itself, whose particles are used.
_MOVES, _LAST_MOVES = 2, 6
_ACCEPTANCE = 0.8
_LONGEST_STEP = 0.7
_MOST_TEMPERATURES = 60
# Of the particles' covariance, what is replaced by its diagonal: with few particles it may be singular.
_SHRINKAGE = 0.05


class Tempered(NamedTuple):
    """Particles `n x dim` of equal weight, their log densities `(n,)`, log Z and the number of temperatures."""

    point: Tensor
    log_density: Tensor
    log_z: float
    temperatures: int

    def halves(self) -> tuple["Tempered", "Tempered"]:
        """Every other particle, and the rest."""
        first, second = slice(0, None, 2), slice(1, None, 2)
        return (
            self._replace(point=self.point[first], log_density=self.log_density[first]),
            self._replace(point=self.point[second], log_density=self.log_density[second]),
        )


class _Cloud(NamedTuple):
    """Particles with both densities and scores."""

    point: Tensor
    log_target: Tensor
    target_score: Tensor
    log_start: Tensor
    start_score: Tensor

    def rows(self, index: Tensor) -> "_Cloud":
        return _Cloud(*(value[index] for value in self))

    def chosen(self, other: "_Cloud", take: Tensor) -> "_Cloud":
        """The other's rows where `take`, `(n,)`."""
        pairs = zip(self, other, strict=True)
        return _Cloud(*(torch.where(take if a.ndim == 1 else take[:, None], b, a) for a, b in pairs))

    def annealed(self, beta: float) -> tuple[Tensor, Tensor]:
        log_density = (1.0 - beta) * self.log_start + beta * self.log_target
        return log_density, (1.0 - beta) * self.start_score + beta * self.target_score


def temper(
    target: Target,
    start: Components,
    seed: int,
    spent: Callable[[], float] = lambda: 0.0,
    *,
    turn: int = 0,
    particles: int = PARTICLES,
) -> Tempered | None:
    """Run from `start` to `target`; None where it was stopped, or no particle of the start has a finite density.

    Args:
        target: The density.
        start: Where the particles come from; wider than the target.
        seed: Seed of the noise.
        spent: Asked before every move; at 1 or more the run ends.
        turn: Which of several runs of one search this is; each has noise of its own.
        particles: Their number.
    """
    uniform = keyed_generator("precondition/temper/uniform", seed, turn)
    noise = normal_noise((particles, target.dim), "precondition/temper/start", seed, turn)
    density = Mixture(start)
    cloud = _cloud(target, density, start.sample(noise, torch.from_numpy(uniform.random(particles))))
    beta, log_z, step, moves = 0.0, 0.0, 0.5, 0
    for temperature in range(_MOST_TEMPERATURES):
        ratio = cloud.log_target - cloud.log_start
        if not bool(ratio.isfinite().any()):
            return None
        following = _next_beta(ratio, beta) if temperature < _MOST_TEMPERATURES - 1 else 1.0
        increment = (following - beta) * ratio
        log_z += float(torch.logsumexp(increment, 0)) - math.log(particles)
        cloud = cloud.rows(_systematic(increment.softmax(0), float(uniform.random())))
        beta = following
        # Around the means of their components, so that several modes do not count as one wide one.
        frame = _frame(cloud.point - density.log_terms(cloud.point).softmax(1) @ start.mean)
        for _ in range(_MOVES if beta < 1.0 else _LAST_MOVES):
            if spent() >= 1.0:
                return None
            momentum = normal_noise(
                (particles, target.dim), f"precondition/temper/momentum/{turn}", seed, moves
            ).double()
            draws = torch.from_numpy(uniform.random((2, particles)))
            cloud, accepted = _hamiltonian(target, density, cloud, beta, _Move(frame, step, momentum, draws))
            step = min(_LONGEST_STEP, step * math.exp(accepted - _ACCEPTANCE))
            moves += 1
        if beta >= 1.0:
            break
    return Tempered(cloud.point, cloud.log_target, log_z, temperature + 1)


def _cloud(target: Target, start: Mixture, x: Tensor) -> _Cloud:
    return _Cloud(x, *evaluate(target, x), *start.log_density_and_score(x))


def _next_beta(ratio: Tensor, beta: float) -> float:
    """The largest beta, up to 1, at which the increments' effective sample size is still large enough."""

    def ess(following: float) -> float:
        return float(1.0 / ((following - beta) * ratio).softmax(0).square().sum()) / len(ratio)

    # Particles of density zero are lost at any beta: they count neither way.
    enough = _ESS * float(ratio.isfinite().double().mean())
    if ess(1.0) >= enough:
        return 1.0
    low, high = beta, 1.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if ess(middle) >= enough else (low, middle)
    return high


def _systematic(weight: Tensor, uniform: float) -> Tensor:
    """Indices of the resampled particles, each at its expected number rounded up or down."""
    n = len(weight)
    positions = (torch.arange(n, dtype=torch.float64) + uniform) / n
    return torch.searchsorted(weight.cumsum(0), positions).clamp(max=n - 1)


def _frame(x: Tensor) -> Tensor:
    """A lower triangular factor of the particles' covariance, shrunk towards its diagonal."""
    covariance = torch.cov(x.T).reshape(x.shape[1], x.shape[1])
    variance = covariance.diagonal().clamp(min=1e-20)
    factor = torch.linalg.cholesky_ex((1.0 - _SHRINKAGE) * covariance + _SHRINKAGE * torch.diag(variance))
    return torch.diag(variance.sqrt()) if bool(factor.info) else factor.L


class _Move(NamedTuple):
    """Frame, step length, momenta, and uniforms `2 x n` for lengths and acceptance."""

    frame: Tensor
    step: float
    momentum: Tensor
    uniform: Tensor


def _hamiltonian(target: Target, start: Mixture, cloud: _Cloud, beta: float, move: _Move) -> tuple[_Cloud, float]:
    """One move of every particle, and the mean acceptance."""
    frame, step, momentum, draws = move
    # Lengths differ, so that no orbit is followed to where it began.
    length = step * (0.5 + draws[0])[:, None]
    log_density, score = cloud.annealed(beta)
    before = log_density - 0.5 * momentum.square().sum(1)
    proposed, velocity = cloud, momentum
    for _ in range(_LEAPFROGS):
        velocity = velocity + 0.5 * length * (score @ frame)
        proposed = _cloud(target, start, proposed.point + length * velocity @ frame.T)
        log_density, score = proposed.annealed(beta)
        velocity = velocity + 0.5 * length * (score @ frame)
    change = log_density - 0.5 * velocity.square().sum(1) - before
    change = torch.where(change.isnan(), -torch.inf, change)
    accepted = draws[1].log() < change
    return cloud.chosen(proposed, accepted), float(change.clamp(max=0.0).exp().mean())
