"""The loader of torch programs: what it lets in, what it refuses before running anything, and its derivatives."""

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gephyra.clients.capture import from_torch
from gephyra.clients.testing.loading import as_program
from gephyra.targets.aten import MAX_ELEMENTS, MAX_NODES
from gephyra.targets.loading import load_program, replay
from gephyra.targets.program import AtenBody, DTypeRef, Graph, Item, Node, Program, Ref
from gephyra.targets.untrusted import ProgramError

_DATA = torch.linspace(-1.0, 2.0, 5)


def _density(x: Tensor) -> Tensor:
    return -torch.logaddexp(x[0] - _DATA, _DATA - x[1]).sum() - (x**4).sum()


@cache
def _program() -> Program:
    return as_program(from_torch(_density, 2).program)


def _graph_of(*nodes: Node, inputs: int = 2, outputs: Any = None) -> Program:
    last = Ref(inputs + len(nodes) - 1)
    return dataclasses.replace(_program(), body=AtenBody(Graph(inputs, nodes, (last,) if outputs is None else outputs)))


_SUM = Node("aten.sum.default", (Ref(0),))

_BAD: dict[str, tuple[Program, str]] = {
    "an operator outside the list": (_graph_of(Node("aten.rand.default", ((2,),)), _SUM), "PROGRAM_OP_NOT_ALLOWED"),
    "an operator of Python": (_graph_of(Node("os.system", ("true",))), "PROGRAM_OP_NOT_ALLOWED"),
    "a mutation": (_graph_of(Node("aten.add_.Tensor", (Ref(0), Ref(0))), _SUM), "PROGRAM_OP_NOT_ALLOWED"),
    "fresh memory": (_graph_of(Node("aten.empty.memory_format", ((2,),)), _SUM), "PROGRAM_OP_NOT_ALLOWED"),
    "a value that comes later": (_graph_of(Node("aten.sum.default", (Ref(2),))), "PROGRAM_MALFORMED"),
    "a value before the first": (_graph_of(Node("aten.sum.default", (Ref(-1),))), "PROGRAM_MALFORMED"),
    "a nested value that comes later": (
        _graph_of(Node("aten.cat.default", ((Ref(0), Ref(9)),)), _SUM),
        "PROGRAM_MALFORMED",
    ),
    "an output that is not there": (_graph_of(_SUM, outputs=(Ref(7),)), "PROGRAM_MALFORMED"),
    "an item of no list": (_graph_of(_SUM, outputs=(Item(2, 5),)), "PROGRAM_MALFORMED"),
    "no output": (_graph_of(_SUM, outputs=()), "PROGRAM_MALFORMED"),
    "a vector for the log density": (_graph_of(Node("aten.exp.default", (Ref(0),))), "PROGRAM_MALFORMED"),
    "another type": (
        _graph_of(Node("aten.sum.default", (Ref(0),), (("dtype", DTypeRef("float64")),))),
        "PROGRAM_MALFORMED",
    ),
    "a type that is none": (
        _graph_of(Node("aten.sum.default", (Ref(0),), (("dtype", DTypeRef("object")),))),
        "PROGRAM_MALFORMED",
    ),
    "shapes that do not fit": (_graph_of(Node("aten.add.Tensor", (Ref(0), Ref(1))), _SUM), "PROGRAM_MALFORMED"),
    "arguments of another kind": (_graph_of(Node("aten.sum.default", ("word",))), "PROGRAM_MALFORMED"),
    "a keyword of no operator": (
        _graph_of(Node("aten.sum.default", (Ref(0),), (("device", "cuda"),))),
        "PROGRAM_MALFORMED",
    ),
    "a long word": (_graph_of(Node("aten.sum.default", (Ref(0), "x" * 99))), "PROGRAM_MALFORMED"),
    "an integer over 64 bits": (_graph_of(Node("aten.select.int", (Ref(0), 0, 1 << 80))), "PROGRAM_MALFORMED"),
    "too few inputs": (_graph_of(_SUM, inputs=1), "PROGRAM_MALFORMED"),
    "a mask that selects": (
        _graph_of(
            Node("aten.gt.Scalar", (Ref(0), 0)),
            Node("aten.index.Tensor", (Ref(0), (Ref(2),))),
            Node("aten.sum.default", (Ref(3),)),
        ),
        "PROGRAM_MALFORMED",
    ),
    "a huge value": (
        _graph_of(Node("aten.zeros.default", ((MAX_ELEMENTS + 1,),)), Node("aten.sum.default", (Ref(2),))),
        "PROGRAM_TOO_LARGE",
    ),
    "a value beyond memory": (
        _graph_of(Node("aten.expand.default", (Ref(0), (1 << 40, 2))), Node("aten.sum.default", (Ref(2),))),
        "PROGRAM_TOO_LARGE",
    ),
    "too many nodes": (_graph_of(*[_SUM] * (MAX_NODES + 1)), "PROGRAM_TOO_LARGE"),
    "dim 0": (dataclasses.replace(_program(), dim=0), "DIM_OUT_OF_RANGE"),
}


@pytest.mark.parametrize("name", _BAD)
def test_is_refused_before_it_runs(name: str) -> None:
    program, reason = _BAD[name]
    with pytest.raises(ProgramError) as caught:
        load_program(program)
    assert caught.value.reason == reason


@pytest.mark.parametrize("count", [0, 1, 3, 64])
def test_every_call_gives_the_density_and_its_gradient(count: int) -> None:
    target = load_program(_program())
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(count, 2)).astype(np.float32)).requires_grad_()
    expected = torch.stack([_density(row) for row in x]) if count else torch.zeros(0)
    (gradient,) = torch.autograd.grad(expected.sum(), x, allow_unused=True) if count else (torch.zeros(0, 2),)
    # The first call runs the graph as it is, the later ones a flat trace of it.
    for _ in range(3):
        log_density, score = target.log_density_and_score(x.detach())
        torch.testing.assert_close(log_density, expected.detach())
        torch.testing.assert_close(score, gradient)
        torch.testing.assert_close(target.log_density(x.detach()), expected.detach())


def test_the_flat_trace_changes_no_bit() -> None:
    x = torch.from_numpy(np.random.default_rng(2).normal(size=(32, 2)).astype(np.float32))
    target = load_program(_program())
    first, *others = [target.log_density_and_score(x) for _ in range(3)]
    assert all(torch.equal(first[0], value) and torch.equal(first[1], score) for value, score in others)


def test_the_score_is_live() -> None:
    target = load_program(_program())
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for _ in range(2):
        log_density, score = target.log_density_and_score(x)
        (through,) = torch.autograd.grad(score.sum(), x, retain_graph=True)
        expected = torch.stack([torch.autograd.functional.hessian(_density, row).sum(0) for row in x.detach()])
        torch.testing.assert_close(through, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(torch.autograd.grad(log_density.sum(), x)[0], score.detach())


def _mask_written(x: Tensor) -> Tensor:
    y = x.clone()
    y[x > 0] = 0.5
    return -(y**2).sum() - (x**2).sum()


def _row_mask_written(x: Tensor) -> Tensor:
    grid = x.reshape(2, 2).clone()
    grid[grid[:, 0] > 0] = 2.0
    return -(grid**2).sum() - (x**2).sum()


def _mask_of_data(x: Tensor) -> Tensor:
    return -(x[torch.tensor([True, False, True, True])] ** 2).sum() - x[1] ** 4


def _cholesky(x: Tensor) -> Tensor:
    matrix = torch.diag(x[:3].exp()) + 0.3
    factor = torch.linalg.cholesky(matrix)
    whitened = torch.linalg.solve_triangular(factor, _DATA[:3, None], upper=False)
    value: Tensor = -factor.diagonal().log().sum() - 0.5 * (whitened**2).sum() - x[3] ** 2
    return value


def _linear_algebra(x: Tensor) -> Tensor:
    matrix = torch.diag(x.exp()) + 0.1
    values = [torch.logdet(matrix), torch.linalg.solve(matrix, x).sum(), torch.linalg.eigvalsh(matrix).log().sum()]
    return torch.stack([*values, torch.linalg.inv(matrix).trace(), matrix.det()]).sum() - (x**2).sum()


def _special(x: Tensor) -> Tensor:
    positive = x.exp()
    values = [
        torch.lgamma(positive), torch.digamma(positive), torch.special.log_ndtr(x), torch.erf(x),
        torch.log_softmax(x, 0), torch.erfinv(x.tanh()), torch.nn.functional.softplus(x),
        torch.nn.functional.logsigmoid(x),
        torch.special.i0e(x), torch.cumsum(x, 0), torch.logcumsumexp(x, 0), torch.special.xlogy(positive, positive),
        torch.special.ndtri(torch.sigmoid(x)), torch.special.entr(positive), torch.sinc(x), torch.atan2(x, positive),
    ]  # fmt: skip
    return torch.stack([value.sum() for value in values]).sum()


def _mutating(x: Tensor) -> Tensor:
    walk = torch.zeros(4)
    walk[0] = x[0]
    for n in range(1, 4):
        walk[n] = 0.5 * walk[n - 1] + x[n]
    return -(walk**2).sum()


def _shaped(x: Tensor) -> Tensor:
    grid = x.reshape(2, 2)
    pieces = [grid.T @ grid, torch.kron(grid, torch.eye(2))[:2, :2], torch.tril(grid), grid.flip(0), grid.roll(1, 1)]
    return -torch.einsum("kij,kij->", torch.stack(pieces), torch.stack(pieces)) - torch.sort(x).values[0] ** 2


@pytest.mark.parametrize(
    "density",
    [_mask_written, _row_mask_written, _mask_of_data, _cholesky, _linear_algebra, _special, _mutating, _shaped],
)
def test_the_usual_ways_of_writing_survive(density: Callable[[Tensor], Tensor]) -> None:
    program = as_program(from_torch(density, 4).program)
    target = load_program(program)
    replay(target, program.check_points, program.dtype)
    x = torch.from_numpy(np.random.default_rng(5).normal(size=(6, 4)).astype(np.float32))
    for _ in range(2):
        found = target.log_density(x)
        torch.testing.assert_close(found, torch.stack([density(row) for row in x]), rtol=1e-4, atol=1e-4)


def test_a_matrix_without_a_factor_is_nan_at_that_point_alone() -> None:
    def density(x: Tensor) -> Tensor:
        value: Tensor = -torch.linalg.cholesky(torch.eye(2) * x[0]).diagonal().sum() - (x**2).sum()
        return value

    program = as_program(from_torch(density, 2).program)
    target = load_program(program)
    replay(target, program.check_points, program.dtype)
    found = target.log_density(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [4.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([-3.0, torch.nan, -20.0]), equal_nan=True)


def test_data_are_sent_once_and_apart() -> None:
    data = torch.from_numpy(np.random.default_rng(0).normal(size=500_000).astype(np.float32))
    wire = from_torch(lambda x: -0.5 * ((x[0] - data) ** 2).mean() - (x[1] * data).mean() ** 2, 2).program
    assert [len(array.inline.data) for array in wire.arrays] == [2_000_000]
    assert wire.aten.ByteSize() < 2_000


def test_a_float64_capture_is_computed_in_float64() -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        program = as_program(from_torch(lambda x: -((x - 1 / 3) ** 2).sum(), 2).program)
    finally:
        torch.set_default_dtype(before)
    assert program.dtype == "float64"
    target = load_program(program)
    replay(target, program.check_points, program.dtype)
    x = torch.full((3, 2), 1e-9, dtype=torch.float64)
    torch.testing.assert_close(target.log_density(x), -((x - 1 / 3) ** 2).sum(1), rtol=1e-15, atol=1e-15)
    assert target.log_density(x.float()).dtype == torch.float32


def test_nan_everywhere_is_noticed() -> None:
    nan = _graph_of(_SUM, Node("aten.mul.Scalar", (Ref(2), float("nan"))))
    with pytest.raises(ProgramError) as caught:
        replay(load_program(nan), nan.check_points, nan.dtype)
    assert caught.value.reason == "NON_FINITE_LOG_DENSITY"
