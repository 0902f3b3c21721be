"""Capture of a Pyro model: its joint log density in unconstrained coordinates, and the map back to its sites.

Coordinates are the latent sites in alphabetical order, each mapped to the reals by the bijection of its support and
flattened; the log density holds the log-Jacobian. The support is taken anew at each evaluation, so that it may
depend on other sites.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import biject_to
from torch.distributions.transforms import ComposeTransform, IndependentTransform, LowerCholeskyTransform

from ..errors import CaptureError
from .record import Captured
from .torch import TorchDensity, capture, unvalidated

__all__ = ["from_pyro"]


def from_pyro(model: Callable[..., Any], *args: Any, **kwargs: Any) -> Captured:
    """Capture the posterior of a Pyro model called as `model(*args, **kwargs)`, observed sites included.

    Draws come back as the latent and deterministic sites of the model. Computed in torch's default type. Raises
    CaptureError for what cannot be captured: discrete latent sites, subsampling plates, branches and
    shapes that depend on a latent value.
    """
    if not callable(model):
        raise CaptureError(f"model must be a Pyro model, a function, got {type(model).__name__}")
    with _unvalidated():
        shapes, names, deterministic = _layout(model, args, kwargs)
        if not sum(prod(shape) for shape in shapes.values()):
            raise CaptureError("the model has no latent site, so there is nothing to sample; is every site observed?")

        def run(point: Tensor) -> tuple[Any, Tensor]:
            unconstrained = _Unconstrained(_split(point, shapes))
            with poutine.trace() as recorder, unconstrained:
                model(*args, **kwargs)
            return recorder.trace, unconstrained.log_jacobian

        def log_density(point: Tensor) -> Tensor:
            record, log_jacobian = run(point)
            value: Tensor = record.log_prob_sum() + log_jacobian
            return value

        def constrain(point: Tensor) -> Mapping[str, Tensor]:
            record, _ = run(point)
            return {name: record.nodes[name]["value"] for name in names}

        dim = sum(prod(shape) for shape in shapes.values())
        source = f"pyro {pyro.__version__}, torch {torch.__version__}"
        return Captured(capture(TorchDensity(dim, log_density, source, constrain, names, deterministic)))


@contextmanager
def _unvalidated() -> Iterator[None]:
    with unvalidated(), pyro.validation_enabled(False):
        yield


class _Unconstrained(Messenger):
    """Gives each latent site the value at its unconstrained coordinates, and sums the log-Jacobians.

    Without coordinates it takes zeros, and learns the shapes.
    """

    def __init__(self, coordinates: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.coordinates = coordinates
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.log_jacobian = torch.zeros(())

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or msg["done"] or site_is_subsample(msg):
            return
        name = msg["name"]
        _refuse_latent(name, msg["fn"])
        bijection = _bijection(name, msg["fn"])
        if self.coordinates is None:
            at = torch.zeros(bijection.inverse_shape(msg["fn"].shape()))
            self.shapes[name] = tuple(at.shape)
        else:
            at = self.coordinates[name]
        msg["value"] = bijection(at)
        msg["done"] = True
        if not _is_identity(bijection):
            self.log_jacobian = self.log_jacobian + bijection.log_abs_det_jacobian(at, msg["value"]).sum()


def _is_identity(bijection: Any) -> bool:
    base = bijection.base_transform if isinstance(bijection, IndependentTransform) else bijection
    return isinstance(base, ComposeTransform) and not base.parts


def _layout(
    model: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[dict[str, tuple[int, ...]], tuple[str, ...], frozenset[str]]:
    """Unconstrained shapes of the latents by sorted name; the sites in the model's order; which are deterministic."""
    learner = _Unconstrained()
    with poutine.trace() as recorder, learner:
        model(*args, **kwargs)
    nodes = recorder.trace.nodes
    for name, site in nodes.items():
        _refuse_site(name, site)
    deterministic = frozenset(name for name, site in nodes.items() if _is_deterministic(site))
    names = tuple(name for name in nodes if name in learner.shapes or name in deterministic)
    return dict(sorted(learner.shapes.items())), names, deterministic


def _is_deterministic(site: Mapping[str, Any]) -> bool:
    return site["type"] == "sample" and bool(site["infer"].get("_deterministic"))


def _split(point: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    pieces = point.split([prod(shape) for shape in shapes.values()])
    return {name: piece.reshape(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}


def _refuse_site(name: str, site: Any) -> None:
    if site["type"] == "param":
        raise CaptureError(
            f"site {name!r} is a param, which has no prior; make it pyro.sample with a prior, or pass a number"
        )
    if site["type"] == "sample" and site_is_subsample(site):
        size, subsample = site["fn"].size, site["fn"].subsample_size
        if subsample not in (None, size):
            raise CaptureError(
                f"plate {name!r} takes a random subsample of {subsample} out of {size}, so its log density is random; "
                "remove subsample_size and give the model all its data"
            )


def _refuse_latent(name: str, distribution: Any) -> None:
    kind = type(distribution).__name__
    if distribution.support.is_discrete:
        raise CaptureError(
            f"site {name!r} is discrete ({kind}) and not observed, and a bridge sampler needs continuous sites; "
            "sum it out by hand (MixtureSameFamily for a mixture), or observe it"
        )


def _bijection(name: str, distribution: Any) -> Any:
    """The one-to-one map from the reals onto the support of a site."""
    kind = type(distribution).__name__
    try:
        bijection = biject_to(distribution.support)
    except NotImplementedError:
        bijection = None
    # torch maps all square matrices onto the lower ones: not one-to-one, so there is no Jacobian.
    if bijection is None or isinstance(bijection, LowerCholeskyTransform):
        raise CaptureError(
            f"site {name!r} ({kind}) has a support, {distribution.support}, for which torch has no one-to-one map from "
            "the reals; write a covariance matrix as scales times LKJCholesky, and other supports as a "
            "transformed site"
        )
    return bijection
