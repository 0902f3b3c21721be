"""Capture of a user's density as a program that a server can run without running the user's code.

`from_numpyro` and `from_jax` give StableHLO modules, `from_pyro` and `from_torch` graphs of aten operations;
all return a `Captured`. Importing this package imports neither jax nor torch: each function is loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .jax import from_jax as from_jax
    from .numpyro import from_numpyro as from_numpyro
    from .pyro import from_pyro as from_pyro
    from .record import Captured as Captured
    from .torch import from_torch as from_torch

__all__ = ["Captured", "from_jax", "from_numpyro", "from_pyro", "from_torch"]

_HOME = {
    "Captured": ".record",
    "from_jax": ".jax",
    "from_numpyro": ".numpyro",
    "from_pyro": ".pyro",
    "from_torch": ".torch",
}
# The extra that brings what each function needs.
_EXTRA = {"from_jax": "jax", "from_numpyro": "numpyro", "from_pyro": "pyro", "from_torch": "pyro"}


def __getattr__(name: str) -> Any:
    """Load a public name from its own module on first use (PEP 562). Raises ImportError where its extra is missing."""
    if name in _HOME:
        try:
            return getattr(import_module(_HOME[name], __name__), name)
        except ModuleNotFoundError as error:
            if name not in _EXTRA or error.name not in {"jax", "jaxlib", "numpyro", "pyro", "torch"}:
                raise
            raise ImportError(f"{name} needs {error.name}: pip install 'gephyra[{_EXTRA[name]}]'") from error
    raise AttributeError(f"module 'gephyra.clients.capture' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
