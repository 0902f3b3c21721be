"""Data sets as a worker reads them."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gephyra.protos import worker_pb2

from ..artefacts import CorruptArtefact
from ..tensors import dtype_name

__all__ = ["read_table"]

# Types that float32 holds without loss.
_SMALL = frozenset({"float32", "int8", "uint8", "int16", "uint16", "bool"})


def read_table(table: worker_pb2.WorkerCommand.Table) -> Tensor:
    """The values of a data set, `rows x columns`. Raises CorruptArtefact where the file is damaged."""
    path = Path(table.path)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != path.name:
        raise CorruptArtefact(f"{path} does not have the content that its name promises; restore it from a backup")
    name = dtype_name(table.dtype, "table.dtype")
    values = np.frombuffer(content, np.dtype(name).newbyteorder("<")).reshape(table.rows, len(table.columns))
    return torch.from_numpy(values.astype("float32" if name in _SMALL else "float64"))
