"""Messages on the socket pair between server and worker: four bytes of length (big-endian), then the message."""

import asyncio
import socket
import struct

__all__ = ["MAX_FRAME_BYTES", "FrameTooLarge", "read_frame", "receive_frame", "write_frame"]

_LENGTH = struct.Struct(">I")

# Far above one block of draws; a length beyond it means that the other side talks nonsense.
MAX_FRAME_BYTES = 1 << 30


class FrameTooLarge(ValueError):
    """The other side announced a message beyond MAX_FRAME_BYTES."""


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """The next message, or None at the end of the stream (also in the middle of a message).

    Raises FrameTooLarge for an announced length beyond MAX_FRAME_BYTES.
    """
    try:
        return await reader.readexactly(_checked(await reader.readexactly(_LENGTH.size)))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def receive_frame(connection: socket.socket) -> bytes | None:
    """The next message from a blocking socket, or None at the end of the stream. Raises FrameTooLarge."""
    head = _receive_exactly(connection, _LENGTH.size)
    return None if head is None else _receive_exactly(connection, _checked(head))


def write_frame(message: bytes) -> bytes:
    """The message with its length in front. Raises FrameTooLarge."""
    if len(message) > MAX_FRAME_BYTES:
        raise FrameTooLarge(f"a message may have {MAX_FRAME_BYTES} bytes, got {len(message)}")
    return _LENGTH.pack(len(message)) + message


def _receive_exactly(connection: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        try:
            part = connection.recv(min(size - len(parts), 1 << 20))
        except ConnectionError:
            return None
        if not part:
            return None
        parts += part
    return bytes(parts)


def _checked(head: bytes) -> int:
    size: int = _LENGTH.unpack(head)[0]
    if size > MAX_FRAME_BYTES:
        raise FrameTooLarge(f"a message may have {MAX_FRAME_BYTES} bytes, {size} were announced")
    return size
