"""A server driven at random beside a model of it that fits one screen: what is there, and which answers are right."""

import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gephyra.protos import dataset_service_pb2, target_service_pb2
from gephyra.protos import training_service_pb2 as pb
from tests.chaos.host import Host
from tests.chaos.ledger import Ledger, judge_events
from tests.support.server import Stubs, create_job, gaussian, get_job, wait_for, watch
from tests.support.tables import create, raw

LONG = pb.TrainingConfig(seconds=600.0, batch_size=16, steps=4, width=8, precondition=pb.PRECONDITION_NONE)
OK, NOT_FOUND = grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND
NAMES = st.sampled_from(["alpha", "bravo", "delta"])
_LIVE = {pb.JOB_STATE_QUEUED, pb.JOB_STATE_PENDING, pb.JOB_STATE_RUNNING}
_MOST_JOBS, _MOST_RESTARTS = 3, 3


class Machine(RuleBasedStateMachine):
    """Targets, data sets and jobs that never end by themselves; restarts and reconnects between."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="gephyra-machine-")
        self.host = Host(Path(self.folder.name))
        self.host.start()
        self.connect()
        self.targets: dict[str, tuple[int, str]] = {}
        self.datasets: dict[str, tuple[int, str]] = {}
        self.jobs: dict[str, tuple[str, str]] = {}
        """Name to target and request id."""
        self.cancelled: set[str] = set()
        self.restarts = 0

    def connect(self) -> None:
        self.channel = grpc.insecure_channel(self.host.address)
        grpc.channel_ready_future(self.channel).result(30)
        self.stubs = Stubs.on(self.channel)

    def ask(self, call: Callable[[], Any], expected: grpc.StatusCode) -> Any:
        """The answer to a call whose status the model knows."""
        try:
            answer, code = call(), OK
        except grpc.RpcError as error:
            failed: Any = error
            answer, code = None, failed.code()
        assert code is expected, f"expected {expected}, got {code}"
        return answer

    @rule(name=NAMES, dim=st.integers(2, 3))
    def create_target(self, name: str, dim: int) -> None:
        request = target_service_pb2.CreateTargetRequest(target_id=f"target-{name}", definition=gaussian(dim))
        known = self.targets.get(name)
        taken = known is not None and known[0] != dim
        made = self.ask(
            lambda: self.stubs.target.CreateTarget(request), grpc.StatusCode.ALREADY_EXISTS if taken else OK
        )
        if made is not None:
            assert known is None or known[1] == made.uid
            self.targets[name] = (dim, made.uid)

    @rule(name=NAMES)
    def delete_target(self, name: str) -> None:
        used = any(job[0] == name for each, job in self.jobs.items() if each not in self.cancelled)
        right = grpc.StatusCode.FAILED_PRECONDITION if used else OK if name in self.targets else NOT_FOUND
        request = target_service_pb2.DeleteTargetRequest(name=f"targets/target-{name}")
        self.ask(lambda: self.stubs.target.DeleteTarget(request), right)
        if right is OK:
            del self.targets[name]

    @rule(name=NAMES, rows=st.integers(2, 3))
    def create_dataset(self, name: str, rows: int) -> None:
        values, known = np.arange(2.0 * rows).reshape(rows, 2), self.datasets.get(name)
        right = grpc.StatusCode.ALREADY_EXISTS if known is not None and known[0] != rows else OK
        made = self.ask(lambda: create(self.stubs, raw(values), dataset_id=f"dataset-{name}"), right)
        if made is not None:
            assert known is None or known[1] == made.uid
            self.datasets[name] = (rows, made.uid)

    @rule(name=NAMES)
    def delete_dataset(self, name: str) -> None:
        request = dataset_service_pb2.DeleteDatasetRequest(name=f"datasets/dataset-{name}")
        self.ask(lambda: self.stubs.dataset.DeleteDataset(request), OK if name in self.datasets else NOT_FOUND)
        self.datasets.pop(name, None)

    @precondition(lambda self: len(self.jobs) - len(self.cancelled) < _MOST_JOBS)
    @rule(name=NAMES)
    def create_job(self, name: str) -> None:
        find = target_service_pb2.GetTargetRequest(name=f"targets/target-{name}")
        ready = target_service_pb2.Target.STATE_READY
        if name in self.targets:
            wait_for(lambda: self.stubs.target.GetTarget(find).state == ready, what="the check of a target")
        request_id = str(uuid.uuid4())
        job = self.ask(
            lambda: create_job(self.stubs, find.name, LONG, request_id), OK if name in self.targets else NOT_FOUND
        )
        if job is not None:
            assert job.name not in self.jobs
            self.jobs[job.name] = (name, request_id)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), same=st.booleans())
    def repeat_job(self, data: st.DataObject, same: bool) -> None:
        job = data.draw(st.sampled_from(sorted(self.jobs)))
        name, request_id = self.jobs[job]
        config = LONG if same else pb.TrainingConfig(seconds=601.0)
        again = self.ask(
            lambda: create_job(self.stubs, f"targets/target-{name}", config, request_id),
            OK if same else grpc.StatusCode.INVALID_ARGUMENT,
        )
        assert again is None or again.name == job

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(sorted(self.jobs)))
        self.ask(lambda: self.stubs.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=job)), OK)
        # P8: everything is free within 20 s.
        wait_for(lambda: get_job(self.stubs, job).state == pb.JOB_STATE_CANCELLED, seconds=20, what="a cancel")
        self.cancelled.add(job)
        ledger = Ledger()
        judge_events(job, watch(self.stubs, job), ledger)
        assert ledger.faults == []

    @precondition(lambda self: self.restarts < _MOST_RESTARTS)
    @rule(gently=st.booleans())
    def restart(self, gently: bool) -> None:
        self.restarts += 1
        if gently:
            assert self.host.stop() == 0
        else:
            self.host.kill()
        self.channel.close()
        self.host.start()
        self.connect()

    @rule()
    def reconnect(self) -> None:
        self.channel.close()
        self.connect()

    @invariant()
    def what_is_there_is_what_was_made(self) -> None:
        stubs = self.stubs
        targets = stubs.target.ListTargets(target_service_pb2.ListTargetsRequest()).targets
        assert {target.name: target.uid for target in targets} == {
            f"targets/target-{name}": uid for name, (_, uid) in self.targets.items()
        }
        datasets = stubs.dataset.ListDatasets(dataset_service_pb2.ListDatasetsRequest()).datasets
        assert {dataset.name: dataset.uid for dataset in datasets} == {
            f"datasets/dataset-{name}": uid for name, (_, uid) in self.datasets.items()
        }
        states = {job.name: job.state for job in _all_jobs(stubs)}
        assert states.keys() == self.jobs.keys()
        for job, state in states.items():
            assert state in ({pb.JOB_STATE_CANCELLED} if job in self.cancelled else _LIVE), (job, state)

    def teardown(self) -> None:
        self.channel.close()
        self.host.close()
        self.folder.cleanup()


def _all_jobs(stubs: Stubs) -> list[pb.TrainingJob]:
    return list(stubs.training.ListTrainingJobs(pb.ListTrainingJobsRequest(page_size=1000)).training_jobs)
