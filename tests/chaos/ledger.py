"""What the server acknowledged, and the judgement of what it has afterwards."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from gephyra.clients.errors import GephyraError, NotFound
from gephyra.clients.events import Event
from gephyra.protos import training_service_pb2 as pb

K = TypeVar("K")

_Q, _P, _R = pb.JOB_STATE_QUEUED, pb.JOB_STATE_PENDING, pb.JOB_STATE_RUNNING
_C, _FAILED, _DONE = pb.JOB_STATE_CANCELLING, pb.JOB_STATE_FAILED, pb.JOB_STATE_SUCCEEDED
_CANCELLED, _PAUSED = pb.JOB_STATE_CANCELLED, pb.JOB_STATE_PAUSED
TERMINAL = frozenset({_CANCELLED, _DONE, _FAILED})
LEGAL: dict[int, frozenset[int]] = {
    0: frozenset({_Q}),
    _Q: frozenset({_P, _CANCELLED, _PAUSED}),
    _P: frozenset({_R, _Q, _C, _FAILED, _PAUSED}),
    _R: frozenset({_DONE, _FAILED, _Q, _C, _PAUSED}),
    _PAUSED: frozenset({_Q, _CANCELLED}),
    _C: frozenset({_CANCELLED, _DONE, _FAILED}),
}


@dataclass
class Ledger:
    """Filled by the load, in the order of acknowledgements."""

    targets: dict[str, str] = field(default_factory=dict)
    """Name to uid."""
    datasets: dict[str, str] = field(default_factory=dict)
    samplers: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    """Name to uid."""
    seeds: dict[int, str] = field(default_factory=dict)
    """Of the request of each job, which has it alone: to its name, empty if nobody answered."""
    retries: dict[str, str] = field(default_factory=dict)
    """Name of a job to that of its only retry, empty if nobody answered."""
    labels: dict[str, str] = field(default_factory=dict)
    """Display names of data sets, likewise."""
    deleted: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    """Nobody answered whether these were deleted."""
    cancelled: set[str] = field(default_factory=set)
    watched: dict[str, list[Event]] = field(default_factory=dict)
    draws: dict[tuple[str, int], str] = field(default_factory=dict)
    """SHA-256 of draws by sampler and seed."""
    faults: list[str] = field(default_factory=list)
    acknowledged: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    def fault(self, text: str) -> None:
        """Note a broken promise."""
        self.faults.append(text)

    def made(self, kind: dict[str, str], name: str, uid: str) -> None:
        """A resource was acknowledged, perhaps again."""
        self.acknowledged += 1
        if kind.setdefault(name, uid) != uid:
            self.fault(f"{name} was {kind[name]} and is {uid} now")

    def missed(self, name: str, error: GephyraError) -> None:
        """A resource could not be read; right only if it was deleted."""
        if not isinstance(error, NotFound):
            self.fault(f"{name} cannot be read: {error}")
        elif name not in self.deleted | self.doubtful:
            self.fault(f"{name} was acknowledged and is lost")

    def listed(self, kind: str, keys: Sequence[tuple[K, str]], known: Mapping[K, str]) -> None:
        """Compare a list of (key, name) with acknowledgements by key: one resource a request, the one told."""
        count = Counter(key for key, _ in keys)
        for key, name in keys:
            if count[key] > 1:
                self.fault(f"{kind}: the request {key} made {count[key]}, one of them {name}")
            if key not in known:
                self.fault(f"{kind}: {name} was made by nobody (key {key})")
            elif known[key] and known[key] != name:
                self.fault(f"{kind}: the request {key} was told {known[key]} and made {name}")


def judge_events(name: str, stored: list[pb.TrainingEvent], ledger: Ledger) -> None:
    """Numbers from 1 without gaps, legal transitions, attempts that count up as they begin."""
    if [event.sequence for event in stored] != list(range(1, len(stored) + 1)):
        ledger.fault(f"{name}: sequences {[event.sequence for event in stored]}")
    state, attempt = 0, 0
    for event in stored:
        if event.WhichOneof("event") == "state":
            if event.state not in LEGAL.get(state, frozenset()):
                ledger.fault(f"{name}: from state {state} to {event.state} at {event.sequence}")
            attempt += event.state == _P
            state = event.state
        elif state in TERMINAL:
            ledger.fault(f"{name}: an event after the end, at {event.sequence}")
        if event.attempt != attempt:
            ledger.fault(f"{name}: attempt {event.attempt} at {event.sequence}, expected {attempt}")
    if state not in TERMINAL:
        ledger.fault(f"{name}: the events end in state {state}")


def judge_watch(name: str, seen: list[Event], stored: list[Event], whole: bool, ledger: Ledger) -> None:
    """What came over all connections is the stored events, once each, in order; all of them if the watch ended."""
    expected = stored if whole else stored[: len(seen)]
    # Metrics may be NaN, which differs from itself.
    if list(map(repr, seen)) != list(map(repr, expected)):
        ledger.fault(f"{name}: watched {[event.sequence for event in seen]} of {len(stored)} events")
