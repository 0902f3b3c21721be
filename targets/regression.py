"""Bayesian logistic regression: y_i ~ Bernoulli(sigmoid(x_i . w)), w ~ N(0, prior_scale) on every weight."""

import math

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import logsigmoid

from .base import Target
from .constant import Constant
from .gaussian import LOG_SQRT_2PI
from .program import Site

__all__ = ["LogisticRegression", "standardised"]


class LogisticRegression(Target):
    """The posterior of the weights, one a column of the design.

    The features are used as they come: see `standardised`. An intercept is one more column of ones, put first.
    """

    def __init__(
        self, features: ArrayLike | Tensor, labels: ArrayLike | Tensor, prior_scale: float = 1.0, intercept: bool = True
    ) -> None:
        """Take the data.

        Args:
            features: rows x columns.
            labels: (rows,), each 0 or 1.
            prior_scale: Standard deviation of every weight, intercept included. Infinite: no prior term at all
                (log Z is then the integral of the likelihood, finite only if the data are not separable).
            intercept: Put a column of ones first.

        Raises:
            ValueError: For other shapes, labels or scales, or features that are not finite.
        """
        design, y = Constant(features).master, Constant(labels).master
        _check_data(design, y)
        if not prior_scale > 0:
            raise ValueError(f"prior_scale must be positive, got {prior_scale}")
        if intercept:
            design = torch.cat([torch.ones(len(design), 1, dtype=design.dtype), design], dim=1)
        self.dim = design.shape[1]
        self.sites = (Site("weights", (self.dim,)),)
        # Rows times +-1, so that the likelihood is a sum of log sigmoid(row . w).
        self._signed = Constant(design * (2 * y - 1)[:, None])
        self._precision = prior_scale**-2
        self._constant = 0.0 if math.isinf(prior_scale) else -self.dim * (math.log(prior_scale) + LOG_SQRT_2PI)

    def _log_density(self, x: Tensor) -> Tensor:
        return self._log_density_and_score(x)[0]

    def _log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        signed = self._signed.like(x)
        margin = x @ signed.mT
        prior = self._constant - 0.5 * self._precision * x.square().sum(-1)
        return prior + logsigmoid(margin).sum(-1), margin.neg().sigmoid() @ signed - self._precision * x

    def _constrain(self, x: Tensor) -> dict[str, Tensor]:
        return {"weights": x}


def standardised(features: ArrayLike | Tensor) -> Tensor:
    """The features, rows x columns, each column centred and divided by its population sd (an sd of 0 counts as 1)."""
    master = Constant(features).master
    scale = master.std(0, correction=0)
    return (master - master.mean(0)) / torch.where(scale == 0, 1.0, scale)


def _check_data(features: Tensor, labels: Tensor) -> None:
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"features must have shape (rows, columns), got {tuple(features.shape)}")
    if not features.isfinite().all():
        raise ValueError("features must be finite: fill or drop missing values first")
    if tuple(labels.shape) != (len(features),):
        raise ValueError(
            f"labels must have shape ({len(features)},) like the rows of features, got {tuple(labels.shape)}"
        )
    if not ((labels == 0) | (labels == 1)).all():
        raise ValueError(f"labels must be 0 or 1, got {sorted(set(labels.tolist()))[:5]}")
