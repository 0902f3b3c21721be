"""Test kit: what must hold of any target and any sampler, as functions and hypothesis strategies for your own tests.

    from gephyra.clients import testing

    def test_my_model() -> None:
        captured = gephyra.from_numpyro(model, x, y=y)
        testing.check_score(captured)
        testing.check_batch(captured)
        testing.check_unbiased_weights(captured, log_z=-12.3)

Each check returns a `CheckReport` and raises AssertionError with a diagnosis. The checks run in this process and need
torch (and jax for captured JAX programs); the strategies need hypothesis. Importing this package loads none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .capture import check_capture as check_capture
    from .density import check_batch as check_batch
    from .density import check_score as check_score
    from .density import check_support as check_support
    from .loading import as_target as as_target
    from .maps import AffineMap as AffineMap
    from .paths import check_constant_law as check_constant_law
    from .paths import check_unbiased_weights as check_unbiased_weights
    from .report import CheckReport as CheckReport
    from .strategies import affine_maps as affine_maps
    from .strategies import points as points
    from .strategies import targets as targets

_HOME = {
    "AffineMap": ".maps",
    "CheckReport": ".report",
    "affine_maps": ".strategies",
    "as_target": ".loading",
    "check_batch": ".density",
    "check_capture": ".capture",
    "check_constant_law": ".paths",
    "check_score": ".density",
    "check_support": ".density",
    "check_unbiased_weights": ".paths",
    "points": ".strategies",
    "targets": ".strategies",
}

__all__ = [
    "AffineMap",
    "CheckReport",
    "affine_maps",
    "as_target",
    "check_batch",
    "check_capture",
    "check_constant_law",
    "check_score",
    "check_support",
    "check_unbiased_weights",
    "points",
    "targets",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home module on first use (PEP 562)."""
    if name in _HOME:
        return getattr(import_module(_HOME[name], __name__), name)
    raise AttributeError(f"module 'gephyra.clients.testing' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
