"""What controls see beside the points: a guess at the score of each marginal, fixed while they are trained.

    guide_n(x) = beta_n * score + (1 - beta_n) * (offset + slope x + rest(x))

with linear beta and the score of the prior as training finds it. The drifts' own annealed score moves with the learned
prior and annealing; controls see a constant, so that nothing flows back into what they see.
"""

import torch
from torch import Tensor, nn

from .prior import Prior, Scorer

__all__ = ["Guide"]


class Guide(nn.Module):
    """The guide of a bridge; it is stored with the parameters, because controls make no sense with another one.

    Args:
        prior: The prior before training.
        steps: Transitions N.
        from_prior: Whether the guide starts from the prior's score; if not, from zero.
    """

    beta: Tensor
    offset: Tensor
    slope: Tensor

    def __init__(self, prior: Prior, steps: int, *, from_prior: bool = True) -> None:
        super().__init__()
        offset, slope, _ = prior.scorer()
        self.register_buffer("beta", torch.linspace(0.0, 1.0, steps + 1))
        self.register_buffer("offset", offset.detach() * from_prior)
        self.register_buffer("slope", slope.detach() * from_prior)

    def forward(self, x: Tensor, score: Tensor, rest: Tensor | None, beta: Tensor | float) -> Tensor:
        """The guide at x with the target's score and the rest of the prior's, all `... x dim`, at given beta."""
        prior = torch.addcmul(self.offset, x, self.slope)
        return torch.lerp(prior if rest is None else prior + rest, score, beta)

    @torch.no_grad()
    def follow(self, scorer: Scorer, beta: Tensor) -> None:
        """Take this prior score and this annealing: version 0.1 had controls see the learned ones."""
        self.beta.copy_(beta)
        self.offset.copy_(scorer.offset)
        self.slope.copy_(scorer.slope)
