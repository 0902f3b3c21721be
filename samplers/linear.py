"""Kernels whose fixed drift is linear in what is known at a point, on the whole grid.

    N( x + s^2 D(x), s^2 ),    D(x) = constant + slope x + score * (target's score) + rest * (prior's rest) + field

with coefficients that depend on the transition and the coordinate alone: a step of a simulation is a few products, and
the gradient in every schedule a few sums (`density.py`). A shrinkage a towards a centre m is the drift
(a - 1) / s^2 (x - m).
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .density import Term, euler_log_density

__all__ = ["Known", "LinearKernels", "LinearSteps"]


class Known(NamedTuple):
    """Points, and what is known there before any control is asked; `batch x dim`, or `m x batch x dim`."""

    x: Tensor
    score: Tensor
    """The target's."""
    rest: Tensor | None
    """The prior score's nonlinear part, if it has one."""

    def at(self, rows: slice) -> "Known":
        """The same at some of m grid points."""
        return Known(self.x[rows], self.score[rows], None if self.rest is None else self.rest[rows])


class LinearKernels(NamedTuple):
    """Coefficients of m transitions, each `m x dim`; None is zero."""

    constant: Tensor
    slope: Tensor
    score: Tensor | None
    rest: Tensor | None
    scale: Tensor
    """s."""

    def at(self, rows: slice) -> "LinearKernels":
        """Some of the transitions."""
        score, rest = (None if part is None else part[rows] for part in (self.score, self.rest))
        return LinearKernels(self.constant[rows], self.slope[rows], score, rest, self.scale[rows])

    def log_density(self, y: Tensor, known: Known, field: Tensor | None, rows: slice) -> tuple[Tensor, Tensor]:
        """Of y, `m x batch x dim`, under transitions `rows` from known points: see `euler_log_density`."""
        return euler_log_density(y - known.x, self.constant[rows], self.terms(known, rows), field, self.scale[rows])

    def terms(self, known: Known, rows: slice) -> list[Term]:
        """The fixed drift of transitions `rows` from known points, but for its constant."""
        terms = [Term(self.slope[rows], known.x)]
        if self.score is not None:
            terms.append(Term(self.score[rows], known.score))
        if self.rest is not None and known.rest is not None:
            terms.append(Term(self.rest[rows], known.rest))
        return terms

    def steps(self) -> "LinearSteps":
        """The same in the form in which a simulation takes them one by one."""
        variance = self.scale.square()
        return LinearSteps(
            (variance * self.constant).unbind(),
            torch.addcmul(torch.ones_like(variance), variance, self.slope).unbind(),
            None if self.score is None else (variance * self.score).unbind(),
            None if self.rest is None else (variance * self.rest).unbind(),
            variance.unbind(),
            self.scale.unbind(),
        )


class LinearSteps(NamedTuple):
    """Means and standard deviations by transition, coefficients `(dim,)` each."""

    constant: tuple[Tensor, ...]
    keep: tuple[Tensor, ...]
    score: tuple[Tensor, ...] | None
    rest: tuple[Tensor, ...] | None
    variance: tuple[Tensor, ...]
    scale: tuple[Tensor, ...]

    def draw(self, n: int, known: Known, field: Tensor | None, noise: Tensor) -> Tensor:
        """Points after transition n, `batch x dim`, from standard normal noise of that shape."""
        y = torch.addcmul(self.constant[n], noise, self.scale[n])
        for coefficient, value in self._terms(n, known, field):
            # In place where nothing is differentiated: what was just written is still in the cache.
            y = torch.addcmul(y, value, coefficient) if torch.is_grad_enabled() else y.addcmul_(value, coefficient)
        return y

    def _terms(self, n: int, known: Known, field: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.keep[n], known.x
        if self.score is not None:
            yield self.score[n], known.score
        if self.rest is not None and known.rest is not None:
            yield self.rest[n], known.rest
        if field is not None:
            yield self.variance[n], field
