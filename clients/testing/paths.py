"""Checks of path weights. They hold for ANY bridge, trained or not: no training is run."""

import math
from statistics import NormalDist

import torch
from torch import Tensor

from gephyra.samplers.algorithms import build
from gephyra.samplers.algorithms.parts import Ingredients
from gephyra.samplers.bridge import Bridge
from gephyra.samplers.estimate import k_hat, log_mean_exp
from gephyra.samplers.random import normal_noise, torch_generator
from gephyra.samplers.settings import Method, TrainingSettings
from gephyra.samplers.simulate import simulate, simulate_backward
from gephyra.samplers.weigh import log_weights
from gephyra.targets.base import Target
from gephyra.targets.scaled import ScaledTarget

from ..definition import Definition
from .loading import as_target
from .report import CheckReport, require

__all__ = ["FALSE_ALARM_RATE", "check_constant_law", "check_unbiased_weights", "random_bridge"]

FALSE_ALARM_RATE = 1e-6
"""Probability that a statistical check fails although the claim holds."""

_HEAVIEST = 1 / 3
"""Above this Pareto shape the third moment is infinite and a mean strays from its limit law more often than stated."""
_ROUNDING = 1e-4
"""Float32 sums leave this much where the weights have no spread."""


def random_bridge(dim: int, *, method: str = "dbs", steps: int = 32, noise: float = 0.05, seed: int = 0) -> Bridge:
    """A bridge with random networks: every parameter of the untrained one moved by N(0, noise).

    Raises:
        ValueError: For an unknown method.
    """
    settings = TrainingSettings(method=Method(method), steps=steps, width=16)
    generator = torch_generator("test kit", seed)
    bridge = build(Ingredients(dim, settings, generator))
    with torch.no_grad():
        for parameter in bridge.parameters():
            parameter.add_(noise * torch.randn(parameter.shape, generator=generator))
    return bridge


def check_constant_law(
    target: Target | Definition,
    scaled: Target | Definition | None = None,
    log_constant: float = 3.0,
    *,
    bridge: Bridge | None = None,
    paths: int = 256,
    seed: int = 0,
) -> CheckReport:
    """log Z(c p) = log Z(p) + log c, path by path: on the same noise only the end's log density may differ.

    Args:
        target: The density p.
        scaled: The density c p as you have it; None: p with log c added.
        log_constant: log c.
        bridge: The bridge; None: an untrained DBS bridge with random networks.
        paths: Number of paths.
        seed: Seed of the noise.

    Raises:
        AssertionError: With the path whose log weight moved by something else than log c.
        ValueError: If every path has weight zero under both: then nothing is compared.
    """
    first = as_target(target)
    second = ScaledTarget(first, log_constant) if scaled is None else as_target(scaled)
    chosen = random_bridge(first.dim, seed=seed) if bridge is None else bridge
    weights, others = (_forward(chosen, density, paths, seed) for density in (first, second))
    finite = weights.isfinite() & others.isfinite()
    if not (weights.isfinite() | others.isfinite()).any():
        raise ValueError(
            "no path ends at a positive density: nothing to compare; take a bridge that reaches the target"
        )
    same_support = torch.equal(weights.isfinite(), others.isfinite())
    moved = torch.where(finite, others - weights, log_constant)
    # float32 sums of a hundred terms: a few hundred roundings of the larger number.
    allowed = 1e-4 * (1 + torch.maximum(weights.abs(), others.abs()).nan_to_num(posinf=0.0) + abs(log_constant))
    deviation = (moved - log_constant).abs() / allowed
    worst = int(deviation.argmax())
    detail = (
        f"log weights of {int(finite.sum())} of {paths} paths move by log c = {log_constant:g}; "
        f"path {worst} moves by {float(moved[worst]):.7g}, allowed +-{float(allowed[worst]):.1e}"
    )
    if not same_support:
        detail += "; some paths have weight zero under one of the two only"
    return require("check_constant_law", same_support and bool(finite.any() and deviation[worst] <= 1), detail)


def check_unbiased_weights(
    target: Target | Definition,
    log_z: float | None = None,
    *,
    bridge: Bridge | None = None,
    paths: int = 10_000,
    seed: int = 0,
    rate: float = FALSE_ALARM_RATE,
) -> CheckReport:
    """E[exp(log w - log Z)] = 1 for an UNTRAINED sampler: the sharpest test of weights, density and claimed log Z.

    Where the target has exact draws, E_forward[min(1, w / Z)] = E_backward[min(1, Z / w)] is tested: both sides are the
    overlap of the two path laws, bounded by 1, so that heavy tails cannot hide or feign an error. Where the weights
    are light (Pareto shape at most 1/3), their mean must also be 1.

    Args:
        target: A target; its mass should lie within a few units of 0, else no untrained bridge reaches it.
        log_z: Its log Z; None: what the target claims.
        bridge: The bridge; None: an untrained DBS bridge with random networks.
        paths: Number of paths.
        seed: Seed of the noise.
        rate: Probability of a false alarm, shared by the two statistics.

    Raises:
        AssertionError: With both sides, their standard errors, and log Z as the weights have it.
        ValueError: If no log Z is known; if the weights are heavy and the target has no exact draws: then this many
            paths prove nothing.
    """
    density = as_target(target)
    known = density.log_z if log_z is None else log_z
    if known is None:
        raise ValueError("log_z is not known for this target: pass log_z=")
    chosen = random_bridge(density.dim, seed=seed) if bridge is None else bridge
    log_ratio = _forward(chosen, density, paths, seed) - known
    if not log_ratio.isfinite().any():
        raise AssertionError(
            "check_unbiased_weights: every path has weight zero; run check_score and check_support first"
        )
    errors, light = -NormalDist().inv_cdf(rate / 4), _light(log_ratio)
    end = density.sample(paths, torch_generator("test kit end", seed))
    if end is None and not light:
        raise ValueError(
            f"the weights are too heavy to judge (Pareto shape {k_hat(log_ratio):.2f}): take a target whose "
            "mass lies nearer to a standard normal (AffineMap.view), a longer bridge, or a trained one"
        )
    details = [
        f"over {paths} paths the weights say log Z = {known + float(log_mean_exp(log_ratio)):.5g}, claimed {known:.5g}"
    ]
    if end is not None:
        rows = 1 + chosen.steps * chosen.step_rows
        noise = normal_noise((rows, paths, chosen.dim), "test kit backward", seed, 0)
        backward = known - log_weights(chosen, simulate_backward(chosen, density, end.float(), noise))
        forward_side, backward_side = (ratio.clamp(max=0).exp() for ratio in (log_ratio, backward))
        details.append(
            _agree("overlap E[min(1, w / Z)] forward", "backward", forward_side, backward_side, errors, details)
        )
    if light:
        details.append(_agree("mean of w / Z", "expected", log_ratio.exp(), torch.ones(2), errors, details))
    return CheckReport("check_unbiased_weights", "; ".join(details))


def _light(log_ratio: Tensor) -> bool:
    """Whether the mean of these weights has a normal law. A single path that dwarfs the others leaves k-hat no tail."""
    return k_hat(log_ratio) <= _HEAVIEST and float(log_ratio.softmax(0).square().sum()) <= 20 / len(log_ratio)


def _agree(name: str, other: str, first: Tensor, second: Tensor, errors: float, so_far: list[str]) -> str:
    """What was measured if two means agree within `errors` standard errors, else AssertionError."""
    gap = float(first.mean() - second.mean())
    error = math.sqrt(float(first.var()) / len(first) + float(second.var()) / len(second))
    detail = (
        f"{name} is {float(first.mean()):.5g}, {other} {float(second.mean()):.5g}, "
        f"{abs(gap) / max(error, _ROUNDING):.1f} standard errors apart ({errors:.1f} allowed)"
    )
    require("check_unbiased_weights", abs(gap) <= errors * error + _ROUNDING, "; ".join([detail, *so_far]))
    return detail


def _forward(bridge: Bridge, target: Target, paths: int, seed: int) -> Tensor:
    """Log weights of forward paths, (paths,), -inf where something was not finite."""
    noise = normal_noise((bridge.noise_rows, paths, bridge.dim), "test kit forward", seed, 0)
    with torch.no_grad():
        path = simulate(bridge, target, noise)
    return log_weights(bridge, path)
