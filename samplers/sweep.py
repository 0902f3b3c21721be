"""Log densities of constant paths under both chains, a chunk of points at a time: where training spends its time.

A control that is asked at every point of every path leaves far more behind than the caches hold, and more than the
memory should. So the forward pass goes through the grid in chunks and keeps little; the backward pass goes through it
again, finds what it needs of a chunk, and adds the chunk's share to the gradient. What depends on time alone is
outside, computed and differentiated once.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .bridge import Increments
from .control import Sight, TimeFeatures
from .density import coefficient_gradients, error_log_density, euler_error
from .linear import Known, LinearKernels
from .memo import Memo, worth_keeping
from .residual import Layers, hidden_values, outer, pull_back

__all__ = ["Driver", "Role", "Scene", "chunks", "sweep"]

# Floats of a hidden layer in one chunk: small chunks stay in the caches of a core, large ones save calls. Other devices
# have no such caches, and each call costs them more.
_CHUNK_FLOATS, _CHUNK_FLOATS_ELSEWHERE = 2**18, 2**22
# Tensors of kernels, of features and of a driver.
_KERNEL, _FEATURES = len(LinearKernels._fields), len(TimeFeatures._fields)
_DRIVER = _FEATURES + len(Layers._fields)


class Driver(NamedTuple):
    """A control on m + 1 grid points."""

    features: TimeFeatures
    """With a batch axis."""
    layers: Layers


class Role(NamedTuple):
    """What one of the two chains is driven by, and which end of a transition it starts from."""

    driver: int | None
    """Index of the control; None: no control."""
    sign: float
    """The control counts this many times."""
    offset: int
    """Transition n starts from grid point n + offset and leads to n + 1 - offset."""

    def transitions(self, points: slice, steps: int) -> slice:
        """Those that start from these grid points."""
        return slice(max(points.start - self.offset, 0), min(points.stop - self.offset, steps))

    def starts(self, transitions: slice) -> slice:
        """Where these transitions start from."""
        return _shifted(transitions, self.offset)

    def ends(self, transitions: slice) -> slice:
        """Where they lead."""
        return _shifted(transitions, 1 - self.offset)


class Scene(NamedTuple):
    """What is constant: m + 1 grid points of paths, and how controls see them."""

    known: Known
    look: Callable[[slice], Sight]
    """What controls see at some of the grid points."""
    roles: tuple[Role, Role]
    """Of the forward and of the backward chain."""
    memo: Memo | None = None
    """Of the simulation that drew the paths with these very parameters."""


def chunks(points: slice, batch: int, width: int, *, cached: bool = True) -> Iterator[slice]:
    """Consecutive ranges of grid points, of about equal length."""
    length = max(1, (_CHUNK_FLOATS if cached else _CHUNK_FLOATS_ELSEWHERE) // (batch * width))
    size = points.stop - points.start
    count = max(1, round(size / length))
    edges = [points.start + size * index // count for index in range(count + 1)]
    return map(slice, edges[:-1], edges[1:])


def sweep(scene: Scene, kernels: tuple[LinearKernels, LinearKernels], drivers: tuple[Driver, ...]) -> Increments:
    """The increments of m transitions, differentiable once in kernels and drivers.

    Args:
        scene: The paths.
        kernels: Of both chains, without the controls; m rows.
        drivers: The controls that the roles name.
    """
    flat = [tensor for kernel in kernels for tensor in kernel]
    flat += [tensor for driver in drivers for part in driver for tensor in part]
    forward, backward, shared = _Sweep.apply(scene, torch.is_grad_enabled(), *flat)  # type: ignore[no-untyped-call]
    return Increments(forward, backward, shared)


class _Sweep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scene: Scene, keep: bool, *flat: Any) -> tuple[Tensor, Tensor, Tensor]:
        ctx.grid = _Grid(scene, flat, keep)
        ctx.save_for_backward(*flat)
        forward, backward = ctx.grid.log_densities()
        return forward, backward, forward.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_forward: Tensor, of_backward: Tensor, of_shared: Tensor) -> tuple[Tensor | None, ...]:
        # Asked for, so that torch notices parameters that have changed since.
        _ = ctx.saved_tensors
        live, both = (of_forward, of_backward), (of_forward + of_shared, of_backward)
        return None, None, *ctx.grid.gradients(live, both)


def _unflatten(flat: Sequence[Any]) -> tuple[list[LinearKernels], list[Driver]]:
    """What `sweep` made flat for autograd."""
    drivers = [
        Driver(TimeFeatures(*flat[at : at + _FEATURES]), Layers(*flat[at + _FEATURES : at + _DRIVER]))
        for at in range(2 * _KERNEL, len(flat), _DRIVER)
    ]
    return [LinearKernels(*flat[at : at + _KERNEL]) for at in (0, _KERNEL)], drivers


class _Grid:
    """Kernels and controls on the grid, and what is kept of them from one pass to the next."""

    def __init__(self, scene: Scene, flat: Sequence[Any], keep: bool) -> None:
        self._scene, self._flat, self._x, self._memo = scene, flat, scene.known.x, scene.memo
        self._steps, self._batch = self._x.shape[0] - 1, self._x.shape[1]
        self._kernels, self._drivers = _unflatten(flat)
        self._hidden = [self._room_for(driver) if keep else None for driver in self._drivers]
        self._errors = [torch.empty_like(self._x[1:]) for _ in scene.roles]
        if self._memo is not None:
            self._errors[0] = self._memo.noise
            if self._memo.hidden is not None and scene.roles[0].driver is not None:
                self._hidden[scene.roles[0].driver] = self._memo.hidden

    def log_densities(self) -> list[Tensor]:
        """log F and log B, `m x batch` each."""
        unknown = [index for index in range(2) if index or self._memo is None]
        for driver in range(len(self._drivers)):
            driven = [index for index in unknown if self._scene.roles[index].driver == driver]
            for points in self._chunks(driver) if driven else ():
                field = self._field(driver, points)
                for index in driven:
                    self._find_errors(index, points, field)
        for index in unknown:
            if self._scene.roles[index].driver is None:
                self._find_errors(index, slice(0, self._steps + 1), None)
        pairs = zip(self._errors, self._kernels, strict=True)
        return [error_log_density(error, kernel.scale) for error, kernel in pairs]

    def gradients(self, live: tuple[Tensor, Tensor], both: tuple[Tensor, Tensor]) -> list[Tensor | None]:
        """The gradient in everything flat, from that in the densities with live and with live or constant controls."""
        sums = [None if like is None else torch.zeros_like(like) for like in self._flat]
        kernels, drivers = _unflatten(sums)
        for index, kernel in enumerate(kernels):
            for rows in self._parts(slice(0, self._steps), self._x.shape[2]):
                self._pull_kernel(index, rows, both[index], kernel)
        for index, driver in enumerate(drivers):
            for points in self._chunks(index):
                self._pull_driver(index, points, live, driver)
        return sums

    def _pull_kernel(self, index: int, rows: slice, of_density: Tensor, sums: LinearKernels) -> None:
        """Put the gradient in some rows of a kernel in its place."""
        role, kernel = self._scene.roles[index], self._kernels[index]
        error, weight = self._errors[index][rows], of_density[rows]
        known = self._scene.known.at(role.starts(rows))
        gap = self._x[role.ends(rows)] - known.x
        pull = error * weight.to(error.dtype)[..., None]
        values = [term.value for term in kernel.terms(known, rows)]
        found = coefficient_gradients(pull, weight.sum(1), error, gap, values, kernel.scale[rows])
        of_constant, of_scale, of_terms = found
        # In the order of `LinearKernels.terms`.
        places = [
            place for place in (sums.constant, sums.scale, sums.slope, sums.score, sums.rest) if place is not None
        ]
        for place, share in zip(places, [of_constant, of_scale, *of_terms], strict=True):
            place[rows] = share

    def _pull_driver(self, index: int, points: slice, live: tuple[Tensor, Tensor], sums: Driver) -> None:
        """Add the gradient in a control at some grid points to its places."""
        (shift, _), layers = self._drivers[index]
        sight, kept = self._sight(points), self._hidden[index]
        hidden = hidden_values(sight.seen, shift[points], layers) if kept is None else kept[points]
        gradient = self._pull_field(index, points, live)
        found = pull_back(gradient, sight.seen, sight.score, shift[points], hidden, layers)
        for place, share in zip(sums.features, found[:_FEATURES], strict=True):
            place[points] = share
        for place, share in zip(sums.layers, found[_FEATURES:], strict=True):
            place += share

    def _pull_field(self, driver: int, points: slice, live: tuple[Tensor, Tensor]) -> Tensor:
        """The gradient in what a control puts out at some grid points."""
        parts = []
        for index, role in enumerate(self._scene.roles):
            if role.driver == driver:
                rows = role.transitions(points, self._steps)
                weight = (role.sign * live[index][rows]).to(self._x.dtype)[..., None]
                part = (self._errors[index][rows] * weight).mul_(self._kernels[index].scale[rows][:, None])
                parts.append((_shifted(role.starts(rows), -points.start), part))
        if len(parts) == 1:
            # One chain asks a control exactly where its chunks are.
            return parts[0][1]
        total = torch.zeros_like(self._x[points])
        for rows, part in parts:
            total[rows] += part
        return total

    def _chunks(self, driver: int) -> Iterator[slice]:
        """The grid points where a control is asked, a chunk at a time."""
        grid = slice(0, self._steps + 1)
        asked = [
            role.starts(role.transitions(grid, self._steps)) for role in self._scene.roles if role.driver == driver
        ]
        hull = slice(min(part.start for part in asked), max(part.stop for part in asked))
        return self._parts(hull, self._drivers[driver].features.shift.shape[-1])

    def _parts(self, whole: slice, width: int) -> Iterator[slice]:
        return chunks(whole, self._batch, width, cached=self._x.device.type == "cpu")

    def _room_for(self, driver: Driver) -> Tensor | None:
        shape = (*self._x.shape[:2], driver.features.shift.shape[-1])
        return self._x.new_empty(shape) if worth_keeping(shape) else None

    def _sight(self, points: slice) -> Sight:
        memo = self._memo
        if memo is None or memo.sight is None or points.stop > self._steps:
            return self._scene.look(points)
        return memo.sight.at(points)

    def _field(self, driver: int, points: slice) -> Tensor:
        (shift, gate), layers = self._drivers[driver]
        sight, kept = self._sight(points), self._hidden[driver]
        given = hidden_values(sight.seen, shift[points], layers, None if kept is None else kept[points])
        return outer(given, sight.score, gate[points], layers)

    def _find_errors(self, index: int, points: slice, field: Tensor | None) -> None:
        """Put the errors of the transitions that start from these points in their place."""
        role, kernel = self._scene.roles[index], self._kernels[index]
        rows = role.transitions(points, self._steps)
        starts = role.starts(rows)
        known = self._scene.known.at(starts)
        push = None if field is None else field[_shifted(starts, -points.start)]
        push = push if push is None or role.sign == 1.0 else -push
        gap = self._x[role.ends(rows)] - known.x
        terms, scale = kernel.terms(known, rows), kernel.scale[rows]
        euler_error(gap, kernel.constant[rows], terms, push, scale, out=self._errors[index][rows])


def _shifted(rows: slice, by: int) -> slice:
    return slice(rows.start + by, rows.stop + by)
