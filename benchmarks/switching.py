"""A mixture of two normals with exchangeable components, as a NumPyro model: its posterior has two mirror-image modes.

The labels carry no information, so each of the two orders of the means holds one half of the mass exactly.
"""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import logsumexp

import gephyra as gp
from gephyra.clients.testing.loading import as_target
from gephyra.targets.base import Target

__all__ = ["switching"]

_POINTS, _SEED = 60, 20261124


def _observations() -> np.ndarray:
    """A third around -2, the rest around 2, both with sd 0.8."""
    noise = np.random.Generator(np.random.Philox(_SEED)).standard_normal(_POINTS)
    return np.where(np.arange(_POINTS) < _POINTS // 3, -2.0, 2.0) + 0.8 * noise


def _model(y: Array) -> None:
    """Weights, means and scales of two components, exchangeable a priori."""
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(2)))
    with numpyro.plate("components", 2):
        mean = numpyro.sample("mean", dist.Normal(0.0, 5.0))
        scale = numpyro.sample("scale", dist.LogNormal(0.0, 1.0))
    terms = jnp.log(weights) + dist.Normal(mean, scale).log_prob(y[:, None])
    numpyro.factor("likelihood", logsumexp(terms, axis=-1).sum())


def switching() -> Target:
    """The posterior as a worker would load it: captured as StableHLO, run by JAX."""
    return as_target(gp.from_numpyro(_model, jnp.asarray(_observations())))
