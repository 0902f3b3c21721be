"""Whose turn it is: no tenant and no big job waits for ever, shares are even, and slots are never given twice."""

from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, select

from gephyra.samplers.settings import Device, TrainingSettings
from gephyra.service import convert, jobs
from gephyra.service.config import Limits, ServerConfig
from gephyra.service.errors import FailedPrecondition, Reason
from gephyra.service.options import _gpus
from gephyra.service.slots import Need, Offer, Room, Slots, refuse_if_never, slots_of
from gephyra.service.store import jobs as job_store
from gephyra.service.store import schema
from gephyra.service.store.database import Store
from gephyra.service.store.records import JobRecord, JobState

CONFIG = ServerConfig(Path(), "unix:/s", running_jobs=4, threads=1, cpus=4, gpus=("0", "1"))


def put(connection: Connection, tenant: str, name: str, cpus: int = 1, device: Device = Device.CPU) -> None:
    """A job that waits; it needs a processor for two paths of its batch."""
    record = JobRecord(name, name, "t", "d", TrainingSettings(batch_size=2 * cpus, device=device), JobState.QUEUED, 5)
    job_store.add(connection, tenant, record, convert.job_state_event(record.state, 0, 5))


def needs(settings: object) -> Need:
    assert isinstance(settings, TrainingSettings)
    return Need(settings.batch_size // 2, settings.device)


class Scheduler:
    """Claims as a server does, on a clock that ticks with each claim."""

    def __init__(self, store: Store, whole: Room, most_of_a_tenant: int = 1000) -> None:
        self.store, self.whole, self.most = store, whole, most_of_a_tenant
        self.running: dict[str, tuple[str, Need]] = {}
        self.begun: list[str] = []
        self._now = 100

    @property
    def free(self) -> Room:
        used = [need for _, need in self.running.values()]
        gpus = None if self.whole.gpus is None else self.whole.gpus - sum(n.device is Device.CUDA for n in used)
        return Room(self.whole.jobs - len(used), self.whole.cpus - sum(need.cpus for need in used), gpus)

    def fill(self) -> None:
        while True:
            self._now += 1
            offer = Offer(self.free, self.whole, needs, self.most)
            job = self.store.write_now(jobs.claim, self._now, "me", None, offer)
            if job is None:
                return
            tenant = self.store.read_now(tenant_of, job.name)
            self.running[job.name] = (tenant, needs(job.settings))
            self.begun.append(job.name)
            assert min(self.free.jobs, self.free.cpus, self.free.gpus or 0) >= 0

    def end(self, name: str) -> None:
        tenant, _ = self.running.pop(name)
        states = (JobState.PENDING,)
        assert self.store.write_now(job_store.advance, tenant, name, 1, states, JobState.FAILED, b"failed")


def tenant_of(connection: Connection, name: str) -> str:
    tenant: str = connection.execute(select(schema.jobs.c.tenant).where(schema.jobs.c.name == name)).scalar_one()
    return tenant


def room(jobs: int, cpus: int = 1000, gpus: int | None = None) -> Room:
    return Room(jobs, cpus, gpus)


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_two_tenants_share_evenly_whoever_came_first(store: Store, slots: int) -> None:
    """A tenant with a long queue came first; the other one waits for one turn, not for the queue."""
    for n in range(8):
        store.write_now(put, "early", f"early-{n}")
    for n in range(6):
        store.write_now(put, "late", f"late-{n}")
    scheduler = Scheduler(store, room(slots))
    while store.read_now(job_store.lines):
        scheduler.fill()
        scheduler.end(next(iter(scheduler.running)))
    order = scheduler.begun
    assert len(order) == 14
    # Oldest first within each, and as many of each while both wait.
    for tenant in ("early", "late"):
        assert [name for name in order if name.startswith(tenant)] == sorted(n for n in order if n.startswith(tenant))
    for length in range(1, 13):
        counts = Counter(name.partition("-")[0] for name in order[:length])
        assert abs(counts["early"] - counts["late"]) <= 1, order[:length]


def test_a_newcomer_has_the_next_free_slot(store: Store) -> None:
    for n in range(9):
        store.write_now(put, "many", f"many-{n}")
    scheduler = Scheduler(store, room(3))
    scheduler.fill()
    store.write_now(put, "new", "new-0")
    scheduler.end("many-0")
    scheduler.fill()
    assert scheduler.begun == ["many-0", "many-1", "many-2", "new-0"]


def test_a_tenant_has_no_more_slots_than_it_may(store: Store) -> None:
    for n in range(4):
        store.write_now(put, "one", f"one-{n}")
    scheduler = Scheduler(store, room(3), most_of_a_tenant=2)
    scheduler.fill()
    assert scheduler.begun == ["one-0", "one-1"]
    store.write_now(put, "two", "two-0")
    scheduler.fill()
    assert scheduler.begun == ["one-0", "one-1", "two-0"]


def test_a_big_job_is_not_starved_by_small_ones(store: Store) -> None:
    store.write_now(put, "t", "first")
    store.write_now(put, "t", "big", 2)
    for n in range(5):
        store.write_now(put, "t", f"small-{n}")
    scheduler = Scheduler(store, room(10, cpus=2))
    scheduler.fill()
    # One processor is free, and kept for it.
    assert scheduler.begun == ["first"]
    scheduler.end("first")
    scheduler.fill()
    assert scheduler.begun == ["first", "big"]
    scheduler.end("big")
    scheduler.fill()
    assert scheduler.begun == ["first", "big", "small-0", "small-1"]


def test_what_a_waiting_job_does_not_need_goes_to_those_behind_it(store: Store) -> None:
    for name, device in (("gpu-0", Device.CUDA), ("gpu-1", Device.CUDA), ("auto", Device.AUTO), ("cpu", Device.CPU)):
        store.write_now(put, "t", name, 1, device)
    scheduler = Scheduler(store, room(4, cpus=4, gpus=1))
    scheduler.fill()
    assert scheduler.begun == ["gpu-0", "auto", "cpu"]
    scheduler.end("gpu-0")
    scheduler.fill()
    assert scheduler.begun[3:] == ["gpu-1"]


@pytest.mark.parametrize("device", [Device.CUDA, Device.CPU])
def test_a_job_that_no_longer_fits_at_all_is_in_nobodys_way(store: Store, device: Device) -> None:
    """It was made where the server had more."""
    store.write_now(put, "t", "too-big", 1 if device is Device.CUDA else 3, device)
    store.write_now(put, "t", "next")
    scheduler = Scheduler(store, room(2, cpus=2, gpus=0))
    scheduler.fill()
    assert scheduler.begun == ["next"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("queue") / "db")
    yield store
    store.close()


_JOB = st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.sampled_from(list(Device)))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(waiting=st.lists(_JOB, min_size=1, max_size=12), ends=st.randoms(use_true_random=False))
def test_every_job_begins_once(plain: Store, waiting: Sequence[tuple[str, int, Device]], ends: Random) -> None:
    plain.write_now(lambda connection: connection.execute(delete(schema.jobs)))
    for n, (tenant, cpus, device) in enumerate(waiting):
        plain.write_now(put, tenant, f"job-{n}", cpus, device)
    scheduler = Scheduler(plain, room(3, cpus=3, gpus=1))
    while plain.read_now(job_store.lines):
        scheduler.fill()
        assert scheduler.running, "jobs wait and nothing runs"
        scheduler.end(ends.choice(sorted(scheduler.running)))
    assert sorted(scheduler.begun) == sorted(f"job-{n}" for n in range(len(waiting)))


def test_slots_are_held_until_they_are_released() -> None:
    slots = Slots(CONFIG)
    cpu, cuda, auto = Need(1, Device.CPU), Need(2, Device.CUDA), Need(1, Device.AUTO)
    assert slots.free == Room(4, 4, 2) == Room.of(CONFIG)
    first, second = slots.take("a", cuda), slots.take("b", auto)
    assert (first.gpu, second.gpu, slots.free) == ("0", "1", Room(2, 1, 0))
    # None is free: auto goes without.
    assert slots.take("c", auto).gpu == ""
    assert (slots.free, slots.held, slots.cpus_held, slots.gpus_held) == (Room(1, 0, 0), 3, 4, 2)
    assert slots.free.full
    slots.release("a")
    slots.release("a")
    assert slots.free == Room(2, 2, 1)
    assert slots.take("d", cpu).gpu == ""
    assert slots.take("e", auto).gpu == "0"
    for holder in "bcde":
        slots.release(holder)
    assert slots.free == Room.of(CONFIG)


def test_a_worker_sees_its_own_gpu_and_no_other() -> None:
    slots, variable = Slots(CONFIG), "CUDA_VISIBLE_DEVICES"
    assert slots.take("a", Need(1, Device.CUDA)).environment == {variable: "0"}
    assert slots.take("b", Need(1, Device.CPU)).environment == {variable: ""}
    none = Slots(replace(CONFIG, gpus=()))
    assert none.take("a", Need(1, Device.AUTO)).environment == {variable: ""}
    # A server that does not count its GPUs leaves them to each worker.
    uncounted = Slots(replace(CONFIG, gpus=None))
    assert uncounted.free.gpus is None
    assert all(uncounted.take(n, Need(1, device)).environment == {} for n, device in enumerate(Device))


@pytest.mark.parametrize(
    ("device", "gpus", "cpus", "word"),
    [(Device.CUDA, (), 4, "no GPU"), (Device.CPU, ("0",), 1, "needs 2 CPU slots and this server has 1")],
)
def test_a_job_that_can_never_fit_is_refused(device: Device, gpus: tuple[str, ...], cpus: int, word: str) -> None:
    config = replace(CONFIG, gpus=gpus, cpus=cpus, threads=2)
    with pytest.raises(FailedPrecondition, match=word) as refused:
        refuse_if_never(TrainingSettings(device=device), config)
    assert refused.value.reason == Reason.JOB_NEVER_FITS
    for other in (replace(config, gpus=("0",), cpus=2), replace(config, gpus=None, cpus=None)):
        refuse_if_never(TrainingSettings(device=device), other)


@pytest.mark.parametrize(
    ("text", "gpus"), [("0,1", ("0", "1")), (" GPU-1a , 3", ("GPU-1a", "3")), ("", ()), ("0,0", None), ("0,,1", None)]
)
def test_gpus_are_named_once_each(text: str, gpus: tuple[str, ...] | None) -> None:
    if gpus is not None:
        assert _gpus(text) == gpus
        return
    with pytest.raises(ArgumentTypeError, match="expected different GPUs"):
        _gpus(text)


def test_slots_are_as_many_as_the_number_of_jobs_implies_unless_said() -> None:
    config = ServerConfig(Path(), "unix:/s", running_jobs=3, threads=2)
    assert (config.cpu_slots, Room.of(config)) == (6, Room(3, 6, None))
    assert replace(config, cpus=5).cpu_slots == 5
    assert slots_of(TrainingSettings(device=Device.CUDA), config) == Need(2, Device.CUDA)
    assert Slots(replace(config, limits=Limits(max_tenant_running_jobs=2))).offer.most_of_a_tenant == 2
