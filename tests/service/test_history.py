"""What of a job's history may go, on each kind of database."""

import pytest

from gephyra.samplers.settings import TrainingSettings
from gephyra.service import convert, jobs
from gephyra.service.config import TENANT
from gephyra.service.store import history
from gephyra.service.store import jobs as job_store
from gephyra.service.store.database import Store
from gephyra.service.store.records import JobRecord, JobState


@pytest.fixture
def stored(store: Store) -> Store:
    """Jobs of 1, 10 and 10 events, the last of which ended at 1000."""
    for name, count in (("short", 0), ("long", 9), ("ended", 8)):
        job = JobRecord(name, name, "target", "", TrainingSettings(), JobState.QUEUED, 1)
        store.write_now(job_store.add, TENANT, job, convert.job_state_event(JobState.QUEUED, 0, 1))
        for n in range(count):
            store.write_now(job_store.record, TENANT, name, 0, convert.log_event(str(n), 0, 1))
    store.write_now(jobs.cancel, "ended", "", "", 1000)
    return store


def surplus(store: Store, most: int, most_ended: int, ended_before: int) -> list[tuple[int, int]]:
    """Of each job with some: the oldest event that is there, and the oldest that is to stay."""
    found = store.read_now(history.surplus, TENANT, most, most_ended, ended_before)
    return [(each.first, each.keep) for each in found]


@pytest.mark.parametrize(
    ("most", "most_ended", "ended_before", "expected"),
    [
        (10, 3, 1000, []),
        (10, 3, 1001, [(1, 8)]),
        (4, 3, 0, [(1, 7), (1, 7)]),
        (4, 3, 1001, [(1, 7), (1, 8)]),
        # An old job keeps no more than another.
        (4, 20, 1001, [(1, 7), (1, 7)]),
        (1, 1, 1001, [(1, 10), (1, 10)]),
    ],
)
def test_each_job_keeps_its_newest_events(
    stored: Store, most: int, most_ended: int, ended_before: int, expected: list[tuple[int, int]]
) -> None:
    assert surplus(stored, most, most_ended, ended_before) == expected


def test_what_is_dropped_is_gone_once_and_of_that_job_alone(stored: Store) -> None:
    first, _ = stored.read_now(history.surplus, TENANT, 4, 3, 0)
    stored.write_now(history.drop, first.job, first.keep)
    assert surplus(stored, 4, 3, 0) == [(1, 7)]
    left = [
        [event.sequence for event in stored.read_now(job_store.events_after, TENANT, name, 0, 100)]
        for name in ("short", "long", "ended")
    ]
    assert left == [[1], [7, 8, 9, 10], list(range(1, 11))]
    # Numbers go on from the last.
    stored.write_now(job_store.record, TENANT, "long", 0, convert.log_event("next", 0, 1))
    (newest,) = stored.read_now(job_store.events_after, TENANT, "long", 10, 100)
    assert newest.sequence == 11
