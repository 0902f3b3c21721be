"""Whether all content that rows need is there, and is what its name promises. Blocking; reads every file of it."""

import hashlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from .artefacts import Artefacts
from .holdings import Holdings
from .reach import Needed, needed
from .store.roots import roots

__all__ = ["find_faults"]


def find_faults(holdings: Holdings, read: Callable[..., Any]) -> dict[str, list[str]]:
    """Names of needed content under `missing` and `corrupt`.

    Args:
        holdings: What there is. Where there are objects, they must have all, of the size of the file in the folder.
        read: Runs a function of a connection in a transaction that reads.
    """
    faults = _faults(holdings, _reach(holdings, read))
    if any(faults.values()):
        # Some may have been deleted, with their rows, while the files were read.
        again = _faults(holdings, _reach(holdings, read))
        faults = {kind: [name for name in names if name in again[kind]] for kind, names in faults.items()}
    return faults


def _reach(holdings: Holdings, read: Callable[..., Any]) -> Needed:
    # Blobs that wait may be taken at any time.
    return needed(read(roots, 1 << 62), holdings.artefacts.peek)


def _faults(holdings: Holdings, reach: Needed) -> dict[str, list[str]]:
    faults: dict[str, list[str]] = {"missing": [], "corrupt": []}
    for store, wanted in ((holdings.artefacts, reach.artefacts), (holdings.datasets, reach.datasets)):
        for kind, name in _of_store(store, wanted):
            faults[kind].append(name)
    return faults


def _of_store(store: Artefacts, wanted: Collection[str]) -> Iterator[tuple[str, str]]:
    elsewhere = store.objects.elsewhere
    sizes = {each.key: each.size for each in store.kept()}
    for digest in sorted(wanted):
        path = store.path(digest)
        size = store.size(digest)
        if elsewhere and digest not in sizes:
            yield "missing", f"{store.objects.name}: {store.key(digest)}"
        elif elsewhere and size not in (None, sizes[digest]):
            yield "corrupt", f"{store.objects.name}: {store.key(digest)}"
        if size is None:
            if not elsewhere:
                yield "missing", str(path)
        elif not _is(path, digest):
            yield "corrupt", str(path)


def _is(path: Path, digest: str) -> bool:
    """Whether a file has this digest; one that goes while it is read does no harm."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except FileNotFoundError:
        return True
