"""Metropolis steps on draws: an independence chain along a block, and Langevin steps from each draw.

Both leave the target invariant, and both keep weighted draws what they are. A block of N paths with weights w has the
estimate Z_b = mean w; choose path s with probability w_s / sum w, and under the law weighted by Z_b its end has exactly
the target's law, with the other paths as independent proposals (Andrieu, Doucet and Holenstein 2010). So the chain that
starts there and is offered all others in turn stays in the target's law:

    E[ Z_b f(y_j) ] = Z E_target[ f ]   for every y_j of the chain,

without a burn-in. MALA (Roberts and Tweedie 1996) is invariant step by step, so that E[ w f ] does not change if f is
taken after any number of steps; each draw keeps the weight it came with. The drift is truncated: the gradient of a
narrow neck would otherwise carry every proposal out of it.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gephyra.targets.base import Target

from .components import Components
from .random import keyed_generator, normal_noise
from .resampling import systematic

__all__ = ["Langevin", "Moved", "independence_chain", "step_scale", "tune"]

# Of MALA in high dimension (Roberts and Rosenthal 1998).
_BEST_ACCEPTANCE = 0.574
_TUNING_STEPS = 40
# Of the drift, in standard deviations of the proposal a dimension.
_LONGEST_DRIFT = 1.0


class Moved(NamedTuple):
    """Points after Langevin steps."""

    u: Tensor
    """`batch x dim`."""
    acceptance: float
    """Share of proposals that were accepted."""


class Langevin(NamedTuple):
    """MALA with proposals u + (h s)^2 / 2 score + h s noise."""

    scale: Tensor
    """s, `(dim,)`: typical standard deviations of the target inside a mode."""
    step_size: float
    """h."""

    @torch.no_grad()
    def move(self, target: Target, u: Tensor, noise: Tensor, uniform: Tensor) -> Moved:
        """Take as many steps as there is noise, from points u; those where the target is not finite stay.

        Args:
            target: The density.
            u: `batch x dim`.
            noise: Standard normal, `steps x batch x dim`.
            uniform: In (0, 1), `steps x batch`, float64.
        """
        spread, accepted = self.step_size * self.scale.to(u), 0.0
        (log_density, score), threshold = target.log_density_and_score(u), uniform.log()
        drift = _drift(spread, score)
        for step_noise, level in zip(noise, threshold, strict=True):
            proposed = u + spread * (drift + step_noise)
            their_density, their_score = target.log_density_and_score(proposed)
            their_drift = _drift(spread, their_score)
            back = (u - proposed) / spread - their_drift
            change = 0.5 * (step_noise.square() - back.square()).sum(-1)
            taken = level < (their_density.double() - log_density.double() + change.double())
            u = torch.where(taken[:, None], proposed, u)
            drift = torch.where(taken[:, None], their_drift, drift)
            log_density = torch.where(taken, their_density, log_density)
            accepted += float(taken.double().mean())
        return Moved(u, accepted / max(1, noise.shape[0]))

    def move_block(self, target: Target, u: Tensor, steps: int, stream: str, seed: int, index: int) -> Moved:
        """`move` with the noise of a block of a stream."""
        noise = normal_noise((steps, *u.shape), stream, seed, index).to(u)
        # 1 - U lies in (0, 1], where the logarithm is finite.
        uniform = 1.0 - keyed_generator(f"{stream}/accept", seed, index).random((steps, u.shape[0]))
        return self.move(target, u, noise, torch.from_numpy(uniform).to(u.device))


def step_scale(dim: int, components: Components | None) -> Tensor:
    """s for coordinates where the target has about unit scale, or the modes those of a mixture; `(dim,)`."""
    if components is None:
        return torch.ones(dim)
    variance = components.tril.square() if components.tril.ndim == 2 else components.tril.square().sum(-1)
    return (0.5 * components.log_weight.softmax(0) @ variance.log()).exp().float()


def tune(target: Target, scale: Tensor, u: Tensor, log_weight: Tensor, seed: int) -> Langevin:
    """The step size at which 57 % of proposals are accepted, found by stochastic approximation from weighted points.

    The points are resampled first. A function of its arguments alone: the chain that is tuned is thrown away.
    """
    u = u[systematic(log_weight, u.shape[0], keyed_generator("polish/tune/resample", seed))]
    log_step, total = -math.log(u.shape[1]) / 6.0, 0.0
    for step in range(_TUNING_STEPS):
        moved = Langevin(scale, math.exp(log_step)).move_block(target, u, 1, "polish/tune", seed, step)
        u = moved.u
        log_step += (moved.acceptance - _BEST_ACCEPTANCE) * 2.0 / math.sqrt(1.0 + step)
        total += log_step if step >= _TUNING_STEPS // 2 else 0.0
    return Langevin(scale, math.exp(total / (_TUNING_STEPS - _TUNING_STEPS // 2)))


def independence_chain(log_weight: Tensor, generator: np.random.Generator) -> tuple[Tensor, float]:
    """Indices of the chain's states, `(n,)`, and the share of proposals that were accepted.

    Where no weight is positive there is no chain, and every draw stays where it is.
    """
    n = log_weight.shape[0]
    values = log_weight.cpu().numpy()
    if not (values > -np.inf).any():
        return torch.arange(n, device=log_weight.device), 0.0
    current = int(systematic(log_weight, 1, generator))
    level, chain, accepted = np.log1p(-generator.random(n)), [current], 0
    for proposed in range(n):
        if proposed == chain[0]:
            continue
        if level[proposed] < values[proposed] - values[current]:
            current, accepted = proposed, accepted + 1
        chain.append(current)
    return torch.tensor(chain, device=log_weight.device), accepted / max(1, n - 1)


def _drift(spread: Tensor, score: Tensor) -> Tensor:
    """h s score / 2, cut to a length; in units of the proposal's standard deviation."""
    drift = 0.5 * spread * score
    longest = _LONGEST_DRIFT * math.sqrt(score.shape[-1])
    shortened: Tensor = drift * (longest / drift.norm(dim=-1, keepdim=True).clamp(min=1e-30)).clamp(max=1.0)
    return shortened
