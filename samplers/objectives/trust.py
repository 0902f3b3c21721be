"""Trust-region log variance, off-policy on a buffer of paths (samplers.md, 1.10 and 8.8).

Every so many steps paths of the current bridge, P_i, are drawn with their log weights w. The next measure to aim for is
dP_{i+1} / dP_i ~ w^t with t = 1 / (1 + lambda) in (0, 1], the largest t with KL(P_{i+1} || P_i) <= eps: the optimum of
the trust region's dual. Until the next refresh, q is fitted by half of

    Var_{P_i}( log q / q_i - t log w )

over minibatches of stored paths, at no evaluation of the target. That variance sees log q alone: backward kernels learn
by maximum likelihood on the same paths, weighed by t. Right after a refresh, where q = q_i, the sum is t times the
gradient of rKL-LD for every parameter, of q, of p or of both.
"""

import copy
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from ..bridge import Bridge
from ..group import ALONE, Group
from ..losses import PathCoefficients, trust_region_log_variance
from ..noise import NoiseSource
from ..objective import Gradient, Objective, descend
from ..path import Path
from ..simulate import simulate
from ..weigh import PathWeights, path_weights
from .inputs import ObjectiveInputs

__all__ = ["TrustRegionLogVariance", "temper"]

_RADIUS = 0.1
_BATCHES = 4
# Steps a buffer lasts: each stored path is used about four times.
_REFRESH = 16
# Floats of states and scores that a buffer may hold beyond one batch.
_BUFFER_FLOATS = 2**26


def temper(log_weight: Tensor, radius: float = _RADIUS) -> float:
    """The largest t in (0, 1] with KL(w^t P || P) <= radius, for log weights `(n,)` of paths of P."""
    # Imported here: it takes 0.4 s, which other losses need not spend.
    from scipy.optimize import brentq

    usable = log_weight[log_weight.isfinite()]

    def excess(t: float) -> float:
        share = (t * usable).softmax(0)
        return float((share * share.clamp(min=1e-300).log()).sum() + torch.tensor(usable.shape[0]).log()) - radius

    return 1.0 if excess(1.0) <= 0.0 else float(brentq(excess, 0.0, 1.0, xtol=1e-9))


class _Buffer(NamedTuple):
    """Paths of the snapshot, with what was known of them."""

    path: Path
    weights: PathWeights
    temper: float


class TrustRegionLogVariance(Objective):
    """TR-LV. The log weights it returns are those of the snapshot that drew the paths.

    Args:
        given: The bridge.
    """

    drawn_at: Tensor

    def __init__(self, given: ObjectiveInputs) -> None:
        super().__init__()
        # Part of the state: the buffer is drawn again from it after a resume.
        self.snapshot = copy.deepcopy(given.bridge).requires_grad_(False)
        self.register_buffer("drawn_at", torch.tensor(-1))
        self._settings = given.settings
        self._buffer: _Buffer | None = None

    def gradient(self, bridge: Bridge, target: Target, noise: NoiseSource, batch: int) -> Gradient:
        buffer = self._buffer
        if buffer is None or noise.step - int(self.drawn_at) >= _REFRESH:
            self.snapshot.load_state_dict(bridge.state_dict())
            self.drawn_at.fill_(noise.step)
            buffer = self._buffer = self._fill(target, noise)
        chosen = torch.randperm(buffer.weights.end.shape[0], generator=noise.generator("trust/minibatch"))[:batch]
        chosen = chosen.to(noise.device)
        log_weight = buffer.weights.log_weight[chosen]
        usable = chosen[log_weight.isfinite()]
        known, share = buffer.weights.select(usable), noise.share(usable.shape[0])
        descend(bridge, buffer.path.select(usable[share.rows]), partial(_loss, known, buffer.temper), share)
        return Gradient.of(log_weight)

    def restore(self, tensors: dict[str, Tensor], target: Target, group: Group = ALONE) -> None:
        step, like = int(self.drawn_at), next(self.snapshot.parameters())
        if step >= 0:
            self._buffer = self._fill(target, NoiseSource(self._settings.seed, step, like.device, like.dtype, group))

    @torch.no_grad()
    def _fill(self, target: Target, noise: NoiseSource) -> _Buffer:
        bridge, batch = self.snapshot, self._settings.batch_size
        floats = (bridge.steps + 1) * batch * (bridge.state_dim + bridge.dim)
        shape = (bridge.noise_rows, batch, bridge.dim)
        paths = [
            simulate(bridge, target, noise.own(shape, f"trust/{k}")).of_all(noise.share(batch))
            for k in range(max(1, min(_BATCHES, _BUFFER_FLOATS // floats)))
        ]
        path = Path.joined(paths)
        weights = path_weights(bridge, path)
        return _Buffer(path, weights, temper(weights.log_weight))


def _loss(known: PathWeights, t: float, weights: PathWeights) -> PathCoefficients:
    before = known.select(weights.members)
    return trust_region_log_variance(weights, before.log_q + t * before.log_weight, t)
