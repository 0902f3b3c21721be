"""Models of data on a live server: trained from a data set, resumed, asked for draws and likelihoods, and refused."""

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict

from gephyra.protos import dataset_service_pb2 as ds
from gephyra.protos import denoising_pb2
from gephyra.protos import sampler_service_pb2 as sp
from gephyra.protos import training_service_pb2 as pb
from gephyra.service.tensors import from_tensor, to_tensor
from tests.support.refusal import refused
from tests.support.server import TINY, ServerProcess, Stubs, get_job, wait_for, watch
from tests.support.tables import create, raw

QUICK = pb.DenoisingConfig(iterations=40, width=16, blocks=1, batch_size=64, solver_steps=4)
# Some seconds, with a checkpoint after five.
MEDIUM = pb.DenoisingConfig(seconds=7.0, width=16, blocks=1, batch_size=64, solver_steps=4)
LONG = pb.DenoisingConfig(seconds=600.0, width=16, blocks=1)


def pairs(count: int = 400) -> np.ndarray:
    generator = np.random.default_rng(5)
    sign = generator.choice([-1.0, 1.0], (count, 1))
    return np.array(sign * [2.0, 1.0] + 0.3 * generator.standard_normal((count, 2)))


def counts(count: int = 400) -> np.ndarray:
    return np.random.default_rng(6).integers(0, 4, (count, 2)).astype(np.uint8)


def start(stubs: Stubs, dataset: str, how: pb.DenoisingConfig = QUICK, **fields: Any) -> pb.TrainingJob:
    request = pb.CreateTrainingJobRequest(dataset=dataset, denoising=how, **fields)
    return stubs.training.CreateTrainingJob(request)


def model(stubs: Stubs, dataset: str, config: pb.DenoisingConfig = QUICK) -> sp.Sampler:
    job = start(stubs, dataset, config)
    watch(stubs, job.name)
    job = get_job(stubs, job.name)
    assert job.state == pb.JOB_STATE_SUCCEEDED, job.error
    return stubs.sampler.GetSampler(sp.GetSamplerRequest(name=job.sampler))


@pytest.fixture(scope="module")
def data(stubs: Stubs) -> ds.Dataset:
    return create(stubs, raw(pairs()), dataset_id="pairs-of-data", column_names=["height", "weight"])


@pytest.fixture(scope="module")
def trained(stubs: Stubs, data: ds.Dataset) -> sp.Sampler:
    return model(stubs, data.name)


@pytest.fixture(scope="module")
def levels(stubs: Stubs) -> sp.Sampler:
    return model(stubs, create(stubs, raw(counts()), dataset_id="counts-of-data").name)


def drawn(stubs: Stubs, sampler: sp.Sampler, count: int, start: int = 0, **fields: Any) -> tuple[np.ndarray, ...]:
    request = sp.DrawSamplesRequest(sampler=sampler.name, count=count, start_index=start, seed=3, **fields)
    parts = list(stubs.sampling.DrawSamples(request))
    assert not parts[0].header.sites
    chunks = [part.chunk for part in parts if part.WhichOneof("part") == "chunk"]
    x, log_weight = ([from_tensor(getattr(chunk, name), name) for chunk in chunks] for name in ("x", "log_weight"))
    return np.concatenate(x), np.concatenate(log_weight)


def test_a_finished_model_says_all_about_itself(stubs: Stubs, data: ds.Dataset, trained: sp.Sampler) -> None:
    job = get_job(stubs, trained.training_job)
    assert (job.dataset, trained.dataset, job.target, trained.target) == (data.name, data.name, "", "")
    assert not job.HasField("config")
    assert not trained.HasField("report")
    assert job.denoising == trained.denoising
    assert (job.denoising.iterations, job.denoising.prediction) == (40, denoising_pb2.PREDICTION_UNSPECIFIED)
    assert job.denoising.schedule == denoising_pb2.NOISE_SCHEDULE_COSINE
    assert [site.name for site in trained.sites] == ["height", "weight"]
    report = trained.denoising_report
    assert (report.rows, report.dim, report.steps, report.discrete, trained.dim) == (360, 2, 40, False, 2)
    assert (report.validation.rows, report.gaussian.rows) == (40, 40)
    listed = stubs.sampler.ListSamplers(sp.ListSamplersRequest(page_size=1000)).samplers
    (same,) = [each for each in listed if each.name == trained.name]
    assert (same.dataset, list(same.sites), same.denoising_report) == (data.name, [], report)


def test_progress_is_a_fraction_of_the_gaussians_loss_by_level(stubs: Stubs, trained: sp.Sampler) -> None:
    metrics = [e.metrics for e in watch(stubs, trained.training_job) if e.WhichOneof("event") == "metrics"]
    last = metrics[-1]
    assert last.HasField("validation")
    assert 0 < last.loss < 2
    assert len(last.bins) == 8
    assert all(low.high == high.low for low, high in zip(last.bins, last.bins[1:], strict=False))


def test_draws_depend_on_their_index_alone_and_have_no_weights(stubs: Stubs, trained: sp.Sampler) -> None:
    x, log_weight = drawn(stubs, trained, 1500)
    assert x.shape == (1500, 2)
    assert not log_weight.any()
    assert np.array_equal(drawn(stubs, trained, 300, 900)[0], x[900:1200])
    assert np.array_equal(drawn(stubs, trained, 20, chunk_size=7)[0], x[:20])
    same = drawn(stubs, trained, 20, solver=denoising_pb2.SOLVER_DPM_SOLVER, solver_steps=4)[0]
    assert np.array_equal(same, x[:20])
    assert not np.array_equal(drawn(stubs, trained, 20, solver=denoising_pb2.SOLVER_HEUN)[0], x[:20])
    assert not np.array_equal(drawn(stubs, trained, 20, solver_steps=5)[0], x[:20])


def test_the_flows_likelihood_is_the_mean_of_log_densities(stubs: Stubs, data: ds.Dataset, trained: sp.Sampler) -> None:
    x = pairs()
    request = sp.EvaluateLogProbRequest(sampler=trained.name, x=to_tensor(x))
    log_prob = from_tensor(stubs.sampling.EvaluateLogProb(request).log_prob, "log_prob")
    by_rows = stubs.sampling.EstimateLikelihood(sp.EstimateLikelihoodRequest(sampler=trained.name, x=to_tensor(x)))
    by_name = stubs.sampling.EstimateLikelihood(sp.EstimateLikelihoodRequest(sampler=trained.name, dataset=data.name))
    assert by_rows == by_name
    assert by_rows.flow.nats == pytest.approx(-log_prob.mean(), abs=1e-4)
    assert np.allclose(from_tensor(by_rows.flow_nats, "flow"), -log_prob, atol=1e-3)
    elbo = from_tensor(by_rows.elbo_nats, "elbo")
    assert (elbo.shape, by_rows.elbo.rows) == ((400,), 400)
    assert by_rows.elbo.nats == pytest.approx(elbo.mean())
    fewer = sp.EstimateLikelihoodRequest(sampler=trained.name, dataset=data.name, draws=2, seed=1)
    assert stubs.sampling.EstimateLikelihood(fewer).elbo.nats != by_rows.elbo.nats


def test_levels_have_probabilities_and_no_density(stubs: Stubs, levels: sp.Sampler) -> None:
    assert levels.denoising_report.discrete
    x = to_tensor(counts(20).astype(np.float64))
    found = stubs.sampling.EstimateLikelihood(sp.EstimateLikelihoodRequest(sampler=levels.name, x=x))
    assert not found.HasField("flow")
    assert found.elbo.nats > 0
    request = sp.EvaluateLogProbRequest(sampler=levels.name, x=x)
    assert refused(lambda: stubs.sampling.EvaluateLogProb(request)).reason == "SAMPLER_UNSUITED"
    wrong = sp.EstimateLikelihoodRequest(sampler=levels.name, x=to_tensor(np.array([[0.0, 1.0], [0.5, 1.0]])))
    refusal = refused(lambda: stubs.sampling.EstimateLikelihood(wrong))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNSUITABLE_DATA")


def test_data_that_do_not_suit_the_settings_fail_the_job(stubs: Stubs, data: ds.Dataset) -> None:
    config = pb.DenoisingConfig(iterations=5, head=denoising_pb2.HEAD_LEVELS)
    job = start(stubs, data.name, config)
    watch(stubs, job.name)
    job = get_job(stubs, job.name)
    assert (job.state, job.error.code) == (pb.JOB_STATE_FAILED, grpc.StatusCode.FAILED_PRECONDITION.value[0])
    assert b"UNSUITABLE_DATA" in job.error.details[0].value
    assert MessageToDict(job)["dataset"] == data.name


@pytest.mark.slow
def test_a_data_set_that_is_needed_stays(stubs: Stubs) -> None:
    dataset = create(stubs, raw(pairs(50)), dataset_id="needed-data")
    delete = ds.DeleteDatasetRequest(name=dataset.name)
    job = start(stubs, dataset.name, LONG)
    refusal = refused(lambda: stubs.dataset.DeleteDataset(delete))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RESOURCE_IN_USE")
    assert job.name in refusal.message
    stubs.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=job.name))
    wait_for(lambda: get_job(stubs, job.name).state == pb.JOB_STATE_CANCELLED, what="the end of the job")
    sampler = model(stubs, dataset.name)
    assert sampler.name in refused(lambda: stubs.dataset.DeleteDataset(delete)).message
    stubs.sampler.DeleteSampler(sp.DeleteSamplerRequest(name=sampler.name))
    stubs.dataset.DeleteDataset(delete)
    assert refused(lambda: start(stubs, dataset.name)).reason == "DATASET_NOT_FOUND"


CALLS: dict[str, tuple[Callable[[Stubs, str, str], Any], str, str, str]] = {
    "evidence": (
        lambda stubs, model, _: stubs.sampling.EstimateEvidence(sp.EstimateEvidenceRequest(sampler=model, count=9)),
        "SAMPLER_UNSUITED", "", "likelihood",
    ),
    "smc": (
        lambda stubs, model, _: _draw(stubs, model, how=sp.DrawSettings(smc=True)),
        "INCONSISTENT_SETTINGS", "how.smc", "leave it out",
    ),
    "polish": (
        lambda stubs, model, _: _draw(stubs, model, how=sp.DrawSettings(polish=sp.POLISH_MALA)),
        "INCONSISTENT_SETTINGS", "how.polish", "leave it out",
    ),
    "unknown solver": (
        lambda stubs, model, _: _draw(stubs, model, solver=99), "UNKNOWN_SOLVER", "solver", "dpm-solver",
    ),
    "no steps": (lambda stubs, model, _: _draw(stubs, model, solver_steps=0), "FIELD_INVALID", "solver_steps", "1 to"),
    "a bridge's solver": (
        lambda stubs, _, bridge: _draw(stubs, bridge, solver=denoising_pb2.SOLVER_DDIM),
        "INCONSISTENT_SETTINGS", "solver", "models of data",
    ),
    "a bridge's steps": (
        lambda stubs, _, bridge: _draw(stubs, bridge, solver_steps=3),
        "INCONSISTENT_SETTINGS", "solver_steps", "models of data",
    ),
    "a bridge's log density": (
        lambda stubs, _, bridge: _log_prob(stubs, bridge, np.zeros((1, 3))),
        "SAMPLER_UNSUITED", "", "evaluate the target",
    ),
    "a bridge's likelihood": (
        lambda stubs, _, bridge: _likelihood(stubs, bridge, x=to_tensor(np.zeros((2, 3)))),
        "SAMPLER_UNSUITED", "", "evidence",
    ),
    "wrong width": (
        lambda stubs, model, _: _log_prob(stubs, model, np.zeros((1, 3))), "FIELD_INVALID", "x.shape", "2 columns",
    ),
    "integers": (
        lambda stubs, model, _: _log_prob(stubs, model, np.zeros((1, 2), np.int64)),
        "FIELD_INVALID", "x.dtype", "FLOAT32",
    ),
    "too many points": (
        lambda stubs, model, _: _log_prob(stubs, model, np.zeros((4097, 2))), "FIELD_INVALID", "x.shape", "1 to 4096",
    ),
    "one row": (
        lambda stubs, model, _: _likelihood(stubs, model, x=to_tensor(np.zeros((1, 2)))),
        "FIELD_INVALID", "x.shape", "2 to",
    ),
    "nothing": (lambda stubs, model, _: _likelihood(stubs, model), "FIELD_INVALID", "data", "neither"),
    "no levels": (
        lambda stubs, model, _: _likelihood(stubs, model, x=to_tensor(np.zeros((2, 2))), draws=0),
        "DRAWS_OUT_OF_RANGE", "draws", "1 to 4096",
    ),
    "no such data": (
        lambda stubs, model, _: _likelihood(stubs, model, dataset="datasets/nowhere"),
        "DATASET_NOT_FOUND", "", "nowhere",
    ),
    "start": (
        lambda stubs, model, bridge: stubs.training.CreateTrainingJob(
            pb.CreateTrainingJobRequest(target="targets/normal-shared", config=pb.TrainingConfig(start=model))
        ),
        "INCONSISTENT_SETTINGS", "config.start", "datasets/pairs-of-data",
    ),
    "both": (
        lambda stubs, model, _: start(stubs, "datasets/pairs-of-data", target="targets/normal-shared"),
        "INCONSISTENT_SETTINGS", "target", "got both",
    ),
    "both configs": (
        lambda stubs, model, _: start(stubs, "datasets/pairs-of-data", config=TINY),
        "INCONSISTENT_SETTINGS", "config", "got both",
    ),
    "options without data": (lambda stubs, model, _: start(stubs, ""), "FIELD_INVALID", "dataset", "datasets/ID"),
    "unknown data": (lambda stubs, model, _: start(stubs, "datasets/nowhere"), "DATASET_NOT_FOUND", "", "nowhere"),
}  # fmt: skip


def _draw(stubs: Stubs, sampler: str, **fields: Any) -> Any:
    return list(stubs.sampling.DrawSamples(sp.DrawSamplesRequest(sampler=sampler, count=2, **fields)))


def _log_prob(stubs: Stubs, sampler: str, x: np.ndarray) -> Any:
    return stubs.sampling.EvaluateLogProb(sp.EvaluateLogProbRequest(sampler=sampler, x=to_tensor(x)))


def _likelihood(stubs: Stubs, sampler: str, **fields: Any) -> Any:
    return stubs.sampling.EstimateLikelihood(sp.EstimateLikelihoodRequest(sampler=sampler, **fields))


@pytest.mark.parametrize("name", CALLS)
def test_what_does_not_go_together_is_refused(
    stubs: Stubs, trained: sp.Sampler, sampler: sp.Sampler, name: str
) -> None:
    call, reason, field, tells = CALLS[name]
    refusal = refused(lambda: call(stubs, trained.name, sampler.name))
    assert (refusal.reason, refusal.fields) == (reason, (field,) if field else ())
    assert tells in refusal.message


@pytest.mark.chaos
def test_a_model_survives_the_death_of_its_worker(serve: Callable[..., ServerProcess]) -> None:
    server = serve()
    stubs = server.stubs
    job = start(stubs, create(stubs, raw(pairs())).name, MEDIUM)
    step = 0
    for response in stubs.training.WatchTrainingJob(pb.WatchTrainingJobRequest(name=job.name), timeout=90):
        if response.event.WhichOneof("event") == "checkpoint":
            step = response.event.checkpoint.step
            break
    (worker,) = server.workers()
    worker.kill()
    events = watch(stubs, job.name)
    done = get_job(stubs, job.name)
    assert (done.state, done.attempt) == (pb.JOB_STATE_SUCCEEDED, 2)
    resumed = [e.metrics.step for e in events if e.attempt == 2 and e.metrics.stage == "train"]
    assert resumed[0] > step > 0
    sampler = stubs.sampler.GetSampler(sp.GetSamplerRequest(name=done.sampler))
    assert sampler.denoising_report.steps > step
    # The seconds of both attempts, not of the last one; the kill cost what came after the checkpoint.
    assert sampler.denoising_report.train_seconds >= 7.0
