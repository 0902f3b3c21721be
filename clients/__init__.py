"""The Python client: synchronous and asyncio, capture of user models, results, command line.

Importing this package loads nothing; each public name loads its module on first use, and none of them
needs more than grpcio, protobuf and numpy. torch, jax, arviz and rich come in where they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .aio import AsyncClient as AsyncClient
    from .definition import catalogue as catalogue
    from .draws import Draws as Draws
    from .evidence import Evidence as Evidence
    from .sync import Client as Client

_HOME = {
    "AsyncClient": ".aio",
    "Client": ".sync",
    "Draws": ".draws",
    "Evidence": ".evidence",
    "catalogue": ".definition",
}

__all__ = ["AsyncClient", "Client", "Draws", "Evidence", "catalogue"]


def __getattr__(name: str) -> Any:
    """Load a public name from its home module on first use (PEP 562)."""
    if name in _HOME:
        return getattr(import_module(_HOME[name], __name__), name)
    raise AttributeError(f"module 'gephyra.clients' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
