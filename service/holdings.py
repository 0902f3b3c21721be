"""Everything of a server that is not in its database: content, uploads, folders of jobs."""

from dataclasses import dataclass
from pathlib import Path

from .artefacts import Artefacts
from .objects import Objects
from .uploads import Uploads

__all__ = ["Holdings", "open_holdings"]


@dataclass(frozen=True, slots=True)
class Holdings:
    """Where what lies."""

    artefacts: Artefacts
    """Definitions of targets with their arrays, samplers."""
    uploads: Uploads
    datasets: Artefacts
    """Contents of data sets, apart from the others, so that deleting one takes nothing that a target needs."""
    jobs: Path
    """A folder a job, with checkpoints and logs."""


def open_holdings(data: Path, objects: Objects, owner: str = "") -> Holdings:
    """Those of a data folder, whose content is kept by a store of objects too; `owner` as for Artefacts."""
    folder = data / "artefacts"
    return Holdings(
        Artefacts(folder, objects, owner=owner), Uploads(folder / "uploads", objects, owner),
        Artefacts(folder / "datasets", objects, "datasets/", owner), data / "jobs",
    )  # fmt: skip
