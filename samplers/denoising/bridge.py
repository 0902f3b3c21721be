"""A denoiser as a bridge: noise is taken away level by level, and the noising process is the way back.

In units of a prior N(centre, spread^2), y = (x - centre) / spread, between levels lambda_n and lambda_{n+1}, the last
of which is the data themselves (lambda = inf, alpha = 1), F_n is the reversal of a step by the denoiser's data, and B_n
the noising (`kernel`). The variance of F_n, "large" as it comes, is not learned: reverse KL would narrow it, and what
that gains in the ELBO it costs in the tails of the weights. Nothing but the last point is asked of the target, and the
EUBO of its draws is the denoising loss: a model of draws is the bridge's best start.
"""

import itertools
import math

import torch
from torch import Tensor

from ..bridge import Bridge, Chain, Evaluate, Increments
from ..kernel import GaussianKernel
from ..path import Node, Path
from ..prior import DiagonalPrior
from .build import loss_of
from .catalogue import SCHEDULES
from .denoiser import DenoisingModel
from .density import Logistic, Truncated, quantile_grid
from .frame import LOWEST
from .kernel import DATA, Place, reversal_variance, transition
from .loss import DenoisingLoss
from .settings import LevelsName, ScheduleName, WeightingName

__all__ = ["DenoisingBridge", "bridge_levels"]

# Below this scale, in units of the prior's, a bridge blurs what it draws.
_HIGHEST = 14.0
# Short steps between the scale of the prior and a fiftieth of it, where most targets have their structure.
_PLACED = Logistic(3.0, 2.0)


def bridge_levels(steps: int) -> Tensor:
    """Levels for so many transitions, `(steps,)`, increasing."""
    return quantile_grid(Truncated(_PLACED, LOWEST, _HIGHEST), max(1, steps - 1))[:steps]


class DenoisingBridge(Bridge):
    """Reversals by a denoiser.

    Args:
        prior: The start, on which noise ends.
        model: Of standardised points; its parameters are the bridge's.
        levels: lambda, `(steps,)`, increasing.
        interpolation: Of the reversals' log variance, from small to large; the last one's is large.

    Attributes:
        model: The denoiser.
    """

    log_snr: Tensor
    centre: Tensor
    spread: Tensor
    kept: Tensor
    given: Tensor
    noised: Tensor
    scale: Tensor
    noise_scale: Tensor

    start_rows = step_rows = 1

    def __init__(self, prior: DiagonalPrior, model: DenoisingModel, levels: Tensor, interpolation: float = 1.0) -> None:
        super().__init__()
        self.dim = self.state_dim = model.dim
        self.steps, self.prior, self.model = len(levels), prior, model
        self.register_buffer("centre", prior.centre().detach().clone())
        self.register_buffer("spread", prior.spread().detach().clone())
        self.register_buffer("log_snr", levels, persistent=False)
        places = [*map(Place.at, levels.tolist()), DATA]
        kept, given, noised, variance = zip(*itertools.starmap(transition, itertools.pairwise(places)), strict=True)
        reversed_ = [reversal_variance(*pair, interpolation) for pair in itertools.pairwise(places[:-1])]
        fixed = {"kept": kept, "given": given, "noised": noised}
        scales = {"scale": (*reversed_, variance[-1]), "noise_scale": variance}
        fixed |= {name: tuple(map(math.sqrt, variances)) for name, variances in scales.items()}
        for name, values in fixed.items():
            self.register_buffer(name, torch.tensor(values)[:, None], persistent=False)

    @property
    def horizon(self) -> Tensor | None:
        return None

    def start(self, noise: Tensor) -> Tensor:
        return self.prior.sample(noise)

    def start_log_density(self, state: Tensor) -> Tensor:
        return self.prior.log_density(state)

    def forward_chain(self) -> Chain:
        def step(n: int, node: Node, noise: Tensor, evaluate: Evaluate) -> Node:
            y = self.standardised(node.state)
            mean = self.kept[n] * y + self.given[n] * self.model.data(y, self.log_snr[n : n + 1])
            return self._reached(mean + self.scale[n] * noise[0], node, evaluate if n == self.steps - 1 else None)

        return step

    def backward_chain(self) -> Chain:
        def step(n: int, node: Node, noise: Tensor, evaluate: Evaluate) -> Node:
            y = self.noised[n] * self.standardised(node.state) + self.noise_scale[n] * noise[0]
            return self._reached(y, node, None)

        return step

    def end(self, x: Tensor, noise: Tensor) -> Tensor:
        return x

    def increments(self, path: Path, first: int, last: int) -> Increments:
        y, steps = self.standardised(path.state[first : last + 1]), slice(first, last)
        before, after = y[:-1], y[1:]
        levels = self.log_snr[steps].repeat_interleave(y.shape[1])
        data = self.model.data(before.reshape(-1, self.dim), levels).view_as(before)
        kept, given, noised = (part[steps, None] for part in (self.kept, self.given, self.noised))
        scale, noise_scale = (part[steps, None].expand(-1, -1, self.dim) for part in (self.scale, self.noise_scale))
        forward = GaussianKernel(kept * before + given * data, scale)
        backward = GaussianKernel(noised * after, noise_scale)
        # Densities are those of points in their own units.
        unit = self.spread.double().log().sum()
        found = forward.log_density(after) - unit
        return Increments(found, backward.log_density(before) - unit, found.detach())

    def standardised(self, x: Tensor) -> Tensor:
        """Points, `... x dim`, in units of the prior's mean and standard deviation before training."""
        return (x - self.centre) / self.spread

    def losses(self) -> tuple[DenoisingLoss, DenoisingLoss]:
        """The ELBO of standardised data: with levels that adapt, to learn from, and with fixed ones, to judge by."""
        given = SCHEDULES[ScheduleName.COSINE](LOWEST, _HIGHEST)
        learn, judge = (
            loss_of(given, self.model, WeightingName.ELBO, levels)
            for levels in (LevelsName.ADAPTIVE, LevelsName.UNIFORM_LOG_SNR)
        )
        return learn, judge

    def _reached(self, y: Tensor, like: Node, evaluate: Evaluate | None) -> Node:
        x = torch.addcmul(self.centre, self.spread, y)
        if evaluate is not None:
            return evaluate(x)
        # Nothing is asked of the target here: what a node says of it is not seen by these kernels.
        return Node(x, torch.zeros_like(like.score), torch.zeros_like(like.log_density))
