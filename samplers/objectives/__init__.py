"""One file a way of differentiating a loss. `OBJECTIVES` is the only place where words become losses."""

from collections.abc import Callable, Mapping

from ..losses import log_variance, reverse_kl_log_derivative, reverse_kl_reward_to_go
from ..objective import Objective
from ..settings import Loss, TrainingSettings
from .detached import DetachedObjective, TrajectoryBalance
from .reparametrised import ReparametrisedObjective

__all__ = ["OBJECTIVES"]


def _reverse_kl(settings: TrainingSettings) -> Objective:
    return DetachedObjective(reverse_kl_reward_to_go if settings.reward_to_go else reverse_kl_log_derivative)


OBJECTIVES: Mapping[Loss, Callable[[TrainingSettings], Objective]] = {
    Loss.RKL_LD: _reverse_kl,
    Loss.LV: lambda settings: DetachedObjective(log_variance),
    Loss.RKL_R: lambda settings: ReparametrisedObjective(path_gradient=False),
    Loss.RKL_STL: lambda settings: ReparametrisedObjective(path_gradient=True),
    Loss.TB: lambda settings: TrajectoryBalance(),
}
