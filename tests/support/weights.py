"""What a server has trained, byte for byte."""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

from gephyra.samplers.storage import read_tensors

__all__ = ["weights"]


def weights(data: Path, sampler: str) -> str:
    """SHA-256 of the tensors of a stored sampler; the report beside them tells times."""
    with closing(sqlite3.connect(data / "gephyra.sqlite3")) as connection:
        query = "SELECT digest FROM samplers WHERE name = ?"
        ((digest,),) = connection.execute(query, [sampler.partition("/")[2]]).fetchall()
    found = hashlib.sha256()
    for name, tensor in sorted(read_tensors(data / "artefacts" / "sha256" / digest[:2] / digest)[0].items()):
        found.update(name.encode() + tensor.numpy().tobytes())
    return found.hexdigest()
