"""What a server counts about itself, for Prometheus. Labels have few values: methods, codes, states; never a name."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .store.records import JobRecord, JobState

__all__ = ["Metrics"]

_CALL_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_QUEUE_SECONDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
_DISK_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The numbers of one server, in a registry of its own.

    Attributes:
        registry: What a scrape shows.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.calls_started = Counter("gephyra_rpc_started", "Calls that began.", ["method"], registry=registry)
        self.calls_handled = Counter(
            "gephyra_rpc_handled", "Calls that ended, by gRPC code.", ["method", "code"], registry=registry
        )
        self.call_seconds = Histogram(
            "gephyra_rpc_seconds", "Seconds from the beginning of a call to its end, streams too.", ["method"],
            buckets=_CALL_SECONDS, registry=registry,
        )  # fmt: skip
        self.refused = Counter(
            "gephyra_rpc_refused", "Calls refused because too many of their kind were at work.", ["kind"],
            registry=registry,
        )  # fmt: skip
        self.calls_in_flight = Gauge("gephyra_rpc_in_flight", "Calls at work now.", ["method"], registry=registry)
        self.draws = Counter("gephyra_draws", "Draws sent to callers.", registry=registry)
        self.write_seconds = Histogram(
            "gephyra_database_write_seconds", "Seconds from asking for a write transaction to its commit.",
            buckets=_DISK_SECONDS, registry=registry,
        )  # fmt: skip
        self.checkpoint_seconds = Histogram(
            "gephyra_checkpoint_seconds", "Seconds that a training worker took to write a checkpoint.",
            buckets=_DISK_SECONDS, registry=registry,
        )  # fmt: skip
        self._queue_seconds = Histogram(
            "gephyra_job_queue_seconds", "Seconds that new jobs waited for a slot, first attempts only.",
            buckets=_QUEUE_SECONDS, registry=registry,
        )  # fmt: skip
        self._attempts_started = Counter("gephyra_job_attempts_started", "Attempts that began.", registry=registry)
        self._attempts_ended = Counter(
            "gephyra_job_attempts_ended", "Attempts that ended, by the state in which they left their job.", ["state"],
            registry=registry,
        )  # fmt: skip
        self._slots = Gauge("gephyra_slots", "Processes that may work at the same time.", ["kind"], registry=registry)
        self._slots_used = Gauge("gephyra_slots_used", "Processes at work now.", ["kind"], registry=registry)

    def attempt_began(self, job: JobRecord, now: int) -> None:
        """An attempt at a job that was just claimed begins at `now` (microseconds since 1970)."""
        self._attempts_started.inc()
        if job.attempt == 1:
            self._queue_seconds.observe(max(0, now - job.create_time) / 1e6)

    def attempt_ended(self, state: JobState) -> None:
        """An attempt ended and left its job in this state."""
        self._attempts_ended.labels(state.value).inc()

    def watch_slots(self, kind: str, slots: int, used: Callable[[], int]) -> None:
        """Show how many of the slots of a kind of process are taken, as `used` says at a scrape."""
        self._slots.labels(kind).set(slots)
        self._slots_used.labels(kind).set_function(used)

    def watch_jobs(self, count: Callable[[], Mapping[JobState, int]]) -> None:
        """Show how many jobs are in each state, as `count` says at a scrape."""
        self.registry.register(_JobStates(count))


class _JobStates(Collector):
    """Asked at every scrape: the database knows, also what was there before this server."""

    def __init__(self, count: Callable[[], Mapping[JobState, int]]) -> None:
        self._count = count

    def describe(self) -> Iterable[Metric]:
        return [_family()]

    def collect(self) -> Iterable[Metric]:
        family, counts = _family(), self._count()
        for state in JobState:
            family.add_metric([state.value], counts.get(state, 0))
        return [family]


def _family() -> GaugeMetricFamily:
    return GaugeMetricFamily("gephyra_jobs", "Training jobs by state.", labels=["state"])
