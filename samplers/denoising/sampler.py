"""A trained model of data: draws, densities, likelihoods, and its file.

Draw i is a pure function of (model, seed, i), computed in blocks that are always evaluated whole.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..blocks import blocks_of
from ..noise import NoiseSource
from ..place import device_of, dtype_of
from ..random import normal_noise
from ..settings import Device
from ..stepper import join_parts, part_of
from ..storage import read_tensors, write_tensors
from .build import build_model
from .catalogue import SOLVERS
from .denoiser import DenoisingModel
from .density import Logistic, Truncated, Uniform, quantile_grid
from .flow import LARGEST_EXACT, FrozenProbes, ProbabilityFlow
from .frame import LOWEST, Frame
from .level_head import HeadReconstruction, LevelModel
from .likelihood import NegativeLogLikelihood, baseline_bound, variational_bound
from .report import DenoisingReport, Likelihood
from .sampling import LowDiscrepancy, NoiseLevels
from .settings import DenoisingSettings, SolverName
from .solvers import generate, noise_rows

__all__ = ["BLOCK_SIZE", "DenoisingSampler", "HeldOut", "bound", "gaussian_likelihood", "placed", "summary"]

BLOCK_SIZE = 1024
_FORMAT = 1
# Levels a row behind a bound.
_DRAWS = 64
# Where the relative bound looks most: around the scale of the data, and wide.
_PROPOSAL = Logistic(2.0, 2.5)
_ROWS = 1024


class HeldOut(NamedTuple):
    """Negative log likelihoods of data, in data units."""

    elbo: NegativeLogLikelihood
    """An upper bound."""
    flow: NegativeLogLikelihood | None
    """That of the probability flow, another model's; None for levels, which have no density."""


class DenoisingSampler:
    """A trained model.

    Attributes:
        frame: Coordinates, levels and Gaussian of the training data.
        model: The denoiser, in the frame's coordinates.
        settings: How it was trained.
        report: What was measured.
        names: Of the columns.
    """

    def __init__(
        self,
        frame: Frame,
        model: DenoisingModel,
        settings: DenoisingSettings,
        report: DenoisingReport,
        names: tuple[str, ...],
    ) -> None:
        self.frame, self.model, self.settings, self.report, self.names = frame, model, settings, report, names
        self.dim = model.dim

    def draw(
        self, seed: int, start: int, count: int, solver: SolverName | None = None, steps: int | None = None
    ) -> Iterator[Tensor]:
        """Draws start, ..., start + count - 1 of a seed, `rows x dim` in data units, at most a block at a time.

        Raises ValueError for steps below 1.
        """
        word, number = solver or self.settings.solver, self.settings.solver_steps if steps is None else steps
        if number < 1:
            raise ValueError(f"steps must be at least 1, got {number}")
        rule, grid = SOLVERS[word](), quantile_grid(Uniform(LOWEST, self.frame.high), number)
        like = next(self.model.parameters())
        for index, rows in blocks_of(start, count, BLOCK_SIZE):
            noise = normal_noise((noise_rows(rule, grid), BLOCK_SIZE, self.dim), "denoising/draw", seed, index)
            y = generate(self.model, rule, grid, noise.to(like))
            yield self.frame.transform.to_data(y.double()).float().cpu()[rows]

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of the probability flow at x, `rows x dim` in data units: `(rows,)` float64, differentiable."""
        y = self.frame.transform.to_model(x).to(next(self.model.parameters()))
        return self._flow().log_density(y).cpu() - self.frame.transform.log_jacobian

    def nll(self, x: Tensor, seed: int = 0, draws: int = _DRAWS) -> HeldOut:
        """Of data x, `rows x dim` in data units, two rows or more, with `draws` levels a row.

        Raises ValueError for a value that is none of the levels, where the model has levels.
        """
        elbo = bound(self.model, self.frame, x, seed, draws)
        if self.frame.levels is not None:
            return HeldOut(elbo, None)
        nats = -torch.cat([self.log_prob(part) for part in x.split(_ROWS)])
        return HeldOut(elbo, NegativeLogLikelihood(nats, torch.zeros_like(nats), self.dim))

    def save(self, path: Path) -> None:
        """Write the model to a safetensors file."""
        tensors = join_parts({"model": self.model.state_dict()}) | self.frame.tensors()
        record = {
            "denoising_format": _FORMAT,
            "names": list(self.names),
            "caution": self.frame.caution,
            "settings": self.settings.to_json(),
            "report": self.report.to_json(),
        }
        write_tensors(path, tensors, record)

    @classmethod
    def load(cls, path: Path) -> "DenoisingSampler":
        """The model stored at `path`. Raises ValueError for a damaged file or another format."""
        tensors, record = read_tensors(path)
        if record.get("denoising_format") != _FORMAT:
            raise ValueError(f"{path.name} has format {record.get('denoising_format')}, this version reads {_FORMAT}")
        try:
            settings = DenoisingSettings.from_json(record["settings"])
            report = DenoisingReport.from_json(record["report"])
            frame = Frame.from_tensors(tensors, record["caution"])
            # Where there is no GPU, a model that was trained on one is served all the same.
            here = settings if settings.device is not Device.CUDA else replace(settings, device=Device.AUTO)
            model = placed(build_model(here, frame), here)
            model.load_state_dict(part_of(tensors, "model"))
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"{path.name} lacks or garbles a part of its record: {error}") from error
        return cls(frame, model.requires_grad_(False), settings, report, tuple(record["names"]))

    def _flow(self) -> ProbabilityFlow:
        probes = None if self.dim <= LARGEST_EXACT else FrozenProbes(self.dim)
        return ProbabilityFlow(self.model, LOWEST, self.frame.high, divergence=probes)


def placed(model: DenoisingModel, settings: DenoisingSettings) -> DenoisingModel:
    """The model on its device, in its precision. Raises ValueError for a device that is not there."""
    return model.to(device_of(settings.device), dtype_of(settings.precision))


def bound(model: DenoisingModel, frame: Frame, x: Tensor, seed: int, draws: int = _DRAWS) -> NegativeLogLikelihood:
    """Negative ELBO of data x, `rows x dim` in data units: of levels their probability, else a density.

    The density's is relative to the Gaussian, whose noise it shares (`likelihood.baseline_bound`).
    """
    like = next(model.parameters())
    noise, y = NoiseSource(seed, 0, like.device, like.dtype), frame.transform.to_model(x.double()).to(like)
    if frame.levels is not None and isinstance(model, LevelModel):
        proposal = Truncated(_PROPOSAL, LOWEST, frame.high)
        levels = NoiseLevels(Uniform(LOWEST, frame.high), LowDiscrepancy(), proposal)
        return variational_bound(model, y, levels, HeadReconstruction(model, frame.levels), noise, draws)
    found = baseline_bound(model, y, frame.gaussian, Truncated(_PROPOSAL, LOWEST, frame.high), noise, draws)
    return found.plus(frame.transform.log_jacobian)


def summary(found: NegativeLogLikelihood) -> Likelihood:
    """The record of a likelihood."""
    return Likelihood(found.mean, found.standard_error, found.bits_per_dim, len(found.nats))


def gaussian_likelihood(frame: Frame, x: Tensor) -> NegativeLogLikelihood:
    """That of the frame's Gaussian, of data x, `rows x dim` in data units."""
    nats = -frame.gaussian.log_density(frame.transform.to_model(x.double()))
    exact = NegativeLogLikelihood(nats, torch.zeros_like(nats), x.shape[1])
    return exact.plus(frame.transform.log_jacobian)
