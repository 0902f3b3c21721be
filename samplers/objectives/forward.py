"""The forward KL, from draws of the target (samplers.md, 2.6): it covers every mode that the draws cover.

With x_N from the target and z_n ~ B_n the path measure P is given, and KL(P || Q) = E_P[log w] - log Z is the distance
of the EUBO from log Z. Forward kernels and prior learn by maximum likelihood on backward paths. The backward kernels
are part of P, so that their gradient is a score function's, the mirror image of rKL-LD:

    grad EUBO = E_P[ (log w - mean) grad log p ] - E_P[ grad log q ],     log p = sum log B_n.

E_P[grad log p] = 0 is added: it cancels most of the noise in parameters that both chains share.
"""

from gephyra.targets.base import Target

from ..bridge import Bridge
from ..losses import forward_kl
from ..noise import NoiseSource
from ..objective import Gradient, Objective, descend
from ..simulate import simulate_backward
from .inputs import Draw, ObjectiveInputs
from .watched import watched

__all__ = ["ForwardKL"]

# Forward paths a step, as a share of the batch: what is told of training must be about the bridge's own draws.
_WATCHED = 8


class ForwardKL(Objective):
    """EUBO on backward paths from draws of the target.

    The gradient's log weights are those of a few forward paths, for which the ELBO and log Z are what they say.

    Args:
        given: How to draw from the target.

    Raises:
        ValueError: If there is no way to.
    """

    def __init__(self, given: ObjectiveInputs) -> None:
        super().__init__()
        if given.draw is None:
            raise ValueError(
                "loss fkl learns from draws of the target, and this target has no exact sampler: start from an earlier "
                "sampler of it, whose weighted draws are taken, or choose another loss"
            )
        self._draw: Draw = given.draw

    def gradient(self, bridge: Bridge, target: Target, noise: NoiseSource, batch: int) -> Gradient:
        rows = 1 + bridge.steps * bridge.step_rows
        share = noise.share(batch)
        end = self._draw(batch, noise.generator("fkl/ends"))[share.rows].to(noise.device, noise.dtype)
        path = simulate_backward(bridge, target, end, noise.own((rows, batch, bridge.dim), "fkl/backward"))
        descend(bridge, path, forward_kl, share)
        return Gradient.of(watched(bridge, target, noise, max(2, batch // _WATCHED)))
