"""What cannot be captured is refused on the client, in a sentence that names the site and says what to do."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from gephyra.clients.capture import from_jax, from_numpyro, from_pyro, from_torch
from gephyra.clients.errors import CaptureError


def _numpyro_discrete() -> None:
    kind = numpyro.sample("kind", ndist.Bernoulli(0.3))
    numpyro.sample("x", ndist.Normal(kind, 1.0))


def _numpyro_branching_discrete() -> None:
    if numpyro.sample("kind", ndist.Bernoulli(0.3)):
        numpyro.sample("x", ndist.Normal(0.0, 1.0))


def _numpyro_subsample() -> None:
    mu = numpyro.sample("mu", ndist.Normal(0.0, 1.0))
    with numpyro.plate("cases", 10, subsample_size=3):
        numpyro.sample("y", ndist.Normal(mu, 1.0), obs=jnp.zeros(3))


def _numpyro_param() -> None:
    scale = numpyro.param("scale", 1.0)
    numpyro.sample("x", ndist.Normal(0.0, scale))


def _numpyro_branch() -> None:
    x = numpyro.sample("x", ndist.Normal(0.0, 1.0))
    if x > 0:
        numpyro.sample("y", ndist.Normal(x, 1.0), obs=0.0)


def _numpyro_observed() -> None:
    numpyro.sample("y", ndist.Normal(0.0, 1.0), obs=0.5)


def _pyro_discrete() -> None:
    kind = pyro.sample("kind", pdist.Bernoulli(0.3))
    pyro.sample("x", pdist.Normal(kind, 1.0))


def _pyro_subsample() -> None:
    mu = pyro.sample("mu", pdist.Normal(0.0, 1.0))
    with pyro.plate("cases", 10, subsample_size=3):
        pyro.sample("y", pdist.Normal(mu, 1.0), obs=torch.zeros(3))


def _pyro_param() -> None:
    scale = pyro.param("scale", torch.tensor(1.0))
    pyro.sample("x", pdist.Normal(0.0, scale))


def _pyro_branch() -> None:
    x = pyro.sample("x", pdist.Normal(0.0, 1.0))
    if x > 0:
        pyro.sample("y", pdist.Normal(x, 1.0), obs=torch.tensor(0.0))


def _pyro_matrix() -> None:
    pyro.sample("precision", pdist.Wishart(torch.tensor(4.0), torch.eye(3)))


def _pyro_observed() -> None:
    pyro.sample("y", pdist.Normal(0.0, 1.0), obs=torch.tensor(0.5))


def _frozen(x: Tensor) -> Tensor:
    return -(x**2).sum() * float(np.exp(x.detach().numpy()[0]))


def _undifferentiated(x: Tensor) -> Tensor:
    with torch.no_grad():
        scale = x[1].exp()
    return -(x**2).sum() * scale


_CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "numpyro discrete latent": (lambda: from_numpyro(_numpyro_discrete), r"'kind' is discrete.*sum it out"),
    "numpyro branch on a discrete latent": (lambda: from_numpyro(_numpyro_branching_discrete), "'kind' is discrete"),
    "numpyro subsampling": (
        lambda: from_numpyro(_numpyro_subsample),
        r"'cases' takes a random subsample of 3 out of 10",
    ),
    "numpyro param": (lambda: from_numpyro(_numpyro_param), r"'scale' is a param"),
    "numpyro branch": (lambda: from_numpyro(_numpyro_branch), r"branches on.*jnp\.where"),
    "numpyro without latents": (lambda: from_numpyro(_numpyro_observed), "no latent site"),
    "numpyro not a model": (lambda: from_numpyro(3), r"must be a NumPyro model.*int"),  # type: ignore[arg-type]
    "pyro discrete latent": (lambda: from_pyro(_pyro_discrete), r"'kind' is discrete.*sum it out"),
    "pyro subsampling": (lambda: from_pyro(_pyro_subsample), r"'cases' takes a random subsample of 3 out of 10"),
    "pyro param": (lambda: from_pyro(_pyro_param), r"'scale' is a param"),
    "pyro branch": (lambda: from_pyro(_pyro_branch), r"branches on.*torch\.where"),
    "pyro positive definite matrix": (
        lambda: from_pyro(_pyro_matrix),
        r"'precision' \(Wishart\) has a support.*LKJCholesky",
    ),
    "pyro without latents": (lambda: from_pyro(_pyro_observed), "no latent site"),
    "pyro not a model": (lambda: from_pyro("model"), r"must be a Pyro model.*str"),  # type: ignore[arg-type]
    "jax dim 0": (lambda: from_jax(lambda x: -jnp.sum(x**2), 0), "dim must be a whole number of at least 1, got 0"),
    "jax not callable": (lambda: from_jax(None, 2), "must be a function"),  # type: ignore[arg-type]
    "jax batch of values": (lambda: from_jax(lambda x: -(x**2), 2), r"real scalar.*shape \(2,\)"),
    "jax mask": (lambda: from_jax(lambda x: jnp.sum(x[x > 0]), 2), r"boolean mask.*jnp\.where"),
    "jax branch": (lambda: from_jax(lambda x: jnp.sum(x) if x[0] > 0 else -jnp.sum(x), 2), "branches on"),
    "jax number": (lambda: from_jax(lambda x: jnp.sum(x) * float(x[0]), 2), "Python number"),
    "jax numpy": (lambda: from_jax(lambda x: jnp.sum(np.exp(np.asarray(x))), 2), r"use jax\.numpy"),
    "jax NaN": (lambda: from_jax(lambda x: jnp.sum(x) * jnp.nan, 2), "not finite at every one of 16"),
    "jax callback": (
        lambda: from_jax(lambda x: jax.pure_callback(_host_sum, jax.ShapeDtypeStruct((), x.dtype), x), 2),
        "cannot compute the gradient.*callbacks",
    ),
    "torch dim -1": (
        lambda: from_torch(lambda x: -(x**2).sum(), -1),
        "dim must be a whole number of at least 1, got -1",
    ),
    "torch not callable": (lambda: from_torch(None, 2), "must be a function"),  # type: ignore[arg-type]
    "torch batch of values": (lambda: from_torch(lambda x: -(x**2), 2), r"real scalar.*\(2,\)"),
    "torch float": (lambda: from_torch(lambda x: 1.0, 2), "real scalar tensor.*float"),  # type: ignore[arg-type, return-value]
    "torch mask": (lambda: from_torch(lambda x: x[x > 0].sum(), 2), r"boolean mask.*torch\.where"),
    "torch nonzero": (
        lambda: from_torch(lambda x: x.sum() + (x > 0).nonzero().sum(), 2),
        "shape that depends on values",
    ),
    "torch branch": (lambda: from_torch(lambda x: x.sum() if x[0] > 0 else -x.sum(), 2), "branches on"),
    "torch item": (lambda: from_torch(lambda x: x.sum() * x[0].item(), 2), r"\.item\(\)"),
    "torch frozen through numpy": (lambda: from_torch(_frozen, 2), r"frozen.*\.numpy\(\)"),
    "torch without gradient": (lambda: from_torch(_undifferentiated, 2), r"another gradient.*no_grad"),
    "torch random": (lambda: from_torch(lambda x: x.sum() * torch.rand(()), 2), "draws random numbers"),
    "torch NaN": (lambda: from_torch(lambda x: x.sum() * math.nan, 2), "not finite at every one of 16"),
    "torch complex": (
        lambda: from_torch(lambda x: (x * torch.tensor(1j)).real.sum(), 2),
        "complex64, which cannot be sent",
    ),
}


def _host_sum(x: Any) -> Any:
    return np.sum(x)


@pytest.mark.parametrize("name", _CASES)
def test_is_refused_in_a_sentence(name: str) -> None:
    capture, sentence = _CASES[name]
    with pytest.raises(CaptureError, match=f"(?s){sentence}"):
        capture()


@pytest.mark.parametrize("before", [True, False])
def test_validation_is_restored(before: bool) -> None:
    was = Distribution._validate_args
    Distribution.set_default_validate_args(before)
    try:
        from_torch(lambda x: -(x**2).sum(), 2)
        with pytest.raises(CaptureError):
            from_pyro(_pyro_branch)
        assert Distribution._validate_args is before
    finally:
        Distribution.set_default_validate_args(was)


def test_a_mask_that_is_data_is_no_obstacle() -> None:
    seen = torch.tensor([True, False, True])
    captured = from_torch(lambda x: -(x[seen] ** 2).sum(), 3)
    assert captured.dim == 3
