"""The score of the data's density at the rows, and what a loss regresses towards with it.

Rows x are draws of a density with score s(x), and y = alpha x + sigma eps. Given y, both -eps / sigma and s(x) / alpha
have the score of y as their mean (De Bortoli et al. 2024). eps is independent of x and has mean zero, so the two are
uncorrelated, and with A = E[s s^T], the Fisher information, and any matrix K that depends on the level alone,

    K (-eps / sigma) + (1 - K) s / alpha    has second moment    K K^T / sigma^2 + (1 - K) A (1 - K)^T / alpha^2
        =  (K - K') (1 / sigma^2 + A / alpha^2) (K - K')^T + (alpha^2 C + sigma^2)^-1,
    C = A^-1,    K' = sigma^2 (alpha^2 C + sigma^2)^-1.

Its mean given y is the same for every K, so this moment and the variance differ by a constant: K' has the least
variance in every direction. It is the share of noise in the variance of y where x is a Gaussian with covariance C; for
Gaussian data, whose C is their covariance, no variance is left. A loss towards the mix lacks of the plain one

    E|eps|^2 - E|K eps - (1 - K) sigma s / alpha|^2  =  tr(1 - K^2) - (sigma / alpha)^2 E|(1 - K) s|^2

at each level, whatever the model and whatever K. With it added row by row, the two have one expectation.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from ..run import StopTraining
from .exact import GaussianDenoiser
from .schedule import preserving
from .standardise import DataTransform

__all__ = ["Regressed", "Scores", "evaluate_scores", "mixed_target", "model_scores"]

# Rows whose scores are asked for together: between two calls a run can be stopped.
_ROWS = 1024
# Standard errors beyond which rows are said not to be draws of the density; no chance at any dimension.
_DOUBT = 6.0


class Regressed(NamedTuple):
    """Data and noise that a prediction is trained towards: alpha x + sigma eps = y; both `batch x dim`."""

    x: Tensor
    eps: Tensor


class Scores(NamedTuple):
    """The score of the data's density at rows, in the model's coordinates."""

    value: Tensor
    """`rows x dim`."""
    local: GaussianDenoiser
    """Its covariance is the C of this module; its mean does not matter."""

    @classmethod
    def of(cls, value: Tensor, covariance: Tensor) -> "Scores":
        """With the Fisher information of the rows themselves.

        No density with a given covariance has less of it than the Gaussian (Cramer and Rao), whose information counts
        as that of dim more rows: A is regular with few rows too, or where no score has a component in some direction.

        Args:
            value: `rows x dim`.
            covariance: Of the data, `dim x dim`, positive definite.
        """
        exact, (rows, dim) = value.double(), value.shape
        least = torch.linalg.inv(covariance.double())
        information = (exact.mT @ exact + dim * least) / (rows + dim)
        local = torch.linalg.inv(information)
        return cls(value, GaussianDenoiser(torch.zeros(dim), 0.5 * (local + local.mT)))

    def regressed(self, rows: Tensor, x: Tensor, eps: Tensor, log_snr: Tensor) -> Regressed:
        """What to train towards at data x with noise eps, `batch x dim`; `rows`, `(batch,)`, are the numbers of x."""
        score = self.value[rows.to(self.value.device)].to(x)
        return mixed_target(x, eps, score, self.local, log_snr)

    def explained(self, rows: Tensor, log_snr: Tensor) -> Tensor:
        """What |eps - eps'|^2 towards the mix lacks of the plain one, on average over the noise: `(batch,)` float64.

        At the rows of these numbers, `(batch,)`, and levels log_snr, `(batch,)` float64.
        """
        score, share = self.value[rows.to(self.value.device)].to(log_snr), self.local.shares(log_snr)
        level = preserving(log_snr)
        moved = self.local.explained(level.sigma / level.alpha * score, log_snr)
        return (share * (2.0 - share)).sum(-1) - moved.square().sum(-1)

    def doubt(self, x: Tensor) -> str | None:
        """What to say where rows x, `rows x dim` in these coordinates, are no independent draws of the density.

        Draws have E[s] = 0 and E[x . s] = -dim (Stein), where the density vanishes at infinity.
        """
        score, point = self.value.double(), x.double()
        claims = torch.cat([score, (score * point).sum(1, keepdim=True) + x.shape[1]], 1)
        error = claims.std(0).clamp(min=1e-12) / len(claims) ** 0.5
        worst = float((claims.mean(0).abs() / error).max())
        if worst <= _DOUBT:
            return None
        return (
            f"the rows do not look like independent draws of the target (its score is {worst:.0f} standard errors from "
            "what draws have): is it the same density, in the same coordinates and units, and are columns in its order?"
        )


def evaluate_scores(target: Target, data: Tensor, should_stop: Callable[[], bool]) -> Tensor:
    """The score of a target at each row of data, `rows x dim` in data units: `rows x dim` float64.

    Raises:
        ValueError: For a target of another dimension.
        StopTraining: `should_stop` said so.
    """
    if target.dim != data.shape[1]:
        raise ValueError(f"the target has dimension {target.dim}, and the data have {data.shape[1]} columns")
    parts = []
    for part in data.double().split(_ROWS):
        if should_stop():
            raise StopTraining
        parts.append(target.log_density_and_score(part)[1].double().cpu())
    return torch.cat(parts)


def model_scores(scores: Tensor, data: Tensor, transform: DataTransform) -> Tensor:
    """Scores in the model's coordinates from those in data units, one for each row of data, `rows x dim` both.

    Raises ValueError for another shape, or naming the first row whose score is not finite.
    """
    if scores.shape != data.shape:
        raise ValueError(f"scores must have the shape of the data, {tuple(data.shape)}, got {tuple(scores.shape)}")
    wrong = ~scores.isfinite().all(1)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise ValueError(f"row {row}: the score is not finite there, so it is no draw of the density; leave it out")
    return scores.double() * transform.scale.to(scores.device)


def mixed_target(x: Tensor, eps: Tensor, score: Tensor, local: GaussianDenoiser, log_snr: Tensor) -> Regressed:
    """Where the score of the data's density is known at x: a regression target with less noise and the same mean.

    Weighted by the shares of noise and data in the variance of y (see the module): little noise is left at high lambda.
    Holds for draws x of the density only.

    Args:
        x: Draws, `batch x dim`.
        eps: Noise, `batch x dim`.
        score: Gradient of the log density at x, `batch x dim`.
        local: A Gaussian with covariance C; its mean does not matter.
        log_snr: Levels, `(batch,)`.
    """
    level = preserving(log_snr).like(x)
    ratio = level.sigma / level.alpha
    change = local.explained(eps + ratio * score, log_snr)
    return Regressed(x + ratio * change, eps - change)
