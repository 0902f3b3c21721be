"""From a URL to a store of objects. obstore is imported where it is used: a server without such a store needs none."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from .base import Objects, ObjectsRefused
from .nowhere import NoObjects

__all__ = ["open_objects"]

_SCHEMES = ("s3", "file", "memory")
_EXPECTED = "expected s3://bucket/prefix, or file:///folder to try it out"
# A request that hangs must not hold a call for long; what fails is tried again by whoever asked.
_RETRY = timedelta(seconds=10)
_TRIES = 3


def open_objects(url: str) -> Objects:
    """The store at a URL, none for an empty one. Nothing is asked of it yet. Raises ObjectsRefused."""
    if not url:
        return NoObjects()
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or (parts.scheme == "s3" and not parts.netloc):
        raise ObjectsRefused(f"cannot keep artefacts at a URL with scheme {parts.scheme!r}: {_EXPECTED}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ObjectsRefused(
            f"the URL of artefacts has more than a bucket and a prefix: {_EXPECTED}; credentials and the endpoint come "
            "from the environment, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and so on"
        )
    try:
        import obstore.store

        from .bucket import Bucket
    except ImportError:
        raise ObjectsRefused("a store of artefacts needs obstore: pip install 'gephyra[objects]'") from None
    try:
        return Bucket(_store(obstore.store, parts.scheme, url), url)
    except Exception as error:
        # The text of the error may quote what the environment holds.
        raise ObjectsRefused(
            f"cannot use {url} as the store of artefacts: {type(error).__name__}; {_EXPECTED}"
        ) from None


def _store(library: Any, scheme: str, url: str) -> Any:
    if scheme == "file":
        return library.LocalStore(urlsplit(url).path, mkdir=True)
    if scheme == "memory":
        return library.MemoryStore()
    # Options for its HTTP client would replace those of the environment; it waits 5 s for a connection by itself.
    return library.S3Store.from_url(url, retry_config={"max_retries": _TRIES, "retry_timeout": _RETRY})
