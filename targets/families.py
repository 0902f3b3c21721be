"""The catalogue as a table: which targets are known by name, and what they take. Imports nothing heavy.

`catalogue.build` makes the target; a process without torch can list and check requests with this module alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from numbers import Integral, Real
from types import MappingProxyType

import numpy as np

__all__ = ["FAMILIES", "Family", "Kind", "Parameter", "ParameterError", "UnknownFamily", "validated"]

_LARGEST_DIM = 100_000
"""Bound on dimensions given as a number; it keeps a slip of the keyboard from filling the memory."""


class Kind(Enum):
    """What a parameter is; the value is the phrase that errors use."""

    INTEGER = "an integer"
    NUMBER = "a number"
    BOOLEAN = "true or false"
    ARRAY = "an array of finite numbers"


class UnknownFamily(ValueError):
    """No family of the catalogue has this name."""


class ParameterError(ValueError):
    """A parameter is unknown, missing, of the wrong kind or out of range."""

    def __init__(self, parameter: str, message: str) -> None:
        """Keep the parameter's name, for errors that point at a field."""
        super().__init__(message)
        self.parameter = parameter


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a family."""

    name: str
    kind: Kind
    doc: str
    """Meaning, shape, unit."""
    default: int | float | bool | None = None
    """Value when it is left out; None: the constructor decides, as `doc` says."""
    required: bool = False
    minimum: float = -math.inf
    maximum: float = math.inf

    def checked(self, value: object) -> int | float | bool | np.ndarray:
        """The value as a plain int, float or bool, or a float64 array.

        Raises:
            ParameterError: If it is of another kind or out of range.
        """
        converted = _CONVERT[self.kind](value)
        if converted is None:
            raise ParameterError(self.name, f"{self.name} must be {self.kind.value}, got {_shown(value)}")
        if not isinstance(converted, np.ndarray) and not self.minimum <= converted <= self.maximum:
            raise ParameterError(self.name, f"{self.name} must be {self.range}, got {_shown(value)}")
        return converted

    @property
    def range(self) -> str:
        """The allowed values of a number, in words."""
        if self.maximum == math.inf:
            return "any number" if self.minimum == -math.inf else f"at least {self.minimum:g}"
        return f"between {self.minimum:g} and {self.maximum:g}"


@dataclass(frozen=True, slots=True)
class Family:
    """One name of the catalogue."""

    description: str
    """One sentence for people."""
    parameters: tuple[Parameter, ...] = ()


def validated(family: str, parameters: Mapping[str, object]) -> dict[str, int | float | bool | np.ndarray]:
    """The parameters of a family with their types checked and defaults filled in.

    What only the constructor can see, such as a covariance that is not positive definite, is not checked here.

    Raises:
        UnknownFamily: For a name outside FAMILIES.
        ParameterError: For a parameter that is unknown, missing, of the wrong kind or out of range.

    >>> validated("funnel", {"dim": 4})
    {'dim': 4, 'scale': 3.0}
    """
    if family not in FAMILIES:
        raise UnknownFamily(f"no target family {family!r}; there are {', '.join(sorted(FAMILIES))}")
    known = {parameter.name: parameter for parameter in FAMILIES[family].parameters}
    for name in parameters:
        if name not in known:
            allowed = f"it takes {', '.join(known)}" if known else "it takes no parameters"
            raise ParameterError(name, f"{family} has no parameter {name!r}; {allowed}")
    given = {name: known[name].checked(value) for name, value in parameters.items()}
    for name, parameter in known.items():
        if parameter.required and name not in given:
            raise ParameterError(name, f"{family} needs the parameter {name}: {parameter.doc}")
    defaults = {name: parameter.default for name, parameter in known.items() if parameter.default is not None}
    return {**defaults, **given}


def _integer(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        return None
    return int(value)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value):
        return None
    return float(value)


def _boolean(value: object) -> bool | None:
    return bool(value) if isinstance(value, bool | np.bool_) else None


def _array(value: object) -> np.ndarray | None:
    try:
        array = np.asarray(value)
    except ValueError:  # ragged rows
        return None
    if array.dtype.kind not in "iufb" or not array.size or not np.isfinite(array).all():
        return None
    return array.astype(np.float64)


_CONVERT = MappingProxyType({Kind.INTEGER: _integer, Kind.NUMBER: _number, Kind.BOOLEAN: _boolean, Kind.ARRAY: _array})


def _shown(value: object) -> str:
    text = f"{type(value).__name__} {value!r}".replace("\n", " ")
    return text if len(text) <= 80 else f"{text[:77]}..."


def _dim(default: int | None, minimum: int, doc: str = "Dimension.") -> Parameter:
    return Parameter("dim", Kind.INTEGER, doc, default, minimum=minimum, maximum=_LARGEST_DIM)


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "gaussian": Family(
            "Normal law.",
            (
                _dim(None, 1, "Dimension; left out: that of mean, or 2."),
                Parameter("mean", Kind.ARRAY, "Mean, (dim,); left out: 0."),
                Parameter("covariance", Kind.ARRAY, "Covariance, (dim, dim), or its diagonal, (dim,); left out: 1."),
            ),
        ),
        "gaussian-mixture": Family(
            "Mixture of normal laws with diagonal covariances.",
            (
                Parameter("means", Kind.ARRAY, "Means, (components, dim).", required=True),
                Parameter("scales", Kind.ARRAY, "Standard deviations: a number, or broadcast to means.", 1.0),
                Parameter("weights", Kind.ARRAY, "Weights, (components,), positive; left out: equal."),
            ),
        ),
        "gmm40": Family(
            "Forty normal components far apart in 2 or 50 dimensions, sd 1.",
            (_dim(2, 2, "Dimension, 2 or 50."),),
        ),
        "funnel": Family(
            "Neal's funnel: x_0 ~ N(0, scale), the others N(0, exp(x_0 / 2)).",
            (
                _dim(10, 2),
                Parameter("scale", Kind.NUMBER, "Standard deviation of x_0.", 3.0, minimum=1e-3, maximum=100.0),
            ),
        ),
        "many-well": Family(
            "Product of double wells and standard normals: 2^wells modes.",
            (
                _dim(5, 1),
                Parameter(
                    "wells", Kind.INTEGER, "Number of double wells, at most dim.", 5, minimum=1, maximum=_LARGEST_DIM
                ),
                Parameter(
                    "delta", Kind.NUMBER, "Square of the modes' distance from 0.", 4.0, minimum=0.1, maximum=1000.0
                ),
            ),
        ),
        "student-mixture": Family(
            "Ten products of Student-t laws in 50 dimensions, or others around given means.",
            (
                Parameter("means", Kind.ARRAY, "Centres, (components, dim); left out: the 10 x 50 table."),
                Parameter("df", Kind.NUMBER, "Degrees of freedom.", 2.0, minimum=0.1, maximum=1000.0),
            ),
        ),
        "logistic-regression": Family(
            "Posterior of a Bayesian logistic regression on your data.",
            (
                Parameter("features", Kind.ARRAY, "Features, (rows, columns), used as they come.", required=True),
                Parameter("labels", Kind.ARRAY, "Labels, (rows,), 0 or 1.", required=True),
                Parameter("prior_scale", Kind.NUMBER, "Standard deviation of every weight.", 1.0, minimum=1e-6),
                Parameter("intercept", Kind.BOOLEAN, "Put a column of ones first.", True),
            ),
        ),
        "lgcp": Family(
            "Log-Gaussian Cox process: log intensity of points in the unit square, grid^2-d.",
            (
                Parameter("points", Kind.ARRAY, "Points, (n, 2), in the unit square.", required=True),
                Parameter("grid", Kind.INTEGER, "Cells a side.", 40, minimum=1, maximum=64),
            ),
        ),
        "seeds": Family("Random effects logistic regression on 21 plates of seeds, 26-d."),
        "brownian": Family("Brownian motion with unknown scales and a gap in the observations, 32-d."),
        "eight-schools": Family("Eight schools, centred; mu ~ N(0, 10), log tau ~ N(5, 1); 10-d."),
        "eight-schools-non-centred": Family("Eight schools, non-centred; mu ~ N(0, 5), tau ~ HalfCauchy(5); 10-d."),
    }
)
"""Every family by name."""
