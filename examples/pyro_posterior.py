"""Eight schools in Pyro: evidence and draws of a posterior.

Runs in about a minute: `python examples/pyro_posterior.py`.
"""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

import gephyra as gp

SIGMA = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
EFFECTS = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])


def eight_schools(sigma: Tensor, y: Tensor) -> None:
    """Centred, with log tau ~ N(5, 1), as the sampling literature has it; log Z = -36.131."""
    mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
    log_tau = pyro.sample("log_tau", dist.Normal(5.0, 1.0))
    with pyro.plate("schools", 8):
        theta = pyro.sample("theta", dist.Normal(mu, log_tau.exp()))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def main(folder: str = "runs", seconds: float = 30) -> None:
    """Train for `seconds`, in an embedded server that keeps everything in `folder`."""
    with gp.Client.local(folder) as client:
        target = client.register(gp.from_pyro(eight_schools, SIGMA, y=EFFECTS), name="schools-pyro")
        sampler = client.train(target, method="dbs", loss="rkl-ld", seconds=seconds, seed=0).result()
        print(sampler.evidence())
        draws = sampler.draw(4000, seed=1)
        print(draws.sites["theta"].shape, draws.x.shape, draws.log_weights.shape)
        print(draws.resample(1000).to_arviz()["posterior"])


if __name__ == "__main__":
    main()
