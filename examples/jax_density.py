"""A density as a JAX function, with the asyncio client: two samplers side by side.

Run it: `python examples/jax_density.py`.
The function takes one point, (dim,), and returns a scalar: the log of the density, up to a constant.
"""

import asyncio

import jax.numpy as jnp
from jax import Array

import gephyra as gp


def log_density(x: Array) -> Array:
    """A banana: x_0 ~ N(0, 2), x_1 ~ N(x_0^2 / 4, 1), without constants; Z = 4 pi."""
    return -0.125 * x[0] ** 2 - 0.5 * (x[1] - jnp.square(x[0]) / 4) ** 2


async def train(folder: str, seconds: float) -> None:
    """Train both bridges, each for `seconds`, in an embedded server that keeps everything in `folder`."""
    async with gp.AsyncClient.local(folder) as client:
        target = await client.register(gp.from_jax(log_density, 2), name="banana-jax")
        jobs = [await client.train(target, method=method, seconds=seconds) for method in ("dbs", "cmcd")]
        for job, sampler in zip(jobs, await asyncio.gather(*(job.result() for job in jobs)), strict=True):
            evidence = await sampler.evidence()
            print(f"{job.name}: log Z {evidence.log_z:.3f} ± {evidence.log_z_se:.3f}, exact {jnp.log(4 * jnp.pi):.3f}")


def main(folder: str = "runs", seconds: float = 15) -> None:
    """As `train`, from a program without an event loop."""
    asyncio.run(train(folder, seconds))


if __name__ == "__main__":
    main()
