"""Definitions in their canonical form: equal content, equal digest; what is cheap to see is refused at once."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gephyra.protos import program_pb2, target_service_pb2, tensor_pb2
from gephyra.service import definitions
from gephyra.service.artefacts import Artefacts
from gephyra.service.config import Limits
from gephyra.service.definitions import canonical
from gephyra.service.errors import InvalidArgument, Reason
from gephyra.service.tensors import to_tensor
from tests.support.wire import square_program


def digest(definition: target_service_pb2.TargetDefinition, artefacts: Artefacts) -> str:
    copy = target_service_pb2.TargetDefinition.FromString(definition.SerializeToString())
    return canonical(copy, artefacts, Limits(), artefacts.size).digest


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    artefacts = Artefacts(tmp_path)
    data = np.arange(6.0)
    inline = tensor_pb2.DataArray(inline=to_tensor(data))
    blob = tensor_pb2.BlobArray(
        blob=f"blobs/{artefacts.put(data.tobytes())}", dtype=tensor_pb2.DTYPE_FLOAT64, shape=[6]
    )
    same = digest(square_program(arrays=[inline]), artefacts)
    assert digest(square_program(arrays=[tensor_pb2.DataArray(blob=blob)]), artefacts) == same
    assert hashlib.sha256(artefacts.read(same)).hexdigest() == same
    others = [
        square_program(arrays=[tensor_pb2.DataArray(inline=to_tensor(data.reshape(2, 3)))]),
        square_program(arrays=[tensor_pb2.DataArray(inline=to_tensor(data + 1))]),
        square_program(arrays=[]),
    ]
    assert len({same, *(digest(other, artefacts) for other in others)}) == 4


def test_the_order_of_parameters_is_not_content(tmp_path: Path) -> None:
    def funnel(*names: str) -> target_service_pb2.TargetDefinition:
        values: dict[str, dict[str, Any]] = {"dim": {"int_value": 4}, "scale": {"float_value": 2.0}}
        parameters = [target_service_pb2.CatalogueParameter(name=name, **values[name]) for name in names]
        catalogue = target_service_pb2.CatalogueTarget(family="funnel", parameters=parameters)
        return target_service_pb2.TargetDefinition(catalogue=catalogue)

    artefacts = Artefacts(tmp_path)
    assert digest(funnel("dim", "scale"), artefacts) == digest(funnel("scale", "dim"), artefacts)
    assert digest(funnel("dim", "scale"), artefacts) != digest(funnel("dim"), artefacts)
    with pytest.raises(InvalidArgument) as twice:
        digest(funnel("dim", "dim"), artefacts)
    assert twice.value.reason == Reason.PARAMETER_INVALID


def test_a_blob_of_another_size_is_refused(tmp_path: Path) -> None:
    artefacts = Artefacts(tmp_path)
    blob = tensor_pb2.BlobArray(blob=f"blobs/{artefacts.put(b'123')}", dtype=tensor_pb2.DTYPE_FLOAT64, shape=[1])
    with pytest.raises(InvalidArgument) as refused:
        digest(square_program(arrays=[tensor_pb2.DataArray(blob=blob)]), artefacts)
    assert refused.value.reason == Reason.BLOB_MISMATCH


def test_programs_from_jax_need_jax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = program_pb2.StableHloModule(batch=16, serialized=b"module")
    body = program_pb2.StableHloProgram(density=[module])
    definition = square_program(aten=None, stablehlo=body)
    monkeypatch.setattr(definitions, "find_spec", lambda name: None)
    with pytest.raises(InvalidArgument) as refused:
        digest(definition, Artefacts(tmp_path))
    assert refused.value.reason == Reason.PROGRAM_VERSION_UNSUPPORTED
    monkeypatch.undo()
    assert digest(definition, Artefacts(tmp_path))


def test_too_many_nodes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument) as refused:
        canonical(square_program(), Artefacts(tmp_path), Limits(max_program_nodes=2), lambda sha256: None)
    assert refused.value.reason == Reason.PROGRAM_TOO_LARGE
