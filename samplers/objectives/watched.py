"""Forward paths that are drawn only to be told of: what is said of training must be about the bridge's own draws."""

import torch
from torch import Tensor

from gephyra.targets.base import Target

from ..bridge import Bridge
from ..noise import NoiseSource
from ..simulate import simulate
from ..weigh import log_weights

__all__ = ["watched"]


@torch.no_grad()
def watched(bridge: Bridge, target: Target, noise: NoiseSource, count: int, stream: str = "train") -> Tensor:
    """Log weights of `count` forward paths, `(count,)` float64, drawn by all workers of the group together."""
    share = noise.share(count)
    if share.empty:
        return share.gather(torch.empty(0, dtype=torch.float64, device=noise.device))
    own = simulate(bridge, target, noise.own((bridge.noise_rows, count, bridge.dim), stream))
    return share.gather(log_weights(bridge, own))
