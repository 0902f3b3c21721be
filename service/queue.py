"""Whose turn it is: the oldest job of the tenant with the fewest at work; of several, of the one that waits longest.

So no tenant waits for the end of another's queue, and shares are even, whatever the number of slots.
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from .slots import Offer
from .store import jobs
from .store.records import JobRecord

__all__ = ["next_job"]


@dataclass(slots=True)
class _Turn:
    """A tenant in the queue, as far as it was looked at."""

    tenant: str
    running: int
    served: int
    first: int
    after: int = 0

    @property
    def rank(self) -> tuple[int, int, int]:
        """The lowest is next."""
        return self.running, self.served, self.first


def next_job(connection: Connection, offer: Offer) -> tuple[str, JobRecord] | None:
    """The job that begins next, and its tenant; None if none can.

    Jobs that would not fit an idle server are passed over. One that does not fit now keeps what is free from those
    behind it (`slots`), and counts as one of its tenant's.
    """
    turns = [_Turn(line.tenant, line.running, line.served, line.first) for line in jobs.lines(connection)]
    free = offer.free
    while not free.full and (turns := [turn for turn in turns if turn.running < offer.most_of_a_tenant]):
        turn = min(turns, key=lambda each: each.rank)
        found = jobs.next_queued(connection, turn.tenant, turn.after)
        if found is None:
            turns.remove(turn)
            continue
        turn.after, job = found
        need = offer.need(job.settings)
        if free.takes(need):
            return turn.tenant, job
        if offer.whole.takes(need):
            free, turn.running = free.without(need), turn.running + 1
    return None
