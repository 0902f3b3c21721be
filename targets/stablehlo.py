"""Loader of densities captured from JAX: StableHLO modules at fixed batch sizes, run by JAX, tensors by DLPack.

Nothing is compiled before the whole module has been walked: JAX itself checks custom calls only on export, so
bytes made by hand could name any function that is registered in the process.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .allowlist import CUSTOM_CALLS, STABLEHLO_OPS
from .base import OpaqueTarget
from .program import Module, Program, StableHloBody
from .untrusted import ProgramError, refuse_foreign_bytes

__all__ = ["StableHloTarget", "cover"]

# What one call costs beside its points, in points: two calls of 256 beat one of 2048 up to here.
_CALL_COST = 64
# Small data is compiled into the function (each argument costs microseconds a call), large data stays an argument.
_FOLDED_BYTES = 65_536


class StableHloTarget(OpaqueTarget):
    """A density that JAX computes. Value and score come together; there are no second derivatives.

    Raises ProgramError for a program that is malformed, too new, or not made of allowed operations.
    """

    def __init__(self, program: Program) -> None:
        body = program.body
        assert isinstance(body, StableHloBody)
        self.dim = program.dim
        self.sites = program.sites
        self._density = _Runner(program, body.density, "stablehlo.density", _density_shapes)
        self._sites = _Runner(program, body.constrain, "stablehlo.constrain", _site_shapes) if body.constrain else None

    def _evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_density, score = self._density(x)
        return log_density.to(x.dtype), score.to(x.dtype)

    def _constrain(self, x: Tensor) -> dict[str, Tensor]:
        if self._sites is None:
            return {}
        values = self._sites(x.detach())
        return {
            site.name: value.to(x.dtype) if value.is_floating_point() else value
            for site, value in zip(self.sites, values, strict=True)
        }


@lru_cache(maxsize=1024)
def cover(count: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The batch sizes, largest first, that together hold `count` points at the least cost.

    A call of size b costs b points and a constant. `sizes` is descending. Depends on the numbers only, never on
    measured time, so that a draw is computed in the same way everywhere.
    """
    if count <= 0:
        return ()
    size, smaller = sizes[0], sizes[1:]
    whole, rest = divmod(count, size)
    options = [(size,) * (whole + (rest > 0))]
    if smaller:
        options.append((size,) * whole + cover(rest, smaller))
    return min(options, key=lambda option: sum(option) + _CALL_COST * len(option))


class _Runner:
    """Modules of one function at several batch sizes, called on any number of points."""

    def __init__(
        self,
        program: Program,
        modules: Sequence[Module],
        field: str,
        output_shapes: Callable[[Program, int], list[tuple[int, ...]]],
    ) -> None:
        if not modules:
            raise ProgramError("PROGRAM_MALFORMED", f"{field} is empty; expected a module for each batch size", field)
        import jax

        self._cpu_is_default = jax.default_backend() == "cpu"
        self._program = program
        self._dtype: torch.dtype = getattr(torch, program.dtype)
        self._exported: dict[int, Any] = {}
        self._functions: dict[tuple[int, str], Callable[[Any], Any]] = {}
        for number, module in enumerate(modules):
            name = f"{field}[{number}]"
            with _wide_types():
                exported = _checked_module(module, name)
                _check_interface(exported, program, module.batch, output_shapes(program, module.batch), name)
            self._exported[module.batch] = exported
        self._sizes = tuple(sorted(self._exported, reverse=True))

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Every output at detached points x, `batch x dim`, in the program's own types."""
        points = x.to(self._dtype).contiguous()
        parts: list[list[Tensor]] = []
        start = 0
        with _wide_types():
            for size in cover(len(points), self._sizes) or self._sizes[-1:]:
                stop = min(start + size, len(points))
                parts.append([value[: stop - start] for value in self._call(points[start:stop], size)])
                start = stop
        return parts[0] if len(parts) == 1 else [torch.cat(values) for values in zip(*parts, strict=True)]

    def _call(self, points: Tensor, size: int) -> list[Tensor]:
        import jax

        if len(points) < size:
            # Rows are independent; a repeated row cannot meet a value that the real ones do not.
            filler = points[-1:] if len(points) else points.new_zeros(1, points.shape[1])
            points = torch.cat([points, filler.expand(size - len(points), -1)])
        if points.device.type == "cpu" and self._cpu_is_default:
            # Small batches: numpy both ways costs a tenth of two DLPack capsules (0.15 ms a call), copies included.
            outputs = self._function(size, "cpu")(points.numpy())
            return [torch.from_numpy(np.array(value)) for value in outputs]
        platform = "cpu" if points.device.type == "cpu" else "gpu"
        outputs = jax.block_until_ready(self._function(size, platform)(jax.dlpack.from_dlpack(points)))
        return [torch.utils.dlpack.from_dlpack(value) for value in outputs]

    def _function(self, size: int, platform: str) -> Callable[[Any], Any]:
        """The compiled module of a batch size, its data already on the device."""
        if (size, platform) not in self._functions:
            self._functions[size, platform] = _bound(self._exported[size], self._program.arrays, platform)
        return self._functions[size, platform]


def _wide_types() -> Any:
    """JAX has 64-bit types inside this context only; the process's own setting stays as it is."""
    import jax

    return jax.enable_x64(True)


def _bound(exported: Any, arrays: Sequence[Any], platform: str) -> Callable[[Any], Any]:
    """`exported` with its data, as a jitted function of the batch alone."""
    import jax

    device = jax.devices(platform)[0]
    data = [jax.device_put(array, device) for array in arrays]
    if sum(array.nbytes for array in arrays) <= _FOLDED_BYTES:
        return jax.jit(lambda batch: exported.call(batch, *data))
    function = jax.jit(exported.call)
    return lambda batch: function(batch, *data)


def _density_shapes(program: Program, batch: int) -> list[tuple[int, ...]]:
    return [(batch,), (batch, program.dim)]


def _site_shapes(program: Program, batch: int) -> list[tuple[int, ...]]:
    return [(batch, *site.shape) for site in program.sites]


def _checked_module(module: Module, field: str) -> Any:
    """The deserialised module, every operation of it allowed."""
    from jax import export
    from jax.interpreters import mlir

    refuse_foreign_bytes(module.serialized, field)
    try:
        exported = export.deserialize(bytearray(module.serialized))
        with mlir.make_ir_context():
            operations = list(_walk(exported.mlir_module(serialized=False).operation))
    except Exception as error:  # flatbuffers and MLIR raise whatever damage makes them meet
        raise ProgramError(
            "PROGRAM_MALFORMED",
            f"{field} cannot be read as a module exported by JAX ({type(error).__name__}); "
            "it is truncated or damaged, or made by a much newer JAX: capture the model again",
            field,
        ) from error
    for name, call in operations:
        _check_operation(name, call, field)
    return exported


def _walk(operation: Any) -> Any:
    """Name of every operation, and the function that a custom call or a composite names."""
    named = {"stablehlo.custom_call": "call_target_name", "stablehlo.composite": "name"}.get(operation.name)
    yield operation.name, operation.attributes[named].value if named else None
    for region in operation.regions:
        for block in region:
            for inner in block:
                yield from _walk(inner.operation)


def _check_operation(name: str, call: str | None, field: str) -> None:
    if name not in STABLEHLO_OPS:
        raise ProgramError(
            "PROGRAM_OP_NOT_ALLOWED",
            f"{field} uses the operation {name!r}, which is not among those that a density may use; "
            "write that part of the model with other functions of jax.numpy",
            field,
        )
    # A composite is a function of this module, walked like any other, under a name of CHLO.
    allowed = call is None or call in CUSTOM_CALLS or (name == "stablehlo.composite" and call.startswith("chlo."))
    if not allowed:
        raise ProgramError(
            "PROGRAM_CALL_NOT_ALLOWED",
            f"{field} calls the foreign function {call!r}; only linear algebra may be called: "
            "write that part of the model with jax.numpy",
            field,
        )


def _check_interface(
    exported: Any, program: Program, batch: int, outputs: Sequence[tuple[int, ...]], field: str
) -> None:
    """Arguments, results and platform are what the program says."""
    import jax

    expected = [((batch, program.dim), program.dtype)] + [(array.shape, array.dtype.name) for array in program.arrays]
    found = [(tuple(aval.shape), aval.dtype.name) for aval in exported.in_avals]
    flat = jax.tree.structure(((0,) * len(expected), {}))
    results = [tuple(aval.shape) for aval in exported.out_avals]
    if batch < 1 or found != expected or results != list(outputs) or exported.in_tree != flat:
        raise ProgramError(
            "PROGRAM_MALFORMED",
            f"{field} maps {found} to {results}; expected {expected} to {list(outputs)}: "
            "dim, batch, arrays or sites of the program do not belong to this module",
            field,
        )
    if exported.nr_devices != 1 or exported.ordered_effects or exported.unordered_effects:
        raise ProgramError("PROGRAM_MALFORMED", f"{field} needs several devices or has side effects", field)
    if jax.default_backend() not in [platform.replace("cuda", "gpu") for platform in exported.platforms]:
        raise ProgramError(
            "PROGRAM_VERSION_UNSUPPORTED",
            f"{field} was exported for {', '.join(exported.platforms)}, and this worker computes on "
            f"{jax.default_backend()}; capture the model again with gephyra's own functions",
            field,
        )
