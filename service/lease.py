"""The right of one attempt to go on: while its worker shows signs of life and the database still knows the attempt.

A worker that hangs, or was stopped, gives none. A server that lost its database to another one is no longer known. In
both cases the worker is ended, and what it did after its last checkpoint is done again by the next attempt.
"""

import asyncio
import logging
import time

from . import jobs
from .core import Core
from .errors import Unavailable
from .store.records import JobRecord

__all__ = ["Lease"]

logger = logging.getLogger(__name__)

# Renewals within the life of a lease: two may fail.
_RENEWALS = 3


class Lease:
    """Of the attempt `job.attempt`, which was just claimed."""

    def __init__(self, core: Core, job: JobRecord) -> None:
        self._core = core
        self._job = job
        self._seconds = core.config.timings.lease
        self._heard = self._renewed = time.monotonic()

    def hear(self) -> None:
        """The worker showed a sign of life."""
        self._heard = time.monotonic()

    async def keep(self) -> str:
        """Renew it while that is right; returns when it is lost, and why."""
        while True:
            await asyncio.sleep(self._seconds / _RENEWALS)
            if time.monotonic() - self._heard > self._seconds:
                return f"it gave no sign of life for {self._seconds:g} s"
            try:
                if not await self._core.store.write(jobs.renew, self._job, self._core.lease_end()):
                    return "the attempt is not the job's any more"
                self._renewed = time.monotonic()
            except Unavailable as error:
                logger.warning("lease of attempt %d of %s: %s", self._job.attempt, self._job.name, error)
                if time.monotonic() - self._renewed > self._seconds:
                    return f"the database could not be told for {self._seconds:g} s that it lives"
