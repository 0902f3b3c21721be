"""What a mixture of Gaussians reaches by itself as an importance proposal: honest numbers, on fresh noise."""

from typing import NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from ..components import Components, Mixture
from ..estimate import Estimates, estimate, restricted_elbo
from ..random import keyed_generator, normal_noise
from .evaluation import log_densities

__all__ = ["Baseline", "measure"]

_POINTS = 4096


class Baseline(NamedTuple):
    """Draws of a mixture and their log weights against the target."""

    estimates: Estimates | None
    """None where fewer than two draws had a finite weight."""
    point: Tensor
    log_weight: Tensor

    @property
    def elbo(self) -> float:
        """ELBO of the mixture restricted to where the target is positive."""
        return restricted_elbo(self.log_weight)


def measure(target: Target, components: Components, stream: str, seed: int) -> Baseline:
    """Draw from the mixture and weigh. Equal streams and seeds give equal noise, to compare candidates on."""
    noise = normal_noise((_POINTS, target.dim), f"precondition/{stream}", seed, 0)
    uniform = torch.from_numpy(keyed_generator(f"precondition/{stream}/uniform", seed).random(_POINTS))
    x = components.sample(noise, uniform)
    log_weight = log_densities(target, x) - Mixture(components).log_density(x)
    estimates = estimate(log_weight) if int(log_weight.isfinite().sum()) > 1 else None
    return Baseline(estimates, x, log_weight)
