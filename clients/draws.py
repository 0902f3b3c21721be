"""Draws with log weights: what a sampler returns."""

import hashlib
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .evidence import Evidence

__all__ = ["Draws"]


@dataclass(frozen=True, eq=False, repr=False)
class Draws:
    """n draws of a sampler. Draw i is a pure function of (sampler, seed, start + i).

    With log weights w the draws represent the target: its expectation of f is sum(exp(w) f(x)) / sum(exp(w)),
    and the mean of exp(w) estimates Z. Use the weights, or `resample`.
    """

    x: NDArray[Any]
    """Unconstrained coordinates, or columns of data, (n, dim)."""
    log_weights: NDArray[np.float64]
    """(n,); -inf for a path that was not finite, all zero after `resample`."""
    sites: Mapping[str, NDArray[Any]]
    """The model's own sites by name, (n, *shape) each; empty if they were left out."""
    sampler: str
    """Name of the sampler."""
    seed: int
    """Seed of the noise."""
    start: int = 0
    """Index of the first draw."""
    evidence: Evidence | None = None
    """The sampler's report."""
    resampled: bool = False
    """True if the draws have equal weights because they were resampled."""
    weighted: bool = True
    """False for draws of a model of data, which have equal weights: log weight 0."""

    def __len__(self) -> int:
        return len(self.log_weights)

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) over all bytes of x, then all bytes of the log weights, little-endian."""
        digest = hashlib.sha256(np.ascontiguousarray(self.x, self.x.dtype.newbyteorder("<")).data)
        digest.update(np.ascontiguousarray(self.log_weights, "<f8").data)
        return digest.hexdigest()

    @property
    def weights(self) -> NDArray[np.float64]:
        """Normalised weights, (n,), summing to 1. Raises ValueError if every weight is zero."""
        largest = self.log_weights.max(initial=-np.inf)
        if not np.isfinite(largest):
            raise ValueError(f"none of the {len(self)} draws has a positive finite weight; train longer, or draw more")
        relative: NDArray[np.float64] = np.exp(self.log_weights - largest)
        relative /= relative.sum()
        return relative

    @property
    def ess(self) -> float:
        """Effective sample size of the weights, in [1, n]."""
        return float(1 / np.square(self.weights).sum())

    def resample(self, count: int, seed: int = 0) -> "Draws":
        """`count` draws with equal weights, in random order.

        Systematic resampling: draw i is taken floor or ceil of count * weight_i times, the same number in
        expectation, with less noise than independent picks. Draws may repeat: more than `ess` of them say
        little more, and a warning says so. Raises ValueError for a negative count or if every weight is zero.
        """
        if count < 0:
            raise ValueError(f"count must not be negative, got {count}")
        if count > math.ceil(self.ess):
            warnings.warn(
                f"resampling to {count} draws where the weights are worth {self.ess:.0f}: many will be repeated, and "
                "ArviZ would count each as independent; resample to fewer, or draw more",
                stacklevel=2,
            )
        generator = np.random.default_rng(seed)
        edges = np.cumsum(self.weights)
        places = (generator.random() + np.arange(count)) / max(count, 1)
        # The last edge is 1 up to rounding; a place beyond it belongs to the last draw of positive weight.
        picked = np.searchsorted(edges / edges[-1], places, side="right")
        picked = generator.permutation(np.minimum(picked, np.flatnonzero(self.weights)[-1]))
        return replace(
            self,
            x=self.x[picked],
            log_weights=np.zeros(count),
            sites={name: values[picked] for name, values in self.sites.items()},
            resampled=True,
        )

    def to_arviz(self) -> Any:
        """The draws for ArviZ: `InferenceData` before ArviZ 1, `DataTree` from then on.

        One chain in group `posterior` (the sites, or `x` where there are none). Draws that still carry weights
        have them as `log_weight` in group `sample_stats`: ArviZ's own summaries ignore them, so resample first
        for those. Raises ImportError, with the line to install it, without ArviZ.
        """
        from .export import to_arviz

        return to_arviz(self)

    def rows(self) -> list[tuple[str, str]]:
        """What they are as (label, text), for tables."""
        weights = "equal (resampled)" if self.resampled else f"ESS {self.ess:.0f} of {len(self)}"
        weights = weights if self.weighted else "equal"
        shapes = {name: str(values.shape[1:]) for name, values in self.sites.items()}
        sites = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        return [
            ("draws", f"{len(self)} of {self.sampler}, seed {self.seed}, from {self.start}"),
            ("weights", weights),
            ("x", f"{self.x.shape[1]} {'unconstrained coordinates' if self.weighted else 'columns'}"),
            ("sites", sites or "none"),
        ]

    def __repr__(self) -> str:
        sites = ", ".join(self.sites)
        return f"Draws({len(self)} x {self.x.shape[1]}, sampler={self.sampler!r}, seed={self.seed}, sites=[{sites}])"

    def _repr_html_(self) -> str:
        rows = (f"<tr><th>{escape(label)}</th><td>{escape(text)}</td></tr>" for label, text in self.rows())
        return f"<table>{''.join(rows)}</table>"
