"""What the annealed Langevin algorithms share: ULA, MCD, CMCD and DBS differ in their controls only."""

from ..overdamped import Drift, Dynamics
from ..reference import EulerMaruyama

__all__ = ["LANGEVIN"]

LANGEVIN = Dynamics(EulerMaruyama(), forward=Drift(0.5, 0.0), backward=Drift(0.5, 0.0))
"""Euler-Maruyama steps of annealed Langevin dynamics, in both directions."""
