"""Where servers are: one address, or several of servers that share a database, any of which will do."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

from .errors import GephyraError, InvalidArgument, ServerGone, Violation

__all__ = ["RemoteHost", "is_several", "target_of"]


class RemoteHost:
    """A server that somebody else runs, at `host:port` or `unix:PATH`; or several, at `host:port,host:port,...`.

    Raises InvalidArgument for anything else.
    """

    embedded = False

    def __init__(self, address: str) -> None:
        self.address = _checked(address)

    async def start(self) -> str:
        """The address."""
        return self.address

    def explain(self, error: ServerGone) -> GephyraError:
        """The error as it is."""
        return error

    async def close(self) -> None:
        """Nothing: the server goes on."""


def _checked(address: str) -> str:
    """`host:port`, `unix:PATH`, or several of the first with commas between. Raises InvalidArgument."""
    parts = address.split(",") if is_several(address) else [address]
    for part in parts:
        _, colon, rest = part.rpartition(":")
        if not colon or not rest or (not address.startswith("unix:") and not rest.isdigit()):
            expected = f"address must be host:port, unix:PATH, or host:port,host:port,...; got {address!r}"
            raise InvalidArgument(expected, violations=[Violation("address", expected)])
    return address


def is_several(address: str) -> bool:
    """Whether there are several servers at an address."""
    return "," in address and not address.startswith("unix:")


async def target_of(address: str) -> str:
    """The address as gRPC takes it: several must be numbers of one kind. Raises ServerGone for an unknown host."""
    if not is_several(address):
        return address
    found = await asyncio.gather(*(_resolved(part) for part in address.split(",")))
    if all(one.version == 4 for one, _ in found):
        return f"ipv4:{','.join(f'{one}:{port}' for one, port in found)}"
    return f"ipv6:{','.join(f'[{_as_6(one)}]:{port}' for one, port in found)}"


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


async def _resolved(part: str) -> tuple[_Address, str]:
    host, _, port = part.rpartition(":")
    try:
        known = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ServerGone(f"there is no host {host}: {error.strerror}; give the address of a server") from None
    return _preferred([ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in known]), port


def _preferred(known: Sequence[_Address]) -> _Address:
    return next((address for address in known if address.version == 4), known[0])


def _as_6(address: _Address) -> _Address:
    return address if address.version == 6 else ipaddress.IPv6Address(f"::ffff:{address}")
