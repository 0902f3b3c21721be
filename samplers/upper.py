"""The other side of log Z: backward paths from draws of the target.

With x_N drawn from the target, E[log w] = EUBO >= log Z and E[1 / w] = 1 / Z, so that -log mean(1 / w) is at least
log Z in expectation. Where the target has no exact sampler the draws are the sampler's own: end points resampled by
their weights, then moved by MALA steps. What neither the paths nor those steps reach is missed from both sides.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from .bridge import Bridge
from .evaluate import BLOCK_SIZE, Pool
from .polish import Langevin
from .random import normal_noise, torch_generator
from .report import EuboSource
from .simulate import simulate_backward
from .weigh import log_weights

__all__ = ["UPPER_PATHS", "Upper", "backward_log_weights", "exact_pool", "polished_pool", "upper_bounds"]

UPPER_PATHS = 4096
"""Backward paths, at most."""


class Upper(NamedTuple):
    """The upper side of a report; None without backward paths of finite weight."""

    eubo: float | None
    eubo_se: float | None
    log_z_forward: float | None
    log_z_forward_se: float | None
    eubo_source: EuboSource
    eubo_paths: int


def exact_pool(target: Target, count: int, seed: int) -> Pool | None:
    """Exact draws of the target; None where it has no exact sampler."""
    u = target.sample(count, torch_generator("eubo/draws", seed))
    return None if u is None else Pool(u, torch.zeros(count, dtype=torch.float64), torch.arange(count))


def polished_pool(
    target: Target, pool: Pool, langevin: Langevin, steps: int, seed: int, like: Tensor, on_block: Callable[[], None]
) -> tuple[Pool, float]:
    """The draws after MALA steps, and the share of proposals accepted. `like` has the device and precision."""
    moved, accepted = [], 0.0
    for index, u in enumerate(pool.u.split(BLOCK_SIZE)):
        block = langevin.move_block(target, u.to(like), steps, "eubo/polish", seed, index)
        moved.append(block.u.cpu())
        accepted += block.acceptance * u.shape[0]
        on_block()
    return pool._replace(u=torch.cat(moved)), accepted / pool.u.shape[0]


@torch.no_grad()
def backward_log_weights(
    bridge: Bridge, target: Target, u: Tensor, seed: int, on_block: Callable[[], None] = lambda: None
) -> Tensor:
    """Log weights of backward paths from points u, `count x dim`; `(count,)` float64."""
    like, rows, parts = next(bridge.parameters()), 1 + bridge.steps * bridge.step_rows, []
    for index, end in enumerate(u.split(BLOCK_SIZE)):
        noise = normal_noise((rows, *end.shape), "eubo", seed, index).to(like)
        parts.append(log_weights(bridge, simulate_backward(bridge, target, end.to(like), noise)).cpu())
        on_block()
    return torch.cat(parts)


def upper_bounds(log_weight: Tensor, pool: Pool, source: EuboSource) -> Upper:
    """EUBO and forward log Z from backward log weights `(count,)` of a pool; those that are not finite are left out."""
    finite = log_weight.isfinite() & pool.log_weight.isfinite()
    count, values = int(finite.sum()), log_weight[finite]
    if count < 2:
        return Upper(None, None, None, None, EuboSource.NONE, 0)
    share = pool.log_weight[finite].softmax(0)
    _, cluster = pool.ancestor[finite].unique(return_inverse=True)
    eubo, eubo_se = _mean(values, share, cluster)
    least = float(values.min())
    inverse, inverse_se = _mean((least - values).exp(), share, cluster)
    return Upper(eubo, eubo_se, least - math.log(inverse), inverse_se / inverse, source, count)


def _mean(values: Tensor, share: Tensor, cluster: Tensor) -> tuple[float, float]:
    """Weighted mean, and its standard error where the terms of a cluster depend on each other."""
    mean = share @ values
    deviation = torch.zeros_like(share).index_add_(0, cluster, share * (values - mean))
    return float(mean), float(deviation.square().sum().sqrt())
