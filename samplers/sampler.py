"""A trained sampler: the bridge, the coordinates it works in, and its report.

Draw i is a pure function of (sampler, seed, i). Draws are computed in blocks that are always evaluated whole; one
intra-op thread makes them equal bit for bit on one type of CPU.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gephyra.targets.base import Target

from .blocks import blocks_of
from .bridge import Bridge
from .components import Components
from .coordinates import Coordinates
from .counted import CountedTarget
from .diagnose import contrast
from .drawing import Drawn, draw_block
from .draws import Draws
from .evaluate import BLOCK_SIZE, block
from .measure import Candidate, measure
from .optimise import load_bridge
from .overdamped import OverdampedBridge
from .polish import Langevin, step_scale, tune
from .prepare import new_baseline, new_bridge
from .report import Facts, PolishReport, Report, Served
from .settings import Device, TrainingSettings
from .shift import Weighted, shift
from .stepper import join_parts, part_of
from .storage import read_tensors, write_tensors

__all__ = ["Block", "Sampler", "pack_coordinates", "unpack_coordinates"]

_FORMAT = 2
# Format 1 had no components, and only bridges were served.
_READABLE = (1, 2)
_PLAIN = Draws()


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
        components: Of its mixture prior, if it has one.
        bridge: The trained bridge, or the prior alone where that is what is served.
        settings: How it was trained.
        report: What was measured after training; see `estimate` for fresh numbers.
    """

    block_size: int = BLOCK_SIZE

    def __init__(
        self,
        target: Target,
        coordinates: Coordinates,
        components: Components | None,
        bridge: Bridge,
        settings: TrainingSettings,
        report: Report,
    ) -> None:
        self.target, self.coordinates, self.components, self.bridge = target, coordinates, components, bridge
        self.settings, self.report = settings, report
        self.dim = target.dim
        self._view = coordinates.view(target)

    def draw(self, seed: int, start: int, count: int, how: Draws = _PLAIN) -> Iterator[Block]:
        """Draws start, ..., start + count - 1 of a seed, at most a block at a time.

        Raises ValueError, beginning with the field's name, for draws that a sampler of this method cannot make.
        """
        for index, rows, drawn in self._blocks(seed, start, count, how):
            x = self._view.to_target(drawn.u).float().cpu()
            yield Block(index * self.block_size + rows.start, x[rows], drawn.log_weight.cpu()[rows])

    def polish_report(self, seed: int, start: int, count: int, how: Draws) -> PolishReport:
        """What resampling and polish do to the weighted draws of all blocks that hold start, ..., start + count - 1.

        Raises ValueError as `draw` does, and for a `count` below 1.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        drawn = [part for *_, part in self._blocks(seed, start, count, how)]
        weights = [(part.raw_u, part.raw_log_weight, part.u, part.log_weight) for part in drawn]
        raw, raw_weight, new, weight = (torch.cat(parts).cpu() for parts in zip(*weights, strict=True))
        langevin = how.polish.langevin
        return PolishReport(
            draws=new.shape[0],
            steps=how.polish_steps if langevin else 0,
            step_size=self._langevin.step_size if langevin else None,
            imh_acceptance=_mean([part.imh_acceptance for part in drawn]),
            mala_acceptance=_mean([part.mala_acceptance for part in drawn]),
            **shift(
                Weighted(self._view.to_target(raw), raw_weight), Weighted(self._view.to_target(new), weight)
            )._asdict(),
        )

    def estimate(self, count: int, seed: int) -> Report:
        """A report on `count` fresh paths; training facts are carried over from the stored report.

        It warns where its log Z differs from that of the stored report by more than both errors allow.

        Raises ValueError where fewer than two paths had positive weight.
        """
        facts = Facts(precondition=self.report.precondition, served=self.report.served)
        candidate = Candidate(self.bridge, self.coordinates, self.components)
        report = measure(candidate, CountedTarget(self.target), "evidence", seed, count, facts)
        return replace(report, warnings=(*report.warnings, *contrast(report, self.report)))

    def save(self, path: Path) -> None:
        """Write the sampler, without its target, to a safetensors file."""
        tensors = join_parts({"bridge": self.bridge.state_dict()})
        tensors |= pack_coordinates(self.coordinates, self.components)
        record = {
            "format": _FORMAT,
            "dim": self.dim,
            "block_size": self.block_size,
            "settings": self.settings.to_json(),
            "report": self.report.to_json(),
        }
        write_tensors(path, tensors, record)

    def _blocks(self, seed: int, start: int, count: int, how: Draws) -> Iterator[tuple[int, slice, Drawn]]:
        """The blocks that hold these draws, with their indices and rows."""
        how.check(self.settings.method)
        for index, rows in blocks_of(start, count, self.block_size):
            langevin = self._langevin if how.polish.langevin else None
            yield index, rows, draw_block(self.bridge, self._view, how, langevin, seed, index, self.block_size)

    @cached_property
    def _langevin(self) -> Langevin:
        """MALA as the report tuned it, or else as it would have."""
        scale = step_scale(self.dim, self.components)
        if self.report.polish is not None and self.report.polish.step_size is not None:
            return Langevin(scale, self.report.polish.step_size)
        seed = self.report.seed
        return tune(self._view, scale, *block(self.bridge, self._view, "polish/ends", seed, 0, self.block_size), seed)

    @classmethod
    def load(cls, path: Path, target: Target) -> "Sampler":
        """The sampler stored at `path`, for the target it was trained on.

        Raises ValueError for a damaged file, another format or a target of another dimension.
        """
        tensors, record = read_tensors(path)
        try:
            _check_record(path.name, record, target.dim)
            settings, report = TrainingSettings.from_json(record["settings"]), Report.from_json(record["report"])
            coordinates, components = unpack_coordinates(tensors)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path.name} lacks or garbles a part of its record: {error}") from error
        build = new_baseline if report.served is Served.BASELINE else new_bridge
        # Where there is no GPU, a sampler that was trained on one is served all the same.
        here = settings if settings.device is not Device.CUDA else replace(settings, device=Device.AUTO)
        bridge = build(target.dim, here, components)
        if record["format"] == 1:
            tensors = _with_guide(tensors, bridge)
        load_bridge(bridge, tensors)
        return cls(target, coordinates, components, bridge.requires_grad_(False), settings, report)


def _with_guide(tensors: dict[str, Tensor], bridge: Bridge) -> dict[str, Tensor]:
    """Format 1 stored no guide: its controls saw the learned prior and annealing."""
    assert isinstance(bridge, OverdampedBridge)
    bridge.load_state_dict(part_of(tensors, "bridge"), strict=False)
    bridge.guide.follow(bridge.prior.scorer(), bridge.annealing())
    return tensors | {f"bridge.guide.{name}": value for name, value in bridge.guide.state_dict().items()}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def pack_coordinates(coordinates: Coordinates, components: Components | None) -> dict[str, Tensor]:
    """Named tensors for a file; `unpack_coordinates` inverts it."""
    parts: dict[str, Any] = {"coordinates": coordinates, "components": components}
    return join_parts({part: value._asdict() for part, value in parts.items() if value is not None})


def unpack_coordinates(tensors: dict[str, Tensor]) -> tuple[Coordinates, Components | None]:
    """What `pack_coordinates` packed. Raises KeyError for missing tensors."""
    coordinates = Coordinates(*(tensors[f"coordinates.{name}"] for name in Coordinates._fields))
    if "components.mean" not in tensors:
        return coordinates, None
    return coordinates, Components(*(tensors[f"components.{name}"] for name in Components._fields))


def _check_record(name: str, record: dict[str, Any], dim: int) -> None:
    if record["format"] not in _READABLE or record["block_size"] != BLOCK_SIZE:
        raise ValueError(f"{name} has format {record['format']}; this version reads {_READABLE}")
    if record["dim"] != dim:
        raise ValueError(f"{name} is for dimension {record['dim']}, the target has {dim}")
