"""Rewrite what cannot be batched in a traced graph to what can.

Boolean masks: `a[mask] = number` becomes `where`; a mask that is data becomes the positions it selects; a mask that
depends on the point selects a varying number of elements, and is refused. Checks of a factorisation, which raise an
error in torch, become NaN where they fail: a density that is undefined at one point must not stop all the others.
A copy into a slice, which has no derivative, becomes the value that is copied.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx

from ..errors import CaptureError

__all__ = ["rewrite"]

_READ = frozenset({"aten.index.Tensor", "aten._unsafe_index.Tensor"})
_WRITE = frozenset({"aten.index_put.default", "aten._unsafe_index_put.default"})
_CHECK = "aten._linalg_check_errors.default"
_COPY = "aten.copy.default"


def rewrite(traced: fx.GraphModule, point: Tensor) -> None:
    """Replace boolean indices, error checks and copies. Raises CaptureError for `x[x > 0]` and its like."""
    names = _READ | _WRITE | {_CHECK, _COPY}
    nodes = [node for node in traced.graph.nodes if str(node.target) in names]
    if not nodes:
        return
    recorder = _Recorder(traced)
    recorder.run(point)
    varying = _varying(traced.graph)
    for node in nodes:
        if str(node.target) == _CHECK:
            _check_as_nan(traced.graph, node, recorder)
        elif str(node.target) == _COPY:
            _copy_as_value(traced.graph, node, recorder.values[node])
        else:
            _rewrite_mask(traced, node, recorder, varying)


def _rewrite_mask(traced: fx.GraphModule, node: fx.Node, recorder: "_Recorder", varying: set[fx.Node]) -> None:
    indices: Any = node.args[1]
    masks = [index for index in indices if index is not None and recorder.values[index].dtype is torch.bool]
    if not masks or (str(node.target) in _WRITE and _write_as_where(traced.graph, node, recorder)):
        return
    if any(mask in varying for mask in masks):
        raise CaptureError(
            "the density selects elements with a boolean mask that depends on the point, so its shapes depend on "
            "the point; write torch.where(mask, a, b) in place of a[mask]"
        )
    _index_by_position(traced, node, recorder)


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps the value of every node."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.values: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.values[n] = super().run_node(n)
        return self.values[n]


def _varying(graph: fx.Graph) -> set[fx.Node]:
    """The nodes that depend on the point."""
    varying: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or any(source in varying for source in node.all_input_nodes):
            varying.add(node)
    return varying


def _write_as_where(graph: fx.Graph, node: fx.Node, recorder: _Recorder) -> bool:
    """Rewrite `a[mask] = number` and say whether it was of that form."""
    arguments: Any = node.args
    base, indices, value, *accumulate = arguments
    if not (isinstance(indices, list | tuple) and len(indices) == 1 and isinstance(indices[0], fx.Node)):
        return False
    mask, number = recorder.values[indices[0]], recorder.values[value]
    if number.numel() != 1 or any(accumulate):
        return False
    with graph.inserting_before(node):
        shape = [*mask.shape, *[1] * (recorder.values[base].ndim - mask.ndim)]
        wide = graph.call_function(torch.ops.aten.reshape.default, (indices[0], shape))
        scalar = graph.call_function(torch.ops.aten.reshape.default, (value, []))
        chosen = graph.call_function(torch.ops.aten.where.self, (wide, scalar, base))
    node.replace_all_uses_with(chosen)
    graph.erase_node(node)
    return True


def _index_by_position(traced: fx.GraphModule, node: fx.Node, recorder: _Recorder) -> None:
    """Replace masks that are data by the positions where they are true."""
    indices: list[Any] = []
    arguments: Any = node.args
    for index in arguments[1]:
        if index is None or recorder.values[index].dtype is not torch.bool:
            indices.append(index)
            continue
        for positions in recorder.values[index].nonzero(as_tuple=True):
            name = f"_positions{len(list(traced.buffers()))}"
            traced.register_buffer(name, positions)
            with traced.graph.inserting_before(node):
                indices.append(traced.graph.get_attr(name))
    node.args = (node.args[0], indices, *node.args[2:])


def _check_as_nan(graph: fx.Graph, check: fx.Node, recorder: _Recorder) -> None:
    """In place of an error where `info` is not 0, make NaN of every result of the factorisation."""
    info: Any = check.args[0]
    results = [
        node
        for node in (info.args[0].users if info.target is operator.getitem else ())
        if node is not info and recorder.values[node].is_floating_point()
    ]
    order = {node: number for number, node in enumerate(graph.nodes)}
    last = max([info, *results], key=order.__getitem__)
    users = {result: list(result.users) for result in results}
    with graph.inserting_before(last.next):
        good = graph.call_function(torch.ops.aten.eq.Scalar, (info, 0))
        for result in results:
            missing = recorder.values[result].ndim - recorder.values[info].ndim
            shape = [*recorder.values[info].shape, *[1] * missing]
            wide = graph.call_function(torch.ops.aten.reshape.default, (good, shape))
            nan = graph.call_function(torch.ops.aten.full_like.default, (result, float("nan")))
            checked = graph.call_function(torch.ops.aten.where.self, (wide, result, nan))
            for user in users[result]:
                user.replace_input_with(result, checked)
    graph.erase_node(check)


def _copy_as_value(graph: fx.Graph, copy: fx.Node, result: Tensor) -> None:
    """Replace `copy(place, value)` by the value, in the type and the shape of the place."""
    with graph.inserting_before(copy):
        value = graph.call_function(torch.ops.aten._to_copy.default, (copy.args[1],), {"dtype": result.dtype})
        spread = graph.call_function(torch.ops.aten.expand.default, (value, list(result.shape)))
    copy.replace_all_uses_with(spread)
    graph.erase_node(copy)
