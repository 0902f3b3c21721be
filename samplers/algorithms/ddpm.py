"""A denoising diffusion model as a sampler (Ho, Jain and Abbeel 2020; Sohl-Dickstein et al. 2015).

A denoiser takes noise from the prior away; the noising process is fixed. It sees no score of the target, whose log
density is asked for at the ends of paths alone: cheap, and blind to modes that its draws have not shown it. It is made
for `samples`: denoising on draws of the target, then the loss on the density.
"""

import torch

from ..denoising.bridge import DenoisingBridge, bridge_levels
from ..denoising.exact import GaussianDenoiser
from ..denoising.network import NetworkModel, ResidualMlp
from ..denoising.prediction import Velocity
from ..denoising.schedule import VariancePreserving
from .parts import Ingredients

__all__ = ["denoising_diffusion_model"]

_BLOCKS = 3


def denoising_diffusion_model(given: Ingredients) -> DenoisingBridge:
    """A DDPM bridge; untrained it draws from the prior."""
    dim, settings = given.dim, given.settings
    network = ResidualMlp(dim, dim, settings.width, _BLOCKS, given.generator)
    skip = GaussianDenoiser(torch.zeros(dim), torch.ones(dim))
    model = NetworkModel(network, Velocity(), VariancePreserving(), skip)
    return DenoisingBridge(given.diagonal_prior(), model, bridge_levels(settings.steps))
