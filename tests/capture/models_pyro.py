"""The capture corpus in Pyro, site by site as in NumPyro."""

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch

from tests.capture import tables

__all__ = ["MODELS", "eight_schools", "seeds", "seeds_arguments"]


def _tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.get_default_dtype())


def seeds(x1: Any, x2: Any, n: Any, r: Any = None) -> None:
    """Binomial regression with a random effect a plate."""
    a_0 = pyro.sample("a_0", dist.Normal(0.0, 10.0))
    a_1 = pyro.sample("a_1", dist.Normal(0.0, 10.0))
    a_2 = pyro.sample("a_2", dist.Normal(0.0, 10.0))
    a_12 = pyro.sample("a_12", dist.Normal(0.0, 10.0))
    tau = pyro.sample("tau", dist.Gamma(0.01, 0.01))
    with pyro.plate("plates", len(n)):
        b = pyro.sample("b", dist.Normal(0.0, 1 / torch.sqrt(tau)))
        logits = a_0 + a_1 * x1 + a_2 * x2 + a_12 * x1 * x2 + b
        pyro.sample("r", dist.Binomial(n, logits=logits), obs=r)


def seeds_arguments() -> tuple[Any, ...]:
    """The data of Seeds as `seeds` takes it."""
    x1, x2 = _tensor(tables.SEEDS_X1), _tensor(tables.SEEDS_X2)
    return x1, x2, _tensor(tables.SEEDS_N), _tensor(tables.SEEDS_R)


def eight_schools(s: Any, y: Any) -> None:
    """Centred, log tau ~ N(5, 1)."""
    mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
    tau = pyro.sample("tau", dist.LogNormal(5.0, 1.0))
    with pyro.plate("schools", len(y)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, s), obs=y)


def several_sites() -> None:
    """Positive, interval and unit supports, a support that depends on another site, and deterministic sites."""
    scale = pyro.sample("scale", dist.HalfNormal(2.0))
    rate = pyro.sample("rate", dist.InverseGamma(3.0, 2.0))
    share = pyro.sample("share", dist.Beta(2.0, 3.0))
    angle = pyro.sample("angle", dist.Uniform(-1.0, 3.0))
    below = pyro.sample("below", dist.Uniform(0.0, scale))
    tail = pyro.sample("tail", dist.StudentT(4.0, angle, rate))
    pyro.deterministic("ratio", scale / rate)
    pyro.sample("y", dist.Normal(share * tail + below, scale), obs=_tensor(tables.POINTS))


def nested_plates() -> None:
    """Two crossed plates and a vector site."""
    weights = pyro.sample("weights", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("rows", 2, dim=-2):
        row = pyro.sample("row", dist.Normal(0.0, 1.0))
        with pyro.plate("columns", 3, dim=-1):
            cell = pyro.sample("cell", dist.Normal(row, 0.5))
            pyro.sample("y", dist.Normal(cell + weights, 1.0), obs=_tensor(tables.TABLE))


def constrained_vectors() -> None:
    """A simplex, an ordered vector and a Cholesky factor of a correlation matrix."""
    shares = pyro.sample("shares", dist.Dirichlet(_tensor([1.5, 2.0, 3.0])))
    normal = dist.Normal(torch.zeros(3), 1.0).to_event(1)
    cuts = pyro.sample("cuts", dist.TransformedDistribution(normal, dist.transforms.OrderedTransform()))
    factor = pyro.sample("factor", dist.LKJCholesky(3, 1.7))
    pyro.sample("y", dist.Normal(factor @ shares + cuts, 1.0).to_event(1), obs=_tensor([0.1, -0.3, 0.8]))


def gaussian_process() -> None:
    """Regression with the covariance as a function of two positive sites."""
    scale = pyro.sample("scale", dist.LogNormal(0.0, 0.5))
    length = pyro.sample("length", dist.LogNormal(0.0, 0.5))
    x = _tensor(tables.GRID)
    squares = ((x[:, None] - x[None, :]) / length) ** 2
    covariance = scale**2 * torch.exp(-0.5 * squares) + 0.1 * torch.eye(len(x))
    latent = pyro.sample("latent", dist.MultivariateNormal(torch.zeros(len(x)), covariance_matrix=covariance))
    pyro.sample("y", dist.Normal(latent, 0.3).to_event(1), obs=_tensor(tables.CURVE))


def correlated() -> None:
    """LKJ prior on the correlations of a multivariate normal."""
    scales = pyro.sample("scales", dist.HalfNormal(1.0).expand([3]).to_event(1))
    factor = pyro.sample("factor", dist.LKJCholesky(3, 2.0))
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    with pyro.plate("cases", len(tables.PAIRS)):
        normal = dist.MultivariateNormal(mean, scale_tril=scales[:, None] * factor)
        pyro.sample("y", normal, obs=_tensor(tables.PAIRS))


def mixture() -> None:
    """The component of each point summed out."""
    weights = pyro.sample("weights", dist.Dirichlet(torch.ones(2)))
    means = pyro.sample("means", dist.Normal(0.0, 3.0).expand([2]).to_event(1))
    components = dist.Normal(means, 0.5)
    with pyro.plate("cases", len(tables.POINTS)):
        chosen = dist.Categorical(probs=weights)
        pyro.sample("y", dist.MixtureSameFamily(chosen, components), obs=_tensor(tables.POINTS))


def stochastic_volatility() -> None:
    """A random walk of log volatilities."""
    sigma = pyro.sample("sigma", dist.Exponential(10.0))
    steps = pyro.sample("steps", dist.Normal(torch.zeros(len(tables.RETURNS)), 1.0).to_event(1))
    walk = pyro.deterministic("walk", torch.cumsum(sigma * steps, 0))
    pyro.sample("y", dist.StudentT(5.0, 0.0, torch.exp(walk)).to_event(1), obs=_tensor(tables.RETURNS))


def multinomial() -> None:
    """Counts, some of them zero, with logits of their own."""
    logits = pyro.sample("logits", dist.Normal(torch.zeros(4), 1.0).to_event(1))
    with pyro.plate("cases", len(tables.COUNTS)):
        counts = _tensor(tables.COUNTS)
        pyro.sample("y", dist.Multinomial(12, logits=logits), obs=counts)


MODELS: dict[str, tuple[Callable[..., None], tuple[Any, ...]]] = {
    "seeds": (seeds, seeds_arguments()),
    "eight_schools": (eight_schools, (_tensor(tables.SCHOOLS_S), _tensor(tables.SCHOOLS_Y))),
    **{
        model.__name__: (model, ())
        for model in (
            several_sites, nested_plates, constrained_vectors, gaussian_process, correlated, mixture,
            stochastic_volatility, multinomial,
        )
    },
}  # fmt: skip
