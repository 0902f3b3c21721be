"""Draws in the containers and files of others: ArviZ, netCDF, npz."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gephyra import __version__

if TYPE_CHECKING:
    from .draws import Draws

__all__ = ["to_arviz", "write_draws"]

_INSTALL = "it needs ArviZ: pip install 'gephyra[plots]'"


def to_arviz(draws: "Draws") -> Any:
    """`InferenceData` (ArviZ before 1) or `DataTree` (from 1 on); see `Draws.to_arviz`."""
    try:
        # By name, because the two generations of ArviZ have different types.
        arviz: Any = import_module("arviz")
    except ImportError as error:
        raise ImportError(f"to_arviz: {_INSTALL}") from error
    groups = {"posterior": _chain(dict(draws.sites) or {"x": draws.x})}
    if draws.weighted and not draws.resampled:
        groups["sample_stats"] = _chain({"log_weight": draws.log_weights})
    if int(arviz.__version__.split(".")[0]) < 1:
        made = arviz.from_dict(**groups)
        for group in groups:
            made[group].attrs.update(_attributes(draws))
        made.attrs.update(_attributes(draws))
        return made
    tree = arviz.from_dict(groups)
    for node in (tree, *(tree[group] for group in groups)):
        node.attrs.update(_attributes(draws))
    return tree


def write_draws(draws: "Draws", path: Path) -> None:
    """Write to `.nc` (netCDF, through ArviZ) or `.npz` (arrays `x`, `log_weights` and `site.NAME`).

    Raises ValueError for another ending, ImportError where ArviZ is missing.
    """
    if path.suffix == ".nc":
        to_arviz(draws).to_netcdf(str(path))
    elif path.suffix == ".npz":
        sites: dict[str, Any] = {f"site.{name}": values for name, values in draws.sites.items()}
        np.savez(path, allow_pickle=False, x=draws.x, log_weights=draws.log_weights, **sites)
    else:
        raise ValueError(f"draws are written to .nc or .npz, got {path.name!r}")


def _chain(values: dict[str, Any]) -> dict[str, Any]:
    """The draws as one chain: independent draws need no more."""
    return {name: np.asarray(value)[None] for name, value in values.items()}


def _attributes(draws: "Draws") -> dict[str, Any]:
    """What to remember about the draws; netCDF takes numbers and words only."""
    known: dict[str, Any] = {
        "inference_library": "gephyra",
        "inference_library_version": __version__,
        "sampler": draws.sampler,
        "seed": str(draws.seed),
        "start": draws.start,
        "weights": _weights(draws),
    }
    if draws.evidence is not None:
        known |= {
            "log_evidence": draws.evidence.log_z,
            "log_evidence_se": draws.evidence.log_z_se,
            "elbo": draws.evidence.elbo,
            "ess_fraction": draws.evidence.ess_fraction,
            "k_hat": draws.evidence.k_hat,
        }
    return known


def _weights(draws: "Draws") -> str:
    if not draws.weighted:
        return "equal"
    return "equal, by systematic resampling" if draws.resampled else "sample_stats.log_weight"
