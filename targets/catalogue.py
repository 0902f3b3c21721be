"""Targets by name: the one place where a name and numbers become a target."""

from collections.abc import Callable, Mapping
from importlib.resources import files
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from .base import Target
from .brownian import Brownian
from .families import ParameterError, validated
from .funnel import Funnel
from .gaussian import Gaussian, GaussianMixture
from .lgcp import LogGaussianCox
from .regression import LogisticRegression
from .schools import EightSchools, EightSchoolsNonCentred
from .seeds import Seeds
from .student import StudentMixture
from .wells import ManyWell

__all__ = ["build", "gmm40", "student_mixture"]

_Array = NDArray[np.float64]


def build(family: str, parameters: Mapping[str, object] | None = None) -> Target:
    """The target of this family.

    Args:
        family: A name of `families.FAMILIES`.
        parameters: Values by parameter name: ints, floats, bools, and arrays or nested sequences of numbers.

    Raises:
        UnknownFamily: For another name.
        ParameterError: For a parameter that is unknown, missing, of the wrong kind or out of range.
        ValueError: For values that do not fit together; the message begins with the parameter's name.

    >>> round(build("many-well", {"dim": 50, "delta": 2.0}).log_z, 5)
    42.81724
    """
    checked = validated(family, parameters or {})
    return _CONSTRUCTORS[family](**checked)


def gmm40(dim: int = 2) -> GaussianMixture:
    """Forty components of sd 1 and equal weight in 2 or 50 dimensions.

    The means lie in [-40, 40]^dim as the reference implementations drew them (JAX key 0, older threefry layout);
    they are stored because newer defaults of JAX give others. Raises ParameterError for another dimension.
    """
    if dim not in (2, 50):
        raise ParameterError("dim", f"dim must be 2 or 50 (only these tables of means exist), got {dim}")
    return GaussianMixture(_table(f"gmm40_means_{dim}.csv"), 1.0)


def student_mixture(means: _Array | None = None, df: float = 2.0) -> StudentMixture:
    """Ten components in 50 dimensions with centres in [-10, 10]^50, stored for the same reason; or given centres."""
    return StudentMixture(_table("student_means_50.csv") if means is None else means, df)


def _gaussian(dim: int | None = None, mean: _Array | None = None, covariance: _Array | None = None) -> Gaussian:
    if mean is None:
        mean = np.zeros(dim or (2 if covariance is None else len(np.atleast_1d(covariance))))
    if dim is not None and mean.shape != (dim,):
        raise ParameterError("mean", f"mean must have shape ({dim},) to fit dim = {dim}, got {mean.shape}")
    return Gaussian(mean, np.ones(mean.shape) if covariance is None else covariance)


def _table(name: str) -> _Array:
    """A CSV table of means that ships with the package."""
    with (files("gephyra.targets") / "data" / name).open() as lines:
        return np.loadtxt(lines, delimiter=",", ndmin=2)


_CONSTRUCTORS: Mapping[str, Callable[..., Target]] = MappingProxyType(
    {
        "gaussian": _gaussian,
        "gaussian-mixture": GaussianMixture,
        "gmm40": gmm40,
        "funnel": Funnel,
        "many-well": ManyWell,
        "student-mixture": student_mixture,
        "logistic-regression": LogisticRegression,
        "lgcp": LogGaussianCox,
        "seeds": Seeds,
        "brownian": Brownian,
        "eight-schools": EightSchools,
        "eight-schools-non-centred": EightSchoolsNonCentred,
    }
)
