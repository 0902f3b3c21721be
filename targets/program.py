"""Plain records of a captured density, as the worker hands them to a loader. Imports numpy only.

The wire's `Program` message (protos/program.proto) says what each field means; these records hold the same
with arrays in place of bytes. Loaders: `stablehlo.py` for JAX, `aten.py` for torch.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray

__all__ = [
    "Argument",
    "AtenBody",
    "CheckPoints",
    "DTypeRef",
    "FloatName",
    "Graph",
    "Item",
    "Module",
    "Node",
    "Program",
    "Ref",
    "Site",
    "StableHloBody",
]

FloatName = Literal["float32", "float64"]


@dataclass(frozen=True, slots=True)
class Site:
    """One named result of the constraining map."""

    name: str
    """Name in the model."""
    shape: tuple[int, ...]
    """Shape of the value for one draw; () for a scalar."""
    dtype: str = "float32"
    """Numpy name of the element type."""
    deterministic: bool = False
    """True for a deterministic site, False for a latent one."""


@dataclass(frozen=True, slots=True)
class CheckPoints:
    """Points with log density and score by the original model, n points."""

    x: NDArray[Any]
    """n x dim."""
    log_density: NDArray[Any]
    """(n,)."""
    score: NDArray[Any]
    """n x dim."""


@dataclass(frozen=True, slots=True)
class Module:
    """One serialised `jax.export.Exported` at a fixed batch size."""

    batch: int
    serialized: bytes


@dataclass(frozen=True, slots=True)
class StableHloBody:
    """JAX modules: density (points, arrays... -> log density, score) and constraining map, by batch size."""

    density: tuple[Module, ...]
    constrain: tuple[Module, ...] = ()


@dataclass(frozen=True, slots=True)
class Ref:
    """An earlier value of a graph's environment."""

    index: int


@dataclass(frozen=True, slots=True)
class Item:
    """Element `item` of an earlier value that is a list."""

    index: int
    item: int


@dataclass(frozen=True, slots=True)
class DTypeRef:
    """An element type as an argument, by its numpy name."""

    name: str


# Arguments nest: a tuple stands for a list of arguments.
Argument: TypeAlias = "Ref | Item | DTypeRef | int | float | bool | str | tuple[Argument, ...] | None"


@dataclass(frozen=True, slots=True)
class Node:
    """One call of an operator of the allowlist."""

    op: str
    args: tuple[Argument, ...]
    kwargs: tuple[tuple[str, Argument], ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """A straight-line program: the environment is the inputs, then one value a node."""

    inputs: int
    nodes: tuple[Node, ...]
    outputs: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class AtenBody:
    """aten graphs for a single point: density (point, arrays... -> scalar) and constraining map."""

    density: Graph
    constrain: Graph | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """A captured density."""

    dim: int
    dtype: FloatName
    body: StableHloBody | AtenBody
    arrays: tuple[NDArray[Any], ...]
    """Data of the model, arguments 1, 2, ... of every module or graph."""
    check_points: CheckPoints
    sites: tuple[Site, ...] = ()
    source: str = ""
