"""A trained sampler: the bridge, the coordinates it works in, and its report.

Draw i is a pure function of (sampler, seed, i). Draws are computed in blocks that are always evaluated whole; one
intra-op thread makes them equal bit for bit on one type of CPU.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from gephyra.targets.base import Target

from .algorithms import BUILDERS
from .bridge import Bridge
from .coordinates import Coordinates
from .counted import CountedTarget
from .diagnose import diagnose
from .evaluate import BLOCK_SIZE, EUBO_PATHS, block, estimate_eubo, estimate_fresh
from .optimise import load_bridge
from .random import torch_generator
from .report import Report, Times
from .settings import TrainingSettings
from .storage import read_tensors, write_tensors

__all__ = ["Block", "Sampler"]

_FORMAT = 1


class Block(NamedTuple):
    """Consecutive draws start, start + 1, ...; never more than one block."""

    start: int
    x: Tensor
    """Points in the target's unconstrained coordinates, `count x dim`, float32."""
    log_weight: Tensor
    """`(count,)` float64; -inf for a path that was not finite."""


class Sampler:
    """Draws and evidence of one target.

    Args:
        target: The density in its own coordinates.
        coordinates: Where the bridge lives.
        bridge: The trained bridge.
        settings: How it was trained.
        report: What was measured after training; see `estimate` for fresh numbers.
    """

    block_size: int = BLOCK_SIZE

    def __init__(
        self, target: Target, coordinates: Coordinates, bridge: Bridge, settings: TrainingSettings, report: Report
    ) -> None:
        self.target, self.coordinates, self.bridge = target, coordinates, bridge
        self.settings, self.report = settings, report
        self.dim = target.dim
        self._view = coordinates.view(target)

    def draw(self, seed: int, start: int, count: int) -> Iterator[Block]:
        """Draws start, ..., start + count - 1 of a seed, at most a block at a time."""
        stop = start + count
        for index in range(start // self.block_size, -(-stop // self.block_size)):
            u, log_weight = block(self.bridge, self._view, "draw", seed, index, self.block_size)
            x = self._view.to_target(u).float()
            first = index * self.block_size
            rows = slice(max(start - first, 0), min(stop - first, self.block_size))
            yield Block(first + rows.start, x[rows], log_weight[rows])

    def estimate(self, count: int, seed: int) -> Report:
        """A report on `count` fresh paths; training facts are carried over from the stored report.

        Raises ValueError where fewer than two paths had positive weight.
        """
        counted = CountedTarget(self._view)
        estimates, non_finite = estimate_fresh(self.bridge, counted, "evidence", seed, count)
        eubo = estimate_eubo(self.bridge, counted, seed, min(count, EUBO_PATHS))
        fresh = replace(
            self.report,
            **estimates._asdict(),
            **eubo._asdict(),
            paths=count,
            seed=seed,
            non_finite_paths=non_finite,
            target_evaluations=counted.evaluations,
            times=Times(),
            reference_log_z=self.target.log_z,
        )
        return replace(fresh, warnings=diagnose(fresh))

    def save(self, path: Path) -> None:
        """Write the sampler, without its target, to a safetensors file."""
        tensors = {f"bridge.{name}": value for name, value in self.bridge.state_dict().items()}
        tensors |= {"coordinates.shift": self.coordinates.shift, "coordinates.scale": self.coordinates.scale}
        record = {
            "format": _FORMAT,
            "dim": self.dim,
            "block_size": self.block_size,
            "settings": self.settings.to_json(),
            "report": self.report.to_json(),
        }
        write_tensors(path, tensors, record)

    @classmethod
    def load(cls, path: Path, target: Target) -> "Sampler":
        """The sampler stored at `path`, for the target it was trained on.

        Raises ValueError for a damaged file, another format or a target of another dimension.
        """
        tensors, record = read_tensors(path)
        try:
            if record["format"] != _FORMAT or record["block_size"] != BLOCK_SIZE:
                raise ValueError(f"{path.name} has format {record['format']}; this version reads {_FORMAT}")
            if record["dim"] != target.dim:
                raise ValueError(f"{path.name} is for dimension {record['dim']}, the target has {target.dim}")
            settings, report = TrainingSettings.from_json(record["settings"]), Report.from_json(record["report"])
            coordinates = Coordinates(tensors["coordinates.shift"], tensors["coordinates.scale"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path.name} lacks or garbles a part of its record: {error}") from error
        bridge = BUILDERS[settings.method](target.dim, settings, torch_generator("init", settings.seed))
        load_bridge(bridge, tensors)
        return cls(target, coordinates, bridge.requires_grad_(False), settings, report)
