"""Where rows are kept: what a database has to do for the store, and for servers that share it."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, Engine

__all__ = ["PLACE", "DatabaseInUse", "DatabaseRefused", "Notice", "Place", "place_of"]

PLACE = "gephyra_place"
"""The execution option by which a connection knows its place."""


class DatabaseRefused(Exception):
    """A database cannot be used this way; the message is for the operator."""


class DatabaseInUse(DatabaseRefused):
    """Another server has the database."""


class Notice(NamedTuple):
    """Another server changed something; without a name anything may have changed."""

    name: str
    """Id of a job or a target."""
    state: str
    """Its new state; empty if that is as it was."""


class Place(ABC):
    """One database, which need not exist yet. One store of a process writes to it.

    Its engines begin transactions such that a writer sees what every earlier writer did and nobody, whatever process,
    writes between its first statement and its commit, that a reader sees one moment, and that a commit that returned
    survives a power cut. Their connections have the execution option PLACE.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What an operator may read: without a password."""

    @property
    @abstractmethod
    def absent(self) -> bool:
        """True if it is known, without asking it, that there is no such database yet."""

    @property
    @abstractmethod
    def shared(self) -> bool:
        """True if several servers may have it at the same time."""

    @property
    @abstractmethod
    def patience(self) -> float:
        """Seconds for which a database that does not answer is asked again, before a transaction is begun."""

    @abstractmethod
    def reader(self, connections: int) -> Engine:
        """An engine for transactions that only read."""

    @abstractmethod
    def writer(self) -> Engine:
        """An engine for transactions that write, one at a time. Its connections raise DatabaseInUse."""

    @abstractmethod
    def exclude(self, connection: Connection, version: int) -> None:
        """Let no server of that version of the tables be at work until the transaction ends. Raises DatabaseInUse."""

    @abstractmethod
    def moment(self, connection: Connection, now: int) -> int:
        """The time that leases go by, in microseconds since 1970: one clock for all servers. `now` is the caller's."""

    @abstractmethod
    def announce(self, connection: Connection, notice: Notice) -> None:
        """Tell other servers, once the transaction is committed."""

    @abstractmethod
    def notices(self) -> AsyncGenerator[Notice, None]:
        """What other servers announce, beginning with one that says nothing; ends by an error, or never."""

    @abstractmethod
    def damage(self, connection: Connection) -> list[str]:
        """What the database itself finds wrong with its files, a sentence each."""

    @abstractmethod
    def back_up(self, target: Path) -> None:
        """Write all of one moment to a new file, whole or not at all, also while a server writes.

        Raises FileExistsError, DatabaseRefused.
        """


def place_of(connection: Connection) -> Place:
    """Where this connection leads."""
    place: Place = connection.get_execution_options()[PLACE]
    return place
