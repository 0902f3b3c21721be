"""One Gaussian for the target, from several starts; the best ELBO wins.

Starts are 0 with a small scale and the maximum that a climb from 0 finds, with the Gaussian of its curvature.
"""

import torch
from torch import Tensor

from gephyra.targets.base import Target

from ..components import Components
from .ascent import climb
from .baseline import measure
from .curvature import peak_at
from .found import FULL_DIM, MATRIX_DIM, Found, Spent, share
from .large import large_fit
from .local import PEAK, ZERO, Starts, origin
from .newton import newton_fit
from .path_gradient import diagonal_fit

__all__ = ["best_diagonal", "best_gaussian", "gaussian_from"]

_CLIMB_ROUNDS = 500
# Of the time, for the climb and the curvature.
_START_SHARE = 0.3


def best_gaussian(target: Target, seed: int, spent: Spent) -> Found:
    """The Gaussian of full covariance.

    Raises:
        ValueError: If no start had a finite ELBO.
    """
    starts = _starts(target, share(spent, _START_SHARE))
    return gaussian_from(target, starts, seed, spent)


def gaussian_from(target: Target, starts: Starts, seed: int, spent: Spent) -> Found:
    """The best Gaussian from these starts; by the method for many dimensions, if there are many.

    Raises:
        ValueError: If no start had a finite ELBO.
    """
    if target.dim > FULL_DIM:
        return _large(target, starts, seed, spent)
    fits = newton_fit(target, starts.mean, starts.tril, seed, spent)
    return _best(target, [_single(*fit) for fit in zip(*fits, strict=True)], starts.name, seed)


def best_diagonal(target: Target, seed: int, spent: Spent) -> Found:
    """The Gaussian of diagonal covariance.

    Raises:
        ValueError: If no start had a finite ELBO.
    """
    starts = _starts(target, share(spent, _START_SHARE))
    count, fits = len(starts.name), []
    for index in range(count):
        scale = starts.tril[index].diagonal() if starts.tril.ndim == 3 else starts.tril[index]
        clock = _turn(spent, index, count)
        fits.append(_single(*diagonal_fit(target, starts.mean[index], scale, index, seed, clock)))
    return _best(target, fits, starts.name, seed)


def _turn(spent: Spent, index: int, count: int) -> Spent:
    """The clock of one of several starts that divide the time evenly."""
    return lambda: count * spent() - index


def _large(target: Target, starts: Starts, seed: int, spent: Spent) -> Found:
    if target.dim <= MATRIX_DIM and PEAK in starts.name:
        fit = large_fit(target, starts.mean[starts.name.index(PEAK)], seed, spent)
        if fit is not None and measure(target, _single(*fit), "starts", seed).estimates is not None:
            return Found(_single(*fit), PEAK, 0)
    return best_diagonal(target, seed, spent)


def _starts(target: Target, spent: Spent) -> Starts:
    zero = origin(target.dim)
    if spent() >= 1.0:
        return zero
    top = climb(target, zero.mean, _CLIMB_ROUNDS, spent)
    if not bool(top.log_density.isfinite()) or spent() >= 1.0:
        return zero
    if target.dim > MATRIX_DIM:
        return Starts(torch.cat([zero.mean, top.point]), zero.tril.expand(2, -1), (ZERO, PEAK))
    peak = peak_at(target, top.point[0])
    if not peak.sound:
        return zero
    return Starts(torch.stack([zero.mean[0], peak.point]), torch.stack([zero.tril[0], peak.tril]), (ZERO, PEAK))


def _single(mean: Tensor, tril: Tensor) -> Components:
    return Components(torch.zeros(1, dtype=torch.float64), mean[None], tril[None])


def _best(target: Target, fits: list[Components], names: tuple[str, ...], seed: int) -> Found:
    elbos = torch.tensor([measure(target, fit, "starts", seed).elbo for fit in fits])
    if not bool(elbos.isfinite().any()):
        raise ValueError("the log density is not finite around 0 nor around its mode: no Gaussian fits it")
    best = int(elbos.argmax())
    return Found(fits[best], names[best], 0)
