"""Trace a torch function of one point to a graph of aten operations, and write the graph as a message.

Tracing runs the function once and records every operation on tensors; a mutation is recorded as the functional
operation that does the same. Python's own branches on values are refused by the tracer. What it would freeze
silently (numbers taken out through numpy) the check points catch.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

from gephyra.protos.program_pb2 import AtenGraph, AtenItem, AtenKeyword, AtenList, AtenNode, AtenNone, AtenValue
from gephyra.protos.tensor_pb2 import DType

from ..errors import CaptureError
from .record import Constants, dtype_number
from .rewrites import rewrite

__all__ = ["collect_constants", "trace", "wire_dtype", "write_graph"]

# Where a value lives, and how it is laid out in memory, is the server's business.
_DROPPED = frozenset({"device", "layout", "pin_memory", "memory_format", "non_blocking"})
_RENAMED = {
    # Fresh memory would show what another request left there; zeros do as well where it is written before it is read.
    "aten.empty.memory_format": "aten.zeros.default",
    "aten.new_empty.default": "aten.new_zeros.default",
    "aten.empty_like.default": "aten.zeros_like.default",
    # A view depends on how its argument lies in memory, which batching changes.
    "aten.view.default": "aten.reshape.default",
    "aten._unsafe_view.default": "aten.reshape.default",
}
# The identity, once the tracer has seen that a constant came in.
_IDENTITY = frozenset({"aten.lift_fresh_copy.default", "aten.lift_fresh.default", "aten.alias.default"})


def trace(function: Callable[[Tensor], Any], point: Tensor) -> fx.GraphModule:
    """The graph of `function` at a point `(dim,)`. Raises CaptureError where values decide what is computed."""
    try:
        traced: fx.GraphModule = make_fx(functionalize(function))(point)
    except RuntimeError as error:
        if "_local_scalar_dense" in str(error):
            raise CaptureError(
                "the density branches on, or turns into a Python number, a value that depends on the point "
                "(`if`, `.item()`, `float()`, a shape); write torch.where in place of `if`, and keep values as tensors"
            ) from error
        raise
    traced.graph.eliminate_dead_code()
    rewrite(traced, point)
    for node in traced.graph.nodes:
        _refuse_operation(node)
    traced.recompile()
    return traced


def collect_constants(traced: fx.GraphModule, constants: Constants) -> dict[fx.Node, int]:
    """The place among the data of every constant tensor of a graph; new ones are added to `constants`."""
    places: dict[fx.Node, int] = {}
    for node in traced.graph.nodes:
        if node.op == "get_attr":
            value: Tensor = getattr(traced, str(node.target)).detach().cpu()
            wire_dtype(value.dtype)
            places[node] = constants.add(value.numpy())
    return places


def write_graph(traced: fx.GraphModule, places: Mapping[fx.Node, int], inputs: int) -> AtenGraph:
    """The message of a graph that takes `inputs` values: the point, then the data arrays."""
    graph = AtenGraph(inputs=inputs)
    values: dict[fx.Node, AtenValue] = {}
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            values[node] = AtenValue(ref=0)
        elif node.op == "get_attr":
            values[node] = AtenValue(ref=1 + places[node])
        elif node.op == "output":
            graph.outputs.extend(_outputs(node.args[0], values))
        elif node.target is operator.getitem:
            source, index = node.args
            values[node] = AtenValue(item=AtenItem(ref=values[source].ref, index=index))
        elif str(node.target) in _IDENTITY:
            values[node] = values[node.args[0]]
        else:
            values[node] = AtenValue(ref=inputs + len(graph.nodes))
            graph.nodes.append(_node(node, values))
    return graph


def wire_dtype(dtype: torch.dtype) -> DType.ValueType:
    """The wire's number of a torch type. Raises CaptureError for a type that cannot be sent."""
    name = str(dtype).removeprefix("torch.")
    number = None if dtype.is_complex or name in ("bfloat16", "float16") else dtype_number(name)
    if number is None:
        raise CaptureError(f"the density holds a tensor of type {name}, which cannot be sent; use float32 or float64")
    return DType.ValueType(number)


def _refuse_operation(node: fx.Node) -> None:
    tags = getattr(node.target, "tags", ())
    if torch.Tag.nondeterministic_seeded in tags:
        raise CaptureError(
            f"the density draws random numbers ({node.target}); it must be a fixed function of the point: "
            "draw them before, and let the density close over the result"
        )
    indexing = str(node.target).startswith("aten.index")
    if torch.Tag.dynamic_output_shape in tags and not indexing:
        raise CaptureError(
            f"the density uses {node.target}, whose result has a shape that depends on values; "
            "write torch.where(mask, a, b), which keeps the shape"
        )


def _outputs(result: Any, values: Mapping[fx.Node, AtenValue]) -> list[AtenValue]:
    return [_value(item, values) for item in (result if isinstance(result, list | tuple) else [result])]


def _node(node: fx.Node, values: Mapping[fx.Node, AtenValue]) -> AtenNode:
    name = str(node.target)
    kwargs = {key: value for key, value in node.kwargs.items() if key not in _DROPPED and value is not None}
    return AtenNode(
        op=_RENAMED.get(name, name),
        args=[_value(argument, values) for argument in node.args],
        kwargs=[AtenKeyword(name=key, value=_value(value, values)) for key, value in kwargs.items()],
    )


def _value(argument: Any, values: Mapping[fx.Node, AtenValue]) -> AtenValue:
    """One argument of an operation as a message."""
    match argument:
        case fx.Node():
            return values[argument]
        case None:
            return AtenValue(none=AtenNone())
        case list() | tuple():
            return AtenValue(list=AtenList(values=[_value(item, values) for item in argument]))
    return _plain_value(argument)


def _plain_value(argument: Any) -> AtenValue:
    match argument:
        case bool():
            return AtenValue(bool_value=argument)
        case int():
            return AtenValue(int_value=argument)
        case float():
            return AtenValue(float_value=argument)
        case str():
            return AtenValue(str_value=argument)
        case torch.dtype():
            return AtenValue(dtype=wire_dtype(argument))
    raise CaptureError(
        f"the density passes {argument!r} of type {type(argument).__name__} to an operation, which cannot be sent; "
        "use real tensors, numbers and shapes"
    )
