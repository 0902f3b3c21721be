"""Grow a mixture where particles of the target show that it lacks mass (boosting: Miller, Foti and Adams 2017).

The new component starts at the particle that the mixture covers worst, by log gamma - log q, with the shape of the
component nearest to it. Variational inference of all components together (newton.py) then finds its place. Far from
the mass a reverse Kullback-Leibler divergence has no pull outward: it is the particles that lead a mixture along a
funnel.
"""

import math

import torch

from ..components import Components, Mixture
from .tempering import Tempered

__all__ = ["boosted"]


def boosted(components: Components, particles: Tempered, count: int) -> Components:
    """The mixture with `count` more components, equal to the average of the old ones in weight; full factors."""
    for _ in range(count):
        terms = Mixture(components).log_terms(particles.point)
        worst = int((particles.log_density - torch.logsumexp(terms, 1)).argmax())
        nearest, old = int(terms[worst].argmax()), len(components.mean)
        weight = torch.full((1,), -math.log(old), dtype=torch.float64)
        components = Components(
            torch.cat([components.log_weight.log_softmax(0), weight]).log_softmax(0),
            torch.cat([components.mean, particles.point[worst : worst + 1]]),
            torch.cat([components.tril, components.tril[nearest : nearest + 1]]),
        )
    return components
