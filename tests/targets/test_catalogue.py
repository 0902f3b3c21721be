"""The catalogue: names, defaults, and errors that say which parameter and what is allowed."""

import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from gephyra.targets.catalogue import _CONSTRUCTORS, build
from gephyra.targets.families import FAMILIES, Kind, ParameterError, UnknownFamily, validated

MEANS = [[0.0, 1.0], [2.0, 3.0]]
DATA: Mapping[str, object] = {"features": [[0.0], [1.0], [2.0]], "labels": [0, 1, 1]}


def test_table_and_constructors_have_the_same_names() -> None:
    assert set(FAMILIES) == set(_CONSTRUCTORS)
    assert all(family.description.endswith(".") for family in FAMILIES.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_defaults_are_valid_values(family: str) -> None:
    for parameter in FAMILIES[family].parameters:
        assert not (parameter.required and parameter.default is not None)
        if parameter.default is not None and parameter.kind is not Kind.ARRAY:
            assert parameter.checked(parameter.default) == parameter.default


@pytest.mark.parametrize(
    ("family", "parameters", "dim", "log_z"),
    [
        ("gaussian", {}, 2, 0.0),
        ("gaussian", {"dim": 7}, 7, 0.0),
        ("gaussian", {"mean": [1, 2, 3]}, 3, 0.0),
        ("gaussian", {"covariance": [1.0, 2.0, 3.0, 4.0]}, 4, 0.0),
        ("gaussian", {"dim": 2, "mean": [1, 2], "covariance": [[2, 1], [1, 2]]}, 2, 0.0),
        ("gaussian-mixture", {"means": MEANS}, 2, 0.0),
        ("gaussian-mixture", {"means": MEANS, "scales": [[1], [2]], "weights": [1, 3]}, 2, 0.0),
        ("gmm40", {}, 2, 0.0),
        ("gmm40", {"dim": 50}, 50, 0.0),
        ("funnel", {}, 10, 0.0),
        ("funnel", {"dim": np.int64(3), "scale": 1}, 3, 0.0),
        ("many-well", {}, 5, -0.5410555),
        ("many-well", {"dim": 50, "delta": 2}, 50, 42.8172427),
        ("student-mixture", {}, 50, 0.0),
        ("student-mixture", {"means": MEANS, "df": 3.0}, 2, 0.0),
        ("logistic-regression", DATA, 2, None),
        ("logistic-regression", {**DATA, "intercept": False}, 1, None),
        ("lgcp", {"points": [[0.2, 0.9]], "grid": 3}, 9, None),
        ("lgcp", {"points": [[0.2, 0.9]]}, 1600, None),
        ("seeds", {}, 26, -73.40617),
        ("brownian", {}, 32, 1.187749),
        ("eight-schools", {}, 10, -36.130816),
        ("eight-schools-non-centred", {}, 10, -31.31135),
    ],
)
def test_families_build(family: str, parameters: Mapping[str, object], dim: int, log_z: float | None) -> None:
    target = build(family, parameters)
    assert target.dim == dim
    assert target.log_z == (None if log_z is None else pytest.approx(log_z, abs=1e-6))


@pytest.mark.parametrize(
    ("family", "parameters", "name", "message"),
    [
        ("funnel", {"dims": 3}, "dims", "funnel has no parameter 'dims'; it takes dim, scale"),
        ("seeds", {"dim": 3}, "dim", "seeds has no parameter 'dim'; it takes no parameters"),
        ("funnel", {"dim": 2.5}, "dim", "dim must be an integer, got float 2.5"),
        ("funnel", {"dim": True}, "dim", "dim must be an integer, got bool True"),
        ("funnel", {"dim": "ten"}, "dim", "dim must be an integer, got str 'ten'"),
        ("funnel", {"dim": None}, "dim", "dim must be an integer, got NoneType None"),
        ("funnel", {"dim": 1}, "dim", "dim must be between 2 and 100000, got int 1"),
        ("funnel", {"dim": 10**9}, "dim", "dim must be between 2 and 100000, got int 1000000000"),
        ("funnel", {"scale": 0}, "scale", "scale must be between 0.001 and 100, got int 0"),
        ("funnel", {"scale": float("nan")}, "scale", "scale must be a number, got float nan"),
        ("gmm40", {"dim": 3}, "dim", "dim must be 2 or 50 (only these tables of means exist), got 3"),
        ("gaussian-mixture", {}, "means", "gaussian-mixture needs the parameter means: Means, (components, dim)."),
        ("gaussian-mixture", {"means": [[1, 2], [3]]}, "means", "means must be an array of finite numbers, got list"),
        ("gaussian-mixture", {"means": [["a"]]}, "means", "means must be an array of finite numbers, got list"),
        ("gaussian-mixture", {"means": []}, "means", "means must be an array of finite numbers, got list []"),
        ("gaussian", {"mean": [0.0, float("inf")]}, "mean", "mean must be an array of finite numbers, got list"),
        ("gaussian", {"dim": 3, "mean": [0.0]}, "mean", "mean must have shape (3,) to fit dim = 3, got (1,)"),
        ("logistic-regression", {**DATA, "intercept": 1}, "intercept", "intercept must be true or false, got int 1"),
        (
            "logistic-regression",
            {**DATA, "prior_scale": -1},
            "prior_scale",
            "prior_scale must be at least 1e-06, got int",
        ),
        ("lgcp", {"grid": 40}, "points", "lgcp needs the parameter points: Points, (n, 2), in the unit square."),
        ("lgcp", {"points": [[0, 0]], "grid": 65}, "grid", "grid must be between 1 and 64, got int 65"),
        ("many-well", {"delta": 0}, "delta", "delta must be between 0.1 and 1000, got int 0"),
    ],
)
def test_bad_parameters_are_named(family: str, parameters: Mapping[str, object], name: str, message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        build(family, parameters)
    assert caught.value.parameter == name
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("family", "parameters", "message"),
    [
        ("gaussian", {"mean": [[1, 2]]}, "mean must have shape (dim,), got (1, 2)"),
        ("gaussian", {"covariance": [1, -1]}, "covariance must be positive and finite on its diagonal"),
        ("gaussian", {"covariance": [[1, 2], [2, 1]]}, "covariance must be symmetric and positive definite"),
        ("gaussian", {"covariance": [[1, 0.5], [0, 1]]}, "covariance must be symmetric and positive definite"),
        ("gaussian", {"dim": 3, "covariance": [1, 2]}, "covariance must have shape (3, 3) or (3,), got (2,)"),
        ("gaussian-mixture", {"means": [1, 2]}, "means must have shape (components, dim), got (2,)"),
        ("gaussian-mixture", {"means": MEANS, "scales": 0}, "scales must be positive and finite"),
        ("gaussian-mixture", {"means": MEANS, "scales": [1, 2, 3]}, "scales must broadcast to shape (2, 2), got (3,)"),
        ("gaussian-mixture", {"means": MEANS, "weights": [1]}, "weights must be 2 positive numbers, got [1.0]"),
        ("gaussian-mixture", {"means": MEANS, "weights": [1, 0]}, "weights must be 2 positive numbers"),
        ("many-well", {"dim": 2}, "wells must be between 1 and dim = 2, got 5"),
        ("student-mixture", {"means": [1.0]}, "means must have shape (components, dim), got (1,)"),
        ("logistic-regression", {**DATA, "labels": [1, 2, 3]}, "labels must be 0 or 1, got [1.0, 2.0, 3.0]"),
        (
            "logistic-regression",
            {**DATA, "labels": [1]},
            "labels must have shape (3,) like the rows of features, got (1,)",
        ),
        ("lgcp", {"points": [0.5, 0.5]}, "points must have shape (n, 2) with n at least 1, got (2,)"),
        ("lgcp", {"points": [[0.5, 1.5]]}, "points must lie in the unit square, got 0.5 to 1.5"),
        ("logistic-regression", {**DATA, "features": [1]}, "features must have shape (rows, columns), got (1,)"),
    ],
)
def test_values_that_do_not_fit_are_named(family: str, parameters: Mapping[str, object], message: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        build(family, parameters)
    assert str(caught.value).startswith(message)


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownFamily, match=r"no target family 'funel'; there are brownian, eight-schools, .*, funnel"):
        build("funel")


def test_validation_fills_defaults_and_converts() -> None:
    assert validated("many-well", {"delta": 2, "dim": np.int32(6)}) == {"dim": 6, "wells": 5, "delta": 2.0}
    converted = validated("gaussian", {"mean": (1, 2)})["mean"]
    assert isinstance(converted, np.ndarray)
    assert converted.dtype == np.float64


def test_table_needs_no_torch() -> None:
    code = "import sys; import gephyra.targets.families; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_targets_do_not_share_state() -> None:
    """Evaluating in single precision must not change what double precision gives."""
    target = build("seeds")
    x = torch.randn(4, 26, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before = target.log_density(x)
    target.log_density(x.float())
    assert torch.equal(target.log_density(x), before)
