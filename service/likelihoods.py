"""What models of data say of data: log densities and likelihoods, asked of a worker."""

from sqlalchemy import Connection

from gephyra.protos import sampler_service_pb2 as pb
from gephyra.protos import tensor_pb2, worker_pb2
from gephyra.samplers.denoising.report import DenoisingReport

from . import names
from .core import Core
from .dataset_service import find_dataset
from .denoising import to_table
from .errors import FailedPrecondition, InvalidArgument, Reason, bad_field
from .failures import raise_failed
from .handing import content_path, sampler_path
from .ingest import check_finite
from .store.records import DatasetRecord, SamplerRecord
from .tables import Block
from .tensors import array_bytes, from_tensor

__all__ = ["estimate_likelihood", "evaluate_log_prob", "refuse_model"]

# An answer has two numbers of 8 bytes a row, and must fit a message.
_MOST_ROWS = 100_000
_LEAST_ROWS = 2
_DRAWS, _MOST_DRAWS = 64, 4096


async def evaluate_log_prob(
    core: Core, sampler: SamplerRecord, request: pb.EvaluateLogProbRequest
) -> pb.EvaluateLogProbResponse:
    """Log density of a model of data at points. Raises ServiceError."""
    if _model(sampler).discrete:
        raise FailedPrecondition(
            Reason.SAMPLER_UNSUITED,
            f"samplers/{sampler.name} gives probabilities of levels, not densities; ask for the likelihood (nll) "
            "instead, or train with head continuous",
        )
    _check_rows(request.x, sampler, 1, core.config.limits.max_evaluate_points)
    log_prob = worker_pb2.WorkerCommand.LogProb(sampler_path=await sampler_path(core, sampler.digest), x=request.x)
    command = worker_pb2.WorkerCommand(log_prob=log_prob)
    event = await core.pool.ask(command, core.config.timings.estimate, key=sampler.digest)
    raise_failed(event)
    return event.log_prob


async def estimate_likelihood(
    core: Core, sampler: SamplerRecord, request: pb.EstimateLikelihoodRequest
) -> pb.EstimateLikelihoodResponse:
    """Likelihood of data under a model of data. Raises ServiceError."""
    _model(sampler)
    draws = request.draws if request.HasField("draws") else _DRAWS
    if not 1 <= draws <= _MOST_DRAWS:
        raise InvalidArgument.at(
            Reason.DRAWS_OUT_OF_RANGE, "draws", f"expected 1 to {_MOST_DRAWS} noise levels a row, got {draws}"
        )
    judge = worker_pb2.WorkerCommand.Judge(
        sampler_path=await sampler_path(core, sampler.digest), seed=request.seed, draws=draws
    )
    match request.WhichOneof("data"):
        case "x":
            _check_rows(request.x, sampler, _LEAST_ROWS, _MOST_ROWS)
            judge.x.CopyFrom(request.x)
        case "dataset":
            dataset = await core.store.read(_suited, request.dataset, sampler)
            judge.table.CopyFrom(to_table(dataset, await content_path(core, dataset.content)))
        case _:
            raise bad_field("data", "expected rows x or a data set, got neither")
    command = worker_pb2.WorkerCommand(judge=judge)
    event = await core.pool.ask(command, core.config.timings.estimate, key=sampler.digest)
    raise_failed(event)
    return event.likelihood


def refuse_model(sampler: SamplerRecord, why: str) -> None:
    """Raises FailedPrecondition (SAMPLER_UNSUITED) for a model of data, for what only samplers of targets do."""
    if sampler.of_data:
        raise FailedPrecondition(Reason.SAMPLER_UNSUITED, f"samplers/{sampler.name} is a model of data: {why}")


def _model(sampler: SamplerRecord) -> DenoisingReport:
    """The report of a model of data. Raises FailedPrecondition (SAMPLER_UNSUITED) for a sampler of a target."""
    if not isinstance(sampler.report, DenoisingReport):
        raise FailedPrecondition(
            Reason.SAMPLER_UNSUITED,
            f"samplers/{sampler.name} samples targets/{sampler.target}, whose density is known up to Z: evaluate the "
            "target, and take log Z from the evidence; a likelihood is for models of data",
        )
    return sampler.report


def _suited(connection: Connection, name: str, sampler: SamplerRecord) -> DatasetRecord:
    """The data set of that name, if its columns are the model's and its rows not too many.

    Columns by other names may be the model's all the same; in another order they are not.

    Raises NotFound, InvalidArgument.
    """
    dataset = find_dataset(connection, names.parse(names.DATASETS, name, "dataset"))
    if dataset.columns != sampler.dim or dataset.rows > _MOST_ROWS:
        raise bad_field(
            "dataset",
            f"expected {sampler.dim} columns and at most {_MOST_ROWS} rows, {name} has {dataset.rows} rows x "
            f"{dataset.columns} columns",
        )
    came, known = [column.name for column in dataset.facts], [site.name for site in sampler.sites]
    if came != known and sorted(came) == sorted(known):
        raise bad_field(
            "dataset",
            f"expected the columns in the model's order, {', '.join(known)}; {name} has {', '.join(came)}: upload it "
            "with its columns in that order",
        )
    return dataset


def _check_rows(x: tensor_pb2.Tensor, sampler: SamplerRecord, least: int, most: int) -> None:
    """Raises InvalidArgument for rows of another shape or type, too many of them, or numbers that are not finite."""
    dim = sampler.dim
    if x.dtype not in (tensor_pb2.DTYPE_FLOAT32, tensor_pb2.DTYPE_FLOAT64):
        raise bad_field("x.dtype", f"expected FLOAT32 or FLOAT64, got number {x.dtype}")
    if len(x.shape) != 2 or x.shape[1] != dim or not least <= x.shape[0] <= most:
        raise bad_field("x.shape", f"expected {least} to {most} rows x {dim} columns, got {list(x.shape)[:20]}")
    expected = array_bytes(x.dtype, x.shape, "x")
    if len(x.data) != expected:
        raise bad_field("x.data", f"shape {list(x.shape)} needs {expected} bytes, got {len(x.data)}")
    names = [site.name for site in sampler.sites]
    check_finite(Block(from_tensor(x, "x"), None), 0, names, "x")
