"""Draws as a pure function of (sampler, seed, index); stored samplers; fresh evidence."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gephyra.samplers.report import Served
from gephyra.samplers.sampler import Sampler
from gephyra.samplers.session import train
from gephyra.samplers.settings import Budget, Device, Precondition, TrainingSettings
from gephyra.samplers.storage import read_tensors, write_tensors
from gephyra.targets.gaussian import Gaussian

TARGET = Gaussian([0.5, -0.5], [0.8, 1.2])


# Ten wild steps do not beat a Gaussian fitted to a Gaussian: what is served then is that Gaussian, the baseline.
@pytest.fixture(
    scope="module",
    params=[(Precondition.NONE, 5e-3, Served.BRIDGE), (Precondition.GAUSSIAN, 0.3, Served.BASELINE)],
    ids=["bridge", "baseline"],
)
def sampler(request: pytest.FixtureRequest) -> Sampler:
    kind, rate, served = request.param
    small = TrainingSettings(budget=Budget(iterations=10), batch_size=32, steps=4, width=8)
    found = train(TARGET, replace(small, precondition=kind, learning_rate=rate))
    assert found.report.served is served
    return found


@pytest.fixture(scope="module")
def reference(sampler: Sampler) -> torch.Tensor:
    return torch.cat([part.x for part in sampler.draw(7, 0, 1000)])


@settings(max_examples=15)
@given(start=st.integers(0, 999), length=st.integers(1, 600))
def test_any_range_is_a_slice_of_the_whole(sampler: Sampler, reference: torch.Tensor, start: int, length: int) -> None:
    parts = list(sampler.draw(7, start, min(length, 1000 - start)))
    assert parts[0].start == start
    assert all(part.x.shape[0] <= sampler.block_size for part in parts)
    assert torch.equal(torch.cat([part.x for part in parts]), reference[start : start + length])


def test_seeds_beyond_32_bits_are_different(sampler: Sampler, reference: torch.Tensor) -> None:
    other = torch.cat([part.x for part in sampler.draw(7 + 2**32, 0, 1000)])
    assert not torch.equal(other, reference)


def test_a_stored_sampler_draws_the_same(sampler: Sampler, reference: torch.Tensor, tmp_path: Path) -> None:
    path = tmp_path / "sampler.safetensors"
    sampler.save(path)
    stored = Sampler.load(path, TARGET)
    assert torch.equal(torch.cat([part.x for part in stored.draw(7, 0, 1000)]), reference)
    assert stored.report == sampler.report
    assert stored.settings == sampler.settings


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_a_sampler_of_a_gpu_is_served_without_one(sampler: Sampler, reference: torch.Tensor, tmp_path: Path) -> None:
    path = tmp_path / "sampler.safetensors"
    sampler.save(path)
    tensors, record = read_tensors(path)
    write_tensors(path, tensors, record | {"settings": record["settings"] | {"device": "cuda"}})
    stored = Sampler.load(path, TARGET)
    assert stored.settings.device is Device.CUDA
    assert torch.equal(torch.cat([part.x for part in stored.draw(7, 0, 1000)]), reference)


def test_weights_are_those_of_the_target(sampler: Sampler) -> None:
    """Self-normalised weights turn the draws into the target's: mean and variance within four standard errors."""
    parts = list(sampler.draw(3, 0, 20_000))
    x, log_weight = torch.cat([p.x for p in parts]).double(), torch.cat([p.log_weight for p in parts])
    share = log_weight.softmax(0)[:, None]
    mean = (share * x).sum(0)
    error = (share.square() * (x - mean).square()).sum(0).sqrt()
    assert bool(((mean - torch.tensor([0.5, -0.5])).abs() < 4 * error).all())


def test_fresh_evidence_is_a_report_of_its_own(sampler: Sampler) -> None:
    fresh = sampler.estimate(2000, seed=5)
    assert (fresh.paths, fresh.seed) == (2000, 5)
    assert fresh.elbo != sampler.report.elbo
    assert fresh == sampler.estimate(2000, seed=5)


def test_too_few_paths_for_a_tail_are_said_to_be_so(sampler: Sampler) -> None:
    assert any("too few" in warning for warning in sampler.estimate(10, seed=5).warnings)


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def damage_record(path: Path) -> None:
    tensors, record = read_tensors(path)
    del record["settings"]
    write_tensors(path, tensors, record)


def damage_tensor(path: Path) -> None:
    tensors, record = read_tensors(path)
    tensors["bridge.prior.mean"] = torch.zeros(5)
    write_tensors(path, tensors, record)


def damage_format(path: Path) -> None:
    tensors, record = read_tensors(path)
    write_tensors(path, tensors, {**record, "format": 99})


@pytest.mark.parametrize("damage", [damage_truncate, damage_record, damage_tensor, damage_format])
def test_a_damaged_file_is_refused(sampler: Sampler, tmp_path: Path, damage: object) -> None:
    path = tmp_path / "sampler.safetensors"
    sampler.save(path)
    assert callable(damage)
    damage(path)
    with pytest.raises(ValueError, match=r"sampler\.safetensors|stored parameters"):
        Sampler.load(path, TARGET)


def test_a_sampler_of_another_dimension_is_refused(sampler: Sampler, tmp_path: Path) -> None:
    path = tmp_path / "sampler.safetensors"
    sampler.save(path)
    with pytest.raises(ValueError, match="dimension 2, the target has 3"):
        Sampler.load(path, Gaussian([0.0] * 3, [1.0] * 3))
