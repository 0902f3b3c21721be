"""gephyra: a sampling service for densities known only up to a constant.

Hand it a NumPyro or Pyro model, a JAX or torch callable, or a catalogue target; it trains a diffusion
bridge sampler on it and returns draws with exact log weights and an estimate of log Z (the evidence)
that says how far it can be trusted.

Importing this package is cheap and changes nothing: the public names below are loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gephyra.clients import AsyncClient as AsyncClient
    from gephyra.clients import Client as Client
    from gephyra.clients import catalogue as catalogue
    from gephyra.clients.capture import from_jax as from_jax
    from gephyra.clients.capture import from_numpyro as from_numpyro
    from gephyra.clients.capture import from_pyro as from_pyro
    from gephyra.clients.capture import from_torch as from_torch

__version__ = "0.4.0"

_HOME = {
    "AsyncClient": "gephyra.clients",
    "Client": "gephyra.clients",
    "catalogue": "gephyra.clients",
    "from_jax": "gephyra.clients.capture",
    "from_numpyro": "gephyra.clients.capture",
    "from_pyro": "gephyra.clients.capture",
    "from_torch": "gephyra.clients.capture",
}

__all__ = ["AsyncClient", "Client", "catalogue", "from_jax", "from_numpyro", "from_pyro", "from_torch"]


def __getattr__(name: str) -> Any:
    """Load a public name from its home module on first use (PEP 562)."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'gephyra' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
