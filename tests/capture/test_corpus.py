"""Every model of the corpus, captured and loaded again, is the model: log density, score and sites on fresh points.

Fresh: not those that the capture itself was checked at. Tolerances are those of a replay (float32).
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gephyra.clients.capture import Captured, from_numpyro, from_pyro
from gephyra.clients.testing.loading import as_program
from gephyra.targets.base import Target
from gephyra.targets.loading import load_program, replay
from tests.capture import models_numpyro, models_pyro
from tests.capture.originals import Values, numpyro_values, pyro_values

# JAX compiles each of these for seconds; the rest of the NumPyro corpus is marked slow.
_FAST = ("seeds", "gaussian_process", "multinomial")
_NUMPYRO = [pytest.param(name, marks=() if name in _FAST else pytest.mark.slow) for name in models_numpyro.MODELS]
# Pyro's own potential takes the support of a site once, and `below` of this model has one that moves.
_MOVING_SUPPORT = "several_sites"
_PYRO = [name for name in models_pyro.MODELS if name != _MOVING_SUPPORT]

_CAPTURES: dict[str, tuple[Callable[..., Captured], Any]] = {
    "numpyro": (from_numpyro, models_numpyro.MODELS),
    "pyro": (from_pyro, models_pyro.MODELS),
}


@cache
def _loaded(language: str, name: str) -> Target:
    capture, models = _CAPTURES[language]
    model, arguments = models[name]
    program = as_program(capture(model, *arguments).program)
    target = load_program(program)
    replay(target, program.check_points, program.dtype)
    return target


def _fresh_points(dim: int) -> NDArray[Any]:
    return np.random.default_rng(7).normal(size=(11, dim)).astype(np.float32)


def _assert_same(target: Target, x: NDArray[Any], original: Values) -> None:
    log_density, score = target.log_density_and_score(torch.from_numpy(x))
    np.testing.assert_allclose(log_density.numpy(), original.log_density, rtol=1e-4, atol=1e-4)
    error = np.linalg.norm(score.numpy() - original.score, axis=1) / np.linalg.norm(original.score, axis=1)
    assert error.max() <= 1e-3
    sites = target.constrain(torch.from_numpy(x))
    assert set(original.sites) <= set(sites)
    for name, value in original.sites.items():
        np.testing.assert_allclose(sites[name].numpy(), value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", _NUMPYRO)
def test_a_numpyro_model_survives_the_journey(name: str) -> None:
    target = _loaded("numpyro", name)
    x = _fresh_points(target.dim)
    original = numpyro_values(*models_numpyro.MODELS[name], x)
    assert {site.name for site in target.sites} == set(original.sites)
    _assert_same(target, x, original)


@pytest.mark.parametrize("name", _PYRO)
def test_a_pyro_model_survives_the_journey(name: str) -> None:
    target = _loaded("pyro", name)
    x = _fresh_points(target.dim)
    _assert_same(target, x, pyro_values(*models_pyro.MODELS[name], x))


@pytest.mark.parametrize("name", _NUMPYRO)
def test_both_languages_mean_the_same_density(name: str) -> None:
    left, right = _loaded("numpyro", name), _loaded("pyro", name)
    x = _fresh_points(left.dim)
    log_density, score = right.log_density_and_score(torch.from_numpy(x))
    sites = {key: value.numpy() for key, value in right.constrain(torch.from_numpy(x)).items()}
    assert left.sites == right.sites
    _assert_same(left, x, Values(log_density.numpy(), score.numpy(), sites))


def test_seeds_has_its_published_values() -> None:
    # At 0 and at three points of default_rng(1): computed by three implementations of the literature.
    x = np.concatenate([np.zeros((1, 26)), np.random.default_rng(1).normal(size=(3, 26))]).astype(np.float32)
    expected = [-124.6711, -310.0651, -256.6002, -288.0913]
    for language in _CAPTURES:
        found = _loaded(language, "seeds").log_density(torch.from_numpy(x))
        np.testing.assert_allclose(found.numpy(), expected, rtol=2e-6)


@pytest.mark.parametrize("language", [pytest.param("numpyro", marks=pytest.mark.slow), "pyro"])
def test_a_support_may_depend_on_another_site(language: str) -> None:
    target = _loaded(language, "several_sites")
    assert [site.name for site in target.sites if site.deterministic] == ["ratio"]
    sites = target.constrain(torch.from_numpy(_fresh_points(target.dim)))
    torch.testing.assert_close(sites["ratio"], sites["scale"] / sites["rate"])
    assert bool(((sites["below"] > 0) & (sites["below"] < sites["scale"])).all())


@pytest.mark.parametrize("language", [pytest.param("numpyro", marks=pytest.mark.slow), "pyro"])
def test_constrained_vectors_lie_in_their_supports(language: str) -> None:
    target = _loaded(language, "constrained_vectors")
    sites = target.constrain(torch.from_numpy(_fresh_points(target.dim)))
    torch.testing.assert_close(sites["shares"].sum(-1), torch.ones(11))
    assert bool((sites["cuts"].diff(dim=-1) > 0).all())
    torch.testing.assert_close(sites["factor"].square().sum(-1), torch.ones(11, 3))
