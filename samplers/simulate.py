"""The one simulation loop: draw paths of a bridge, from prior to target or back."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from .bridge import Bridge, Chain

__all__ = ["Path", "simulate", "simulate_backward"]


class Path(NamedTuple):
    """Stored paths: all that the losses and the log weights need."""

    x: Tensor
    """Points x_0, ..., x_N, `(steps + 1) x batch x dim`."""
    score: Tensor
    """The target's score at those points, same shape."""
    log_density: Tensor
    """The target's log density at x_N, `(batch,)`."""


def simulate(bridge: Bridge, target: Target, noise: Tensor) -> Path:
    """Draw forward paths x_0 ~ p_0, x_{n+1} ~ F_n(. | x_n).

    Under `torch.no_grad()` the path is a constant; with gradients on, it is differentiable in the bridge's parameters
    (the reparametrised loss), the score as far as the target has second derivatives.

    Args:
        bridge: The bridge.
        target: Density that gives the score at every point; steps + 1 evaluations a path.
        noise: Standard normal, `(steps + 1) x batch x dim`; noise[0] draws x_0.
    """
    start = bridge.prior_kernel().sample(noise[0])
    return _walk(bridge.forward_chain(), range(bridge.steps), target, start, noise[1:])


@torch.no_grad()
def simulate_backward(bridge: Bridge, target: Target, end: Tensor, noise: Tensor) -> Path:
    """Draw backward paths x_n ~ B_n(. | x_{n+1}) from given end points, as a constant.

    With `end` drawn from the target, the mean log weight of these paths is the EUBO, an upper bound of log Z.

    Args:
        bridge: The bridge.
        target: Density that gives the score at every point.
        end: Points x_N, `batch x dim`.
        noise: Standard normal, `steps x batch x dim`.
    """
    back = _walk(bridge.backward_chain(), range(bridge.steps - 1, -1, -1), target, end, noise)
    return Path(back.x.flip(0), back.score.flip(0), target.log_density(end))


def _walk(chain: Chain, order: Iterable[int], target: Target, x: Tensor, noise: Tensor) -> Path:
    """Follow `chain` from x through the transitions in `order`; the log density is that of the last point."""
    log_density, score = target.log_density_and_score(x)
    points, scores = [x], [score]
    for n, step_noise in zip(order, noise, strict=True):
        x = chain(n, x, score).sample(step_noise)
        log_density, score = target.log_density_and_score(x)
        points.append(x)
        scores.append(score)
    return Path(torch.stack(points), torch.stack(scores), log_density)
