"""A trained sampler: the bridge, the coordinates it works in, and its report.

Draw i is a pure function of (sampler, seed, i). Draws are computed in blocks that are always evaluated whole; one
intra-op thread makes them equal bit for bit on one type of CPU.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from gephyra.targets.base import Target

from .bridge import Bridge
from .components import Components
from .coordinates import Coordinates
from .counted import CountedTarget
from .evaluate import BLOCK_SIZE, block
from .measure import measure
from .optimise import load_bridge
from .prepare import new_baseline, new_bridge
from .report import Facts, Report, Served
from .settings import TrainingSettings
from .storage import read_tensors, write_tensors

__all__ = ["Block", "Sampler", "pack_coordinates", "unpack_coordinates"]

_FORMAT = 2
# Format 1 had no components, and only bridges were served.
_READABLE = (1, 2)


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

    def draw(self, seed: int, start: int, count: int) -> Iterator[Block]:
        """Draws start, ..., start + count - 1 of a seed, at most a block at a time."""
        stop = start + count
        for index in range(start // self.block_size, -(-stop // self.block_size)):
            u, log_weight = block(self.bridge, self._view, "draw", seed, index, self.block_size)
            x = self._view.to_target(u).float().cpu()
            first = index * self.block_size
            rows = slice(max(start - first, 0), min(stop - first, self.block_size))
            yield Block(first + rows.start, x[rows], log_weight.cpu()[rows])

    def estimate(self, count: int, seed: int) -> Report:
        """A report on `count` fresh paths; training facts are carried over from the stored report.

        Raises ValueError where fewer than two paths had positive weight.
        """
        facts = Facts(precondition=self.report.precondition, served=self.report.served)
        counted = CountedTarget(self.target)
        return measure(self.bridge, self.coordinates, counted, "evidence", seed, count, facts)

    def save(self, path: Path) -> None:
        """Write the sampler, without its target, to a safetensors file."""
        tensors = {f"bridge.{name}": value for name, value in self.bridge.state_dict().items()}
        tensors |= pack_coordinates(self.coordinates, self.components)
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
            _check_record(path.name, record, target.dim)
            settings, report = TrainingSettings.from_json(record["settings"]), Report.from_json(record["report"])
            coordinates, components = unpack_coordinates(tensors)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path.name} lacks or garbles a part of its record: {error}") from error
        build = new_baseline if report.served is Served.BASELINE else new_bridge
        bridge = build(target.dim, settings, components)
        load_bridge(bridge, tensors)
        return cls(target, coordinates, components, bridge.requires_grad_(False), settings, report)


def pack_coordinates(coordinates: Coordinates, components: Components | None) -> dict[str, Tensor]:
    """Named tensors for a file; `unpack_coordinates` inverts it."""
    parts: dict[str, Any] = {"coordinates": coordinates, "components": components}
    return {f"{part}.{k}": v for part, value in parts.items() if value is not None for k, v in value._asdict().items()}


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
