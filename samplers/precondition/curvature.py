"""Curvature of a log density by differences of its score."""

from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from .evaluation import evaluate

__all__ = ["Peak", "hessian", "peak_at"]

_STEP = 1e-3
_NEWTON_STEPS = 3
# Beyond this condition number the inverse Hessian is rounding noise in single precision.
_CONDITION_LIMIT = 1e8
# A precision below minus this share of the largest one is a way up: the point is a saddle.
_SADDLE = 1e-3


class Peak(NamedTuple):
    """A stationary point with the Gaussian of its curvature."""

    point: Tensor
    """`(dim,)`"""
    log_density: float
    tril: Tensor
    """Factor of the inverse of minus the Hessian, `dim x dim`; of a tempered one where that is not positive."""
    sound: bool
    """Whether the Hessian is negative definite and well conditioned, as at the peak of something like a Gaussian."""
    saddle: bool

    @property
    def log_evidence(self) -> float:
        """Laplace's estimate of the peak's share of Z, without the constant."""
        return self.log_density + float(self.tril.diagonal().log().sum())

    def distance(self, x: Tensor) -> Tensor:
        """How many standard deviations points x, `n x dim`, are away, `(n,)`."""
        standard: Tensor = torch.linalg.solve_triangular(self.tril, (x - self.point).T, upper=False)
        distance: Tensor = standard.norm(dim=0)
        return distance


def hessian(target: Target, point: Tensor) -> Tensor:
    """Hessian of the log density at a point `(dim,)`, `dim x dim`, by 2 dim scores."""
    step = _STEP * (1.0 + point.abs())
    score = evaluate(target, torch.cat([point + torch.diag(step), point - torch.diag(step)])).score
    half = (score[: len(point)] - score[len(point) :]) / (2.0 * step[:, None])
    return 0.5 * (half + half.T)


def peak_at(target: Target, point: Tensor) -> Peak:
    """The peak next to a point `(dim,)` where a climb stopped; Newton steps with the curvature there finish it."""
    eigenvalues, vectors = torch.linalg.eigh(-hessian(target, point))
    least, most = float(eigenvalues[0]), float(eigenvalues.abs().max())
    tempered = eigenvalues.abs().clamp(min=max(most / _CONDITION_LIMIT, 1e-30))
    covariance = (vectors / tempered) @ vectors.T
    factor = torch.linalg.cholesky_ex(covariance)
    tril = torch.diag(covariance.diagonal().sqrt()) if bool(factor.info) else factor.L
    sound, saddle = least > most / _CONDITION_LIMIT, least < -_SADDLE * most
    point, log_density = _finished(target, point, covariance)
    return Peak(point, log_density, tril, sound, saddle)


def _finished(target: Target, point: Tensor, covariance: Tensor) -> tuple[Tensor, float]:
    at = evaluate(target, point[None])
    for _ in range(_NEWTON_STEPS):
        following = point + covariance @ at.score[0]
        there = evaluate(target, following[None])
        if not float(there.log_density) > float(at.log_density):
            break
        point, at = following, there
    return point, float(at.log_density)
