"""Checkpoints of a training run: everything the next step depends on.

Files `checkpoint-<step>.safetensors` in one folder; the two newest are kept, and a damaged one is passed over for the
one before it.
"""

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from .storage import read_tensors, write_tensors

__all__ = ["Checkpoint", "drop_checkpoints", "latest_checkpoint", "write_checkpoint"]

_KEPT = 2
_PATTERN = "checkpoint-*.safetensors"


class Checkpoint(NamedTuple):
    """One checkpoint."""

    step: int
    """Optimiser steps done."""
    tensors: dict[str, Tensor]
    record: dict[str, Any]
    """Plain values beside the tensors."""


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write durably, then delete all but the newest two."""
    record = {**checkpoint.record, "step": checkpoint.step}
    write_tensors(folder / f"checkpoint-{checkpoint.step:012d}.safetensors", checkpoint.tensors, record)
    for old in sorted(folder.glob(_PATTERN))[:-_KEPT]:
        old.unlink()


def drop_checkpoints(folder: Path) -> None:
    """Delete all of them: those of a run that begins again would count as newer than its own."""
    for old in folder.glob(_PATTERN):
        old.unlink()


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that can be read; None if there is none."""
    for path in sorted(folder.glob(_PATTERN), reverse=True):
        try:
            tensors, record = read_tensors(path)
            return Checkpoint(int(record.pop("step")), tensors, record)
        except (ValueError, KeyError):
            continue
    return None
