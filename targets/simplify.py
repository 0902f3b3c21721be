"""Make a traced torch program shorter without changing a bit of what it returns.

Batching a graph and differentiating it leaves work that does not depend on the points (the log binomials of the data,
say), and the same value computed twice. Both are taken out once, when the program is traced.
"""

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor, fx

__all__ = ["simplify"]

# A larger constant is computed anew at each call rather than kept.
_KEPT_ELEMENTS = 1 << 22


def simplify(traced: fx.GraphModule) -> fx.GraphModule:
    """`traced`, changed in place: constants folded, repeated operations shared, unused ones removed.

    A program that mutates a tensor is returned as it is: there, the same operation twice may mean two things.
    """
    if any(_mutates(node) for node in traced.graph.nodes):
        return traced
    _fold(traced)
    _share(traced.graph)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def _mutates(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _fold(traced: fx.GraphModule) -> None:
    """Compute every node that no input reaches, and keep the results that the others use."""
    values: dict[fx.Node, Any] = {}
    for node in traced.graph.nodes:
        if node.op == "get_attr":
            values[node] = getattr(traced, str(node.target))
        elif node.op == "call_function" and all(source in values for source in node.all_input_nodes):
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            with torch.no_grad():
                result = node.target(*args, **kwargs)
            if not isinstance(result, Tensor) or result.numel() <= _KEPT_ELEMENTS:
                values[node] = result
    for number, (node, value) in enumerate(values.items()):
        needed = node.op == "call_function" and any(user not in values for user in node.users)
        if needed and isinstance(value, Tensor):
            _replace(traced, node, value, f"_folded{number}")


def _replace(traced: fx.GraphModule, node: fx.Node, value: Tensor, name: str) -> None:
    # A clone has memory of its own: a view would keep all of a large array alive.
    traced.register_buffer(name, value.detach().clone())
    with traced.graph.inserting_before(node):
        constant = traced.graph.get_attr(name)
    node.replace_all_uses_with(constant)


def _share(graph: fx.Graph) -> None:
    """Point the users of a repeated operation to its first occurrence."""
    first: dict[Hashable, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        key = (node.target, _frozen(node.args), _frozen(node.kwargs))
        if key in first:
            node.replace_all_uses_with(first[key])
        else:
            first[key] = node


def _frozen(value: Any) -> Hashable:
    """Arguments as something that can be compared; 1, 1.0 and True differ, and so do 0.0 and -0.0."""
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return tuple((name, _frozen(item)) for name, item in value.items())
    return value if isinstance(value, fx.Node) else (type(value), repr(value))
