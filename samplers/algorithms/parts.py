"""What algorithms are composed of: priors, schedules and fields as the settings want them."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..components import Components
from ..control import Control
from ..mixture import MixturePrior
from ..motion import Motion
from ..prior import DiagonalPrior, Prior
from ..schedule import Annealing, Diffusion
from ..settings import TrainingSettings

__all__ = ["Ingredients"]

# Initial diffusion coefficient for a time horizon of 1, in coordinates where the target has about unit scale:
# sigma^2 = 3 lets annealed Langevin dynamics forget its start.
_INITIAL_SIGMA = 1.7
# Underdamped, in those coordinates: at most this time in all, at most so much a step on average (the first steps are
# twice as long, and a step of two on a unit scale is unstable), and the friction a unit of time.
_INITIAL_TIME = 8.0
_LONGEST_STEP = 0.25
_INITIAL_FRICTION = 2.0


class Ingredients(NamedTuple):
    """What a builder is given: dimension, settings, the source of initial weights, and the prior's components."""

    dim: int
    settings: TrainingSettings
    generator: torch.Generator
    components: Components | None = None
    """Of a mixture prior; None: a standard normal."""

    def prior(self) -> Prior:
        """The prior, learned as the settings say."""
        learned = self.settings.learn.prior
        if self.components is None:
            return DiagonalPrior(self.dim, learned=learned)
        return MixturePrior(self.components, learned=learned)

    def diagonal_prior(self) -> DiagonalPrior:
        """The same, or a Gaussian with the mean and the spread of the mixture."""
        prior = self.prior()
        if isinstance(prior, DiagonalPrior):
            return prior
        found = DiagonalPrior(self.dim, learned=self.settings.learn.prior)
        with torch.no_grad():
            found.mean.copy_(prior.centre())
            found.log_scale.copy_(prior.spread().log())
        return found

    def annealing(self) -> Annealing:
        """Linear annealing."""
        return Annealing(self.settings.steps, learned=self.settings.learn.annealing)

    def diffusion(self, sigma: float = _INITIAL_SIGMA) -> Diffusion:
        """A diffusion coefficient of sigma typical scales, over steps that shrink towards the target."""
        learn, scale = self.settings.learn, self._scale()
        return Diffusion(self.dim, self.settings.steps, sigma * scale, learned=learn.diffusion, learned_time=learn.time)

    def control(self, gate: float = 0.0) -> Control:
        """A new control; it starts as `gate` times the annealed score."""
        return Control(self.dim, self.settings.width, self.generator, gate=gate)

    def motion(self) -> Motion:
        """Friction and steps for a momentum, over steps that shrink towards the target."""
        learn, steps = self.settings.learn, self.settings.steps
        time = min(_INITIAL_TIME, _LONGEST_STEP * steps)
        friction, scaled = _INITIAL_FRICTION * time, time * self._scale()
        return Motion(self.dim, steps, scaled, friction, learned=learn.diffusion, learned_time=learn.time)

    def momentum_control(self, gate: float = 0.0) -> Control:
        """A new control of states with a momentum; it starts as `gate` times the annealed score."""
        return Control(self.dim, self.settings.width, self.generator, gate=gate, inputs=2 * self.dim)

    def _scale(self) -> Tensor:
        """The typical scale of each coordinate inside a mode, `(dim,)`: an Euler step must not leave it."""
        if self.components is None:
            return torch.ones(self.dim)
        share, tril = self.components.log_weight.softmax(0), self.components.tril
        variance = tril.square() if tril.ndim == 2 else tril.square().sum(-1)
        return (0.5 * share @ variance.log()).exp().float()
