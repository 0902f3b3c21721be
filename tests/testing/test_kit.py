"""The kit as a package: what importing it loads, what hypothesis learns from it, its strategies."""

import subprocess
import sys
from importlib.metadata import entry_points

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gephyra.clients import testing
from gephyra.clients.testing import AffineMap, affine_maps
from gephyra.clients.testing.report import CheckReport, require
from gephyra.targets.gaussian import Gaussian

HEAVY = {"torch", "jax", "grpc", "google", "gephyra.targets.base", "gephyra.samplers.simulate"}


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"], check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


def test_hypothesis_hook_loads_nothing_heavy() -> None:
    loaded = loaded_by("from gephyra.clients.testing._hypothesis import register; register()")
    assert loaded & HEAVY == set()
    assert "gephyra.clients.testing.maps" in loaded


def test_importing_the_kit_loads_nothing_heavy() -> None:
    assert loaded_by("import gephyra.clients.testing") & (HEAVY | {"hypothesis", "numpy"}) == set()


def test_installed_package_registers_the_hook() -> None:
    hooks = [hook for hook in entry_points(group="hypothesis") if hook.name == "gephyra"]
    if not hooks:
        pytest.skip("gephyra is not installed in this environment")
    assert [hook.value for hook in hooks] == ["gephyra.clients.testing._hypothesis:register"]


def test_hypothesis_knows_the_records_after_registration() -> None:
    from gephyra.clients.testing._hypothesis import register

    register()

    @given(st.from_type(AffineMap))
    def every_map_is_invertible(affine: AffineMap) -> None:
        assert np.isfinite(affine.log_abs_det)

    every_map_is_invertible()


def test_every_public_name_is_there() -> None:
    assert [name for name in testing.__all__ if not hasattr(testing, name)] == []
    assert set(testing.__all__) <= set(dir(testing))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'; it has AffineMap"):
        _ = testing.nonsense


@given(affine_maps(2))
def test_affine_map_agrees_with_its_matrix(affine: AffineMap) -> None:
    matrix = np.diag(affine.scale_tril) if affine.scale_tril.ndim == 1 else affine.scale_tril
    np.testing.assert_allclose(affine(np.eye(2)), affine.shift + matrix.T, rtol=1e-12, atol=1e-12)
    assert affine.log_abs_det == pytest.approx(np.linalg.slogdet(matrix)[1])


def test_view_refuses_another_dimension() -> None:
    with pytest.raises(ValueError, match=r"shift must have shape \(1,\), got \(2,\)"):
        AffineMap(np.zeros(2), np.ones(2)).view(Gaussian([0.0], [1.0]))


def test_reports_and_failures_carry_the_same_words() -> None:
    assert require("check_batch", True, "fine") == CheckReport("check_batch", "fine")
    with pytest.raises(AssertionError, match=r"^check_batch: row 3 differs$"):
        require("check_batch", False, "row 3 differs")
