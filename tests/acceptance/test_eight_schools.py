"""One model in four languages gives one log Z through the server, and draws that agree with NUTS.

Centred eight schools: mu ~ N(0, 10), log tau ~ N(5, 1), theta_i ~ N(mu, tau), y_i ~ N(theta_i, s_i); its log Z is
-36.130816 by quadrature.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
import torch
from jax.scipy import stats

import gephyra as gp
from gephyra.clients import Client
from tests.capture import models_numpyro, models_pyro
from tests.capture.tables import SCHOOLS_S, SCHOOLS_Y

LOG_Z = -36.130816
SECONDS = 40.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def in_torch(x: torch.Tensor) -> torch.Tensor:
    """mu, log tau, theta_1, ..., theta_8."""
    y, s = torch.tensor(SCHOOLS_Y), torch.tensor(SCHOOLS_S)
    normal = torch.distributions.Normal
    mu, log_tau, theta = x[0], x[1], x[2:]
    prior = normal(0.0, 10.0).log_prob(mu) + normal(5.0, 1.0).log_prob(log_tau)
    total: torch.Tensor = prior + normal(mu, log_tau.exp()).log_prob(theta).sum() + normal(theta, s).log_prob(y).sum()
    return total


def in_jax(x: jax.Array) -> jax.Array:
    """The same."""
    y, s = jnp.array(SCHOOLS_Y), jnp.array(SCHOOLS_S)
    mu, log_tau, theta = x[0], x[1], x[2:]
    prior = stats.norm.logpdf(mu, 0.0, 10.0) + stats.norm.logpdf(log_tau, 5.0, 1.0)
    likelihood = stats.norm.logpdf(y, theta, s).sum()
    return prior + stats.norm.logpdf(theta, mu, jnp.exp(log_tau)).sum() + likelihood


NUMPYRO = models_numpyro.MODELS["eight_schools"]
PYRO = models_pyro.MODELS["eight_schools"]
CAPTURES: dict[str, Callable[[], Any]] = {
    "numpyro": lambda: gp.from_numpyro(NUMPYRO[0], *NUMPYRO[1]),
    "pyro": lambda: gp.from_pyro(PYRO[0], *PYRO[1]),
    "torch": lambda: gp.from_torch(in_torch, 10),
    "jax": lambda: gp.from_jax(in_jax, 10),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Client.local(tmp_path_factory.mktemp("schools")) as local:
        yield local


@pytest.fixture(scope="module")
def nuts() -> dict[str, np.ndarray]:
    """Posterior draws of the non-centred model by NUTS, which the funnel of the centred one does not trouble."""

    def non_centred() -> None:
        mu = numpyro.sample("mu", numpyro.distributions.Normal(0.0, 10.0))
        tau = numpyro.sample("tau", numpyro.distributions.LogNormal(5.0, 1.0))
        z = numpyro.sample("z", numpyro.distributions.Normal(0.0, 1.0).expand([8]))
        theta = numpyro.deterministic("theta", mu + tau * z)
        numpyro.sample("y", numpyro.distributions.Normal(theta, jnp.array(SCHOOLS_S)), obs=jnp.array(SCHOOLS_Y))

    kernel = numpyro.infer.NUTS(non_centred, target_accept_prob=0.95)
    chain = numpyro.infer.MCMC(kernel, num_warmup=1000, num_samples=20_000, progress_bar=False)
    chain.run(jax.random.PRNGKey(0))
    return {name: np.asarray(value) for name, value in chain.get_samples().items()}


@pytest.mark.parametrize("language", CAPTURES)
def test_log_z_and_posterior(client: Client, nuts: dict[str, np.ndarray], language: str) -> None:
    target = client.register(CAPTURES[language](), name=f"schools-{language}")
    sampler = client.train(target, seconds=SECONDS, seed=0).result(progress=False)
    evidence = sampler.evidence()
    print(f"\n{language}: log Z {evidence.log_z:.4f} +- {evidence.log_z_se:.4f}, ESS {evidence.ess_fraction:.2f}")
    assert abs(evidence.log_z - LOG_Z) <= 0.03
    assert evidence.k_hat < 0.7
    if language not in ("numpyro", "pyro"):
        return
    draws = sampler.draw(20_000, seed=1)
    posterior = draws.resample(8000, seed=2).to_arviz().posterior
    assert set(posterior.data_vars) == {"mu", "tau", "theta"}
    assert posterior["theta"].shape == (1, 8000, 8)
    for name in ("mu", "tau", "theta"):
        ours, theirs = posterior[name].values[0], nuts[name]
        # tau is heavy-tailed: its logarithm has a mean that a few thousand draws can tell.
        if name == "tau":
            ours, theirs = np.log(ours), np.log(theirs)
        spread = theirs.std(0)
        # Draws of NUTS count for a tenth at least, resampled ones for the effective sample size.
        effective = min(8000.0, 20_000 * evidence.ess_fraction)
        error = spread * math.sqrt(1 / effective + 10 / len(theirs))
        assert (np.abs(ours.mean(0) - theirs.mean(0)) <= 4.5 * error).all(), (name, ours.mean(0), theirs.mean(0))
