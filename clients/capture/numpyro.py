"""Capture of a NumPyro model: its joint log density in unconstrained coordinates, and the map back to its sites.

Coordinates are the latent sites in alphabetical order, each mapped to the reals by the bijection of its support
and flattened; the log density holds the log-Jacobian. Arguments of the model keep their Python values while it
is traced, and the arrays among them become data of the program.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
from jax.flatten_util import ravel_pytree
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.infer import init_to_uniform
from numpyro.infer.util import constrain_fn, potential_energy

from ..errors import CaptureError
from .jax import JaxDensity, capture, trace_refusal
from .record import Captured

__all__ = ["from_numpyro"]


def from_numpyro(model: Callable[..., Any], *args: Any, **kwargs: Any) -> Captured:
    """Capture the posterior of a NumPyro model called as `model(*args, **kwargs)`, observed sites included.

    Draws come back as the latent and deterministic sites of the model. Computed in float32, or in float64
    where `jax_enable_x64` is on. Raises CaptureError for what cannot be captured: discrete latent sites,
    subsampling plates, branches and shapes that depend on a latent value.
    """
    if not callable(model):
        raise CaptureError(f"model must be a NumPyro model, a function, got {type(model).__name__}")
    shapes, trace = _layout(model, args, kwargs)
    flat, unravel = ravel_pytree({name: jnp.zeros(shape.shape, shape.dtype) for name, shape in shapes.items()})
    if flat.size == 0:
        raise CaptureError("the model has no latent site, so there is nothing to sample; is every site observed?")

    def log_density(point: Any) -> Any:
        return -potential_energy(model, args, kwargs, unravel(point))

    def constrain(point: Any) -> Mapping[str, Any]:
        values: Mapping[str, Any] = constrain_fn(model, args, kwargs, unravel(point), return_deterministic=True)
        return values

    source = f"numpyro {numpyro.__version__}, jax {jax.__version__}"
    deterministic = frozenset(name for name, site in trace.items() if site["type"] == "deterministic")
    names = tuple(name for name in trace if name in shapes or name in deterministic)
    density = JaxDensity(flat.size, log_density, source, constrain, names, deterministic)
    return Captured(capture(density))


def _layout(
    model: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Unconstrained shapes of the latents by name, and every recorded site by name in the model's order.

    The model runs once on abstract values: nothing is computed, only shapes and kinds of sites are read.
    """
    recorder = handlers.trace(handlers.substitute(handlers.seed(model, 0), substitute_fn=init_to_uniform))

    def run() -> dict[str, Any]:
        try:
            recorder(*args, **kwargs)
        finally:
            # Also when the model stops half way: the site that stopped it says more than the tracer's error.
            _refuse_sites(recorder.trace)
        latents = [site for site in recorder.trace.values() if _is_latent(site)]
        return {site["name"]: _unconstrained(site) for site in latents}

    try:
        shapes: dict[str, Any] = jax.eval_shape(run)
    except Exception as error:
        raise trace_refusal(error) or error from error
    return shapes, dict(recorder.trace)


def _unconstrained(site: Mapping[str, Any]) -> Any:
    try:
        return biject_to(site["fn"].support).inv(site["value"])
    except NotImplementedError as error:
        raise CaptureError(
            f"site {site['name']!r} ({type(site['fn']).__name__}) has a support, {site['fn'].support}, for which "
            "NumPyro has no one-to-one map from the reals; write it as a transformed site"
        ) from error


def _refuse_sites(trace: Mapping[str, Any]) -> None:
    for name, site in trace.items():
        sentence = _refusal(name, site)
        if sentence is not None:
            raise CaptureError(sentence)


def _refusal(name: str, site: Mapping[str, Any]) -> str | None:
    if site["type"] == "plate" and site["args"][1] is not None and site["args"][0] != site["args"][1]:
        size, subsample = site["args"]
        return (
            f"plate {name!r} takes a random subsample of {subsample} out of {size}, so its log density is random; "
            "remove subsample_size and give the model all its data"
        )
    if site["type"] == "param":
        return f"site {name!r} is a param, which has no prior; make it numpyro.sample with a prior, or pass a number"
    if _is_latent(site) and site["fn"].support.is_discrete:
        return (
            f"site {name!r} is discrete ({type(site['fn']).__name__}) and not observed, and a bridge sampler needs "
            "continuous sites; sum it out by hand (MixtureSameFamily for a mixture), or observe it"
        )
    return None


def _is_latent(site: Mapping[str, Any]) -> bool:
    return site["type"] == "sample" and not site["is_observed"]
