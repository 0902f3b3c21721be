"""Losses on detached paths: simulate without gradients, then differentiate log densities (samplers.md, 2.9)."""

import torch
from torch import Tensor, nn

from gephyra.targets.base import Target

from ..bridge import Bridge
from ..losses import DetachedLoss, PathCoefficients, trajectory_balance
from ..noise import NoiseSource
from ..objective import Gradient, Objective, descend
from ..simulate import simulate_noting
from ..weigh import PathWeights

__all__ = ["DetachedObjective", "TrajectoryBalance"]


class DetachedObjective(Objective):
    """A loss on fresh paths of the bridge itself.

    Args:
        loss: Coefficients of the log densities.
    """

    def __init__(self, loss: DetachedLoss) -> None:
        super().__init__()
        self._loss = loss

    def gradient(self, bridge: Bridge, target: Target, noise: NoiseSource, batch: int) -> Gradient:
        path = simulate_noting(bridge, target, noise.own((bridge.noise_rows, batch, bridge.dim)))
        return Gradient.of(descend(bridge, path, self._loss, noise.share(batch)).log_weight)


class TrajectoryBalance(Objective):
    """Trajectory balance on fresh paths, with log Z as a parameter (Malkin et al. 2022).

    It starts at the first batch's mean log weight: from zero, the first thousand steps would only move it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_z = nn.Parameter(torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer("started", torch.tensor(False))

    started: Tensor

    def gradient(self, bridge: Bridge, target: Target, noise: NoiseSource, batch: int) -> Gradient:
        path = simulate_noting(bridge, target, noise.own((bridge.noise_rows, batch, bridge.dim)))
        weights = descend(bridge, path, self._loss, noise.share(batch))
        finite = weights.log_weight[weights.log_weight.isfinite()]
        if finite.shape[0] and noise.group.rank == 0:
            self.log_z.grad = (self.log_z.detach() - finite.mean()).reshape(())
        return Gradient.of(weights.log_weight)

    def _loss(self, weights: PathWeights) -> PathCoefficients:
        if not bool(self.started):
            self.log_z.data.copy_(weights.log_weight.mean())
            self.started.fill_(True)
        return trajectory_balance(self.log_z.detach())(weights)
