"""Sequential Monte Carlo along the paths of an annealed bridge (Matthews et al. 2022; Chen et al. 2025).

Where the marginals of a bridge are meant to be pi_n ~ gamma^beta_n p_0^(1 - beta_n), a path can be judged before its
end. With r_n = -log p_0(z_0) + sum_{m < n} (log B_m - log F_m), a path's log weight at n is r_n + log pi_n(z_n), at the
end r_N + log gamma(x_N). At a few grid points, where the effective sample size has fallen below half, paths are
resampled in proportion to it (systematically), and each copy gets

    r_n = log mean exp(r_n + log pi_n) - log pi_n(z_n).

The mean of the final weights of a block is an unbiased estimate of Z, a product of means, for any functions pi_n: a
copy made with probability p counts 1 / p.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gephyra.targets.base import Target
from gephyra.targets.gaussian import LOG_SQRT_2PI

from .bridge import Bridge
from .estimate import log_mean_exp
from .path import Node, Path
from .resampling import ess_fraction, systematic
from .schedule import Annealing
from .simulate import evaluator, walk

__all__ = ["Particles", "resampled_paths"]

_ESS_LIMIT = 0.5
# Looks at the weights along a path. Each costs an evaluation of log F and log B in a smaller batch; with more of them
# the weights have less time to spread, but copies have less time to part.
_LOOKS = 8


class Particles(NamedTuple):
    """The ends of resampled paths."""

    state: Tensor
    """`batch x state_dim`."""
    log_weight: Tensor
    """`(batch,)` float64; -inf where the path was not finite."""
    resampled: tuple[int, ...]
    """Grid points at which paths were resampled."""


@torch.no_grad()
def resampled_paths(
    bridge: Bridge, target: Target, noise: Tensor, generator: np.random.Generator, looks: int = _LOOKS
) -> Particles:
    """Forward paths that are resampled on the way.

    Args:
        bridge: A bridge with an annealing schedule; one without transitions is never resampled.
        target: The density.
        noise: As for `simulate`, which draws the same paths without resampling.
        generator: Source of the resampling.
        looks: Into how many parts the grid is divided; with 1 nothing is resampled.
    """
    evaluate, chain, beta = evaluator(bridge, target), bridge.forward_chain(), _betas(bridge)
    node = evaluate(bridge.start(noise[: bridge.start_rows]))
    nodes, ratio, times = [node], -bridge.start_log_density(node.state), []
    length = max(1, -(-bridge.steps // looks))
    for first in range(0, bridge.steps, length):
        last = min(bridge.steps, first + length)
        rows = slice(bridge.start_rows + first * bridge.step_rows, bridge.start_rows + last * bridge.step_rows)
        nodes += walk(chain, range(first, last), evaluate, nodes[-1], noise[rows])
        increments = bridge.increments(_path(nodes), first, last)
        ratio = ratio + (increments.backward - increments.forward).sum(0)
        if last == bridge.steps:
            break
        level = _annealed(bridge, nodes[-1], beta[last])
        log_weight = _judged(ratio, level)
        if 0.0 < ess_fraction(log_weight) < _ESS_LIMIT:
            chosen = systematic(log_weight, log_weight.shape[0], generator)
            # What is chosen had a finite weight: where the level is not finite, `_judged` put another in its place.
            ratio = log_mean_exp(log_weight) + (ratio - log_weight)[chosen]
            nodes = [Node(*(part[chosen] for part in each)) for each in nodes]
            times.append(last)
    log_weight = ratio + nodes[-1].log_density.double()
    return Particles(nodes[-1].state, torch.where(log_weight.isfinite(), log_weight, -torch.inf), tuple(times))


def _path(nodes: list[Node]) -> Path:
    return Path(
        torch.stack([node.state for node in nodes]), torch.stack([node.score for node in nodes]), nodes[-1].log_density
    )


def _betas(bridge: Bridge) -> Tensor:
    """beta_n as the bridge anneals; a bridge without a schedule has none to look at."""
    schedules = [module for name, module in bridge.named_children() if name == "annealing"]
    return next((module() for module in schedules if isinstance(module, Annealing)), torch.zeros(bridge.steps + 1))


def _annealed(bridge: Bridge, node: Node, beta: Tensor) -> Tensor:
    """log pi_n up to a constant, `(batch,)`: a momentum has its stationary law at every n."""
    momentum = node.state[:, bridge.dim :]
    kinetic = (-0.5 * momentum.square() - LOG_SQRT_2PI).sum(-1).double()
    weight = beta.double()
    return weight * (node.log_density.double() + kinetic) + (1.0 - weight) * bridge.start_log_density(node.state)


def _judged(ratio: Tensor, level: Tensor) -> Tensor:
    """Log weights to resample by: where the target vanishes but the path may come back, the least of all."""
    log_weight = ratio + level
    usable = log_weight.isfinite()
    least = torch.where(usable, log_weight, torch.inf).min()
    return torch.where(usable, log_weight, torch.where(ratio.isfinite(), least, -torch.inf))
