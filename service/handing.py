"""Paths for workers: what they name is in the folder by then, with all that it refers to."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from gephyra.protos import target_service_pb2

from .artefacts import CorruptArtefact
from .core import Core
from .errors import Unavailable
from .references import references

__all__ = ["blob_path", "content_path", "keep_sampler", "sampler_path", "target_path"]

logger = logging.getLogger(__name__)

# Before what was trained is stored again, where the store of artefacts is away.
_PAUSE_SECONDS = 2.0


async def target_path(core: Core, digest: str) -> str:
    """Where the definition of a target lies, its arrays beside it. Raises Unavailable, CorruptArtefact."""
    path = await core.artefacts.present(digest)
    if core.artefacts.objects.elsewhere:
        for sha256 in _arrays(path):
            await core.artefacts.present(sha256)
    return str(path)


async def sampler_path(core: Core, digest: str) -> str:
    """Where the file of a sampler lies. Raises Unavailable, CorruptArtefact."""
    return str(await core.artefacts.present(digest))


async def content_path(core: Core, digest: str) -> Path:
    """Where the values of a data set lie. Raises Unavailable, CorruptArtefact."""
    return await core.datasets.present(digest)


async def blob_path(core: Core, sha256: str) -> Path | None:
    """Where the content of an uploaded blob lies, None if it is gone. Raises Unavailable.

    Those of earlier versions and of imports are among the artefacts.
    """
    for store in (core.uploads.whole, core.artefacts):
        with suppress(CorruptArtefact):
            path = await store.present(sha256)
            if path.exists():
                return path
    return None


async def keep_sampler(core: Core, path: Path, stopped: Callable[[], bool]) -> str:
    """Store what a worker trained; its digest. Waits for a store of artefacts that is away, so that nothing is lost.

    Raises Unavailable once the attempt is to stop.
    """
    while True:
        try:
            return await asyncio.to_thread(core.artefacts.put_file, path)
        except Unavailable as error:
            if stopped():
                raise
            logger.warning("what was trained cannot be stored; trying again: %s", error)
            await asyncio.sleep(_PAUSE_SECONDS)


# A file that is named by its content says the same for ever.
@lru_cache(maxsize=256)
def _arrays(path: Path) -> tuple[str, ...]:
    return tuple(references(target_service_pb2.TargetDefinition.FromString(path.read_bytes())))
