"""Fills the scalar fields of a request, so that a value of the wrong kind is the caller's error and names its field."""

import uuid
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message

from .errors import InvalidArgument, Violation

__all__ = ["Named", "fill", "full_name", "new_request_id"]

M = TypeVar("M", bound=Message)


def fill(message: M, prefix: str = "", /, **values: Any) -> M:
    """The message with these fields set. Raises InvalidArgument for a value that a field cannot hold.

    Args:
        message: What to fill, in place.
        prefix: Path of the message in its request, for example `config.`.
        **values: Scalar fields by name.
    """
    for name, value in values.items():
        try:
            setattr(message, name, value)
        except (TypeError, ValueError) as error:
            sentence = f"{name} cannot be {value!r}: {error}"
            raise InvalidArgument(sentence, violations=[Violation(f"{prefix}{name}", sentence)]) from None
    return message


class Named(Protocol):
    """A handle of something on the server."""

    @property
    def name(self) -> str:
        """Its name there."""


def full_name(collection: str, thing: Named | str) -> str:
    """The name on the server of a handle, of `id` or of `collection/id`."""
    if not isinstance(thing, str):
        return thing.name
    return thing if "/" in thing else f"{collection}/{thing}"


def new_request_id() -> str:
    """A new id for a request that must act once however often it is sent."""
    return str(uuid.uuid4())
