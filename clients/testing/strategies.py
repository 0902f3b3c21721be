"""Hypothesis strategies: targets that know their log Z, points to try them at, affine maps.

Needs hypothesis and torch. Every array is float64 with entries of moderate size unless said otherwise.
"""

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from gephyra.targets.base import Target
from gephyra.targets.funnel import Funnel
from gephyra.targets.gaussian import Gaussian, GaussianMixture
from gephyra.targets.scaled import ScaledTarget
from gephyra.targets.student import StudentMixture
from gephyra.targets.wells import ManyWell

from .maps import AffineMap

__all__ = ["affine_maps", "points", "targets"]

_LARGEST_DIM = 5
_HUGE = 1e4


@st.composite
def affine_maps(draw: st.DrawFn, dim: int | None = None) -> AffineMap:
    """Invertible maps on R^dim (any dim up to 5 if None), diagonal or triangular; the diagonal lies in +-[1/4, 4]."""
    size = draw(st.integers(1, _LARGEST_DIM)) if dim is None else dim
    shift = draw(_moderate((size,)))
    signs = draw(arrays(np.float64, (size,), elements=st.sampled_from([-1.0, 1.0])))
    diagonal = signs * draw(_positive((size,)))
    if draw(st.booleans()):
        return AffineMap(shift, diagonal)
    return AffineMap(shift, np.tril(draw(_moderate((size, size))), -1) + np.diag(diagonal))


@st.composite
def points(draw: st.DrawFn, dim: int, count: int = 5) -> torch.Tensor:
    """Points, `count x dim`, float64: typical, in the tails (30), huge (1e4), zeros and tiny ones, mixed freely."""
    scale = draw(st.sampled_from([0.0, 1e-30, 1.0, 30.0, _HUGE]))
    values = arrays(np.float64, (count, dim), elements=st.floats(-1, 1, width=32))
    return torch.from_numpy(draw(values) * (3.0 if scale == 1.0 else scale))


@st.composite
def targets(draw: st.DrawFn, max_dim: int = _LARGEST_DIM, *, sampleable: bool = False) -> Target:
    """Targets with known log Z: catalogue families, their affine images and multiples.

    Args:
        draw: Given by hypothesis.
        max_dim: Largest dimension, at least 2.
        sampleable: Only targets with an exact sampler of finite variance.
    """
    dim = draw(st.integers(1, max_dim))
    families = [_gaussians(dim), _mixtures(dim), _wells(dim), _funnels(max(2, dim))]
    target = draw(st.one_of(families if sampleable else [*families, _students(dim)]))
    if draw(st.booleans()):
        target = draw(affine_maps(target.dim)).view(target)
    return ScaledTarget(target, draw(st.floats(-10, 10))) if draw(st.booleans()) else target


@st.composite
def _gaussians(draw: st.DrawFn, dim: int) -> Target:
    mean, factor = draw(_moderate((dim,))), draw(_positive((dim,)))
    if draw(st.booleans()):
        return Gaussian(mean, factor**2)
    lower = np.tril(draw(_moderate((dim, dim))), -1) + np.diag(factor)
    return Gaussian(mean, lower @ lower.T)


@st.composite
def _mixtures(draw: st.DrawFn, dim: int) -> Target:
    count = draw(st.integers(1, 4))
    return GaussianMixture(draw(_moderate((count, dim))), draw(_positive((count, dim))), draw(_positive((count,))))


@st.composite
def _students(draw: st.DrawFn, dim: int) -> Target:
    return StudentMixture(draw(_moderate((draw(st.integers(1, 4)), dim))), draw(st.floats(1, 30)))


@st.composite
def _wells(draw: st.DrawFn, dim: int) -> Target:
    return ManyWell(dim, draw(st.integers(1, dim)), draw(st.floats(0.25, 4)))


@st.composite
def _funnels(draw: st.DrawFn, dim: int) -> Target:
    return Funnel(dim, draw(st.floats(0.5, 3)))


def _moderate(shape: tuple[int, ...]) -> st.SearchStrategy[NDArray[np.float64]]:
    return arrays(np.float64, shape, elements=st.floats(-3, 3, width=32))


def _positive(shape: tuple[int, ...]) -> st.SearchStrategy[NDArray[np.float64]]:
    return arrays(np.float64, shape, elements=st.floats(0.25, 4, width=32))
