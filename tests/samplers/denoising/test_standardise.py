"""Coordinates of a data set, and columns without a density, by name."""

import math

import pytest
import torch

from gephyra.samplers.denoising.standardise import Columns, inspect_columns, levels_of, standardise
from tests.samplers.denoising.exact import normal

NAMES = ["a", "b", "c"]


def test_columns_have_mean_zero_and_variance_one() -> None:
    data = torch.tensor([3.0, -1.0, 0.5]) + torch.tensor([10.0, 0.1, 1.0]) * normal("columns", 100, 3)
    transform = standardise(data)
    y = transform.to_model(data)
    assert y.mean(0).abs().max() < 1e-12
    assert (y.square().mean(0) - 1).abs().max() < 1e-12
    assert torch.allclose(transform.to_data(y), data, rtol=1e-12)


def test_the_jacobian_is_the_maps() -> None:
    """Of a density in other units: doubling the data costs log 2 a column."""
    data = normal("jacobian", 50, 3)
    one, two = standardise(data), standardise(2 * data)
    assert two.log_jacobian - one.log_jacobian == pytest.approx(3 * math.log(2))
    jacobian = torch.autograd.functional.jacobian(lambda y: one.to_data(y), torch.zeros(3, dtype=torch.float64))
    assert isinstance(jacobian, torch.Tensor)
    assert one.log_jacobian == pytest.approx(float(torch.logdet(jacobian)))


def test_a_constant_column_keeps_its_scale() -> None:
    data = torch.cat([torch.full((10, 1), 7.0), normal("constant", 10, 1)], 1)
    transform = standardise(data)
    assert float(transform.scale[0]) == 1.0
    assert not transform.to_model(data)[:, 0].any()


def test_columns_without_a_density_are_named() -> None:
    free = normal("named", 40, 2)
    data = torch.cat(
        [free, torch.full((40, 1), 2.0), (free[:, :1] > 0).double(), free @ torch.tensor([[1.0], [-3.0]]).double()], 1
    )
    found = inspect_columns(data, ["free", "other", "fixed", "sign", "sum"])
    assert found == Columns(("fixed",), ("sign",), ("sum",))
    with pytest.raises(ValueError, match=r"no density \(constant: fixed; linear functions of others: sum\)"):
        found.refuse()
    assert str(found.caution).startswith("values repeat in sign:")
    clean = inspect_columns(free, ["free", "other"])
    assert clean == Columns((), (), ())
    clean.refuse()
    assert clean.caution is None


def test_more_columns_than_rows_depend_on_each_other() -> None:
    assert inspect_columns(normal("wide", 3, 5), list("abcde")).dependent == ("c", "d", "e")


def test_bad_values_have_a_row_and_a_column() -> None:
    data = normal("bad", 5, 3)
    data[3, 1] = math.nan
    with pytest.raises(ValueError, match="row 3, column b: expected a finite number, got nan"):
        inspect_columns(data, NAMES)
    with pytest.raises(ValueError, match=r"2 rows of 3 columns, got shape \(1, 3\)"):
        inspect_columns(data[:1], NAMES)


def test_levels_are_the_distinct_values() -> None:
    data = torch.tensor([[1.0, 5.0], [0.0, 5.0], [1.0, 5.0]])
    assert torch.equal(levels_of(data, ["a", "b"]).nan_to_num(-1), torch.tensor([[0.0, 1.0], [5.0, -1.0]]).double())
    with pytest.raises(ValueError, match="column a has 2 distinct values, more than 1"):
        levels_of(data, ["a", "b"], most=1)
