"""The warm start of a bridge that is a denoiser: denoising on draws of the target before a loss takes over.

Its EUBO on noised draws is the denoising loss with the ELBO's weights (denoising.md, 5.2), whose gradient needs single
levels of single rows, not paths, and nothing of the target. The stopping point is chosen on rows that nothing learns
from, as for a model of data; then the best parameters are put back.
"""

import math

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from gephyra.targets.base import Target

from ..bridge import Bridge
from ..denoising.bridge import DenoisingBridge
from ..denoising.denoiser import DenoisingModel
from ..denoising.keeper import BETWEEN, PAIRS, Keeper, judging
from ..given import GivenDraws
from ..group import ALONE, Group
from ..noise import NoiseSource
from ..objective import Gradient, Objective
from ..stepper import cosine, join_parts, part_of
from .watched import watched

__all__ = ["DenoisingStart"]

# Forward paths that are drawn with every judgement: what is told of training must be about the bridge's own draws.
_WATCHED = 16
# Share of its peak that the learning rate has once the loss has taken over: it is to refine, not to start again.
_AFTER = 0.1
# Of the budget, at most.
_SHARE = 1 / 3


class DenoisingStart(Objective):
    """The denoising loss on given draws, then the loss `after`.

    Args:
        bridge: Untrained, on its device.
        rows: The draws, in the bridge's coordinates.
        after: The loss that goes on from there.
    """

    def __init__(self, bridge: DenoisingBridge, rows: GivenDraws, after: Objective) -> None:
        super().__init__()
        like = next(bridge.parameters())
        self.after, self._over = after, False
        # In a tuple, so that its parameters do not count as this module's, too.
        self._models, (self._loss, self._judge), self._keeper = (bridge.model,), bridge.losses(), Keeper()
        self._training, self._judging = (bridge.standardised(part.to(like)) for part in (rows.training, rows.judging))
        self._watched = torch.full((_WATCHED,), -math.inf, dtype=torch.float64)

    @property
    def _model(self) -> DenoisingModel:
        return self._models[0]

    def rate(self, fraction: float) -> float:
        if fraction > _SHARE and not self._over:
            self._take_over()
        return cosine(fraction) * (_AFTER if self._over else self._keeper.rate)

    def gradient(self, bridge: Bridge, target: Target, noise: NoiseSource, batch: int) -> Gradient:
        if not self._over and noise.step % BETWEEN == 0:
            self._look(bridge, target, noise)
        if self._over:
            return self.after.gradient(bridge, target, noise, batch)
        if noise.group.rank == 0:
            # Few of a step's seconds: not worth dealing out, nor are the memories that learn from it.
            self._loss.gradient(self._model, self._training, noise, batch)
        return Gradient.of(self._watched, warming=True)

    def tensors(self) -> dict[str, Tensor]:
        own = {"over": torch.tensor(self._over), "watched": self._watched, **self._keeper.tensors()}
        return join_parts({"own": own, "levels": self._loss.tensors(), "after": self.after.tensors()})

    def restore(self, tensors: dict[str, Tensor], target: Target, group: Group = ALONE) -> None:
        own = part_of(tensors, "own")
        self._keeper.restore(own)
        self._over, self._watched = bool(own["over"]), own["watched"]
        self._loss.restore(part_of(tensors, "levels"))
        self.after.restore(part_of(tensors, "after"), target, group)

    @torch.no_grad()
    def _look(self, bridge: Bridge, target: Target, noise: NoiseSource) -> None:
        """Judge the parameters, and draw a few paths with them."""
        loss = math.nan
        if noise.group.rank == 0:
            loss = self._judge.evaluate(self._model, self._judging, judging(noise), PAIRS).loss
        loss = float(noise.group.first(torch.tensor(loss, dtype=torch.float64)))
        self._keeper.note(loss, noise.step, parameters_to_vector(self._model.parameters()))
        if self._keeper.back:
            self._put_back()
        if self._keeper.done:
            self._take_over()
        self._watched = watched(bridge, target, noise, _WATCHED, "denoise/watched")

    def _take_over(self) -> None:
        self._put_back()
        self._over = True

    @torch.no_grad()
    def _put_back(self) -> None:
        if self._keeper.best is None:
            return
        parameters = list(self._model.parameters())
        parts = self._keeper.best.split([parameter.numel() for parameter in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.copy_(part.view_as(parameter))
