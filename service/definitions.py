"""From a definition on the wire to its canonical form: checked where that is cheap, arrays moved out, hashed.

Two definitions with the same content have the same digest, whether their arrays came inline or as blobs. What
only running the density can tell is left to a worker. Blocking: reads and writes files.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain

import numpy as np

from gephyra.protos import program_pb2, target_service_pb2, tensor_pb2
from gephyra.targets import families, untrusted
from gephyra.targets.program import Site

from . import names
from .artefacts import Artefacts
from .config import Limits
from .convert import from_site
from .errors import InvalidArgument, NotFound, Reason, bad_field
from .tensors import array_bytes, dtype_name, from_tensor

__all__ = ["Canonical", "canonical", "draw_bytes", "field_error", "program_formats"]

_FLOATS = (tensor_pb2.DTYPE_FLOAT32, tensor_pb2.DTYPE_FLOAT64)


@dataclass(frozen=True, slots=True)
class Canonical:
    """A definition as it is stored."""

    digest: str
    """SHA-256 of the canonical bytes, which lie among the artefacts under it."""
    dim: int
    """0 where only the worker can tell."""
    sites: tuple[Site, ...]
    source: str


@dataclass(frozen=True, slots=True)
class _Stock:
    artefacts: Artefacts
    limits: Limits
    blob_size: Callable[[str], int | None]


def canonical(
    definition: target_service_pb2.TargetDefinition, artefacts: Artefacts, limits: Limits,
    blob_size: Callable[[str], int | None],
) -> Canonical:  # fmt: skip
    """Check a definition, store it and its arrays, and say what is known of it. The message is changed in place.

    Args:
        definition: As it came.
        artefacts: Where content goes.
        limits: Bounds to keep.
        blob_size: Size of an uploaded blob by its SHA-256, None if there is none.

    Raises:
        InvalidArgument: With the path of the wrong field.
        NotFound: For a blob that was not uploaded.
    """
    stock = _Stock(artefacts, limits, blob_size)
    match definition.WhichOneof("kind"):
        case "program":
            dim, sites, source = _program(definition.program, stock)
        case "catalogue":
            dim, sites, source = _catalogue(definition.catalogue, stock)
        case "model":
            dim, sites, source = _model(definition.model, stock)
        case _:
            raise bad_field("definition", "expected a program, a catalogue target or a trained model, got neither")
    # Texts in PostgreSQL have no NUL.
    source = source[:200].replace("\0", " ")
    return Canonical(artefacts.put(definition.SerializeToString(deterministic=True)), dim, sites, source)


def program_formats() -> list[str]:
    """The formats of programs that workers of this installation can load."""
    # find_spec looks for jax without importing it.
    return ["aten", "stablehlo"] if find_spec("jax") else ["aten"]


def draw_bytes(dim: int, sites: Iterable[Site], omit_sites: bool = False) -> int:
    """Bytes of one draw in a chunk: float32 x, float64 log weight, and the sites."""
    values = () if omit_sites else sites
    return 4 * dim + 8 + sum(math.prod(site.shape) * np.dtype(site.dtype).itemsize for site in values)


def field_error(error: ValueError) -> InvalidArgument:
    """The refusal of a field whose ValueError begins with its path and a colon."""
    path, _, description = str(error).partition(": ")
    return bad_field(path, description)


def _program(program: program_pb2.Program, stock: _Stock) -> tuple[int, tuple[Site, ...], str]:
    path, limits = "definition.program", stock.limits
    if not 1 <= program.dim <= limits.max_dim:
        raise InvalidArgument.at(
            Reason.DIM_OUT_OF_RANGE,
            f"{path}.dim",
            f"expected 1 to {limits.max_dim}, got {program.dim}",
        )
    if program.dtype not in _FLOATS:
        raise bad_field(f"{path}.dtype", f"expected FLOAT32 or FLOAT64, got number {program.dtype}")
    sites = _sites(program, path, limits)
    match program.WhichOneof("body"):
        case "stablehlo":
            _modules(program.stablehlo, f"{path}.stablehlo")
        case "aten":
            _graphs(program.aten, f"{path}.aten", limits)
        case _:
            raise InvalidArgument.at(
                Reason.PROGRAM_MALFORMED, path, "expected a stablehlo or an aten body, got neither"
            )
    for n, array in enumerate(program.arrays):
        _move_out(array, f"{path}.arrays[{n}]", stock)
    return program.dim, sites, program.source


def _sites(program: program_pb2.Program, path: str, limits: Limits) -> tuple[Site, ...]:
    try:
        sites = tuple(from_site(site, f"{path}.sites[{n}]") for n, site in enumerate(program.sites))
    except ValueError as error:
        raise field_error(error) from None
    if len({site.name for site in sites}) < len(sites) or not all(site.name for site in sites):
        raise bad_field(f"{path}.sites", "expected distinct names, none of them empty")
    if draw_bytes(program.dim, sites) > limits.max_draw_bytes:
        raise InvalidArgument.at(
            Reason.PROGRAM_TOO_LARGE, f"{path}.sites",
            f"one draw with its sites has {draw_bytes(program.dim, sites)} bytes, at most {limits.max_draw_bytes} fit "
            "a message; leave out the large deterministic sites",
        )  # fmt: skip
    return sites


def _modules(program: program_pb2.StableHloProgram, path: str) -> None:
    if "stablehlo" not in program_formats():
        raise InvalidArgument.at(
            Reason.PROGRAM_VERSION_UNSUPPORTED,
            path,
            "this server cannot load programs captured from JAX; install jax where it runs (gephyra[jax])",
        )
    if not program.density:
        raise InvalidArgument.at(Reason.PROGRAM_MALFORMED, f"{path}.density", "expected at least one module, got none")
    parts = (("density", program.density), ("constrain", program.constrain))
    for where, module in chain.from_iterable(
        ((f"{path}.{part}[{n}]", module) for n, module in enumerate(modules)) for part, modules in parts
    ):
        if module.batch < 1:
            raise InvalidArgument.at(
                Reason.PROGRAM_MALFORMED, f"{where}.batch", f"expected at least 1, got {module.batch}"
            )
        try:
            untrusted.refuse_foreign_bytes(module.serialized, f"{where}.serialized")
        except untrusted.ProgramError as error:
            raise InvalidArgument.at(error.reason, f"{where}.serialized", str(error)) from None


def _graphs(program: program_pb2.AtenProgram, path: str, limits: Limits) -> None:
    for part, graph in (("density", program.density), ("constrain", program.constrain)):
        if len(graph.nodes) > limits.max_program_nodes:
            raise InvalidArgument.at(
                Reason.PROGRAM_TOO_LARGE, f"{path}.{part}.nodes",
                f"expected at most {limits.max_program_nodes} nodes, got {len(graph.nodes)}",
            )  # fmt: skip


def _catalogue(target: target_service_pb2.CatalogueTarget, stock: _Stock) -> tuple[int, tuple[Site, ...], str]:
    path = "definition.catalogue"
    values: dict[str, object] = {}
    for n, parameter in enumerate(target.parameters):
        values[parameter.name] = _parameter(parameter, f"{path}.parameters[{n}]", stock)
    if len(values) < len(target.parameters):
        raise InvalidArgument.at(
            Reason.PARAMETER_INVALID, f"{path}.parameters", "expected every parameter once, one came twice"
        )
    try:
        checked = families.validated(target.family, values)
    except families.UnknownFamily as error:
        raise InvalidArgument.at(Reason.UNKNOWN_FAMILY, f"{path}.family", str(error)) from None
    except families.ParameterError as error:
        raise _parameter_error(error.parameter, path, str(error)) from None
    dim = checked.get("dim", 0)
    if not isinstance(dim, int) or dim > stock.limits.max_dim:
        raise _parameter_error("dim", path, f"expected a dimension from 1 to {stock.limits.max_dim}, got {dim}")
    target.parameters.sort(key=lambda parameter: parameter.name)
    shown = ", ".join(f"{p.name}={_shown(p)}" for p in target.parameters)
    return 0, (), f"catalogue {target.family}({shown})"


def _model(model: target_service_pb2.TrainedModel, stock: _Stock) -> tuple[int, tuple[Site, ...], str]:
    path = "definition.model.blob"
    if model.WhichOneof("source") != "blob":
        raise bad_field("definition.model", "expected a sampler or a blob, got neither")
    sha256 = names.check_sha256(names.parse(names.BLOBS, model.blob, path), path)
    if stock.blob_size(sha256) is None:
        message = f"{path}: no blob {model.blob}; send it with UploadBlob first"
        raise NotFound(Reason.BLOB_NOT_FOUND, message, resource=model.blob)
    return 0, (), f"model of data {sha256[:12]}"


def _parameter(parameter: target_service_pb2.CatalogueParameter, path: str, stock: _Stock) -> object:
    kind = parameter.WhichOneof("value")
    if kind is None:
        raise InvalidArgument.at(Reason.PARAMETER_INVALID, path, f"expected a value for {parameter.name!r}, got none")
    if kind != "array":
        value: object = getattr(parameter, kind)
        return value
    sha256 = _move_out(parameter.array, f"{path}.array", stock)
    blob = parameter.array.blob
    dtype = np.dtype(dtype_name(blob.dtype, f"{path}.array.blob.dtype")).newbyteorder("<")
    return np.frombuffer(stock.artefacts.read(sha256), dtype).reshape(tuple(blob.shape))


def _parameter_error(name: str, path: str, message: str) -> InvalidArgument:
    reason = Reason.DIM_OUT_OF_RANGE if name == "dim" else Reason.PARAMETER_INVALID
    return InvalidArgument.at(reason, f"{path}.parameters.{name}", message)


def _shown(parameter: target_service_pb2.CatalogueParameter) -> str:
    if parameter.WhichOneof("value") == "array":
        return f"array{list(parameter.array.blob.shape)}"
    return str(getattr(parameter, parameter.WhichOneof("value") or "int_value"))


def _move_out(array: tensor_pb2.DataArray, path: str, stock: _Stock) -> str:
    """Leave a reference to stored content in the array, and return the content's SHA-256."""
    try:
        match array.WhichOneof("source"):
            case "inline":
                inline = from_tensor(array.inline, f"{path}.inline")
                dtype, sha256 = array.inline.dtype, stock.artefacts.put(array.inline.data)
                blob = tensor_pb2.BlobArray(blob=f"{names.BLOBS}/{sha256}", dtype=dtype, shape=inline.shape)
                array.blob.CopyFrom(blob)
                return sha256
            case "blob":
                return _found(array.blob, f"{path}.blob", stock)
            case _:
                raise ValueError(f"{path}: expected an inline array or a blob, got neither")
    except ValueError as error:
        raise field_error(error) from None


def _found(array: tensor_pb2.BlobArray, path: str, stock: _Stock) -> str:
    sha256 = names.check_sha256(names.parse(names.BLOBS, array.blob, f"{path}.blob"), f"{path}.blob")
    expected, size = array_bytes(array.dtype, array.shape, path), stock.blob_size(sha256)
    if size is None:
        message = f"{path}.blob: no blob {array.blob}; send it with UploadBlob first"
        raise NotFound(Reason.BLOB_NOT_FOUND, message, resource=array.blob)
    if size != expected:
        raise InvalidArgument.at(
            Reason.BLOB_MISMATCH, path, f"shape {list(array.shape)} needs {expected} bytes, the blob has {size}"
        )
    return sha256
