"""What every overdamped algorithm starts from."""

from ..prior import DiagonalPrior
from ..schedule import Annealing, Diffusion
from ..settings import TrainingSettings

__all__ = ["langevin_parts"]

# Initial diffusion coefficient for a time horizon of 1, in coordinates where the target has about unit scale:
# sigma^2 = 3 lets annealed Langevin dynamics forget its start.
_INITIAL_SIGMA = 1.7


def langevin_parts(dim: int, settings: TrainingSettings) -> tuple[DiagonalPrior, Annealing, Diffusion]:
    """A standard normal prior, linear annealing and a constant diffusion, learned as the settings say."""
    learn = settings.learn
    return (
        DiagonalPrior(dim, learned=learn.prior),
        Annealing(settings.steps, learned=learn.annealing),
        Diffusion(dim, settings.steps, _INITIAL_SIGMA, learned=learn.diffusion),
    )
