"""What the underdamped algorithms share: the annealed force, and how the settings split a transition."""

from collections.abc import Mapping

from ..overdamped import Drift
from ..settings import Integrator, TrainingSettings
from ..underdamped import OBAB, OBABO, Kinetics, Splitting

__all__ = ["LANGEVIN", "splitting"]

LANGEVIN = Kinetics(force=Drift(1.0, 0.0))
"""Underdamped annealed Langevin dynamics in both directions."""

_SPLITTINGS: Mapping[Integrator | None, Splitting] = {None: OBAB, Integrator.OBAB: OBAB, Integrator.OBABO: OBABO}


def splitting(settings: TrainingSettings) -> Splitting:
    """The splitting that the settings name, OBAB if they name none."""
    return _SPLITTINGS[settings.integrator]
