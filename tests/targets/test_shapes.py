"""Shapes are checked once, in the interface, whatever the target."""

import pytest
import torch
from torch import Tensor

from gephyra.targets.base import AutogradTarget, OpaqueTarget
from gephyra.targets.catalogue import build
from gephyra.targets.families import FAMILIES
from gephyra.targets.program import Site

DATA = {
    "means": [[0.0, 1.0], [2.0, 3.0]],
    "features": [[0.0], [1.0], [2.0]],
    "labels": [0, 1, 1],
    "points": [[0.2, 0.9]],
}
EXAMPLES = {name: {p.name: DATA[p.name] for p in family.parameters if p.required} for name, family in FAMILIES.items()}


@pytest.mark.parametrize("family", EXAMPLES)
def test_points_of_another_shape_are_refused(family: str) -> None:
    target = build(family, EXAMPLES[family])
    for shape in [(target.dim,), (2, target.dim + 1), (2, 2, target.dim)]:
        with pytest.raises(ValueError, match=rf"points must have shape \(batch, {target.dim}\), got"):
            target.log_density(torch.zeros(shape))
        with pytest.raises(ValueError, match="points must have shape"):
            target.log_density_and_score(torch.zeros(shape))
        with pytest.raises(ValueError, match="points must have shape"):
            target.constrain(torch.zeros(shape))


@pytest.mark.parametrize("family", EXAMPLES)
def test_results_have_the_stated_shapes(family: str) -> None:
    target = build(family, EXAMPLES[family])
    for batch in (0, 1, 5):
        x = torch.zeros(batch, target.dim)
        log_density, score = target.log_density_and_score(x)
        assert log_density.shape == (batch,)
        assert score.shape == x.shape
        sites = target.constrain(x)
        assert {name: tuple(value.shape) for name, value in sites.items()} == {
            site.name: (batch, *site.shape) for site in target.sites
        }
        draws = target.sample(batch, torch.Generator().manual_seed(0))
        assert draws is None or draws.shape == x.shape


class ForgetsToSum(AutogradTarget):
    """A density whose author forgot the sum over coordinates."""

    dim = 2
    sites = (Site("scale", ()),)

    def _log_density(self, x: Tensor) -> Tensor:
        return -x.square()

    def _constrain(self, x: Tensor) -> dict[str, Tensor]:
        return {"scale": x}


class Constants(OpaqueTarget):
    """A density that is computed outside torch: -x^2 / 2 in one dimension."""

    dim = 1

    def _evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return -0.5 * x[:, 0].square(), -x


def test_a_density_of_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"log_density must have shape \(3,\), got \(3, 2\)"):
        ForgetsToSum().log_density(torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"site scale must have shape \(3,\), got \(3, 2\)"):
        ForgetsToSum().constrain(torch.zeros(3, 2))


def test_an_opaque_density_can_be_differentiated_once() -> None:
    x = torch.tensor([[1.5]], requires_grad=True)
    (gradient,) = torch.autograd.grad(Constants().log_density(x).sum(), x)
    assert float(gradient) == -1.5
    assert not Constants().log_density_and_score(torch.ones(1, 1))[0].requires_grad
