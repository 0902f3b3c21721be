"""What a model computes without gephyra: NumPyro's and Pyro's own potentials, on flat points.

Both lay a point out as the latent sites in alphabetical order, which is what a capture promises.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple

import jax
import numpy as np
import pyro
import torch
from jax.flatten_util import ravel_pytree
from numpy.typing import NDArray
from numpyro.infer.util import constrain_fn, initialize_model, potential_energy
from pyro.infer.mcmc.util import initialize_model as initialize_pyro_model


class Values(NamedTuple):
    """Log density `(n,)`, score `n x dim` and sites by name, at n points."""

    log_density: NDArray[Any]
    score: NDArray[Any]
    sites: Mapping[str, NDArray[Any]]


def numpyro_values(model: Callable[..., Any], arguments: tuple[Any, ...], x: NDArray[Any]) -> Values:
    """NumPyro's potential and its own map back to the sites, at points x `n x dim`."""

    def start() -> Any:
        return initialize_model(jax.random.PRNGKey(0), model, model_args=arguments, validate_grad=False).param_info.z

    shapes = jax.eval_shape(start)
    _, unravel = ravel_pytree({name: np.zeros(shape.shape, shape.dtype) for name, shape in shapes.items()})

    def evaluate(point: Any) -> Any:
        potential = jax.value_and_grad(lambda at: potential_energy(model, arguments, {}, unravel(at)))(point)
        return potential, constrain_fn(model, arguments, {}, unravel(point), return_deterministic=True)

    (value, gradient), sites = jax.jit(jax.vmap(evaluate))(x)
    return Values(-np.asarray(value), -np.asarray(gradient), {name: np.asarray(v) for name, v in sites.items()})


def pyro_values(model: Callable[..., Any], arguments: tuple[Any, ...], x: NDArray[Any]) -> Values:
    """Pyro's potential and its transforms, at points x `n x dim`. Not for supports that depend on other sites."""
    with pyro.validation_enabled(False):
        initial, potential, transforms, _ = initialize_pyro_model(model, model_args=arguments)
        rows = [_pyro_point(initial, potential, transforms, torch.from_numpy(row)) for row in x]
    sites = {name: np.stack([row.sites[name] for row in rows]) for name in initial}
    return Values(np.stack([row.log_density for row in rows]), np.stack([row.score for row in rows]), sites)


def _pyro_point(initial: Any, potential: Any, transforms: Any, row: torch.Tensor) -> Values:
    point = row.clone().requires_grad_()
    names = sorted(initial)
    pieces = point.split([prod(initial[name].shape) for name in names])
    flat = {name: piece.reshape(initial[name].shape) for name, piece in zip(names, pieces, strict=True)}
    log_density = -potential(flat)
    (score,) = torch.autograd.grad(log_density, point)
    # Pyro's transforms lead from the support to the reals.
    sites = {name: transforms[name].inv(value).detach().numpy() for name, value in flat.items()}
    return Values(log_density.detach().numpy(), score.numpy(), sites)
