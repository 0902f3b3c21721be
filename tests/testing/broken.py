"""Deliberately broken targets: each has one mistake that a check of the kit must find.

All are built around a correct one, so that nothing but the mistake can make a check fail.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gephyra.targets.base import Target
from gephyra.targets.gaussian import Gaussian

__all__ = ["BATCH_MISTAKES", "SCORE_MISTAKES", "SUPPORT_MISTAKES", "Broken", "HalfLine", "LogNormal", "correct"]

Evaluation = Callable[[Tensor], tuple[Tensor, Tensor]]


class Broken(Target):
    """A target given by the function that evaluates it."""

    def __init__(self, dim: int, evaluate: Evaluation, log_z: float | None = None) -> None:
        self.dim, self._evaluate, self.log_z = dim, evaluate, log_z

    def _log_density(self, x: Tensor) -> Tensor:
        return self._evaluate(x)[0]

    def _log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._evaluate(x)


def correct() -> Target:
    """The target around which the mistakes are made: N((0.5, -0.5), diag(1, 0.64))."""
    return Gaussian([0.5, -0.5], [1.0, 0.64])


def _around(change: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> Target:
    """A target whose (log density, score) is `change(x, log density, score)` of the correct one."""
    inner = correct()
    return Broken(inner.dim, lambda x: change(x, *inner.log_density_and_score(x)), log_z=0.0)


def _one_component(x: Tensor, log_density: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    return log_density, torch.stack([score[:, 0], torch.zeros_like(score[:, 1])], dim=-1)


def _only_far_out(x: Tensor, log_density: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    return log_density, torch.where(x.norm(dim=-1, keepdim=True) > 2, 1.01 * score, score)


SCORE_MISTAKES: Mapping[str, Target] = {
    "wrong sign": _around(lambda x, f, s: (f, -s)),
    "half the gradient": _around(lambda x, f, s: (f, 0.5 * s)),
    "one per cent off": _around(lambda x, f, s: (f, 1.01 * s)),
    "a component forgotten": _around(_one_component),
    "one per cent off far out only": _around(_only_far_out),
    "gradient of another constant plus a slope": _around(lambda x, f, s: (f + 0.1 * x[:, 0], s)),
    "zero": _around(lambda x, f, s: (f, torch.zeros_like(s))),
}
"""Scores that are not the gradient."""


def _second_call(change: Callable[[Tensor, int], Tensor]) -> Target:
    calls = iter(range(10**9))
    return _around(lambda x, f, s: (change(f, next(calls)), s))


BATCH_MISTAKES: Mapping[str, Target] = {
    "off by one row": _around(lambda x, f, s: (f.roll(1), s)),
    "score off by one row": _around(lambda x, f, s: (f, s.roll(1, 0))),
    "centred over the batch": _around(lambda x, f, s: (f - f.mean(), s)),
    "summed over the batch": _around(lambda x, f, s: (f.sum().expand(len(f)), s)),
    "divided by the batch size": _around(lambda x, f, s: (f, s / len(f))),
    "first row special": _around(lambda x, f, s: (torch.cat([f[:1] + 1, f[1:]]), s)),
    "another value each call": _second_call(lambda f, call: f + 1e-6 * call),
    "padded rows of sixteen": _around(lambda x, f, s: (f + (torch.arange(len(f)) >= 16), s)),
}
"""Results that depend on more than their own row."""


class HalfLine(Target):
    """exp(-x) on x > 0 by the book, or with a mistake at the edge."""

    dim = 1
    log_z = 0.0

    def __init__(self, outside: float = -torch.inf, score_inside: float = -1.0) -> None:
        self._outside, self._score_inside = outside, score_inside

    def _log_density(self, x: Tensor) -> Tensor:
        return self._log_density_and_score(x)[0]

    def _log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inside = x[:, 0] > 0
        return torch.where(inside, -x[:, 0], self._outside), torch.full_like(x, self._score_inside)


SUPPORT_MISTAKES: Mapping[str, Target] = {
    "+inf outside": HalfLine(outside=torch.inf),
    "NaN outside": HalfLine(outside=torch.nan),
    "a large negative number outside": HalfLine(outside=-1e30),
    "score not finite inside": HalfLine(score_inside=torch.nan),
}
"""Targets that say the wrong thing where the density is zero, or no score where it is positive."""


class LogNormal(Target):
    """tau ~ LogNormal(0, 1/2) in the coordinate log tau, with or without the Jacobian of exp."""

    dim = 1
    log_z = 0.0

    def __init__(self, *, jacobian: bool) -> None:
        self._jacobian = jacobian

    def _log_density(self, x: Tensor) -> Tensor:
        return self._log_density_and_score(x)[0]

    def _log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_density, score = Gaussian([0.0], [0.25]).log_density_and_score(x)
        return (log_density, score) if self._jacobian else (log_density - x[:, 0], score - 1)

    def sample(self, count: int, generator: torch.Generator) -> Tensor | None:
        # The density without the Jacobian is another law, which has no draws here.
        return Gaussian([0.0], [0.25]).sample(count, generator) if self._jacobian else None
