"""Which stored content is needed: what rows name, and what definitions among that refer to."""

from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from gephyra.protos import target_service_pb2

from .artefacts import CorruptArtefact
from .errors import InvalidArgument
from .references import references
from .store.roots import Roots

__all__ = ["Needed", "needed"]


@dataclass(frozen=True, slots=True)
class Needed:
    """Digests of content that must stay."""

    artefacts: frozenset[str]
    datasets: frozenset[str]
    unreadable: frozenset[str]
    """Definitions of which nobody can tell what they refer to, missing or damaged ones. Part of `artefacts`."""


def needed(roots: Roots, read: Callable[[str], bytes]) -> Needed:
    """What rows need, a function of them and of the definitions.

    Args:
        roots: What rows name.
        read: The content of a digest; raises FileNotFoundError, CorruptArtefact.
    """
    found, unreadable = set(roots.definitions | roots.files | roots.blobs), set()
    for digest in roots.definitions:
        try:
            found |= set(references(target_service_pb2.TargetDefinition.FromString(read(digest))))
        except (FileNotFoundError, CorruptArtefact, DecodeError, InvalidArgument):
            unreadable.add(digest)
    return Needed(frozenset(found), roots.datasets, frozenset(unreadable))
