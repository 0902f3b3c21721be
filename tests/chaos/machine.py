"""A server driven at random beside a model of it that fits one screen: what is there, and which answers are right."""

import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
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
from tests.support.server import Stubs, gaussian, get_job, wait_for, watch
from tests.support.tables import create, raw

LONG = pb.TrainingConfig(seconds=600.0, batch_size=16, steps=4, width=8, precondition=pb.PRECONDITION_NONE)
OK, NOT_FOUND = grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND
NAMES = st.sampled_from(["alpha", "bravo", "delta"])
_LIVE = {pb.JOB_STATE_QUEUED, pb.JOB_STATE_PENDING, pb.JOB_STATE_RUNNING}
_REFUSED = grpc.StatusCode.FAILED_PRECONDITION
_MOST_JOBS, _MOST_RESTARTS = 3, 3


@dataclass
class _Job:
    """What the model knows of a job."""

    target: str
    dim: int
    request: Any
    """That made it."""
    paused: bool = False
    """It is PAUSED, or will be without being asked again."""
    cancelled: bool = False


class Machine(RuleBasedStateMachine):
    """Targets, data sets and jobs that never end by themselves; restarts and reconnects between.

    Jobs are paused, resumed, cancelled, tried again and deleted, in every state that they have.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="gephyra-machine-")
        self.host = Host(Path(self.folder.name))
        self.host.start()
        self.connect()
        self.targets: dict[str, tuple[int, str]] = {}
        self.datasets: dict[str, tuple[int, str]] = {}
        self.jobs: dict[str, _Job] = {}
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
        used = any(job.target == name for job in self.jobs.values() if not job.cancelled)
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

    def room(self) -> bool:
        """Whether the model wants one more job."""
        return sum(not job.cancelled for job in self.jobs.values()) < _MOST_JOBS

    def checked(self, name: str) -> str:
        """Name of a target, which is checked by now if it is there."""
        find = target_service_pb2.GetTargetRequest(name=f"targets/target-{name}")
        ready = target_service_pb2.Target.STATE_READY
        if name in self.targets:
            wait_for(lambda: self.stubs.target.GetTarget(find).state == ready, what="the check of a target")
        return find.name

    def some_job(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.jobs)))

    @precondition(room)
    @rule(name=NAMES)
    def create_job(self, name: str) -> None:
        request = pb.CreateTrainingJobRequest(target=self.checked(name), config=LONG, request_id=str(uuid.uuid4()))
        right = OK if name in self.targets else NOT_FOUND
        job = self.ask(lambda: self.stubs.training.CreateTrainingJob(request), right)
        if job is not None:
            assert job.name not in self.jobs
            self.jobs[job.name] = _Job(name, self.targets[name][0], request)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), same=st.booleans())
    def repeat_job(self, data: st.DataObject, same: bool) -> None:
        job = self.some_job(data)
        request = type(self.jobs[job].request)()
        request.CopyFrom(self.jobs[job].request)
        new, right = isinstance(request, pb.CreateTrainingJobRequest), OK
        if not same:
            setattr(request, "target" if new else "name", job)
            right = grpc.StatusCode.INVALID_ARGUMENT
        training = self.stubs.training
        call: Callable[[Any], pb.TrainingJob] = training.CreateTrainingJob if new else training.RetryTrainingJob
        again = self.ask(lambda: call(request), right)
        assert again is None or again.name == job

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), patient=st.booleans())
    def pause(self, data: st.DataObject, patient: bool) -> None:
        job = self.some_job(data)
        right = _REFUSED if self.jobs[job].cancelled else OK
        self.ask(lambda: self.stubs.training.PauseTrainingJob(pb.PauseTrainingJobRequest(name=job)), right)
        if right is OK:
            self.jobs[job].paused = True
            if patient:
                self.wait_until_paused(job)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        job = self.some_job(data)
        right = _REFUSED if self.jobs[job].cancelled else OK
        answer = self.ask(lambda: self.stubs.training.ResumeTrainingJob(pb.ResumeTrainingJobRequest(name=job)), right)
        if answer is not None:
            assert not answer.pause_requested
            self.jobs[job].paused = False

    @precondition(lambda self: self.jobs and self.room())
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        job = self.some_job(data)
        known, request = self.jobs[job], pb.RetryTrainingJobRequest(name=job, request_id=str(uuid.uuid4()))
        self.checked(known.target)
        right = OK
        if not known.cancelled or self.targets.get(known.target, (known.dim, ""))[0] != known.dim:
            right = _REFUSED
        elif known.target not in self.targets:
            right = NOT_FOUND
        made = self.ask(lambda: self.stubs.training.RetryTrainingJob(request), right)
        if made is not None:
            assert made.name not in self.jobs
            assert made.retry_of == job
            self.jobs[made.name] = _Job(known.target, known.dim, request)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def delete_job(self, data: st.DataObject) -> None:
        job = self.some_job(data)
        request = pb.DeleteTrainingJobRequest(name=job, request_id=str(uuid.uuid4()))
        right = OK if self.jobs[job].cancelled else _REFUSED
        self.ask(lambda: self.stubs.training.DeleteTrainingJob(request), right)
        if right is OK:
            del self.jobs[job]
            # The same request again is answered, another one finds nothing.
            self.ask(lambda: self.stubs.training.DeleteTrainingJob(request), OK)
            self.ask(lambda: self.stubs.training.DeleteTrainingJob(pb.DeleteTrainingJobRequest(name=job)), NOT_FOUND)
            assert not (self.host.data / "jobs" / job.partition("/")[2]).exists()

    def wait_until_paused(self, job: str) -> None:
        wait_for(lambda: get_job(self.stubs, job).state == pb.JOB_STATE_PAUSED, seconds=30, what="a pause")

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = self.some_job(data)
        self.ask(lambda: self.stubs.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=job)), OK)
        # P8: everything is free within 20 s.
        wait_for(lambda: get_job(self.stubs, job).state == pb.JOB_STATE_CANCELLED, seconds=20, what="a cancel")
        self.jobs[job].cancelled = True
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
        for name, job in self.jobs.items():
            if job.paused and not job.cancelled:
                self.wait_until_paused(name)

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
        for name, state in states.items():
            assert state in self.may_be(self.jobs[name]), (name, state)

    def may_be(self, job: _Job) -> "set[pb.JobState.ValueType]":
        """The states in which a job may be seen."""
        if job.cancelled:
            return {pb.JOB_STATE_CANCELLED}
        return _LIVE | {pb.JOB_STATE_PAUSED} if job.paused else _LIVE

    def teardown(self) -> None:
        self.channel.close()
        self.host.close()
        self.folder.cleanup()


def _all_jobs(stubs: Stubs) -> list[pb.TrainingJob]:
    return list(stubs.training.ListTrainingJobs(pb.ListTrainingJobsRequest(page_size=1000)).training_jobs)
