"""Coordinates x = shift + scale u where a simple prior fits the target: a standard normal, or a mixture of Gaussians.

Nothing is known of a target's location, scale or number of modes. Each family of preconditioners finds a mixture of
Gaussians close to the target, most of them one Gaussian; here it becomes coordinates and a report. The report's numbers
are importance estimates with the mixture as proposal, once, on noise that no fit has seen.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from gephyra.targets.base import Target

from ..components import Components
from ..coordinates import Coordinates
from ..report import PreconditionReport
from ..settings import Precondition
from .baseline import measure
from .found import Found, Spent
from .gaussian import best_diagonal, best_gaussian
from .path_gradient import PRECONDITION_BATCH
from .search import annealed, auto

__all__ = ["PRECONDITION_BATCH", "Preconditioned", "precondition"]

_FAMILIES: Mapping[Precondition, Callable[[Target, int, Spent], Found]] = {
    Precondition.DIAGONAL: best_diagonal,
    Precondition.GAUSSIAN: best_gaussian,
    Precondition.ANNEALED: annealed,
    Precondition.AUTO: auto,
}


class Preconditioned(NamedTuple):
    """The coordinates, how they were found, and the prior in them where that is not a standard normal."""

    coordinates: Coordinates
    report: PreconditionReport
    components: Components | None = None


def precondition(kind: Precondition, target: Target, seed: int, spent: Spent = lambda: 0.0) -> Preconditioned:
    """Choose coordinates for the target.

    Args:
        kind: Which family.
        target: The density.
        seed: Seed of the noise.
        spent: Share of the allowed time that has gone, asked at every step; at 1 or more the best so far is returned.

    Raises:
        ValueError: If the log density is finite nowhere that was looked at.
    """
    if kind is Precondition.NONE:
        identity = Coordinates(torch.zeros(target.dim), torch.ones(target.dim))
        return Preconditioned(identity, PreconditionReport("none"))
    found = _FAMILIES[kind](target, seed, spent)
    coordinates = _coordinates(found)
    shift, scale = coordinates.shift.double(), coordinates.scale.double()
    many = len(found.components.mean) > 1
    # What is measured is the prior as it will be used, with the coordinates' rounding.
    prior = found.components.mapped(shift, scale) if many else _standard(target.dim)
    return Preconditioned(coordinates, _report(kind, target, found, coordinates, prior, seed), prior if many else None)


def _coordinates(found: Found) -> Coordinates:
    """The Gaussian's own coordinates; a mixture's have mean zero and unit scale."""
    components = found.components
    if len(components.mean) == 1:
        return Coordinates(components.mean[0].float(), components.tril[0].float())
    mean, scale = components.moments()
    if found.modes > 1 or components.tril.ndim == 2:
        return Coordinates(mean.float(), scale.float())
    return Coordinates(mean.float(), components.factor().float())


def _standard(dim: int) -> Components:
    return Components(
        torch.zeros(1, dtype=torch.float64),
        torch.zeros(1, dim, dtype=torch.float64),
        torch.ones(1, dim, dtype=torch.float64),
    )


def _report(
    kind: Precondition, target: Target, found: Found, coordinates: Coordinates, prior: Components, seed: int
) -> PreconditionReport:
    baseline = measure(coordinates.view(target), prior, "report", seed)
    if baseline.estimates is None:
        raise ValueError("the log density is not finite around 0 nor around its mode: no Gaussian fits it")
    return PreconditionReport(
        name=kind.value,
        elbo=baseline.elbo,
        start=found.start,
        log_z=baseline.estimates.log_z,
        log_z_se=baseline.estimates.log_z_se,
        ess_fraction=baseline.estimates.ess_fraction,
        k_hat=baseline.estimates.k_hat,
        modes=found.modes,
        components=len(found.components.mean),
        beyond=found.beyond,
    )
