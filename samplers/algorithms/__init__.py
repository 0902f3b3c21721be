"""One file an algorithm: each composes a `Bridge` from parts and has neither a loop nor an optimiser.

`BUILDERS` is the table of all of them; a new algorithm is one file and one row.
"""

from collections.abc import Callable, Mapping

from ..bridge import Bridge
from ..settings import Method
from .cmcd import controlled_monte_carlo_diffusion
from .cmcd_ud import underdamped_controlled_monte_carlo_diffusion
from .dbs import diffusion_bridge_sampler
from .dbs_ud import underdamped_diffusion_bridge_sampler
from .ddpm import denoising_diffusion_model
from .dds import denoising_diffusion_sampler
from .dis import time_reversed_diffusion_sampler
from .dis_ud import underdamped_time_reversed_diffusion_sampler
from .mcd import monte_carlo_diffusion
from .mcd_ud import underdamped_monte_carlo_diffusion
from .parts import Ingredients
from .pis import path_integral_sampler
from .ula import unadjusted_langevin_annealing
from .ula_ud import uncorrected_hamiltonian_annealing

__all__ = ["BUILDERS", "build"]

BUILDERS: Mapping[Method, Callable[[Ingredients], Bridge]] = {
    Method.DBS: diffusion_bridge_sampler,
    Method.CMCD: controlled_monte_carlo_diffusion,
    Method.DIS: time_reversed_diffusion_sampler,
    Method.DDS: denoising_diffusion_sampler,
    Method.DDPM: denoising_diffusion_model,
    Method.PIS: path_integral_sampler,
    Method.MCD: monte_carlo_diffusion,
    Method.ULA: unadjusted_langevin_annealing,
    Method.DBS_UD: underdamped_diffusion_bridge_sampler,
    Method.CMCD_UD: underdamped_controlled_monte_carlo_diffusion,
    Method.DIS_UD: underdamped_time_reversed_diffusion_sampler,
    Method.MCD_UD: underdamped_monte_carlo_diffusion,
    Method.ULA_UD: uncorrected_hamiltonian_annealing,
}


def build(given: Ingredients) -> Bridge:
    """The bridge of the settings' method."""
    return BUILDERS[given.settings.method](given)
