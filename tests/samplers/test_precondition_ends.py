"""What lies beyond the ends of a mixture."""

import torch

from gephyra.samplers.components import Components, Mixture
from gephyra.samplers.precondition.baseline import measure
from gephyra.samplers.precondition.ends import mass_beyond
from gephyra.samplers.precondition.newton import newton_fit_across, newton_fit_mixture
from gephyra.samplers.precondition.population import lacking_mass
from gephyra.targets.catalogue import build
from gephyra.targets.gaussian import Gaussian, GaussianMixture

_DIM = 6
FUNNEL = build("funnel", {"dim": _DIM})


def _slices(*places: float) -> Components:
    """Equal Gaussians across the funnel at these places of its axis, a tenth of its length wide."""
    widths = [torch.tensor([0.3] + [0.5 * place] * (_DIM - 1)) for place in places]
    scales = [torch.cat([width[:1], width[1:].exp()]) for width in widths]
    mean = torch.zeros(len(places), _DIM, dtype=torch.float64)
    mean[:, 0] = torch.tensor(places)
    return Components(
        torch.full((len(places),), 1.0 / len(places), dtype=torch.float64).log(),
        mean,
        torch.diag_embed(torch.stack(scales).double()),
    )


def _never() -> float:
    return 0.0


def test_a_row_of_components_shows_what_it_lacks_of_a_funnel() -> None:
    row = newton_fit_mixture(FUNNEL, _slices(2.0, 1.0, 0.0, -1.0, -2.0, -3.0), 0)
    known = measure(FUNNEL, row, "test", 0).estimates
    assert known is not None
    beyond = mass_beyond(FUNNEL, row, known.log_z, 0, _never)
    # log Z is 0. What was found of the lacking part is no more than that, up to the error of 64 points.
    lacking = -known.log_z
    assert 0.25 * lacking < beyond < 1.5 * lacking


def test_a_mixture_that_is_the_target_has_nothing_beyond() -> None:
    gaussian = Gaussian([0.0] * 3, [1.0] * 3)
    two = Components(
        torch.tensor([0.5, 0.5], dtype=torch.float64).log(),
        torch.tensor([[0.1, 0.0, 0.0], [-0.1, 0.0, 0.0]], dtype=torch.float64),
        torch.eye(3, dtype=torch.float64).expand(2, 3, 3),
    )
    assert mass_beyond(gaussian, two, 0.0, 0, _never) == 0.0


def test_components_around_one_point_lead_nowhere() -> None:
    rings = _slices(0.0, 0.0)
    assert (
        mass_beyond(FUNNEL, rings._replace(tril=rings.tril * torch.tensor([0.1, 1.0])[:, None, None]), 0.0, 0, _never)
        == 0.0
    )


def test_spent_time_ends_the_search() -> None:
    assert mass_beyond(FUNNEL, _slices(0.0, -0.9), 0.0, 0, lambda: 1.0) == 0.0


def test_a_fit_across_an_axis_leaves_what_lies_along_it() -> None:
    """At -4 on the axis a slice that is too wide by half finds its width there, and stays where it is."""
    axis = torch.zeros(1, _DIM, dtype=torch.float64)
    axis[:, 0] = 1.0
    exact = _slices(-4.0)
    wide = exact.tril.clone()
    wide[:, 1:] *= 1.5
    mean, tril = newton_fit_across(FUNNEL, exact.mean, wide, axis, 0)
    assert torch.allclose(mean[:, 0], exact.mean[:, 0], atol=0.05)
    assert torch.allclose(tril[:, 0, 0], exact.tril[:, 0, 0], rtol=0.05)
    # Within a slice the variance is exp(x_0): its harmonic mean is what a Gaussian across sees, exp(-s^2 / 2) of it.
    expected = (-2.0 - 0.25 * 0.3**2) * torch.ones(_DIM - 1, dtype=torch.float64)
    assert torch.allclose(tril[0].diagonal()[1:].log(), expected, atol=0.1)


def test_a_population_finds_the_share_that_a_mixture_lacks() -> None:
    """A twentieth of the target is a mode eight away that the mixture does not have, and the proposal has nearly."""
    means, one = torch.tensor([[0.0, 0.0], [8.0, 0.0]], dtype=torch.float64), torch.eye(2, dtype=torch.float64)[None]
    target = GaussianMixture(means, [[1.0], [0.5]], [0.95, 0.05])
    without = Mixture(Components(torch.zeros(1, dtype=torch.float64), means[:1], one))
    near = Components(torch.zeros(1, dtype=torch.float64), means[1:] - 1.0, one)
    found = lacking_mass(target, without, near, 0.0, 0, _never)
    # 65 536 draws; an error of 0.1 % and 1 % for the truncation.
    assert abs(found / 0.05 - 1.0) < 0.02
    hurried = lacking_mass(target, without, near, 0.0, 0, lambda: 1.0)
    assert abs(hurried / 0.05 - 1.0) < 0.1
