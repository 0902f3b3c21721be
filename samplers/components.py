"""A normalised mixture of Gaussians, the prior of a bridge whose target has several modes.

    p(x) = sum_k weight_k N(x; mean_k, tril_k tril_k^T)

`Components` is the record that is stored; `Mixture` evaluates it, with the factors inverted once. All is float64, and
densities come in float64 whatever the element type of the points.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.gaussian import LOG_SQRT_2PI

__all__ = ["MOST_COMPONENTS", "Components", "Mixture"]

MOST_COMPONENTS = 64
"""Components that a preconditioner makes at most."""
_ROWS = 1024


class Components(NamedTuple):
    """The parameters of K Gaussians, float64."""

    log_weight: Tensor
    """`(K,)`, normalised."""
    mean: Tensor
    """`K x dim`."""
    tril: Tensor
    """Lower triangular factors `K x dim x dim` with a positive diagonal, or standard deviations `K x dim`."""

    def log_density(self, x: Tensor) -> Tensor:
        """Log density `(batch,)` at points x, `batch x dim`. In a loop, keep a `Mixture`."""
        return Mixture(self).log_density(x)

    def score(self, x: Tensor) -> Tensor:
        """Gradient of the log density, `batch x dim`, at points x, `batch x dim`. In a loop, keep a `Mixture`."""
        return Mixture(self).log_density_and_score(x)[1]

    def sample(self, noise: Tensor, uniform: Tensor) -> Tensor:
        """Draws, `batch x dim`, from standard normal noise, `batch x dim`, and uniforms in [0, 1), `(batch,)`."""
        cumulative = self.log_weight.softmax(0).cumsum(0)
        chosen = torch.searchsorted(cumulative, uniform.double() * cumulative[-1], right=True)
        return self.draw(noise, chosen.clamp(max=len(cumulative) - 1))

    def draw(self, noise: Tensor, component: Tensor) -> Tensor:
        """Draws, `batch x dim`, of given components `(batch,)` from standard normal noise, `batch x dim`."""
        moved = torch.empty(noise.shape, dtype=torch.float64)
        for k in component.unique().tolist():
            rows, factor = component == k, self.tril[k]
            moved[rows] = noise[rows].double() @ factor.T if factor.ndim == 2 else noise[rows].double() * factor
        return moved + self.mean[component]

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean `(dim,)` and standard deviations `(dim,)` of the mixture."""
        weight = self.log_weight.softmax(0)[:, None]
        mean = (weight * self.mean).sum(0)
        variance = self.tril.square().sum(2) if self.tril.ndim == 3 else self.tril.square()
        return mean, (weight * (variance + (self.mean - mean).square())).sum(0).sqrt()

    def factor(self) -> Tensor:
        """Lower triangular factor of the mixture's covariance, `dim x dim`."""
        weight, factors = self.log_weight.softmax(0), self.tril if self.tril.ndim == 3 else torch.diag_embed(self.tril)
        centred = self.mean - weight @ self.mean
        between = (weight[:, None] * centred).T @ centred
        factor: Tensor = torch.linalg.cholesky((weight[:, None, None] * (factors @ factors.mT)).sum(0) + between)
        return factor

    def mapped(self, shift: Tensor, scale: Tensor) -> "Components":
        """The same mixture in coordinates u with x = shift + scale u; scale `(dim,)` or lower triangular."""
        shift, scale, full = shift.double(), scale.double(), self.tril.ndim == 3
        centred = self.mean - shift
        if scale.ndim == 1:
            return Components(self.log_weight, centred / scale, self.tril / (scale[:, None] if full else scale))
        factors = self.tril if full else torch.diag_embed(self.tril)
        mean = torch.linalg.solve_triangular(scale, centred.T, upper=False).T
        return Components(self.log_weight, mean, torch.linalg.solve_triangular(scale, factors, upper=False))

    def widened(self, factor: float) -> "Components":
        """The mixture with every component's standard deviations multiplied by `factor`."""
        return Components(self.log_weight, self.mean, factor * self.tril)

    def chosen(self, keep: Tensor) -> "Components":
        """The mixture of some components only, by index or mask `(K,)`, with their weights normalised."""
        return Components(self.log_weight[keep].log_softmax(0), self.mean[keep], self.tril[keep])


class Mixture:
    """The density of `components`.

    Raises:
        ValueError: For other shapes, values that are not finite or a diagonal that is not positive.
    """

    def __init__(self, components: Components) -> None:
        log_weight, mean, tril = components
        _check(log_weight, mean, tril)
        self._mean, self._full, dim = mean.double(), tril.ndim == 3, mean.shape[1]
        diagonal = tril.diagonal(dim1=1, dim2=2) if self._full else tril
        constants = log_weight.double().log_softmax(0) - diagonal.double().log().sum(1) - dim * LOG_SQRT_2PI
        self._constants = constants[:, None]
        identity = torch.eye(dim, dtype=torch.float64)
        self._inverse = (
            torch.linalg.solve_triangular(tril.double(), identity, upper=False) if self._full else 1.0 / tril.double()
        )

    def log_density(self, x: Tensor) -> Tensor:
        """Log density `(batch,)` at points x, `batch x dim`."""
        return torch.logsumexp(self.log_terms(x), 1)

    def log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log density `(batch,)` and its gradient `batch x dim` at points x, `batch x dim`."""
        standard, terms = self._standard(x)
        weighted = terms.softmax(0)[:, :, None] * standard
        score = (weighted @ self._inverse).sum(0) if self._full else (weighted * self._inverse[:, None]).sum(0)
        return torch.logsumexp(terms, 0), -score

    def log_terms(self, x: Tensor) -> Tensor:
        """Log of weight times density of each component, `batch x K`, at points x, `batch x dim`."""
        # In parts: the differences from all components to all points would not fit the cache, nor much memory.
        return torch.cat([self._standard(part)[1].T for part in x.split(_ROWS)])

    def _standard(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised points `K x batch x dim`, and log of weight times density of each component, `K x batch`."""
        # Differences before products: far components would cost digits.
        centred = x.double()[None] - self._mean[:, None]
        standard = centred @ self._inverse.mT if self._full else centred * self._inverse[:, None]
        return standard, self._constants - 0.5 * standard.square().sum(2)


def _check(log_weight: Tensor, mean: Tensor, tril: Tensor) -> None:
    if mean.ndim != 2 or 0 in mean.shape:
        raise ValueError(f"mean must have shape (components, dim), got {tuple(mean.shape)}")
    count, dim = mean.shape
    if tuple(log_weight.shape) != (count,):
        raise ValueError(f"log_weight must have shape ({count},), got {tuple(log_weight.shape)}")
    if tuple(tril.shape) not in {(count, dim), (count, dim, dim)}:
        raise ValueError(f"tril must have shape ({count}, {dim}, {dim}) or ({count}, {dim}), got {tuple(tril.shape)}")
    if not (log_weight.isfinite().all() and mean.isfinite().all() and tril.isfinite().all()):
        raise ValueError("log_weight, mean and tril must be finite")
    if not ((tril.diagonal(dim1=1, dim2=2) if tril.ndim == 3 else tril) > 0).all():
        raise ValueError("the diagonals of tril must be positive")
