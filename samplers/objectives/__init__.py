"""One file a way of differentiating a loss. `OBJECTIVES` is the only place where words become losses."""

from collections.abc import Callable, Mapping

from ..losses import log_variance, reverse_kl_controlled, reverse_kl_reward_to_go
from ..objective import Objective
from ..settings import Loss
from .detached import DetachedObjective, TrajectoryBalance
from .forward import ForwardKL
from .inputs import ObjectiveInputs
from .reparametrised import ReparametrisedObjective
from .subtb import SubTrajectoryBalance
from .trust import TrustRegionLogVariance

__all__ = ["OBJECTIVES"]


def _reverse_kl(given: ObjectiveInputs) -> Objective:
    return DetachedObjective(reverse_kl_reward_to_go if given.settings.reward_to_go else reverse_kl_controlled)


OBJECTIVES: Mapping[Loss, Callable[[ObjectiveInputs], Objective]] = {
    Loss.RKL_LD: _reverse_kl,
    Loss.LV: lambda given: DetachedObjective(log_variance),
    Loss.RKL_R: lambda given: ReparametrisedObjective(path_gradient=False),
    Loss.RKL_STL: lambda given: ReparametrisedObjective(path_gradient=True),
    Loss.TB: lambda given: TrajectoryBalance(),
    Loss.SUBTB: SubTrajectoryBalance,
    Loss.FKL: ForwardKL,
    Loss.TR_LV: TrustRegionLogVariance,
}
"""A builder may raise ValueError where the run lacks what the loss learns from."""
