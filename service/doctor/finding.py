"""What checks are given and what they say."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

__all__ = ["Finding", "Level", "Setup"]


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """The service runs, but not everything works, or not for long."""
    STOP = "stop"
    """The service would not start, or could do nothing."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How the service is to run."""

    data: Path
    listen: str
    """`host:port`."""
    admin: str = ""
    """`host:port` of the admin port; empty for none."""
    database_url: str = ""
    """Of PostgreSQL; empty for the file in the data folder."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    level: Level
    found: str
    advice: str = ""
    """What to do; empty where all is well."""
