"""The density of the probability flow where it is asked for often: one evaluation of the denoiser a step.

The equation is that of `flow`, in the share u of a density p of levels, dlambda = du / p(lambda), by the third-order
Adams-Bashforth method with equal steps of u,

    y_{k+1} = y_k + sum_j c_j h_{k-j} f(y_{k-j}),    c = (23, -16, 5) / 12,    h_k = -1 / (steps p(lambda_k)),

and the same sum for the divergence. Its first steps are of lower order, which costs nothing: f vanishes at the data.
"""

import torch
from torch import Tensor

from gephyra.targets.gaussian import LOG_SQRT_2PI

from .denoiser import Denoiser
from .density import LevelDensity
from .flow import ExactDivergence, flow_slope, slope_and_divergence
from .schedule import preserving

__all__ = ["AdamsFlow"]

# Of the orders 1, 2, 3: of this step's slope, the last one's, that before.
_RULES = ((1.0,), (1.5, -0.5), (23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0))


class AdamsFlow:
    """A density and its score.

    Args:
        denoiser: Of dimension dim.
        levels: Where steps are short; its ends are those of the flow.
        steps: Evaluations of the denoiser.

    Raises:
        ValueError: If steps is below 1, or an end of the levels infinite.
    """

    def __init__(self, denoiser: Denoiser, levels: LevelDensity, steps: int) -> None:
        ends = levels.quantile(torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64))
        if steps < 1 or not bool(ends.isfinite().all()):
            raise ValueError(f"expected at least one step between finite levels, got {steps}")
        self.denoiser, self._divergence = denoiser, ExactDivergence()
        self._levels, self._steps = ends, steps
        self._widths = (-(1.0 / steps) * torch.exp(-levels.log_density(ends))).tolist()

    def log_density(self, x: Tensor) -> Tensor:
        """log p at x, `batch x dim`: `(batch,)` float64, a constant."""
        y, slopes, change = self._start(x), [], x.new_zeros(len(x), dtype=torch.float64)
        for k in range(self._steps):
            slope, divergence = slope_and_divergence(self.denoiser, self._divergence, y, self._levels[k], live=False)
            slopes.append(slope)
            y, change = self._next(y, slopes), change + self._share(k) * divergence.double()
        return self._end_log_density(y) + change

    def log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log p at x, `batch x dim`, `(batch,)` float64, and its gradient, `batch x dim`, both constants.

        The gradient of the very number that is computed, by going back through the steps one at a time: memory is that
        of one step, whatever their number.
        """
        states = self._states(x)
        log_density = self._end_log_density(states[-1])
        # Of the result in each state, the last one first.
        gradients = [-states[-1]]
        for k in reversed(range(self._steps)):
            y = states[k].requires_grad_()
            with torch.enable_grad():
                slope, divergence = slope_and_divergence(self.denoiser, self._divergence, y, self._levels[k], live=True)
                pull = sum(
                    (weight * gradients[self._steps - m - 1] for m, weight in self._uses(k)), torch.zeros_like(y)
                )
                (change,) = torch.autograd.grad((slope * pull).sum() + self._share(k) * divergence.sum(), y)
            log_density = log_density + self._share(k) * divergence.detach().double()
            gradients.append(gradients[-1] + change)
        return log_density, self._alpha(x) * gradients[-1]

    @torch.no_grad()
    def _states(self, x: Tensor) -> list[Tensor]:
        states, slopes = [self._start(x)], []
        for k in range(self._steps):
            slopes.append(flow_slope(self.denoiser, states[-1], self._levels[k]))
            states.append(self._next(states[-1], slopes))
        return states

    def _uses(self, k: int) -> list[tuple[int, float]]:
        """The steps that use slope k, and its weights there."""
        later = range(k, min(k + len(_RULES), self._steps))
        return [(m, _rule(m)[m - k] * self._widths[k]) for m in later if m - k < len(_rule(m))]

    def _share(self, k: int) -> float:
        """What divergence k counts in the end."""
        return sum(weight for _, weight in self._uses(k))

    def _next(self, y: Tensor, slopes: list[Tensor]) -> Tensor:
        last = len(slopes) - 1
        for j, weight in enumerate(_rule(last)):
            y = y + (weight * self._widths[last - j]) * slopes[last - j]
        return y

    def _start(self, x: Tensor) -> Tensor:
        return self._alpha(x) * x.detach()

    def _end_log_density(self, y: Tensor) -> Tensor:
        """Of y at the lowest level, and of the scale at the highest."""
        dim = y.shape[1]
        scale = dim * preserving(self._levels[0]).alpha[0].log()
        return -0.5 * y.double().square().sum(1) - dim * LOG_SQRT_2PI + scale

    def _alpha(self, like: Tensor) -> Tensor:
        return preserving(self._levels[0]).alpha.to(like)


def _rule(step: int) -> tuple[float, ...]:
    return _RULES[min(step, len(_RULES) - 1)]
