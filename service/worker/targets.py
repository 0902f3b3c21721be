"""From a stored definition to a target: the wire's Program becomes the plain record that loaders take."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from google.rpc import code_pb2
from numpy.typing import NDArray

from gephyra.protos import program_pb2, target_service_pb2, tensor_pb2
from gephyra.samplers.denoising.as_target import ModelTarget
from gephyra.samplers.denoising.sampler import DenoisingSampler
from gephyra.targets import catalogue, loading
from gephyra.targets import program as plain
from gephyra.targets.base import Target
from gephyra.targets.untrusted import ProgramError

from .. import names
from ..artefacts import Artefacts
from ..convert import from_site
from ..errors import Failure, Reason
from ..tensors import dtype_name, from_tensor
from .failures import TaskError

__all__ = ["load_target", "read_definition", "to_program"]


def read_definition(path: Path, artefacts: Artefacts) -> target_service_pb2.TargetDefinition:
    """The definition stored at `path`, whose name is its SHA-256. Raises CorruptArtefact."""
    return target_service_pb2.TargetDefinition.FromString(artefacts.read(path.name))


def load_target(path: Path, artefacts: Artefacts) -> Target:
    """The target of a stored definition. Raises ProgramError, ParameterError or ValueError if it is not acceptable.

    Of a trained model TaskError: SAMPLER_FILE_INVALID for a damaged file, SAMPLER_UNSUITED where it has no density.
    """
    definition = read_definition(path, artefacts)
    if definition.WhichOneof("kind") == "program":
        return loading.load_program(to_program(definition.program, artefacts))
    if definition.WhichOneof("kind") == "model":
        return _model(definition.model, artefacts)
    parameters = {p.name: _parameter(p, artefacts) for p in definition.catalogue.parameters}
    return catalogue.build(definition.catalogue.family, parameters)


def _model(model: target_service_pb2.TrainedModel, artefacts: Artefacts) -> Target:
    path = "definition.model"
    sha256 = names.check_sha256(names.parse(names.BLOBS, model.blob, path), path)
    artefacts.read(sha256)
    try:
        sampler = DenoisingSampler.load(artefacts.path(sha256))
    except ValueError as error:
        raise _refused(Reason.SAMPLER_FILE_INVALID, error) from error
    try:
        return ModelTarget(sampler)
    except ValueError as error:
        raise _refused(Reason.SAMPLER_UNSUITED, error) from error


def _refused(reason: Reason, error: ValueError) -> TaskError:
    return TaskError(Failure(code_pb2.INVALID_ARGUMENT, reason, str(error), "definition.model"))


def to_program(program: program_pb2.Program, artefacts: Artefacts) -> plain.Program:
    """The record of a wire program. Raises ProgramError (PROGRAM_MALFORMED) naming the field."""
    try:
        body: plain.StableHloBody | plain.AtenBody
        if program.WhichOneof("body") == "stablehlo":
            body = plain.StableHloBody(_modules(program.stablehlo.density), _modules(program.stablehlo.constrain))
        else:
            has_map = program.aten.HasField("constrain")
            body = plain.AtenBody(_graph(program.aten.density), _graph(program.aten.constrain) if has_map else None)
        points = program.check_points
        check_points = plain.CheckPoints(
            from_tensor(points.x, "check_points.x"),
            from_tensor(points.log_density, "check_points.log_density"),
            from_tensor(points.score, "check_points.score"),
        )
        arrays = tuple(_array(array, f"arrays[{n}]", artefacts) for n, array in enumerate(program.arrays))
        sites = tuple(from_site(site, f"sites[{n}]") for n, site in enumerate(program.sites))
    except ProgramError:
        raise
    except ValueError as error:
        path, _, description = str(error).partition(": ")
        raise ProgramError("PROGRAM_MALFORMED", description or str(error), path if description else "") from None
    dtype: plain.FloatName = "float64" if program.dtype == tensor_pb2.DTYPE_FLOAT64 else "float32"
    return plain.Program(program.dim, dtype, body, arrays, check_points, sites, program.source)


def _modules(modules: Iterable[program_pb2.StableHloModule]) -> tuple[plain.Module, ...]:
    return tuple(plain.Module(module.batch, module.serialized) for module in modules)


def _graph(graph: program_pb2.AtenGraph) -> plain.Graph:
    nodes = tuple(
        plain.Node(
            node.op,
            tuple(_argument(value) for value in node.args),
            tuple((keyword.name, _argument(keyword.value)) for keyword in node.kwargs),
        )
        for node in graph.nodes
    )
    return plain.Graph(graph.inputs, nodes, tuple(_argument(value) for value in graph.outputs))


def _argument(value: program_pb2.AtenValue) -> plain.Argument:
    kind = value.WhichOneof("kind")
    match kind:
        case "ref":
            return plain.Ref(value.ref)
        case "item":
            return plain.Item(value.item.ref, value.item.index)
        case "dtype":
            return plain.DTypeRef(dtype_name(value.dtype, "aten"))
        case "list":
            return tuple(_argument(part) for part in value.list.values)
        case "none":
            return None
        case "int_value" | "float_value" | "bool_value" | "str_value":
            scalar: plain.Argument = getattr(value, kind)
            return scalar
        case _:
            raise ValueError("aten: an argument without a value")


def _parameter(parameter: target_service_pb2.CatalogueParameter, artefacts: Artefacts) -> object:
    kind = parameter.WhichOneof("value") or "int_value"
    if kind == "array":
        return _array(parameter.array, parameter.name, artefacts)
    value: object = getattr(parameter, kind)
    return value


def _array(array: tensor_pb2.DataArray, field: str, artefacts: Artefacts) -> NDArray[Any]:
    # A stored definition holds references only.
    sha256 = names.check_sha256(names.parse(names.BLOBS, array.blob.blob, field), field)
    tensor = tensor_pb2.Tensor(dtype=array.blob.dtype, shape=array.blob.shape, data=artefacts.read(sha256))
    # A copy, since the bytes of a message are read-only; ascontiguousarray would make a vector of a scalar.
    return np.array(from_tensor(tensor, field))
