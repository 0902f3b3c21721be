"""Where rows are kept: what a database has to do for the store."""

from abc import ABC, abstractmethod
from pathlib import Path

from sqlalchemy import Connection, Engine

__all__ = ["DatabaseInUse", "DatabaseRefused", "Place"]


class DatabaseRefused(Exception):
    """A database cannot be used this way; the message is for the operator."""


class DatabaseInUse(DatabaseRefused):
    """Another server has the database."""


class Place(ABC):
    """One database, which need not exist yet. One store at a time writes to it.

    Its engines begin transactions such that a writer sees what every earlier writer did and nobody writes between its
    first statement and its commit, that a reader sees one moment, and that a commit that returned survives a power cut.
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
    def patience(self) -> float:
        """Seconds for which a database that does not answer is asked again, before a transaction is begun."""

    @abstractmethod
    def reader(self, connections: int) -> Engine:
        """An engine for transactions that only read."""

    @abstractmethod
    def writer(self) -> Engine:
        """An engine for transactions that write, one at a time. Its connections raise DatabaseInUse."""

    @abstractmethod
    def damage(self, connection: Connection) -> list[str]:
        """What the database itself finds wrong with its files, a sentence each."""

    @abstractmethod
    def back_up(self, target: Path) -> None:
        """Write all of one moment to a new file, whole or not at all, also while a server writes.

        Raises FileExistsError, DatabaseRefused.
        """
