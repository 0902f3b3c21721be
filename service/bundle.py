"""A sampler and its target, or a model of data without the data, in one safetensors file, to move between servers.

Tensors: `sampler/...` are the sampler's own; `target/definition` holds the bytes of the target's definition, and
`target/blob/{sha256}` those of an array or a model that it refers to. The header's metadata is JSON: `gephyra` says
what this is, `sampler` keeps the metadata of the sampler's file. Blocking.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from gephyra.protos import target_service_pb2
from gephyra.samplers.denoising.report import DenoisingReport
from gephyra.samplers.denoising.settings import DenoisingSettings
from gephyra.samplers.report import Report
from gephyra.samplers.settings import TrainingSettings

from .artefacts import Artefacts
from .errors import InvalidArgument, Reason
from .references import references
from .store.records import SamplerRecord

__all__ = ["Bundle", "ModelBundle", "pack", "unpack"]

_FORMAT, _MODEL_FORMAT = "gephyra.sampler", "gephyra.model"
_VERSION = 1
_SAMPLER, _DEFINITION, _BLOB = "sampler/", "target/definition", "target/blob/"


@dataclass(frozen=True, slots=True)
class Bundle:
    """What the file of a sampler of a target holds."""

    target_id: str
    definition: target_service_pb2.TargetDefinition
    blobs: dict[str, bytes]
    """Content by SHA-256, as the file names it: not checked yet."""
    sampler: bytes
    """The sampler's own file."""
    settings: TrainingSettings
    report: Report
    dim: int


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """What the file of a model of data holds."""

    dataset_id: str
    dataset_digest: str
    columns: tuple[str, ...]
    """Their names."""
    sampler: bytes
    """The model's own file."""
    settings: DenoisingSettings
    report: DenoisingReport


def pack(sampler: SamplerRecord, artefacts: Artefacts) -> bytes:
    """The file of a sampler. Raises CorruptArtefact if what is stored was damaged."""
    content = artefacts.read(sampler.digest)
    tensors = {_SAMPLER + name: value for name, value in safetensors.numpy.load(content).items()}
    about: dict[str, Any] = {
        "version": _VERSION, "settings": sampler.settings.to_json(), "report": sampler.report.to_json(),
    }  # fmt: skip
    if sampler.of_data:
        columns = [site.name for site in sampler.sites]
        about |= {"format": _MODEL_FORMAT, "dataset_id": sampler.dataset, "columns": columns}
        about["dataset_digest"] = sampler.dataset_digest
    else:
        about |= {"format": _FORMAT, "target_id": sampler.target, "dim": sampler.dim}
        tensors |= _target(artefacts.read(sampler.target_digest), artefacts)
    metadata = {"gephyra": json.dumps(about), "sampler": json.dumps(_metadata(content))}
    return safetensors.numpy.save(tensors, metadata)


def unpack(content: bytes) -> Bundle | ModelBundle:
    """Inverse of `pack`, for bytes from a stranger. Raises InvalidArgument (SAMPLER_FILE_INVALID)."""
    try:
        tensors, metadata = safetensors.numpy.load(content), _metadata(content)
        about = json.loads(metadata["gephyra"])
        own = {name.removeprefix(_SAMPLER): value for name, value in tensors.items() if name.startswith(_SAMPLER)}
        sampler = safetensors.numpy.save(own, json.loads(metadata["sampler"]))
        kind = about["format"], about["version"]
        if kind == (_FORMAT, _VERSION):
            return _bundle(about, tensors, sampler)
        if kind == (_MODEL_FORMAT, _VERSION):
            return _model_bundle(about, sampler)
        known = f"{_FORMAT} or {_MODEL_FORMAT} version {_VERSION}"
        raise ValueError(f"expected {known}, got {about['format']} version {about['version']}")
    except KeyError as error:
        raise _invalid(f"it lacks {error}") from None
    except (safetensors.SafetensorError, DecodeError, TypeError, ValueError, AttributeError) as error:
        raise _invalid(str(error)) from None


def _target(definition: bytes, artefacts: Artefacts) -> dict[str, NDArray[Any]]:
    """The tensors of a target."""
    tensors = {_DEFINITION: np.frombuffer(definition, np.uint8)}
    for sha256 in references(target_service_pb2.TargetDefinition.FromString(definition)):
        tensors[_BLOB + sha256] = np.frombuffer(artefacts.read(sha256), np.uint8)
    return tensors


def _bundle(about: dict[str, Any], tensors: dict[str, NDArray[Any]], sampler: bytes) -> Bundle:
    return Bundle(
        target_id=str(about["target_id"]),
        definition=target_service_pb2.TargetDefinition.FromString(_bytes(tensors[_DEFINITION])),
        blobs={n.removeprefix(_BLOB): _bytes(value) for n, value in tensors.items() if n.startswith(_BLOB)},
        sampler=sampler,
        settings=TrainingSettings.from_json(about["settings"]),
        report=Report.from_json(about["report"]),
        dim=int(about["dim"]),
    )


def _model_bundle(about: dict[str, Any], sampler: bytes) -> ModelBundle:
    digest = str(about["dataset_digest"])
    if not digest:
        raise ValueError("expected the digest of its data set, got none")
    return ModelBundle(
        dataset_id=str(about["dataset_id"]),
        dataset_digest=digest,
        columns=tuple(map(str, about["columns"])),
        sampler=sampler,
        settings=DenoisingSettings.from_json(about["settings"]),
        report=DenoisingReport.from_json(about["report"]),
    )


def _metadata(content: bytes) -> dict[str, str]:
    # The library reads metadata from files only; the header is 8 bytes of length, then JSON, and was checked by `load`.
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata: dict[str, str] = header.get("__metadata__", {})
    return metadata


def _bytes(tensor: NDArray[Any]) -> bytes:
    if tensor.dtype != np.uint8:
        raise ValueError(f"expected bytes, got a tensor of {tensor.dtype}")
    return tensor.tobytes()


def _invalid(why: str) -> InvalidArgument:
    return InvalidArgument.at(
        Reason.SAMPLER_FILE_INVALID,
        "data",
        f"this is not a sampler exported by gephyra, or it was damaged: {why[:300]}",
    )
