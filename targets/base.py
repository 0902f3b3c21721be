"""The interface of an unnormalised density, and the one place where its shapes are checked.

A target is gamma on R^dim with unknown Z = integral of gamma. Points are batches `x`, `batch x dim`; a log
density is `(batch,)`, a score (the gradient of log gamma) `batch x dim`. Where gamma is zero the log
density is -inf. A subclass gives the two underscored methods; callers use the public ones.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from .program import Site

__all__ = ["AutogradTarget", "OpaqueTarget", "Target", "differentiable"]


class Target(ABC):
    """An unnormalised density on R^dim.

    Attributes:
        dim: Dimension, at least 1.
        log_z: log Z where it is known exactly or by quadrature, else None.
        sites: Names and shapes of what `constrain` returns, in order; empty without a constraining map.
        second_derivatives: Whether the score can be differentiated; if not, it is a constant to autograd.
    """

    dim: int
    log_z: float | None = None
    sites: tuple[Site, ...] = ()
    second_derivatives: bool = True

    def log_density(self, x: Tensor) -> Tensor:
        """Log gamma at points x, `batch x dim`, as a `(batch,)` tensor of x's dtype.

        Differentiable in x. Raises ValueError for points of another shape.
        """
        self._check_points(x)
        return self._checked("log_density", self._log_density(x), (x.shape[0],))

    def log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log gamma `(batch,)` and its gradient `batch x dim` at points x, `batch x dim`.

        Without gradient tracking on x both are constants. If x requires grad, the log density is
        differentiable, and the score too where the target has second derivatives.
        Raises ValueError for points of another shape.
        """
        self._check_points(x)
        log_density, score = self._log_density_and_score(x)
        return (
            self._checked("log_density", log_density, (x.shape[0],)),
            self._checked("score", score, tuple(x.shape)),
        )

    def constrain(self, x: Tensor) -> dict[str, Tensor]:
        """The model's own sites at unconstrained points x, `batch x dim`: `(batch, *site.shape)` under each name."""
        self._check_points(x)
        values = self._constrain(x)
        return {
            site.name: self._checked(f"site {site.name}", values[site.name], (x.shape[0], *site.shape))
            for site in self.sites
        }

    def sample(self, count: int, generator: torch.Generator) -> Tensor | None:
        """Exact draws of the normalised density, `count x dim`; None where there is no exact sampler."""
        return None

    @abstractmethod
    def _log_density(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def _log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]: ...

    def _constrain(self, x: Tensor) -> dict[str, Tensor]:
        return {}

    def _check_points(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"points must have shape (batch, {self.dim}), got {tuple(x.shape)}")

    @staticmethod
    def _checked(what: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
        if tuple(value.shape) != shape:
            raise ValueError(f"{what} must have shape {shape}, got {tuple(value.shape)}")
        return value


class AutogradTarget(Target):
    """A target written in torch: it gives `_log_density`, the score comes from autograd."""

    def _log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        live = x.requires_grad and torch.is_grad_enabled()
        with torch.enable_grad():
            leaf = x if live else x.detach().requires_grad_()
            log_density = self._log_density(leaf)
            (score,) = torch.autograd.grad(log_density.sum(), leaf, create_graph=live)
        return (log_density, score) if live else (log_density.detach(), score)


class OpaqueTarget(Target):
    """A target computed outside torch: it gives `_evaluate` on constants, and has no second derivatives.

    The log density is still differentiable in x once: its gradient is the score, detached.
    """

    second_derivatives = False

    @abstractmethod
    def _evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log density `(batch,)` and score `batch x dim` at detached points."""

    def _log_density(self, x: Tensor) -> Tensor:
        return self._log_density_and_score(x)[0]

    def _log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_density, score = self._evaluate(x.detach())
        return differentiable(log_density, score, x), score


def differentiable(log_density: Tensor, score: Tensor, x: Tensor) -> Tensor:
    """A constant log density, `(batch,)`, with the gradient `score`, `batch x dim`, at x, where one is asked for."""
    if not (x.requires_grad and torch.is_grad_enabled()):
        return log_density
    # The added term is exactly zero in value.
    return log_density + ((x - x.detach()) * score).sum(-1)
