"""Loader of densities captured from torch: an interpreter of graphs over a list of allowed operators.

A graph is straight-line and for one point. It is checked without computing anything (on tensors that have shapes and
no numbers), then batched and differentiated by torch.func. For a batch size that comes back, the batched function is
traced once to one flat program: an evaluation is then some hundred calls of torch with no layer between.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functionalize, grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from .allowlist import ATEN
from .base import Target
from .program import Argument, AtenBody, DTypeRef, Graph, Item, Node, Program, Ref
from .simplify import simplify
from .untrusted import ProgramError

__all__ = ["MAX_ELEMENTS", "MAX_NODES", "AtenTarget"]

MAX_NODES = 50_000
"""Most operations in a graph."""
MAX_ELEMENTS = 1 << 26
"""Most elements of one intermediate value, for one point."""

_MAX_INTEGER = (1 << 63) - 1  # torch writes "to the end" as the largest integer
_MAX_WORD = 16
_MAX_TRACED_SIZES = 8
_LEAST_SIZE, _LARGEST_PADDED = 16, 2048
_DTYPES: Mapping[str, torch.dtype] = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float32, torch.float64, torch.bool),
        *(torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    )
}

_Batched = Callable[[Tensor], Any]


class AtenTarget(Target):
    """A density given by a graph of aten operations; differentiable as often as they are.

    Raises ProgramError for a graph that is malformed, too large, or not made of allowed operators.
    """

    def __init__(self, program: Program) -> None:
        body = program.body
        assert isinstance(body, AtenBody)
        self.dim = program.dim
        self.sites = program.sites
        self._dtype = _DTYPES[program.dtype]
        arrays = [torch.from_numpy(np.array(array)) for array in program.arrays]
        shapes = [((), self._dtype)]
        density = _Interpreter(body.density, arrays, "aten.density")
        density.check(self.dim, self._dtype, shapes)
        self._value = _PerSize(vmap(lambda point: density(point)[0]))
        self._both = _PerSize(vmap(grad_and_value(lambda point: density(point)[0])))
        self._constrained = None
        if body.constrain is not None:
            constrain = _Interpreter(body.constrain, arrays, "aten.constrain")
            constrain.check(self.dim, self._dtype, [(site.shape, _DTYPES[site.dtype]) for site in self.sites])
            self._constrained = _PerSize(vmap(lambda point: tuple(constrain(point))))

    def _log_density(self, x: Tensor) -> Tensor:
        value: Tensor = self._value(x.to(self._dtype))
        return value.to(x.dtype)

    def _log_density_and_score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.requires_grad and torch.is_grad_enabled():
            log_density = self._log_density(x)
            (score,) = torch.autograd.grad(log_density.sum(), x, create_graph=True)
            return log_density, score
        with torch.no_grad():
            score, log_density = self._both(x.detach().to(self._dtype))
        return log_density.to(x.dtype), score.to(x.dtype)

    def _constrain(self, x: Tensor) -> dict[str, Tensor]:
        if self._constrained is None:
            return {}
        with torch.no_grad():
            values = self._constrained(x.detach().to(self._dtype))
        return {
            site.name: value.to(x.dtype) if value.is_floating_point() else value
            for site, value in zip(self.sites, values, strict=True)
        }


class _PerSize:
    """A batched function, traced to a flat program for each batch size that is met a second time."""

    def __init__(self, function: _Batched) -> None:
        self._function = function
        self._met: set[tuple[int, str]] = set()
        self._traced: dict[tuple[int, str], _Batched] = {}

    def __call__(self, x: Tensor) -> Any:
        count, filler = len(x), x[-1:] if len(x) else x.new_zeros(1, x.shape[1])
        results = self._whole(torch.cat([x, filler.expand(_size_for(count) - count, -1)]))
        return tuple(value[:count] for value in results) if isinstance(results, tuple) else results[:count]

    def _whole(self, x: Tensor) -> Any:
        key = (len(x), str(x.device))
        if key in self._traced:
            return self._traced[key](x)
        if key not in self._met or len(self._traced) >= _MAX_TRACED_SIZES:
            self._met.add(key)
            return self._function(x)
        self._traced[key] = simplify(make_fx(functionalize(self._function))(x.detach()))
        return self._traced[key](x)


def _size_for(count: int) -> int:
    """The next power of two up to a limit: searches ask for any number of points, and each size is traced once."""
    return max(_LEAST_SIZE, 1 << (count - 1).bit_length()) if count <= _LARGEST_PADDED else count


class _Interpreter:
    """Runs a graph at one point. Checks its form on construction, its shapes in `check`."""

    def __init__(self, graph: Graph, arrays: Sequence[Tensor], field: str) -> None:
        if graph.inputs != 1 + len(arrays):
            held = f"the program holds a point and {len(arrays)} arrays"
            raise _malformed(field, f"it takes {graph.inputs} inputs, and {held}")
        if len(graph.nodes) > MAX_NODES:
            raise ProgramError(
                "PROGRAM_TOO_LARGE", f"{field} has {len(graph.nodes)} nodes; at most {MAX_NODES} are accepted", field
            )
        self._field = field
        self._graph = graph
        self._arrays = tuple(arrays)
        self._steps: list[tuple[OpOverload[Any, Any], Node]] = []
        for number, node in enumerate(graph.nodes):
            place = f"{field}.nodes[{number}]"
            self._steps.append((_operator(node, place), node))
            _check_arguments(node, graph.inputs + number, place)
        for output in graph.outputs:
            _check_argument(output, graph.inputs + len(graph.nodes), f"{field}.outputs")

    def __call__(self, point: Tensor) -> list[Tensor]:
        """The outputs at a point `(dim,)`."""
        arrays = [array.to(point.device) for array in self._arrays]
        return self._run([point, *arrays], point.device, lambda value, place: None)

    def check(self, dim: int, dtype: torch.dtype, outputs: Sequence[tuple[tuple[int, ...], torch.dtype]]) -> None:
        """Run the graph on shapes alone. Raises ProgramError if it does not fit together, or grows too large."""
        with FakeTensorMode() as mode:
            inputs = [torch.empty(dim, dtype=dtype), *(mode.from_tensor(array) for array in self._arrays)]
            try:
                results = self._run(inputs, torch.device("cpu"), _check_size)
            except ProgramError:
                raise
            except Exception as error:  # torch raises what the operator that is misused likes to
                raise _malformed(self._field, f"its operations do not fit together ({str(error)[:200]})") from error
        found = [(tuple(result.shape), result.dtype) for result in results]
        if found != list(outputs):
            raise _malformed(self._field, f"it returns {found}, expected {list(outputs)}")

    def _run(self, inputs: list[Any], device: torch.device, look: Callable[[Any, str], None]) -> list[Any]:
        values = list(inputs)
        for number, (operator, node) in enumerate(self._steps):
            arguments = [_resolve(argument, values) for argument in node.args]
            keywords = {name: _resolve(value, values) for name, value in node.kwargs}
            if _makes_tensor(operator):
                keywords["device"] = device
            values.append(operator(*arguments, **keywords))
            look(values[-1], f"{self._field}.nodes[{number}]")
        return [_resolve(output, values) for output in self._graph.outputs]


@cache
def _operators() -> Mapping[str, OpOverload[Any, Any]]:
    """The allowed operators that this torch has. Names come from our own list, never from a program."""
    found = {}
    for name in ATEN:
        _, packet, overload = name.split(".")
        if overload in getattr(torch.ops.aten, packet).overloads():
            found[name] = getattr(getattr(torch.ops.aten, packet), overload)
    return found


@cache
def _makes_tensor(operator: OpOverload[Any, Any]) -> bool:
    """True for an operator that makes a tensor out of numbers, and so must be told where."""
    kinds = [str(argument.type) for argument in operator._schema.arguments]
    return "Tensor" not in kinds and any(argument.name == "device" for argument in operator._schema.arguments)


def _operator(node: Node, place: str) -> OpOverload[Any, Any]:
    if node.op not in ATEN:
        raise ProgramError(
            "PROGRAM_OP_NOT_ALLOWED",
            f"{place} calls {node.op!r}, which is not among the operators that a density may use; "
            "write that part of the model with other torch functions",
            place,
        )
    if node.op not in _operators():
        raise ProgramError(
            "PROGRAM_VERSION_UNSUPPORTED", f"{place} calls {node.op!r}, which torch {torch.__version__} has not", place
        )
    return _operators()[node.op]


def _check_arguments(node: Node, known: int, place: str) -> None:
    """Arguments refer to earlier values, and keywords are the operator's own."""
    names = {argument.name for argument in _operators()[node.op]._schema.arguments} - {"device", "out"}
    for name, value in node.kwargs:
        if name not in names:
            raise _malformed(place, f"{node.op} takes no keyword {name!r}")
        _check_argument(value, known, place)
    for value in node.args:
        _check_argument(value, known, place)


def _check_argument(value: Argument, known: int, place: str) -> None:
    match value:
        case tuple():
            for item in value:
                _check_argument(item, known, place)
        case Ref(index) | Item(index, _) if not 0 <= index < known:
            raise _malformed(place, f"it refers to value {index}, and only {known} come before it")
        case DTypeRef(name) if name not in _DTYPES:
            raise _malformed(place, f"it names the element type {name!r}; expected one of {', '.join(_DTYPES)}")
        case str() if len(value) > _MAX_WORD:
            raise _malformed(place, f"it holds a word of {len(value)} characters; at most {_MAX_WORD} are accepted")
        case int() if abs(value) > _MAX_INTEGER:
            raise _malformed(place, f"it holds the integer {value}, which does not fit 64 bits")


def _resolve(value: Argument, values: Sequence[Any]) -> Any:
    match value:
        case Ref(index):
            return values[index]
        case Item(index, item):
            return values[index][item]
        case tuple():
            return [_resolve(item, values) for item in value]
        case DTypeRef(name):
            return _DTYPES[name]
    return value


def _check_size(value: Any, place: str) -> None:
    for tensor in value if isinstance(value, list | tuple) else [value]:
        if isinstance(tensor, Tensor) and tensor.numel() > MAX_ELEMENTS:
            raise ProgramError(
                "PROGRAM_TOO_LARGE",
                f"{place} makes a tensor of shape {tuple(tensor.shape)}; at most {MAX_ELEMENTS} elements are accepted",
                place,
            )


def _malformed(place: str, what: str) -> ProgramError:
    return ProgramError("PROGRAM_MALFORMED", f"{place}: {what}; the program is damaged: capture the model again", place)
