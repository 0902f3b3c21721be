"""Capture of a torch log density as graphs of aten operations, for a single point.

The server batches the graph and differentiates it. Tensors that the density closes over become data of the program.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torch.distributions import Distribution

from gephyra.protos.program_pb2 import Program, Site

from ..errors import CaptureError
from .aten import collect_constants, trace, wire_dtype, write_graph
from .record import Captured, Constants, assemble, check_dim, check_original, check_points

__all__ = ["TorchDensity", "capture", "from_torch", "unvalidated"]

# (log density, score), each relative to its size: as the server will compare, in the type of the capture.
_TOLERANCE = {torch.float32: (1e-4, 1e-3), torch.float64: (1e-10, 1e-8)}


@dataclass(frozen=True, slots=True)
class TorchDensity:
    """A density and the map to its sites, both functions of one unconstrained point `(dim,)`."""

    dim: int
    log_density: Callable[[Tensor], Tensor]
    source: str
    constrain: Callable[[Tensor], Mapping[str, Tensor]] | None = None
    """Gives every site under its name."""
    site_names: tuple[str, ...] = ()
    """The order of the sites."""
    deterministic: frozenset[str] = frozenset()


def from_torch(log_density: Callable[[Tensor], Tensor], dim: int) -> Captured:
    """Capture `log_density`, a torch function of one point `(dim,)` that returns the scalar log density.

    Tensors that it closes over become data of the program. Computed in torch's default type, float32 unless
    `torch.set_default_dtype` says float64. Raises CaptureError for what cannot be captured, with the reason.
    """
    if not callable(log_density):
        raise CaptureError(f"log_density must be a function of one point, got {type(log_density).__name__}")
    return Captured(capture(TorchDensity(check_dim(dim), log_density, source=f"torch {torch.__version__}")))


def capture(density: TorchDensity) -> Program:
    """The program of a density: graphs, data, sites, check points by the original."""
    with unvalidated():
        dtype = torch.get_default_dtype()
        x = torch.from_numpy(check_points(density.dim, str(dtype).removeprefix("torch.")))
        values, score = _evaluate(_scalar(density), x)
        check_original(values, score)
        # Traced where the density is defined: elsewhere a factorisation may raise instead of going on.
        point = x[int(np.argmax(np.isfinite(values)))]
        constants = Constants()
        traced = trace(_scalar(density), point)
        places = collect_constants(traced, constants)
        sites, traced_sites = _sites(density, point)
        site_places = collect_constants(traced_sites, constants) if traced_sites else {}
        _check_traced(traced, x, values, score)
    program = assemble(x.numpy(), values, score, sites=sites, arrays=constants.arrays, source=density.source)
    inputs = 1 + len(constants.arrays)
    program.aten.density.CopyFrom(write_graph(traced, places, inputs))
    if traced_sites:
        program.aten.constrain.CopyFrom(write_graph(traced_sites, site_places, inputs))
    return program


@contextmanager
def unvalidated() -> Iterator[None]:
    """Switch off torch's validation of distributions, which branches on values, and restore what was set before."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


def _scalar(density: TorchDensity) -> Callable[[Tensor], Tensor]:
    def checked(point: Tensor) -> Tensor:
        value = density.log_density(point)
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        if shape != () or not value.is_floating_point():
            raise CaptureError(
                f"log_density must return a real scalar tensor for one point of shape ({density.dim},), got {shape}; "
                "sum over the data, and do not write a batch dimension: gephyra adds it"
            )
        return value.to(point.dtype)

    return checked


def _evaluate(log_density: Callable[[Tensor], Tensor], x: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """Log density and score at points x, one at a time."""
    pairs = [_evaluate_point(log_density, row) for row in x]
    return np.array([value for value, _ in pairs], dtype=x.numpy().dtype), torch.stack([s for _, s in pairs]).numpy()


def _evaluate_point(log_density: Callable[[Tensor], Tensor], row: Tensor) -> tuple[float, Tensor]:
    point = row.clone().requires_grad_()
    try:
        value = log_density(point)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # a matrix that has no factor here: the density is undefined at this point
        return float("nan"), torch.full_like(row, float("nan"))
    score = torch.autograd.grad(value, point, allow_unused=True)[0] if value.requires_grad else None
    return float(value.detach()), torch.zeros_like(row) if score is None else score


def _sites(density: TorchDensity, point: Tensor) -> tuple[list[Site], fx.GraphModule | None]:
    constrain = density.constrain
    if constrain is None:
        return [], None

    def ordered(at: Tensor) -> list[Tensor]:
        values = constrain(at)
        return [torch.as_tensor(values[name]) for name in density.site_names]

    named = zip(density.site_names, ordered(point), strict=True)
    sites = [
        Site(name=name, shape=value.shape, dtype=wire_dtype(value.dtype), deterministic=name in density.deterministic)
        for name, value in named
    ]
    return sites, trace(ordered, point)


def _check_traced(traced: fx.GraphModule, x: Tensor, values: NDArray[Any], score: NDArray[Any]) -> None:
    """Compare the graph with the original at the check points, so that a bad capture is refused before it is sent."""
    found, found_score = _evaluate(traced, x)
    value_tolerance, score_tolerance = _TOLERANCE[x.dtype]
    finite = np.isfinite(values) & np.isfinite(score).all(axis=1)
    size = np.linalg.norm(score, axis=1) + 1e-3
    with np.errstate(invalid="ignore"):
        wrong = ~(np.abs(found - values) <= value_tolerance * (1 + np.abs(values)))
        wrong_score = ~(np.linalg.norm(found_score - score, axis=1) <= score_tolerance * size)
    if (finite & (wrong | wrong_score)).any():
        worst = int(np.argmax(finite & (wrong | wrong_score)))
        what = "log density" if wrong[worst] else "gradient"
        raise CaptureError(
            f"the captured graph gives another {what} than the density itself (at check point {worst}: log density "
            f"{found[worst]:g} against {values[worst]:g}); a value was frozen while it was traced: look for "
            ".numpy(), .detach(), torch.no_grad(), random numbers, or a branch in Python, and keep values as tensors"
        )
