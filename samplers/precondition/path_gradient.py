"""The diagonal Gaussian of largest ELBO, by Adam on the path gradient (Roeder et al. 2017).

With x = m + s e and g = s score(x) + e, the gradient in the whitened frame is mean(g) for m and mean(g e) for log s.
Steps are taken in that frame, so that the method does not see the target's own scales. Newton's steps (newton.py) would
not do: on a correlated target the diagonal of the precision is too small a step-down.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gephyra.targets.base import Target

from ..adam import Adam
from ..random import normal_noise
from .evaluation import evaluate

__all__ = ["PRECONDITION_BATCH", "diagonal_fit"]

PRECONDITION_BATCH = 64
"""Points a step."""

_ITERATIONS = 1500
_LEARNING_RATE = 2e-2
# A whitened gradient longer than this many standard deviations says only where to go, not how far.
_GRADIENT_CLIP = 10.0
# The path gradient of a Gaussian target vanishes draw by draw at the optimum; nothing is left to do below this.
_CONVERGED = 1e-4


def diagonal_fit(
    target: Target, mean: Tensor, scale: Tensor, stream: int, seed: int, spent: Callable[[], float]
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviations, each `(dim,)`, from a start of the same shape.

    Args:
        target: The density.
        mean: Where the mean starts, `(dim,)`, float64.
        scale: Where the standard deviations start.
        stream: Which of several starts this is; each has noise of its own.
        seed: Seed of the noise.
        spent: Share of the time for this start that has gone, asked at every step.
    """
    adam = Adam(torch.zeros(2, target.dim, dtype=torch.float64))
    for step in range(_ITERATIONS):
        fraction = max(step / _ITERATIONS, spent())
        if fraction >= 1.0:
            break
        counter = stream * _ITERATIONS + step
        noise = normal_noise((PRECONDITION_BATCH, target.dim), "precondition", seed, counter).double()
        gradient = _whitened_gradient(target, mean, scale, noise)
        if float(gradient.abs().max()) < _CONVERGED:
            break
        move = _LEARNING_RATE * 0.5 * (1.0 + math.cos(math.pi * fraction)) * adam.direction(gradient)
        mean, scale = mean + scale * move[0], scale * move[1].exp()
    return mean, scale


def _whitened_gradient(target: Target, mean: Tensor, scale: Tensor, noise: Tensor) -> Tensor:
    """Ascent direction of the ELBO, `2 x dim`: for the mean, and for the log scale."""
    at = evaluate(target, mean + noise * scale)
    path = torch.where(at.log_density.isfinite()[:, None], at.score * scale + noise, 0.0)
    length = path.norm(dim=1, keepdim=True).clamp(min=1e-30)
    path = path * (_GRADIENT_CLIP * math.sqrt(target.dim) / length).clamp(max=1.0)
    return torch.stack([path.mean(0), (path * noise).mean(0)])
