"""A warm start: denoising on given draws of the target before a loss takes over (denoising.md, section 5).

Backward paths z_n ~ B_n from the draws are the noising process, and the EUBO on them is the denoising bound: exactly so
where the backward kernels are an Ornstein-Uhlenbeck process (DIS, DDS). All that it needs of the target are its scores
on those paths, which the controls and drifts see. So paths are drawn in pools and a pool serves many steps. While it
does, the backward kernels themselves learn: with r_i ~ p / p_drawn, normalised over a batch,

    grad EUBO = sum_i r_i [ (log w_i - mean) grad log p + grad log p - grad log q ],

and a pool whose r have grown uneven is drawn anew. A part of each pool starts from rows that nothing learns from. The
EUBO there, before the pool is learned from, is an honest estimate; where it no longer falls the warm start is over.
"""

import copy
import math
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from ..bridge import Bridge
from ..given import GivenDraws
from ..group import ALONE, Group
from ..losses import PathCoefficients, forward_kl_reweighted
from ..noise import NoiseSource
from ..objective import Gradient, Objective, descend
from ..path import Path
from ..settings import TrainingSettings
from ..simulate import simulate_backward
from ..stepper import cosine
from ..weigh import PathWeights, log_weights, path_weights
from .watched import watched

__all__ = ["WarmStart"]

# Batches of backward paths in a pool, beside one from the rows that judge, and steps that it lasts at most.
_BATCHES, _LASTS = 3, 24
# Floats of states and scores that a pool may hold beyond one batch.
_POOL_FLOATS = 2**26
# Of a batch: with less of it effective under the present kernels, the pool is drawn anew.
_LEAST_ESS = 0.5
# Pools on each side of a comparison, and standard errors that make a fall of the EUBO one.
_COMPARED, _ERRORS = 4, 2.0
# The learning rate falls by so much where the EUBO no longer does, so many times before the warm start is over.
_FALL, _FALLS = 0.3, 2
# Share of its peak that the learning rate has when the warm start is over.
_AFTER = 0.3
# Of the budget, at most.
_SHARE = 1 / 3
# Forward paths a step, as a share of the batch, so that what is told of training is about the bridge's own draws.
_WATCHED = 32


class _Pool(NamedTuple):
    """Backward paths of the snapshot, and log p of each when they were drawn."""

    path: Path
    log_p: Tensor


class WarmStart(Objective):
    """EUBO on given draws, then the loss `after`.

    Args:
        bridge: Untrained, on its device.
        settings: Of the run.
        rows: The draws, in the bridge's coordinates.
        after: The loss that goes on from there.
    """

    drawn_at: Tensor
    falls: Tensor
    bounds: Tensor

    def __init__(self, bridge: Bridge, settings: TrainingSettings, rows: GivenDraws, after: Objective) -> None:
        super().__init__()
        self.after, self._settings, self._rows = after, settings, rows
        # Part of the state: the pool is drawn again from it after a resume.
        self.snapshot = copy.deepcopy(bridge).requires_grad_(False)
        self.register_buffer("drawn_at", torch.tensor(-1))
        self.register_buffer("falls", torch.tensor(0))
        self.register_buffer("bounds", torch.full((2 * _COMPARED, 2), math.inf, dtype=torch.float64))
        self._pool: _Pool | None = None
        self._stale = False

    @property
    def over(self) -> bool:
        """Whether the loss `after` has taken over."""
        return int(self.falls) > _FALLS

    def rate(self, fraction: float) -> float:
        if fraction > _SHARE:
            self.falls.fill_(_FALLS + 1)
        return cosine(fraction) * (_AFTER if self.over else _FALL ** int(self.falls))

    def gradient(self, bridge: Bridge, target: Target, noise: NoiseSource, batch: int) -> Gradient:
        if not self.over:
            self._renew(bridge, target, noise)
        if self.over:
            self._pool = None
            return self.after.gradient(bridge, target, noise, batch)
        pool, share = self._pool, noise.share(batch)
        assert pool is not None, "renewed above"
        count = pool.log_p.shape[0]
        chosen = torch.randperm(count, generator=noise.generator("warm/minibatch"))[:batch].to(noise.device)
        before = pool.log_p[chosen]
        weights = descend(bridge, pool.path.select(chosen[share.rows]), partial(_loss, before), share)
        # Said by one: on other hardware the same sum may fall on the other side.
        effective = torch.tensor(_effective(weights.backward.sum(0) - before), dtype=torch.float64)
        self._stale = float(noise.group.first(effective)) < _LEAST_ESS
        return Gradient.of(watched(bridge, target, noise, max(2, batch // _WATCHED)), warming=True)

    def tensors(self) -> dict[str, Tensor]:
        stale = {"warm_stale": torch.tensor(self._stale)}
        return stale | self.after.tensors()

    def restore(self, tensors: dict[str, Tensor], target: Target, group: Group = ALONE) -> None:
        self._stale = bool(tensors.pop("warm_stale"))
        self.after.restore(tensors, target, group)
        step, like = int(self.drawn_at), next(self.snapshot.parameters())
        if step >= 0 and not self.over:
            self._pool = self._draw(target, NoiseSource(self._settings.seed, step, like.device, like.dtype, group))

    def _renew(self, bridge: Bridge, target: Target, noise: NoiseSource) -> None:
        """Draw a pool where one is due, note the EUBO on its rows held out, and see whether this is the end."""
        if self._pool is not None and not self._stale and noise.step - int(self.drawn_at) < _LASTS:
            return
        self.snapshot.load_state_dict(bridge.state_dict())
        self.drawn_at.fill_(noise.step)
        self._pool, self._stale = self._draw(target, noise), False
        held = log_weights(self.snapshot, self._paths(target, noise, self._rows.judging, "held"))
        held = noise.group.first(held)
        self.bounds.copy_(torch.cat([self.bounds[1:], _bound(held).to(self.bounds)[None]]))
        if _settled(self.bounds):
            self.falls.add_(1)
            self.bounds.fill_(math.inf)

    def _draw(self, target: Target, noise: NoiseSource) -> _Pool:
        bridge = self.snapshot
        floats = (bridge.steps + 1) * self._settings.batch_size * (bridge.state_dim + bridge.dim)
        batches = max(1, min(_BATCHES, _POOL_FLOATS // floats))
        paths = [self._paths(target, noise, self._rows.training, f"{k}") for k in range(batches)]
        path = Path.joined(paths)
        return _Pool(path, path_weights(self.snapshot, path).backward.sum(0))

    def _paths(self, target: Target, noise: NoiseSource, rows: Tensor, name: str) -> Path:
        """A batch of backward paths of the snapshot from some of the rows."""
        bridge, batch = self.snapshot, self._settings.batch_size
        chosen = torch.randint(rows.shape[0], (batch,), generator=noise.generator(f"warm/rows/{name}"))
        share = noise.share(batch)
        end = rows[chosen[share.rows]].to(noise.device, noise.dtype)
        shape = (1 + bridge.steps * bridge.step_rows, batch, bridge.dim)
        return simulate_backward(bridge, target, end, noise.own(shape, f"warm/{name}")).of_all(share)


def _loss(before: Tensor, weights: PathWeights) -> PathCoefficients:
    return forward_kl_reweighted(weights, before[weights.members])


def _effective(log_ratio: Tensor) -> float:
    """Effective share of paths with these log ratios, `(batch,)`."""
    share = log_ratio.nan_to_num(-math.inf, math.inf, -math.inf).softmax(0)
    return 1.0 / float(share.square().sum() * share.shape[0])


def _bound(log_weight: Tensor) -> Tensor:
    """Mean of the finite log weights and its squared standard error; infinite where there are too few."""
    finite = log_weight[log_weight.isfinite()]
    if finite.shape[0] < 2:
        return torch.full((2,), math.inf, dtype=torch.float64)
    return torch.stack([finite.mean(), finite.var() / finite.shape[0]])


def _settled(bounds: Tensor) -> bool:
    """Whether the last pools show no fall against those before, beyond chance."""
    if not bool(bounds.isfinite().all()):
        return False
    before, now = bounds[:_COMPARED], bounds[_COMPARED:]
    error = float((before[:, 1].sum() + now[:, 1].sum()).sqrt()) / _COMPARED
    return not float(before[:, 0].mean() - now[:, 0].mean()) > _ERRORS * error
