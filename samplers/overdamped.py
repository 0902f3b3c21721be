"""Overdamped bridges: Euler-Maruyama steps of annealed Langevin dynamics with learned controls.

With s_n the standard deviation of transition n, G_n = beta_n * score + (1 - beta_n) * prior score and controls u
(forward) and v (backward),

    F_n: x_{n+1} ~ N( x_n     + s_n^2 ( G_n(x_n) / 2         + u_n(x_n) ),             s_n^2 )
    B_n: x_n     ~ N( x_{n+1} + s_n^2 ( G_{n+1}(x_{n+1}) / 2 + v_{n+1}(x_{n+1}) ),     s_n^2 )

The backward kernel uses beta_{n+1} and the SAME s_n. Which u and v are learned is the algorithm's choice.
"""

import torch
from torch import Tensor

from .bridge import Bridge, Chain, Transitions
from .control import Control
from .kernel import GaussianKernel
from .prior import DiagonalPrior
from .schedule import Annealing, Diffusion

__all__ = ["OverdampedBridge"]


class OverdampedBridge(Bridge):
    """Annealed Langevin dynamics with a forward control and, for DBS, an independent backward one.

    Args:
        prior: Law at n = 0.
        annealing: beta_0, ..., beta_N.
        diffusion: s_0, ..., s_{N-1}.
        forward_control: u.
        backward_control: v; None means v = -u (CMCD).
    """

    times: Tensor

    def __init__(
        self,
        prior: DiagonalPrior,
        annealing: Annealing,
        diffusion: Diffusion,
        forward_control: Control,
        backward_control: Control | None,
    ) -> None:
        super().__init__()
        self.prior, self.annealing, self.diffusion = prior, annealing, diffusion
        self.forward_control, self.backward_control = forward_control, backward_control
        self.dim, self.steps = prior.mean.shape[0], annealing.raw_increments.shape[0]
        self.register_buffer("times", torch.linspace(0.0, 1.0, self.steps + 1), persistent=False)

    def prior_kernel(self) -> GaussianKernel:
        return self.prior.kernel()

    def forward_chain(self) -> Chain:
        return self._chain(self.forward_control, 0, 1.0)

    def backward_chain(self) -> Chain:
        if self.backward_control is None:
            return self._chain(self.forward_control, 1, -1.0)
        return self._chain(self.backward_control, 1, 1.0)

    def _chain(self, control: Control, offset: int, sign: float) -> Chain:
        """Kernels that start from grid point n + offset, with sign times the control."""
        beta, scale = self.annealing(), self.diffusion()
        features = control.features(self.times)
        half_variance = 0.5 * scale.square()

        def kernel(n: int, x: Tensor, score: Tensor) -> GaussianKernel:
            annealed = torch.lerp(self.prior.score(x), score, beta[n + offset])
            field = control(x, annealed, features.at(n + offset))
            return GaussianKernel(torch.addcmul(x, half_variance[n], annealed + 2.0 * sign * field), scale[n])

        return kernel

    def transitions(self, first: int, x: Tensor, score: Tensor) -> Transitions:
        last = first + x.shape[0] - 1
        beta = self.annealing()[first : last + 1, None, None]
        scale = self.diffusion()[first:last, None]
        annealed = torch.lerp(self.prior.score(x), score, beta)
        forward_features = self.forward_control.features(self.times)
        if self.backward_control is None:
            u = self.forward_control(x, annealed, forward_features.between(first, last + 1))
            u, v = u[:-1], -u[1:]
        else:
            u = self.forward_control(x[:-1], annealed[:-1], forward_features.between(first, last))
            backward_features = self.backward_control.features(self.times)
            v = self.backward_control(x[1:], annealed[1:], backward_features.between(first + 1, last + 1))
        variance, half = scale.square(), 0.5 * annealed
        langevin = torch.addcmul(x[:-1], variance, half[:-1])
        return Transitions(
            forward=GaussianKernel(torch.addcmul(langevin, variance, u), scale),
            backward=GaussianKernel(torch.addcmul(x[1:], variance, half[1:] + v), scale),
            shared=GaussianKernel(torch.addcmul(langevin, variance, u.detach()), scale),
        )
