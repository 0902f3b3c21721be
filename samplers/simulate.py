"""The one simulation loop, `walk`: draw paths of a bridge, from prior to target or back."""

from collections.abc import Iterator, Sequence
from itertools import chain as chain_of

import torch
from torch import Tensor

from gephyra.targets.base import Target

from .bridge import Bridge, Chain, Evaluate
from .path import Node, Path

__all__ = ["evaluator", "simulate", "simulate_backward", "simulate_noting", "walk"]


def simulate(bridge: Bridge, target: Target, noise: Tensor) -> Path:
    """Draw forward paths z_0 ~ p_0, z_{n+1} ~ F_n(. | z_n).

    Under `torch.no_grad()` the path is a constant; with gradients on, it is differentiable in the bridge's parameters
    (the reparametrised loss), the score as far as the target has second derivatives.

    Args:
        bridge: The bridge.
        target: Density that gives the score at every point; steps + 1 evaluations a path.
        noise: Standard normal, `bridge.noise_rows x batch x dim`.
    """
    start = bridge.start(noise[: bridge.start_rows])
    return _walk(bridge, bridge.forward_chain(), range(bridge.steps), target, start, noise[bridge.start_rows :])


@torch.no_grad()
def simulate_noting(bridge: Bridge, target: Target, noise: Tensor) -> Path:
    """The same paths with the bridge's memo of them: for use before its parameters change."""
    start, moves = bridge.start(noise[: bridge.start_rows]), noise[bridge.start_rows :]
    chain, memo = bridge.noting_chain(moves)
    return _walk(bridge, chain, range(bridge.steps), target, start, moves)._replace(memo=memo)


@torch.no_grad()
def simulate_backward(bridge: Bridge, target: Target, end: Tensor, noise: Tensor) -> Path:
    """Draw backward paths z_n ~ B_n(. | z_{n+1}) from given end points, as a constant.

    With `end` drawn from the target, the mean log weight of these paths is the EUBO, an upper bound of log Z.

    Args:
        bridge: The bridge.
        target: Density that gives the score at every point.
        end: Points x_N, `batch x dim`.
        noise: Standard normal, `(1 + steps * step_rows) x batch x dim`; its first row draws a momentum.
    """
    state, order = bridge.end(end, noise[0]), range(bridge.steps - 1, -1, -1)
    back = _walk(bridge, bridge.backward_chain(), order, target, state, noise[1:])
    return Path(back.state.flip(0), back.score.flip(0), back.log_densities.flip(0))


def evaluator(bridge: Bridge, target: Target) -> Evaluate:
    """What chains call at every new state."""

    def evaluate(state: Tensor) -> Node:
        log_density, score = target.log_density_and_score(state[:, : bridge.dim])
        return Node(state, score, log_density)

    return evaluate


def walk(chain: Chain, order: Sequence[int], evaluate: Evaluate, node: Node, noise: Tensor) -> Iterator[Node]:
    """The nodes that the transitions in `order` lead to, one after the other, from `node`.

    Args:
        chain: Forward or backward kernels.
        order: Which transitions.
        evaluate: What the chain calls at new states.
        node: Where the first one starts.
        noise: Standard normal, as many rows for each transition as the bridge takes.
    """
    rows = noise.shape[0] // max(1, len(order))
    for index, n in enumerate(order):
        node = chain(n, node, noise[index * rows : (index + 1) * rows], evaluate)
        yield node


def _walk(bridge: Bridge, chain: Chain, order: Sequence[int], target: Target, state: Tensor, noise: Tensor) -> Path:
    """Follow `chain` from `state` through the transitions in `order`; the log density is that of the last point."""
    evaluate = evaluator(bridge, target)
    start = evaluate(state)
    nodes = chain_of([start], walk(chain, order, evaluate, start, noise))
    return Path.of(list(nodes)) if torch.is_grad_enabled() else Path.filled(nodes, len(order) + 1)
