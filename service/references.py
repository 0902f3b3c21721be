"""What a target's definition refers to: content that lies beside it."""

from gephyra.protos import target_service_pb2, tensor_pb2

from . import names

__all__ = ["references"]


def references(definition: target_service_pb2.TargetDefinition) -> list[str]:
    """SHA-256 in hex of every array and model that a definition needs, in its order. Raises InvalidArgument."""
    arrays: list[tensor_pb2.DataArray] = list(definition.program.arrays)
    arrays += [p.array for p in definition.catalogue.parameters if p.WhichOneof("value") == "array"]
    blobs = [array.blob.blob for array in arrays]
    blobs += [definition.model.blob] if definition.HasField("model") else []
    return [names.parse(names.BLOBS, blob, "blob") for blob in blobs]
