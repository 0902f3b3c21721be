"""The capture corpus in NumPyro: models that close over the tables, or take their data as arguments."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from tests.capture import tables

__all__ = ["MODELS", "eight_schools", "seeds", "seeds_arguments"]


def seeds(x1: Any, x2: Any, n: Any, r: Any = None) -> None:
    """Binomial regression with a random effect a plate."""
    a_0 = numpyro.sample("a_0", dist.Normal(0.0, 10.0))
    a_1 = numpyro.sample("a_1", dist.Normal(0.0, 10.0))
    a_2 = numpyro.sample("a_2", dist.Normal(0.0, 10.0))
    a_12 = numpyro.sample("a_12", dist.Normal(0.0, 10.0))
    tau = numpyro.sample("tau", dist.Gamma(0.01, 0.01))
    with numpyro.plate("plates", len(n)):
        b = numpyro.sample("b", dist.Normal(0.0, 1 / jnp.sqrt(tau)))
        logits = a_0 + a_1 * x1 + a_2 * x2 + a_12 * x1 * x2 + b
        numpyro.sample("r", dist.Binomial(n, logits=logits), obs=r)


def seeds_arguments() -> tuple[Any, ...]:
    """The data of Seeds as `seeds` takes it."""
    x1, x2 = np.array(tables.SEEDS_X1, np.float32), np.array(tables.SEEDS_X2, np.float32)
    return x1, x2, np.array(tables.SEEDS_N), np.array(tables.SEEDS_R)


def eight_schools(s: Any, y: Any) -> None:
    """Centred, log tau ~ N(5, 1)."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
    tau = numpyro.sample("tau", dist.LogNormal(5.0, 1.0))
    with numpyro.plate("schools", len(y)):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(theta, s), obs=y)


def several_sites() -> None:
    """Positive, interval and unit supports, a support that depends on another site, and deterministic sites."""
    scale = numpyro.sample("scale", dist.HalfNormal(2.0))
    rate = numpyro.sample("rate", dist.InverseGamma(3.0, 2.0))
    share = numpyro.sample("share", dist.Beta(2.0, 3.0))
    angle = numpyro.sample("angle", dist.Uniform(-1.0, 3.0))
    below = numpyro.sample("below", dist.Uniform(0.0, scale))
    tail = numpyro.sample("tail", dist.StudentT(4.0, angle, rate))
    numpyro.deterministic("ratio", scale / rate)
    numpyro.sample("y", dist.Normal(share * tail + below, scale), obs=jnp.array(tables.POINTS))


def nested_plates() -> None:
    """Two crossed plates and a vector site."""
    weights = numpyro.sample("weights", dist.Normal(jnp.zeros(3), 1.0).to_event(1))
    with numpyro.plate("rows", 2, dim=-2):
        row = numpyro.sample("row", dist.Normal(0.0, 1.0))
        with numpyro.plate("columns", 3, dim=-1):
            cell = numpyro.sample("cell", dist.Normal(row, 0.5))
            numpyro.sample("y", dist.Normal(cell + weights, 1.0), obs=jnp.array(tables.TABLE))


def constrained_vectors() -> None:
    """A simplex, an ordered vector and a Cholesky factor of a correlation matrix."""
    shares = numpyro.sample("shares", dist.Dirichlet(jnp.array([1.5, 2.0, 3.0])))
    normal = dist.Normal(jnp.zeros(3), 1.0).to_event(1)
    cuts = numpyro.sample("cuts", dist.TransformedDistribution(normal, dist.transforms.OrderedTransform()))
    factor = numpyro.sample("factor", dist.LKJCholesky(3, 1.7))
    numpyro.sample("y", dist.Normal(factor @ shares + cuts, 1.0).to_event(1), obs=jnp.array([0.1, -0.3, 0.8]))


def gaussian_process() -> None:
    """Regression with the covariance as a function of two positive sites."""
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 0.5))
    length = numpyro.sample("length", dist.LogNormal(0.0, 0.5))
    x = jnp.array(tables.GRID)
    squares = ((x[:, None] - x[None, :]) / length) ** 2
    covariance = scale**2 * jnp.exp(-0.5 * squares) + 0.1 * jnp.eye(len(x))
    latent = numpyro.sample("latent", dist.MultivariateNormal(jnp.zeros(len(x)), covariance_matrix=covariance))
    numpyro.sample("y", dist.Normal(latent, 0.3).to_event(1), obs=jnp.array(tables.CURVE))


def correlated() -> None:
    """LKJ prior on the correlations of a multivariate normal."""
    scales = numpyro.sample("scales", dist.HalfNormal(1.0).expand([3]).to_event(1))
    factor = numpyro.sample("factor", dist.LKJCholesky(3, 2.0))
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    with numpyro.plate("cases", len(tables.PAIRS)):
        normal = dist.MultivariateNormal(mean, scale_tril=scales[:, None] * factor)
        numpyro.sample("y", normal, obs=jnp.array(tables.PAIRS))


def mixture() -> None:
    """The component of each point summed out."""
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(2)))
    means = numpyro.sample("means", dist.Normal(0.0, 3.0).expand([2]).to_event(1))
    components = dist.Normal(means, 0.5)
    with numpyro.plate("cases", len(tables.POINTS)):
        chosen = dist.Categorical(probs=weights)
        numpyro.sample("y", dist.MixtureSameFamily(chosen, components), obs=jnp.array(tables.POINTS))


def stochastic_volatility() -> None:
    """A random walk of log volatilities."""
    sigma = numpyro.sample("sigma", dist.Exponential(10.0))
    steps = numpyro.sample("steps", dist.Normal(jnp.zeros(len(tables.RETURNS)), 1.0).to_event(1))
    walk = numpyro.deterministic("walk", jnp.cumsum(sigma * steps))
    numpyro.sample("y", dist.StudentT(5.0, 0.0, jnp.exp(walk)).to_event(1), obs=jnp.array(tables.RETURNS))


def multinomial() -> None:
    """Counts, some of them zero, with logits of their own."""
    logits = numpyro.sample("logits", dist.Normal(jnp.zeros(4), 1.0).to_event(1))
    with numpyro.plate("cases", len(tables.COUNTS)):
        counts = jnp.array(tables.COUNTS)
        numpyro.sample("y", dist.Multinomial(12, logits=logits), obs=counts)


MODELS: dict[str, tuple[Callable[..., None], tuple[Any, ...]]] = {
    "seeds": (seeds, seeds_arguments()),
    "eight_schools": (eight_schools, (np.array(tables.SCHOOLS_S), np.array(tables.SCHOOLS_Y))),
    **{
        model.__name__: (model, ())
        for model in (
            several_sites, nested_plates, constrained_vectors, gaussian_process, correlated, mixture,
            stochastic_volatility, multinomial,
        )
    },
}  # fmt: skip
