"""The right of an attempt to go on, in the database: whose it is, and until when that holds if nothing more is heard.

Whether its worker lives, the attempt sees by itself. This is about the server: one that another has taken the job from,
or that cannot reach the database for the length of a lease, ends its worker. What that does cannot be stored any more.
"""

import asyncio
import logging

from . import jobs
from .core import Core
from .store.records import JobRecord

__all__ = ["keep_lease"]

logger = logging.getLogger(__name__)

# Renewals within the life of a lease: two may fail.
_RENEWALS = 3


async def keep_lease(core: Core, job: JobRecord) -> str:
    """Renew the lease of the attempt `job.attempt`, just claimed, while that is right; why it was lost."""
    now, seconds = asyncio.get_running_loop().time, core.config.timings.lease
    renewed = now()
    while True:
        await asyncio.sleep(seconds / _RENEWALS)
        try:
            if not await core.store.write(jobs.renew, job, core.lease_end(), core.clock()):
                return "the attempt is not the current one any more"
            renewed = now()
        except Exception as error:
            # Whatever the database says: without this task the lease would end.
            logger.warning("the lease of attempt %d of %s is not renewed: %s", job.attempt, job.name, error)
            if now() - renewed > seconds:
                return f"the database was away for {seconds:g} s"
