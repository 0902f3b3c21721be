"""A denoiser as a bridge: noise is taken away level by level, and the noising process is the way back.

In units of a prior N(centre, spread^2), y = (x - centre) / spread, between levels lambda_n and lambda_{n+1}, the last
of which is the data themselves (lambda = inf, alpha = 1),

    F_n: y_{n+1} ~ N( (alpha_{n+1} / alpha_n) q y_n + alpha_{n+1} c x'(y_n),  sigma_n^2 c ),
    B_n: y_n ~ N( (alpha_n / alpha_{n+1}) y_{n+1},  sigma_n^2 c ),      q = exp(lambda_n - lambda_{n+1}),  c = 1 - q,

with x' the denoiser's data and the "large" variance (`kernel`). It is not learned: reverse KL would narrow it, and what
that gains in the ELBO it costs in the tails of the weights. Nothing but the last point is asked of the target, and the
EUBO of its draws is the denoising loss: a model of draws is the bridge's best start.
"""

import torch
from torch import Tensor

from ..bridge import Bridge, Chain, Evaluate, Increments
from ..kernel import GaussianKernel
from ..path import Node, Path
from ..prior import DiagonalPrior
from .catalogue import LEVELS, SCHEDULES, WEIGHTINGS, NoiseSchedule
from .denoiser import DenoisingModel
from .density import Logistic, Truncated, quantile_grid
from .frame import LOWEST
from .loss import DenoisingLoss
from .schedule import preserving
from .settings import LevelsName, ScheduleName, WeightingName

__all__ = ["DenoisingBridge"]

# Below this scale, in units of the prior's, a bridge blurs what it draws.
_HIGHEST = 14.0
# Short steps between the scale of the prior and a fiftieth of it, where most targets have their structure.
_PLACED = Logistic(3.0, 2.0)


class DenoisingBridge(Bridge):
    """Reversals by a denoiser.

    Args:
        prior: The start, on which noise ends.
        model: Of standardised points; its parameters are the bridge's.
        steps: Transitions.

    Attributes:
        model: The denoiser.
    """

    log_snr: Tensor
    centre: Tensor
    spread: Tensor
    kept: Tensor
    given: Tensor
    noised: Tensor
    variance: Tensor

    start_rows = step_rows = 1

    def __init__(self, prior: DiagonalPrior, model: DenoisingModel, steps: int) -> None:
        super().__init__()
        self.dim = self.state_dim = model.dim
        self.steps, self.prior, self.model = steps, prior, model
        self.register_buffer("centre", prior.centre().detach().clone())
        self.register_buffer("spread", prior.spread().detach().clone())
        levels = quantile_grid(Truncated(_PLACED, LOWEST, _HIGHEST), max(1, steps - 1))[:steps]
        noisier, alpha = preserving(levels), torch.ones(steps, 1, dtype=torch.float64)
        alpha[:-1] = noisier.alpha[1:]
        ratio = torch.zeros(steps, 1, dtype=torch.float64)
        ratio[:-1, 0] = torch.exp(levels[:-1] - levels[1:])
        fixed = {
            "log_snr": levels,
            "kept": alpha / noisier.alpha * ratio,
            "given": alpha * (1.0 - ratio),
            "noised": noisier.alpha / alpha,
            "variance": noisier.sigma.square() * (1.0 - ratio),
        }
        for name, value in fixed.items():
            self.register_buffer(name, value.float() if value.ndim > 1 else value, persistent=False)

    @property
    def horizon(self) -> Tensor | None:
        return None

    def start(self, noise: Tensor) -> Tensor:
        return self.prior.sample(noise)

    def start_log_density(self, state: Tensor) -> Tensor:
        return self.prior.log_density(state)

    def forward_chain(self) -> Chain:
        scale = self.variance.sqrt()

        def step(n: int, node: Node, noise: Tensor, evaluate: Evaluate) -> Node:
            y = self.standardised(node.state)
            mean = self.kept[n] * y + self.given[n] * self.model.data(y, self.log_snr[n : n + 1])
            return self._reached(mean + scale[n] * noise[0], node, evaluate if n == self.steps - 1 else None)

        return step

    def backward_chain(self) -> Chain:
        scale = self.variance.sqrt()

        def step(n: int, node: Node, noise: Tensor, evaluate: Evaluate) -> Node:
            return self._reached(self.noised[n] * self.standardised(node.state) + scale[n] * noise[0], node, None)

        return step

    def end(self, x: Tensor, noise: Tensor) -> Tensor:
        return x

    def increments(self, path: Path, first: int, last: int) -> Increments:
        y, steps = self.standardised(path.state[first : last + 1]), slice(first, last)
        before, after = y[:-1], y[1:]
        levels = self.log_snr[steps].repeat_interleave(y.shape[1])
        data = self.model.data(before.reshape(-1, self.dim), levels).view_as(before)
        kept, given, noised = (part[steps, None] for part in (self.kept, self.given, self.noised))
        scale = self.variance[steps, None].sqrt().expand(-1, -1, self.dim)
        forward, backward = GaussianKernel(kept * before + given * data, scale), GaussianKernel(noised * after, scale)
        # Densities are those of points in their own units.
        unit = self.spread.double().log().sum()
        found = forward.log_density(after) - unit
        return Increments(found, backward.log_density(before) - unit, found.detach())

    def standardised(self, x: Tensor) -> Tensor:
        """Points, `... x dim`, in units of the prior's mean and standard deviation before training."""
        return (x - self.centre) / self.spread

    def losses(self) -> tuple[DenoisingLoss, DenoisingLoss]:
        """The ELBO of standardised data: with levels that adapt, to learn from, and with fixed ones, to judge by."""
        given: NoiseSchedule = SCHEDULES[ScheduleName.COSINE](LOWEST, _HIGHEST)
        weighting = WEIGHTINGS[WeightingName.ELBO](given, self.model.prediction)
        sources = (LEVELS[name](given, None) for name in (LevelsName.ADAPTIVE, LevelsName.UNIFORM_LOG_SNR))
        learn, judge = (DenoisingLoss(weighting, each.levels, given.schedule, each.memory) for each in sources)
        return learn, judge

    def _reached(self, y: Tensor, like: Node, evaluate: Evaluate | None) -> Node:
        x = torch.addcmul(self.centre, self.spread, y)
        if evaluate is not None:
            return evaluate(x)
        # Nothing is asked of the target here: what a node says of it is not seen by these kernels.
        return Node(x, torch.zeros_like(like.score), torch.zeros_like(like.log_density))
