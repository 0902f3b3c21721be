"""Eight schools in NumPyro: evidence and draws of a posterior.

Runs in about a minute: `python examples/numpyro_posterior.py`.
A second run on the same folder finds the target again and trains another sampler.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array

import gephyra as gp

SIGMA = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
EFFECTS = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])


def eight_schools(sigma: Array, y: Array) -> None:
    """Centred, with log tau ~ N(5, 1), as the sampling literature has it; log Z = -36.131."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
    log_tau = numpyro.sample("log_tau", dist.Normal(5.0, 1.0))
    with numpyro.plate("schools", 8):
        theta = numpyro.sample("theta", dist.Normal(mu, jnp.exp(log_tau)))
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def main(folder: str = "runs", seconds: float = 30) -> None:
    """Train for `seconds`, in an embedded server that keeps everything in `folder`."""
    with gp.Client.local(folder) as client:
        target = client.register(gp.from_numpyro(eight_schools, SIGMA, y=EFFECTS), name="schools-numpyro")
        sampler = client.train(target, method="dbs", loss="rkl-ld", seconds=seconds, seed=0).result()
        print(sampler.evidence())
        draws = sampler.draw(4000, seed=1)
        print(draws.sites["theta"].shape, draws.x.shape, draws.log_weights.shape)
        print(draws.resample(1000).to_arviz()["posterior"])


if __name__ == "__main__":
    main()
