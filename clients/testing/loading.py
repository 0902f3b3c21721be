"""Load, in this process, what the server would load: a captured program or a family of the catalogue."""

from collections.abc import Iterable
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from gephyra.protos import program_pb2, target_service_pb2, tensor_pb2
from gephyra.targets import program as records
from gephyra.targets.base import Target
from gephyra.targets.catalogue import build
from gephyra.targets.loading import load_program

from ..definition import Definition
from ..tensors import dtype_of, from_tensor

__all__ = ["as_program", "as_target"]


def as_target(target: Target | Definition) -> Target:
    """The target itself, or the one that a `from_...` function or `catalogue` describes.

    Raises:
        ValueError: For a program or parameters that the server would refuse.
        TypeError: For anything else.
    """
    if isinstance(target, Target):
        return target
    if not hasattr(target, "definition"):
        raise TypeError(f"expected a Target, or what from_numpyro, from_torch, ... return; got {type(target).__name__}")
    definition = target.definition()
    if definition.HasField("program"):
        return load_program(as_program(definition.program))
    wire = definition.catalogue
    return build(wire.family, {parameter.name: _value(parameter) for parameter in wire.parameters})


def as_program(wire: program_pb2.Program) -> records.Program:
    """The plain record of a wire program whose arrays are inline. Raises ValueError for malformed tensors."""
    body: records.StableHloBody | records.AtenBody
    if wire.HasField("stablehlo"):
        body = records.StableHloBody(_modules(wire.stablehlo.density), _modules(wire.stablehlo.constrain))
    else:
        constrain = _graph(wire.aten.constrain) if wire.aten.HasField("constrain") else None
        body = records.AtenBody(_graph(wire.aten.density), constrain)
    check = wire.check_points
    return records.Program(
        dim=wire.dim,
        dtype=cast(Literal["float32", "float64"], dtype_of(wire.dtype).name),
        body=body,
        arrays=tuple(_array(array) for array in wire.arrays),
        check_points=records.CheckPoints(*(from_tensor(t) for t in (check.x, check.log_density, check.score))),
        sites=tuple(
            records.Site(site.name, tuple(site.shape), dtype_of(site.dtype).name, site.deterministic)
            for site in wire.sites
        ),
        source=wire.source,
    )


def _modules(wire: Iterable[program_pb2.StableHloModule]) -> tuple[records.Module, ...]:
    return tuple(records.Module(module.batch, module.serialized) for module in wire)


def _graph(wire: program_pb2.AtenGraph) -> records.Graph:
    return records.Graph(
        inputs=wire.inputs,
        nodes=tuple(
            records.Node(
                node.op,
                tuple(_argument(argument) for argument in node.args),
                tuple((keyword.name, _argument(keyword.value)) for keyword in node.kwargs),
            )
            for node in wire.nodes
        ),
        outputs=tuple(_argument(output) for output in wire.outputs),
    )


def _argument(wire: program_pb2.AtenValue) -> records.Argument:
    match kind := wire.WhichOneof("kind"):
        case "ref":
            return records.Ref(wire.ref)
        case "item":
            return records.Item(wire.item.ref, wire.item.index)
        case "dtype":
            return records.DTypeRef(dtype_of(wire.dtype).name)
        case "list":
            return tuple(_argument(value) for value in wire.list.values)
        case None | "none":
            return None
        case _:
            return cast(records.Argument, getattr(wire, kind))


def _value(wire: target_service_pb2.CatalogueParameter) -> object:
    return _array(wire.array) if wire.HasField("array") else getattr(wire, wire.WhichOneof("value") or "int_value")


def _array(wire: tensor_pb2.DataArray) -> NDArray[Any]:
    return np.array(from_tensor(wire.inline))
