"""Resource names: `targets/my-posterior`, `trainingJobs/...`, `samplers/...`, `datasets/...`, `blobs/{sha256}`."""

import re
import secrets
import uuid

from .errors import bad_field

__all__ = [
    "BLOBS", "DATASETS", "JOBS", "SAMPLERS", "TARGETS", "check_id", "check_request_id", "check_sha256", "new_id",
    "parse",
]  # fmt: skip

TARGETS = "targets"
JOBS = "trainingJobs"
SAMPLERS = "samplers"
DATASETS = "datasets"
BLOBS = "blobs"

_ID = re.compile(r"[a-z0-9]([a-z0-9-]{2,61})[a-z0-9]")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def parse(collection: str, name: str, path: str) -> str:
    """The id in a resource name. Raises InvalidArgument at field `path` for anything else."""
    head, _, tail = name.partition("/")
    if head != collection or not tail or "/" in tail or len(tail) > 64 or "\0" in tail:
        raise bad_field(path, f"expected a name `{collection}/ID`, got {name[:100]!r}")
    return tail


def check_id(value: str, path: str) -> str:
    """The id chosen by a client. Raises InvalidArgument at field `path` if it is not one."""
    if not _ID.fullmatch(value):
        raise bad_field(path,
            "expected 4 to 63 lower case letters, digits and hyphens, no hyphen at an end "
            f"(my-model, not my_model); got {value[:100]!r}",
        )  # fmt: skip
    return value


def check_sha256(value: str, path: str) -> str:
    """A digest in lower case hex. Raises InvalidArgument at field `path` for anything else."""
    if not _SHA256.fullmatch(value):
        raise bad_field(path, f"expected 64 hex digits of a SHA-256, got {value[:80]!r}")
    return value


def check_request_id(value: str) -> str:
    """A request id, a UUID, or the empty string. Raises InvalidArgument for anything else."""
    if value:
        try:
            uuid.UUID(value)
        except ValueError:
            raise bad_field("request_id", f"expected a UUID, got {value[:100]!r}") from None
    return value


def new_id(prefix: str) -> str:
    """A fresh id, for example `job-3f9a1c7be2`."""
    return f"{prefix}-{secrets.token_hex(6)}"
