"""Files of tensors with a JSON record: safetensors, written so that a crash leaves the old file or the new one.

Nothing on disk is ever unpickled.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

__all__ = ["from_bytes", "read_tensors", "to_bytes", "write_tensors"]

_RECORD = "gephyra"


def to_bytes(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> bytes:
    """Tensors and a JSON record as the content of a file."""
    return save({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, {_RECORD: json.dumps(record)})


def from_bytes(payload: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `to_bytes` was given. Not for content that may be damaged."""
    size = int.from_bytes(payload[:8], "little")
    return load(payload), json.loads(json.loads(payload[8 : 8 + size])["__metadata__"][_RECORD])


def write_tensors(path: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write tensors and a JSON record to `path` atomically and durably."""
    payload = to_bytes(tensors, record)
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Raises:
        ValueError: If the file is damaged or not one of ours.
        FileNotFoundError: If there is none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        record = json.loads(metadata[_RECORD])
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path.name} is not a file written by gephyra, or it is damaged: {error}") from error
    return tensors, record
