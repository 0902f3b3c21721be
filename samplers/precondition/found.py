"""What a family of preconditioners hands back, in the target's own coordinates."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from ..components import Components

__all__ = ["FULL_DIM", "MATRIX_DIM", "Found", "Spent", "share"]

FULL_DIM = 200
"""Up to here covariances are estimated from points: a step takes 2 dim of them and dim^3 operations."""
MATRIX_DIM = 2048
"""Up to here they come from the Hessian at the mode, 2 dim scores; beyond, a dim x dim matrix is too much."""

Spent: TypeAlias = Callable[[], float]
"""Share of the allowed time that has gone; at 1 or more work stops with the best so far."""


class Found(NamedTuple):
    """A mixture that is close to the target."""

    components: Components
    start: str
    """A word for where its best component came from."""
    modes: int
    """Modes seen; 0 where nobody looked."""
    beyond: float = 0.0
    """Share of Z that was found beyond the ends of the mixture."""


def share(spent: Spent, part: float) -> Spent:
    """The clock of a stage that ends when this part of the time has gone."""
    return lambda: spent() / part
