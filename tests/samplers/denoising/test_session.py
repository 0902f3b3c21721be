"""Training a model of data: what is learned, how it stops, resumes and refuses."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gephyra.samplers.denoising.report import DenoisingMetrics
from gephyra.samplers.denoising.sampler import BLOCK_SIZE, DenoisingSampler
from gephyra.samplers.denoising.session import train_denoiser
from gephyra.samplers.denoising.settings import DenoisingSettings, Head, PredictionName
from gephyra.samplers.run import StopTraining, TrainingFailed
from gephyra.samplers.settings import Budget, Device

QUICK = DenoisingSettings(budget=Budget(iterations=150), width=24, blocks=1, batch_size=64, solver_steps=4)
LONGER = replace(QUICK, budget=Budget(iterations=1500))
NAMES = ("a", "b")


def _pairs(count: int = 600) -> Tensor:
    """Two modes, at plus and minus (2, 1), of standard deviation 0.3."""
    generator = torch.Generator().manual_seed(5)
    sign = torch.randint(0, 2, (count, 1), generator=generator) * 2.0 - 1.0
    return sign * torch.tensor([2.0, 1.0]) + 0.3 * torch.randn(count, 2, generator=generator)


def _counts(count: int = 600) -> Tensor:
    """Two columns of counts from 0 to 3, equal in nine rows of ten."""
    generator = torch.Generator().manual_seed(6)
    first, other = (torch.randint(0, 4, (count,), generator=generator) for _ in range(2))
    copied = torch.rand(count, generator=generator) < 0.9
    return torch.stack([first, torch.where(copied, first, other)], 1).float()


@pytest.fixture(scope="module")
def sampler() -> DenoisingSampler:
    return train_denoiser(_pairs(), NAMES, LONGER)


def test_a_network_learns_what_a_gaussian_cannot_say(sampler: DenoisingSampler) -> None:
    report = sampler.report
    assert report.validation is not None
    assert report.gaussian is not None
    assert report.loss < 0.9
    assert report.validation.nats < report.gaussian.nats - 0.2
    assert (report.rows, report.dim, report.discrete, report.validation.rows) == (540, 2, False, 60)


@pytest.mark.slow
def test_levels_are_found_and_given_probabilities() -> None:
    """The first column is uniform, log 4; the second copies it but in a tenth of rows: 0.43 nats."""
    report = train_denoiser(_counts(2000), NAMES, LONGER).report
    assert report.discrete
    assert report.validation is not None
    ideal = math.log(4) - (0.925 * math.log(0.925) + 3 * 0.025 * math.log(0.025))
    independent = 2 * math.log(4)
    assert ideal - 3 * report.validation.standard_error < report.validation.nats < 0.5 * (ideal + independent)


def test_a_level_that_only_rows_held_out_have_is_a_level() -> None:
    """Thirty values that turn up once: some in rows held out."""
    data = _counts(200)
    data[:30, 0] = 10.0 + torch.arange(30)
    report = train_denoiser(data, NAMES, QUICK).report
    assert report.discrete
    assert report.validation is not None
    assert math.isfinite(report.validation.nats)


def test_draws_are_a_function_of_their_index(sampler: DenoisingSampler) -> None:
    whole = torch.cat(list(sampler.draw(3, 0, BLOCK_SIZE + 10)))
    part = torch.cat(list(sampler.draw(3, BLOCK_SIZE - 5, 15)))
    assert torch.equal(part, whole[BLOCK_SIZE - 5 :])
    assert not torch.equal(whole[:10], torch.cat(list(sampler.draw(4, 0, 10))))


def test_a_stored_model_is_the_same(sampler: DenoisingSampler, tmp_path: Path) -> None:
    sampler.save(tmp_path / "model.safetensors")
    loaded = DenoisingSampler.load(tmp_path / "model.safetensors")
    assert (loaded.report, loaded.settings, loaded.names) == (sampler.report, sampler.settings, sampler.names)
    x = _pairs(20)
    assert torch.equal(loaded.log_prob(x), sampler.log_prob(x))
    assert torch.equal(torch.cat(list(loaded.draw(0, 0, 9))), torch.cat(list(sampler.draw(0, 0, 9))))


def test_likelihoods_are_in_units_of_the_data(sampler: DenoisingSampler) -> None:
    """A column measured in thousandths has a density a thousand times lower."""
    unit = torch.tensor([1000.0, 1.0])
    scaled = train_denoiser(_pairs() * unit, NAMES, LONGER)
    x = _pairs(50)
    ours, theirs = sampler.nll(x), scaled.nll(x * unit)
    assert ours.flow is not None
    assert theirs.flow is not None
    assert theirs.elbo.mean - ours.elbo.mean == pytest.approx(math.log(1000.0), abs=0.02)
    assert theirs.flow.mean - ours.flow.mean == pytest.approx(math.log(1000.0), abs=0.02)


@pytest.mark.parametrize("data", [_pairs(), _counts()], ids=["continuous", "levels"])
def test_a_run_that_was_broken_off_ends_as_the_unbroken_one(data: Tensor, tmp_path: Path) -> None:
    whole = train_denoiser(data, NAMES, QUICK)
    asked = 0

    def stop_at_step_120() -> bool:
        nonlocal asked
        asked += 1
        return asked > 120

    with pytest.raises(StopTraining):
        train_denoiser(data, NAMES, QUICK, should_stop=stop_at_step_120, checkpoint_folder=tmp_path)
    steps: list[int] = []
    resumed = train_denoiser(
        data, NAMES, QUICK, checkpoint_folder=tmp_path, on_checkpoint=lambda step, seconds: steps.append(step)
    )
    assert steps == [150]
    assert resumed.report.best_step == whole.report.best_step
    states = zip(whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True)
    assert all(torch.equal(value, other) for (_, value), other in states)


def test_progress_tells_the_loss_by_noise_level() -> None:
    told: list[DenoisingMetrics] = []
    train_denoiser(_pairs(), NAMES, QUICK, on_metrics=told.append)
    last = told[-1]
    assert (last.stage, last.step, last.fraction) == ("evaluate", 150, 1.0)
    assert 0.0 < last.loss < 1.2
    assert [a.high for a in last.bins[:-1]] == [b.low for b in last.bins[1:]]


@pytest.mark.parametrize(
    ("data", "changes", "words"),
    [
        (_pairs(1), {}, "two rows or more"),
        (_pairs() * torch.tensor([1.0, 0.0]), {}, "constant: b"),
        (_pairs()[:, :1].expand(-1, 2), {}, "linear functions of others: b"),
        (_pairs().index_fill(0, torch.tensor([3]), math.nan), {}, "expected a finite number, got nan"),
        (_counts(), {"prediction": PredictionName.NOISE}, "prediction must be data for data on levels"),
        (_pairs(), {"head": Head.LEVELS}, "it is no grid of levels"),
        (_pairs(100), {"head": Head.LEVELS}, "column a has 100 distinct values, more than 50"),
        (_pairs(), {"image": (1, 3, 3)}, "the number of columns"),
    ],
)
def test_data_that_do_not_suit_are_refused(data: Tensor, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(TrainingFailed, match=words):
        train_denoiser(data, NAMES, replace(QUICK, **changes))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(TrainingFailed, match="device is cuda"):
        train_denoiser(_pairs(), NAMES, replace(QUICK, device=Device.CUDA))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"batch_size": 1}, "batch_size"),
        ({"width": 0}, "width"),
        ({"ema": 1.0}, "ema"),
        ({"validation": -0.1}, "validation"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"time_steps": 1}, "time_steps"),
        ({"high": -1.0}, "high"),
        ({"image": (1, 0, 2)}, "image"),
        ({"budget": Budget(target_evaluations=5)}, "budget"),
        ({"head": Head.LEVELS, "prediction": PredictionName.NOISE}, "prediction"),
    ],
)
def test_settings_out_of_their_domain_name_the_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field} ?:?"):
        replace(QUICK, **changes)


def test_settings_come_back_from_json() -> None:
    settings = replace(QUICK, image=(1, 1, 2), prediction=PredictionName.SCORE, time_steps=50)
    assert DenoisingSettings.from_json(settings.to_json()) == settings
    assert DenoisingSettings.from_json({**QUICK.to_json(), "image": None}) == QUICK
