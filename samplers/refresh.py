"""O steps of underdamped bridges: friction, noise and a control on the momentum at a fixed point.

    v -> N( c v + e (u(x, v) + pull), 1 - c^2 ),     e: `Pace.push`

In either direction; the momentum it leaves is an argument of the control, the one it reaches is drawn.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .control import Control, TimeFeatures
from .density import euler_log_density
from .guide import Guide
from .motion import Pace
from .overdamped import Drift
from .prior import Prior

__all__ = ["Place", "Refresh"]


class Place(NamedTuple):
    """Points `... x dim` of one grid index, or of m of them, and what is known there."""

    rows: int | slice
    """Grid indices."""
    x: Tensor
    score: Tensor
    """The target's."""
    annealed: Tensor
    """G."""
    prior: Tensor
    """H."""

    def along(self, drift: Drift) -> Tensor | None:
        """k G + h H; None where both are zero."""
        parts = [(drift.annealed, self.annealed), (drift.prior, self.prior)]
        terms = [part if weight == 1.0 else weight * part for weight, part in parts if weight]
        return sum(terms[1:], start=terms[0]) if terms else None


class Refresh(NamedTuple):
    """The O steps of one direction."""

    control: Control | None
    features: TimeFeatures | None
    guide: Guide
    rest: Callable[[Tensor], Tensor] | None
    """The rest of the prior's score, which the guide needs."""
    pull: Drift
    sign: float
    """The control counts this many times."""

    @classmethod
    def of(
        cls, control: Control | None, guide: Guide, prior: Prior, times: Tensor, pull: Drift, sign: float = 1.0
    ) -> "Refresh":
        """O steps on a grid of times, `(steps + 1,)`."""
        features = None if control is None else control.features(times)
        return cls(control, features, guide, prior.scorer().rest, pull, sign)

    def sample(self, pace: Pace, place: Place, v: Tensor, noise: Tensor) -> Tensor:
        """The momentum that standard normal `noise` leads to from v."""
        mean = pace.keep * v
        for push in (place.along(self.pull), self._field(place, v)):
            mean = mean if push is None else torch.addcmul(mean, pace.push, push)
        return torch.addcmul(mean, pace.variance.sqrt(), noise)

    def log_density(self, pace: Pace, place: Place, v: Tensor, reached: Tensor) -> tuple[Tensor, Tensor]:
        """Log density of reaching a momentum from v, and the same with the control held constant; `m x batch`."""
        pull, field = place.along(self.pull), self._field(place, v)
        gap, inert = reached - pace.keep * v, None
        if pull is not None:
            gap = torch.addcmul(gap, pace.push, pull, value=-1.0)
        if field is not None:
            # As a constant the field moves the gap; as a zero with a gradient it is live in the first number only.
            constant = field.detach()
            gap = torch.addcmul(gap, pace.push, constant, value=-1.0)
            inert = (pace.push / pace.variance).detach() * (field - constant)
        scale = pace.variance.sqrt()[:, 0]
        return euler_log_density(gap, torch.zeros_like(scale), (), inert, scale)

    def _field(self, place: Place, v: Tensor) -> Tensor | None:
        """The control at states (x, v)."""
        if self.control is None or self.features is None:
            return None
        at = (place.rows, None)
        features = TimeFeatures(self.features.shift[at], self.features.gate[at])
        rest, beta = None if self.rest is None else self.rest(place.x), self.guide.beta[place.rows, None, None]
        guide = self.guide(place.x, place.score, rest, beta)
        field: Tensor = self.control(torch.cat([place.x, v], -1), guide, features)
        return self.sign * field
