"""Rows and content as the service makes them, and beside them which content that needs."""

import time
from pathlib import Path

from sqlalchemy import Connection, delete

from gephyra.protos import target_service_pb2, tensor_pb2
from gephyra.samplers.settings import TrainingSettings
from gephyra.service.config import TENANT
from gephyra.service.holdings import open_holdings
from gephyra.service.objects import NoObjects
from gephyra.service.store import blobs, datasets, samplers, schema, targets
from gephyra.service.store import jobs as job_store
from gephyra.service.store.database import Store
from gephyra.service.store.records import DatasetRecord, JobRecord, JobState, SamplerRecord, TargetRecord, TargetState
from tests.support.wire import REPORT

__all__ = ["World", "target", "wipe"]

TRAINING = TrainingSettings()


class World:
    """Rows and content as the service makes them, and beside them which content that needs."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.data, self.store = folder, store
        self.holdings = open_holdings(folder, NoObjects())
        self.targets: dict[str, frozenset[str]] = {}
        self.samplers: dict[str, tuple[str, str]] = {}
        self.jobs: dict[str, tuple[str, frozenset[str]]] = {}
        self.datasets: dict[str, str] = {}
        self.waiting: set[str] = set()
        self.count = 0

    def fresh(self, kind: str) -> str:
        self.count += 1
        return f"{kind}-{self.count}"

    def register(self, pick: int) -> None:
        """A target with two of five arrays, so that targets share some."""
        arrays = [self.holdings.artefacts.put(bytes([n]) * 9) for n in (pick % 5, pick // 5 % 5)]
        digest, name = self.holdings.artefacts.put(definition(arrays)), self.fresh("target")
        self.store.write_now(targets.add, TENANT, target(name, digest))
        self.targets[name] = frozenset([digest, *arrays])

    def train(self, pick: int) -> None:
        if not self.targets:
            return
        on = sorted(self.targets)[pick % len(self.targets)]
        digest, name = self.holdings.artefacts.put(self.fresh("weights").encode()), self.fresh("sampler")
        self.store.write_now(samplers.add, TENANT, sampler(name, on, self._definition(on), digest))
        self.samplers[name] = (digest, on)

    def begin(self, pick: int) -> None:
        """A job that goes on from a sampler, on the target of that."""
        if not self.samplers:
            return
        start, on = self.samplers[sorted(self.samplers)[pick % len(self.samplers)]]
        name = self.fresh("job")
        record = JobRecord(
            name, name, on, self._definition(on), TRAINING, JobState.QUEUED, 5, start="some", start_digest=start
        )
        self.store.write_now(job_store.add, TENANT, record, b"queued")
        folder = self.data / "jobs" / name / "work-1"
        folder.mkdir(parents=True)
        (folder / "checkpoint").write_bytes(b"weights")
        self.jobs[name] = (on, self.targets[on] | {start})

    def import_array(self, pick: int) -> None:
        """An array whose blob waits among the artefacts, as an import leaves it."""
        digest = self.holdings.artefacts.put(b"imported" + bytes([pick % 7]))
        self.store.write_now(blobs.add, TENANT, digest, 9, int(time.time() * 1e6))
        self.waiting.add(digest)

    def upload(self, pick: int) -> None:
        """A blob that waits, younger than a day."""
        digest = self.holdings.uploads.whole.put(b"blob" + bytes([pick % 7]))
        self.store.write_now(blobs.add, TENANT, digest, 5, int(time.time() * 1e6))
        self.waiting.add(digest)

    def make_dataset(self, pick: int) -> None:
        content, name = self.holdings.datasets.put(b"rows" + bytes([pick % 3])), self.fresh("dataset")
        self.store.write_now(datasets.add, TENANT, dataset(name, content))
        self.datasets[name] = content

    def delete_target(self, pick: int) -> None:
        used = {on for _, on in self.samplers.values()} | {on for on, _ in self.jobs.values()}
        if free := sorted(set(self.targets) - used):
            name = free[pick % len(free)]
            self.store.write_now(targets.remove, TENANT, name)
            del self.targets[name]

    def delete_sampler(self, pick: int) -> None:
        if self.samplers:
            name = sorted(self.samplers)[pick % len(self.samplers)]
            self.store.write_now(samplers.remove, TENANT, name)
            del self.samplers[name]

    def delete_job(self, pick: int) -> None:
        if self.jobs:
            name = sorted(self.jobs)[pick % len(self.jobs)]
            self.store.write_now(_remove_job, name)
            del self.jobs[name]

    def delete_dataset(self, pick: int) -> None:
        if self.datasets:
            name = sorted(self.datasets)[pick % len(self.datasets)]
            self.store.write_now(datasets.remove, TENANT, name)
            del self.datasets[name]

    def orphan(self, pick: int) -> None:
        """Content that a server which died left without a row."""
        self.holdings.artefacts.put(b"orphan" + bytes([pick]))
        self.holdings.datasets.put(b"orphan" + bytes([pick]))

    def wanted(self) -> set[str]:
        """Paths below the data folder that must stay."""
        content = set().union(*self.targets.values(), *(held for _, held in self.jobs.values()), self.waiting)
        content |= {digest for digest, _ in self.samplers.values()}
        paths = {self.holdings.artefacts.path(each) for each in content}
        paths |= {self.holdings.datasets.path(each) for each in self.datasets.values()}
        paths |= {self.data / "jobs" / name / "work-1" / "checkpoint" for name in self.jobs}
        return {str(path.relative_to(self.data)) for path in paths if path.exists()}

    def _definition(self, name: str) -> str:
        record = self.store.read_now(targets.find, TENANT, name)
        assert record is not None
        return record.digest


def definition(arrays: list[str]) -> bytes:
    message = target_service_pb2.TargetDefinition()
    message.program.dim = 1
    for digest in arrays:
        blob = tensor_pb2.BlobArray(blob=f"blobs/{digest}", dtype=tensor_pb2.DTYPE_UINT8, shape=[9])
        message.program.arrays.append(tensor_pb2.DataArray(blob=blob))
    return message.SerializeToString()


def target(name: str, digest: str) -> TargetRecord:
    return TargetRecord(name, name, TargetState.READY, digest, 1, "somewhere", 1)


def sampler(name: str, on: str, target_digest: str, digest: str) -> SamplerRecord:
    return SamplerRecord(name, name, on, target_digest, "", TRAINING, REPORT, 1, (), digest, 9)


def dataset(name: str, content: str) -> DatasetRecord:
    return DatasetRecord(name, name, name, "o", content, "d", 9, 2, "float32", False, 1, ())


def _remove_job(connection: Connection, name: str) -> None:
    connection.execute(delete(schema.jobs).where(schema.jobs.c.name == name))


def wipe(connection: Connection) -> None:
    """Leave no rows."""
    for table in (schema.targets, schema.samplers, schema.jobs, schema.datasets, schema.blobs):
        connection.execute(delete(table))
