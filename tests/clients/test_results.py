"""Draws and evidence: resampling, weights, ArviZ, files, and what people see of them."""

import json
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from gephyra.clients import Draws, Evidence
from gephyra.clients.evidence import PolishReport, PreconditionReport, Times, evidence_from_message
from gephyra.clients.export import write_draws
from gephyra.protos import report_pb2


def make_evidence() -> Evidence:
    return evidence_from_message(
        report_pb2.EvidenceReport(
            elbo=-1.5, log_z=-1.0, log_z_se=0.01, ess_fraction=0.5, k_hat=0.3, paths=16384, warnings=["watch <out>"]
        ),
        stored=True,
    )


def make_draws(log_weights: list[float] | np.ndarray) -> Draws:
    count = len(log_weights)
    x = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    sites = {"mu": x[:, 0], "theta": np.repeat(x[:, :, None], 3, axis=2)}
    return Draws(x, np.asarray(log_weights, np.float64), sites, "samplers/a", seed=2**63, evidence=make_evidence())


@pytest.mark.filterwarnings("ignore:resampling to")
@given(st.lists(st.floats(-700, 700) | st.just(-np.inf), min_size=1, max_size=40), st.integers(0, 200), st.integers(0))
def test_systematic_resampling_takes_each_draw_floor_or_ceil_of_its_share(
    log_weights: list[float], count: int, seed: int
) -> None:
    draws = make_draws(log_weights)
    if max(log_weights) == -np.inf:
        with pytest.raises(ValueError, match="positive finite weight"):
            draws.resample(count, seed)
        return
    resampled = draws.resample(count, seed)
    taken = np.bincount(resampled.x[:, 0].astype(int) // 2, minlength=len(draws))
    shares = count * draws.weights
    assert taken.sum() == len(resampled) == count
    assert (taken >= np.floor(shares - 1e-9)).all()
    assert (taken <= np.ceil(shares + 1e-9)).all()
    np.testing.assert_array_equal(resampled.sites["mu"], resampled.x[:, 0])
    assert (resampled.log_weights == 0).all()


def test_resampling_to_more_than_the_weights_are_worth_warns() -> None:
    draws = make_draws([0.0] * 10 + [-50.0] * 10)
    draws.resample(10)
    with pytest.warns(UserWarning, match="worth 10"):
        draws.resample(11)


def test_resampled_draws_are_in_random_order_and_repeatable() -> None:
    draws = make_draws(np.zeros(1000))
    once = draws.resample(1000, seed=3)
    np.testing.assert_array_equal(once.x, draws.resample(1000, seed=3).x)
    assert (once.x != draws.resample(1000, seed=4).x).any()
    # Ranks of a random permutation against their places: no order is left (false alarm 1e-6).
    assert scipy.stats.spearmanr(once.x[:, 0], np.arange(1000)).pvalue > 1e-6


def test_ess_and_weights_are_those_of_the_definition() -> None:
    draws = make_draws(np.log([1.0, 1.0, 2.0]) + 800)
    np.testing.assert_allclose(draws.weights, [0.25, 0.25, 0.5])
    np.testing.assert_allclose(draws.ess, 16 / 6)


def test_draws_and_evidence_cannot_be_changed() -> None:
    for record, name in ((make_draws([0.0]), "seed"), (make_evidence(), "log_z")):
        with pytest.raises(AttributeError):
            setattr(record, name, 1)


@pytest.mark.parametrize("ending", ["nc", "npz"])
def test_files_hold_what_the_draws_hold(tmp_path: Path, ending: str) -> None:
    draws, path = make_draws([0.0, -1.0, -2.0]), tmp_path / f"draws.{ending}"
    write_draws(draws, path)
    if ending == "npz":
        with np.load(path, allow_pickle=False) as file:
            assert set(file) == {"x", "log_weights", "site.mu", "site.theta"}
            np.testing.assert_array_equal(file["site.theta"], draws.sites["theta"])
    else:
        arviz: Any = import_module("arviz")
        data = arviz.from_netcdf(path)
        np.testing.assert_array_equal(data["posterior"]["theta"].values[0], draws.sites["theta"])
        np.testing.assert_array_equal(data["sample_stats"]["log_weight"].values[0], draws.log_weights)


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.nc or \.npz"):
        write_draws(make_draws([0.0]), tmp_path / "draws.csv")


def test_arviz_gets_sites_weights_and_evidence() -> None:
    data = make_draws([0.0, -1.0]).to_arviz()
    assert data["posterior"]["theta"].shape == (1, 2, 2, 3)
    assert data["sample_stats"]["log_weight"].shape == (1, 2)
    attributes = data["posterior"].attrs
    assert attributes["inference_library"] == "gephyra"
    assert (attributes["log_evidence"], attributes["log_evidence_se"]) == (-1.0, 0.01)
    assert (attributes["sampler"], attributes["seed"]) == ("samplers/a", str(2**63))


def test_arviz_gets_no_weights_of_resampled_draws_and_x_where_there_are_no_sites() -> None:
    data = replace(make_draws([0.0, -1.0]), sites={}).resample(1).to_arviz()
    assert data["posterior"]["x"].shape == (1, 1, 2)
    assert "sample_stats" not in data.groups()


def test_evidence_says_where_it_comes_from_and_escapes_what_it_shows() -> None:
    stored = make_evidence()
    assert "stored report, 16,384 paths" in str(stored)
    assert "16,384 fresh paths, seed 0" in str(replace(stored, stored=False))
    assert "watch &lt;out&gt;" in stored._repr_html_()
    assert json.loads(json.dumps(stored.to_json()))["warnings"] == ["watch <out>"]
    assert (stored.eubo, stored.reference_log_z, stored.precondition.elbo) == (None, None, None)


def test_evidence_tells_what_the_baseline_reaches_and_what_is_served() -> None:
    baseline = report_pb2.PreconditionReport(
        name="annealed", elbo=-2.0, log_z=-1.1, log_z_se=0.2, ess_fraction=0.25, k_hat=0.4, modes=3, components=2
    )
    report = report_pb2.EvidenceReport(precondition=baseline, served=report_pb2.SERVED_BASELINE)
    evidence = evidence_from_message(report, stored=True)
    line = "annealed · ELBO -2.0000 · log Z -1.1000 ± 0.2000 · ESS 25.0% · k-hat 0.40 · modes 3 · components 2"
    assert f"baseline: {line}" in str(evidence)
    assert "serves: the preconditioner's law alone" in str(evidence)
    assert evidence.served == evidence.to_json()["served"] == "baseline"
    assert evidence.to_json()["precondition"]["ess_fraction"] == 0.25
    bare = make_evidence()
    assert (bare.served, str(replace(bare.precondition, name="none"))) == ("", "none")
    assert (bare.precondition.modes, bare.precondition.elbo) == (0, None)
    served = report_pb2.EvidenceReport(served=report_pb2.SERVED_BRIDGE)
    assert "serves: the trained bridge" in str(evidence_from_message(served, stored=True))


def test_evidence_shows_both_sides_and_what_is_claimed() -> None:
    polish = report_pb2.PolishReport(draws=64, steps=10, mala_acceptance=0.6)
    report = report_pb2.EvidenceReport(
        eubo=-0.5, eubo_se=0.1, eubo_source=report_pb2.EUBO_SOURCE_POLISHED, polish=polish, log_z_forward=-0.75,
        log_z_forward_se=0.05, log_z_low=-1.25, log_z_high=-0.75, interval_holds=True, modes_seen=4, modes_drawn=3,
    )  # fmt: skip
    shown = str(evidence := evidence_from_message(report, stored=True))
    for line in (
        "95 % interval: -1.2500 to -0.7500\n", "EUBO: -0.5000 ± 0.1000, from polished draws\n",
        "forward log Z: -0.7500 ± 0.0500\n", "modes: 3 of 4 seen are drawn\n",
    ):  # fmt: skip
        assert line in shown
    assert evidence.polish is not None
    assert (evidence.polish.mala_acceptance, evidence.polish.imh_acceptance) == (0.6, None)
    assert "not claimed" in str(replace(evidence, interval_holds=False))
    assert "from given draws, a bound if they" in str(replace(evidence, eubo_source="given"))
    absent = dict(make_evidence().rows())
    assert {"95 % interval", "EUBO", "forward log Z", "modes", "reference log Z"} & set(absent) == set()


def test_every_number_of_the_wire_is_in_the_evidence() -> None:
    wire = {"EvidenceReport": Evidence, "PreconditionReport": PreconditionReport, "PolishReport": PolishReport}
    for message, record in {**wire, "TrainingTimes": Times}.items():
        sent = {field.name for field in report_pb2.DESCRIPTOR.message_types_by_name[message].fields}
        assert sent == {field.name for field in fields(record)} - {"stored"}


def test_a_notebook_shows_draws_as_a_table() -> None:
    html = make_draws([0.0, -1.0])._repr_html_()
    assert "samplers/a" in html
    assert "theta (2, 3)" in html
