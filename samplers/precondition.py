"""Coordinates where a standard normal prior fits the target: x = shift + scale u, by Gaussian variational inference.

The Gaussian N(m, L L^T) that maximises the ELBO is found with the path gradient (Roeder et al. 2017), which needs
scores only: with z = m + L e and g = L^T score(z) + e, the gradient in the whitened frame is mean(g) for m and
tril(mean(g e^T)) for L. Steps are taken in that frame, m <- m + L a and L <- L (strict tril B + exp diag B), so that
the method does not see the target's own scales. Several starts are run, and the best ELBO on common noise wins.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gephyra.targets.base import Target

from .adam import Adam
from .components import Components
from .coordinates import Coordinates
from .random import normal_noise
from .report import PreconditionReport
from .settings import Precondition

__all__ = ["PRECONDITION_BATCH", "Gaussian", "Preconditioned", "precondition"]

_ITERATIONS = 1500
PRECONDITION_BATCH = 64
"""Points a step."""
_EVALUATION = 4096
_LEARNING_RATE = 2e-2
_START_SCALE = 0.3
# A whitened gradient longer than this many standard deviations says only where to go, not how far.
_GRADIENT_CLIP = 10.0
# The path gradient of a Gaussian target vanishes draw by draw at the optimum; nothing is left to do below this.
_CONVERGED = 1e-4
# Beyond this condition number the inverse Hessian is rounding noise in single precision.
_CONDITION_LIMIT = 1e8


class Gaussian(NamedTuple):
    """N(mean, tril tril^T) in float64: `(dim,)` and `dim x dim`, and the name of the start it came from."""

    mean: Tensor
    tril: Tensor
    start: str


class Preconditioned(NamedTuple):
    """The coordinates, and how they were found."""

    coordinates: Coordinates
    report: PreconditionReport
    components: Components | None = None


def precondition(
    kind: Precondition, target: Target, seed: int, spent: Callable[[], float] = lambda: 0.0
) -> Preconditioned:
    """Choose coordinates for the target.

    Args:
        kind: Which family of maps.
        target: The density.
        seed: Seed of the noise.
        spent: Share of the allowed time that has gone, asked at every step; the starts divide it evenly.

    Raises:
        ValueError: If no start had a finite ELBO: the log density is not finite near 0 nor near its mode.
    """
    if kind is Precondition.NONE:
        identity = Coordinates(torch.zeros(target.dim), torch.ones(target.dim))
        return Preconditioned(identity, PreconditionReport("none"))
    diagonal = kind is Precondition.DIAGONAL
    fits = []
    starts = _starts(target)
    for index, start in enumerate(starts):
        noise = normal_noise((_ITERATIONS, PRECONDITION_BATCH, target.dim), "precondition", seed, index).double()
        fit = _fit(target, start, diagonal, noise, lambda k=index: len(starts) * spent() - k)  # type: ignore[misc]
        fits.append((_elbo(target, fit, seed), fit))
    elbo, best = max(fits, key=lambda pair: pair[0])
    if not math.isfinite(elbo):
        raise ValueError("the log density is not finite around 0 nor around its mode: no Gaussian fits it")
    scale = best.tril.diagonal() if diagonal else best.tril
    coordinates = Coordinates(best.mean.float(), scale.float())
    return Preconditioned(coordinates, PreconditionReport(kind.value, elbo, best.start))


def _starts(target: Target) -> list[Gaussian]:
    """Zero with a small scale, and Laplace's approximation where the Hessian at the mode is well conditioned."""
    origin = Gaussian(
        torch.zeros(target.dim, dtype=torch.float64), _START_SCALE * torch.eye(target.dim, dtype=torch.float64), "zero"
    )
    laplace = _laplace(target)
    return [origin] if laplace is None else [origin, laplace]


def _laplace(target: Target) -> Gaussian | None:
    """Mode by L-BFGS, Hessian by central differences of the score; None where that is not a Gaussian's peak."""
    # Imported here: it takes 0.4 s, which workers that only draw need not spend.
    from scipy.optimize import minimize

    def cost(point: np.ndarray) -> tuple[float, np.ndarray]:
        log_density, score = target.log_density_and_score(torch.from_numpy(point)[None])
        finite = bool(log_density.isfinite()) and bool(score.isfinite().all())
        # A large finite cost makes the line search step back where the density vanishes.
        return (-float(log_density), -score[0].double().numpy()) if finite else (1e30, np.zeros_like(point))

    mode = torch.from_numpy(minimize(cost, np.zeros(target.dim), jac=True, method="L-BFGS-B").x)
    step = 1e-3 * (1.0 + mode.abs())
    around = torch.cat([mode + torch.diag(step), mode - torch.diag(step)])
    score = target.log_density_and_score(around)[1].double()
    hessian = (score[: target.dim] - score[target.dim :]) / (2.0 * step[:, None])
    precision = -0.5 * (hessian + hessian.T)
    if not bool(precision.isfinite().all()):
        return None
    eigenvalues = torch.linalg.eigvalsh(precision)
    if float(eigenvalues[0]) <= float(eigenvalues[-1]) / _CONDITION_LIMIT:
        return None
    return Gaussian(mode, torch.linalg.cholesky(torch.linalg.inv(precision)), "laplace")


def _fit(target: Target, start: Gaussian, diagonal: bool, noise: Tensor, spent: Callable[[], float]) -> Gaussian:
    """Maximise the ELBO by Adam in the whitened frame, one step a batch of `noise`, with a cosine learning rate."""
    mean, tril = start.mean.clone(), torch.diag(start.tril.diagonal()) if diagonal else start.tril.clone()
    adam = Adam(torch.zeros(target.dim, target.dim + 1, dtype=torch.float64))
    for step, batch in enumerate(noise):
        fraction = max(step / noise.shape[0], spent())
        gradient = _whitened_gradient(target, mean, tril, batch, diagonal)
        if fraction >= 1.0 or float(gradient.abs().max()) < _CONVERGED:
            break
        rate = _LEARNING_RATE * 0.5 * (1.0 + math.cos(math.pi * fraction))
        move = rate * adam.direction(gradient)
        mean = mean + tril @ move[:, 0]
        growth = move[:, 1:]
        # The diagonal moves by its exponential, so that scales stay positive.
        tril = tril @ (growth.tril(-1) + torch.diag(growth.diagonal().exp()))
    return Gaussian(mean, tril, start.start)


def _whitened_gradient(target: Target, mean: Tensor, tril: Tensor, noise: Tensor, diagonal: bool) -> Tensor:
    """Ascent direction of the ELBO, `dim x (1 + dim)`: for the mean, and lower triangular for the scale."""
    score = target.log_density_and_score(mean + noise @ tril.T)[1].double()
    path = score @ tril + noise
    usable = path.isfinite().all(1, keepdim=True)
    path = torch.where(usable, path, 0.0)
    length = path.norm(dim=1, keepdim=True).clamp(min=1e-30)
    path = path * (_GRADIENT_CLIP * math.sqrt(target.dim) / length).clamp(max=1.0)
    scale = (path.T @ noise) / noise.shape[0]
    return torch.cat([path.mean(0)[:, None], torch.diag(scale.diagonal()) if diagonal else scale.tril()], 1)


def _elbo(target: Target, fit: Gaussian, seed: int) -> float:
    """ELBO of a fit on noise that all fits share; -inf where it is not finite."""
    noise = normal_noise((_EVALUATION, target.dim), "precondition/elbo", seed, 0).double()
    log_density = target.log_density(fit.mean + noise @ fit.tril.T).double()
    entropy = fit.tril.diagonal().log().sum() + 0.5 * target.dim * (1.0 + math.log(2.0 * math.pi))
    elbo = float(log_density.mean() + entropy)
    return elbo if math.isfinite(elbo) else -math.inf
