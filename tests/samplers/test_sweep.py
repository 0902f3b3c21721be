"""The passes written out over the grid against autograd over everything at once, however chunked, whatever is kept."""

import pytest
import torch
from torch import Tensor

from gephyra.samplers import memo as memo_module
from gephyra.samplers import sweep as sweep_module
from gephyra.samplers.bridge import Bridge
from gephyra.samplers.path import Path
from gephyra.samplers.settings import Method
from gephyra.samplers.simulate import simulate_noting
from gephyra.samplers.sweep import chunks
from tests.samplers.bridges import UnnormalisedNormal, random_bridge

STEPS, BATCH = 7, 5
OVERDAMPED = [method for method in Method if not method.underdamped and method is not Method.DDPM]
# Floats of a chunk and floats that may be kept.
WAYS = [(2**17, 2**25), (2**17, 0), (1, 2**25), (2 * BATCH * 8, 0)]


def drawn(method: Method) -> tuple[Bridge, Path]:
    bridge = random_bridge(method, 2, steps=STEPS, networks=0.3).double()
    noise = torch.randn(bridge.noise_rows, BATCH, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return bridge, simulate_noting(bridge, UnnormalisedNormal(0.5, 0.7, 2), noise)


def evaluated(bridge: Bridge, path: Path, first: int = 0, last: int = STEPS) -> list[Tensor]:
    """Values, and the gradient of an inner product with random numbers in every parameter it depends on."""
    found = bridge.increments(path, first, last)
    generator = torch.Generator().manual_seed(5)
    total = torch.zeros((), dtype=torch.float64)
    for part in found:
        total = total + (part * torch.randn(part.shape, generator=generator, dtype=torch.float64)).sum()
    gradients = torch.autograd.grad(total, list(bridge.parameters()), allow_unused=True)
    return [*(part.detach() for part in found), *(g for g in gradients if g is not None)]


def plain(path: Path) -> Path:
    """The same path, of which autograd is to keep everything."""
    return Path(path.state.clone().requires_grad_(), path.score, path.log_densities)


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    for got, want in zip(found, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("method", OVERDAMPED)
@pytest.mark.parametrize(("chunk", "kept"), WAYS)
def test_densities_and_gradients_are_those_of_autograd(
    method: Method, chunk: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "_CHUNK_FLOATS", chunk)
    monkeypatch.setattr(memo_module, "_KEPT_FLOATS", kept)
    bridge, path = drawn(method)
    expected = evaluated(bridge, plain(path))
    assert path.memo is not None
    assert_same(evaluated(bridge, path), expected)
    assert_same(evaluated(bridge, path._replace(memo=None)), expected)


@pytest.mark.parametrize("method", [Method.DBS, Method.CMCD])
def test_a_part_of_the_grid_is_that_part_of_the_whole(method: Method) -> None:
    bridge, path = drawn(method)
    for memo in (None, path.memo):
        part = path._replace(memo=memo)
        assert_same(evaluated(bridge, part, 2, 5), evaluated(bridge, plain(path), 2, 5))


def test_a_selection_forgets_what_the_simulation_noted() -> None:
    _, path = drawn(Method.DBS)
    assert path.select(torch.tensor([1, 2])).memo is None
    assert Path.joined([path, path]).memo is None


@pytest.mark.parametrize(("points", "width"), [(33, 64), (1, 64), (129, 2**20), (5, 1)])
def test_chunks_cover_every_point_once(points: int, width: int) -> None:
    found = [index for part in chunks(slice(3, 3 + points), 256, width) for index in range(part.start, part.stop)]
    assert found == list(range(3, 3 + points))
