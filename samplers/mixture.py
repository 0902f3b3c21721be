"""A Gaussian mixture at the start of a bridge (Blessing et al. 2025), one component a mode.

Component k is N(m_k, L_k diag(exp(2 g_k)) L_k^T) with a fixed factor L_k from the preconditioner; weights, means and
growths g are learned. Losses on detached paths differentiate log p_0(x_0) only, so that the discrete choice of a
component needs no reparametrisation.
"""

import torch
from torch import Tensor, nn

from gephyra.targets.gaussian import LOG_SQRT_2PI

from .components import Components
from .prior import Prior, Scorer

__all__ = ["MixturePrior"]


class MixturePrior(Prior):
    """A mixture prior.

    Args:
        components: Where it starts.
        learned: Whether weights, means and growths receive gradients.
    """

    rows = 2
    factor: Tensor
    whiten: Tensor
    log_det: Tensor
    anchor: Tensor
    anchor_logits: Tensor
    precision: Tensor
    pull: Tensor

    def __init__(self, components: Components, *, learned: bool = True) -> None:
        super().__init__()
        count, self.dim = components.mean.shape
        factor = components.tril
        diagonal = factor if factor.ndim == 2 else factor.diagonal(dim1=-2, dim2=-1)
        whiten = factor.reciprocal() if factor.ndim == 2 else torch.linalg.inv(factor)
        self.logits = nn.Parameter(components.log_weight.float(), requires_grad=learned)
        self.mean = nn.Parameter(components.mean.float(), requires_grad=learned)
        self.growth = nn.Parameter(torch.zeros(count, self.dim), requires_grad=learned)
        buffers = {"factor": factor, "whiten": whiten, "log_det": diagonal.log().sum(-1)}
        # The annealed score leads from the mixture as it was found: its own score would cost a differentiated pass over
        # all components at every point of every path.
        buffers |= {"anchor": components.mean, "anchor_logits": components.log_weight.log_softmax(0)}
        if factor.ndim == 3:
            precision = whiten.mT @ whiten
            pull = (precision @ components.mean[:, :, None])[:, :, 0]
            buffers |= {"precision": precision.mT.reshape(-1, self.dim).T, "pull": pull}
            buffers["anchor_logits"] = buffers["anchor_logits"] - 0.5 * (components.mean * pull).sum(-1)
        for name, value in buffers.items():
            self.register_buffer(name, value.float(), persistent=False)

    def sample(self, noise: Tensor) -> Tensor:
        uniform = torch.special.ndtr(noise[1, :, 0].double())
        edges = self.logits.detach().double().softmax(0).cumsum(0)
        chosen = torch.searchsorted(edges, uniform).clamp(max=edges.shape[0] - 1)
        grown = self.growth[chosen].exp() * noise[0]
        factor = self.factor[chosen]
        return self.mean[chosen] + (factor * grown if factor.ndim == 2 else (factor @ grown[:, :, None])[:, :, 0])

    def log_density(self, x: Tensor) -> Tensor:
        standard = self._whitened(x, self.mean) * (-self.growth).exp()
        constants = self.logits.log_softmax(0) - self.log_det - self.growth.sum(-1) - self.dim * LOG_SQRT_2PI
        return torch.logsumexp(constants.double() - 0.5 * standard.square().sum(-1).double(), -1)

    def scorer(self) -> Scorer:
        nothing = torch.zeros_like(self.anchor[0])
        return Scorer(nothing, nothing, self._anchor_score)

    def centre(self) -> Tensor:
        return self.logits.softmax(0) @ self.mean

    def spread(self) -> Tensor:
        share, squared, grown = self.logits.softmax(0), self.factor.square(), (2.0 * self.growth).exp()
        within = squared * grown if squared.ndim == 2 else (squared @ grown[:, :, None])[:, :, 0]
        return (share @ (within + (self.mean - self.centre()).square())).sqrt()

    def _anchor_score(self, x: Tensor) -> Tensor:
        if x.ndim > 2:
            # A row of time at a time: all components at all points at once would not fit the cache, nor much memory.
            return torch.stack([self._anchor_score(row) for row in x])
        if self.whiten.ndim == 2:
            standard = self._whitened(x, self.anchor)
            share = (self.anchor_logits - self.log_det - 0.5 * standard.square().sum(-1)).softmax(-1)
            return -((standard * share[:, :, None]) * self.whiten).sum(1)
        # P (x - m), the minus score of each component, by one product; its quadratic form without another.
        pulled = torch.addmm(-self.pull.flatten(), x, self.precision).view(-1, *self.pull.shape)
        squared = (pulled @ x[:, :, None])[:, :, 0] - x @ self.pull.T
        share = (self.anchor_logits - self.log_det - 0.5 * squared).softmax(-1)
        return -(share[:, None] @ pulled)[:, 0]

    def _whitened(self, x: Tensor, mean: Tensor) -> Tensor:
        """Deviations from each component in its own frame, `batch x components x dim`."""
        deviation = x[:, None] - mean
        if self.whiten.ndim == 2:
            return deviation * self.whiten
        return torch.einsum("bkd,ked->bke", deviation, self.whiten)
