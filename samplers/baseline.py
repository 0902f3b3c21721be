"""The bridge without a bridge: the prior alone as a proposal. What training has to beat."""

from torch import Tensor

from .bridge import Bridge, Chain, Evaluate, Increments
from .path import Node, Path
from .prior import Prior

__all__ = ["PriorBridge"]


class PriorBridge(Bridge):
    """Zero transitions: draws are the prior's, and log w = log gamma - log p_0.

    Args:
        prior: The law of the draws.
    """

    steps, step_rows, horizon = 0, 1, None

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.prior = prior
        self.dim = self.state_dim = prior.dim
        self.start_rows = prior.rows

    def start(self, noise: Tensor) -> Tensor:
        return self.prior.sample(noise)

    def start_log_density(self, state: Tensor) -> Tensor:
        return self.prior.log_density(state)

    def forward_chain(self) -> Chain:
        return _no_transition

    def backward_chain(self) -> Chain:
        return _no_transition

    def end(self, x: Tensor, noise: Tensor) -> Tensor:
        return x

    def increments(self, path: Path, first: int, last: int) -> Increments:
        none = self.start_log_density(path.state[0])[None][:0]
        return Increments(none, none, none)


def _no_transition(n: int, node: Node, noise: Tensor, evaluate: Evaluate) -> Node:
    raise ValueError(f"a prior alone has no transition {n}")
