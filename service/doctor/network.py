"""Ports, and PostgreSQL."""

import socket
import time
from collections.abc import Iterator

from .finding import Finding, Level, Setup
from .folder import lock_owner

__all__ = ["check_database", "check_ports"]

_SKEW_SECONDS = 2.0
_CONNECT_SECONDS = 5


def check_ports(setup: Setup) -> Iterator[Finding]:
    """The addresses can be listened on; those of a server that runs on this data folder may be taken, by it."""
    owner = lock_owner(setup.data)
    for name, address in (("port", setup.listen), ("admin port", setup.admin)):
        if not address:
            continue
        problem = _problem(address)
        if not problem:
            yield Finding(name, Level.OK, f"{address} is free")
        elif owner:
            yield Finding(name, Level.OK, f"{address} is taken, and a server runs on this data folder")
        else:
            advice = "stop what listens there, or choose another address"
            yield Finding(name, Level.STOP, f"cannot listen on {address}: {problem}", advice)


def check_database(setup: Setup) -> Iterator[Finding]:
    """PostgreSQL answers, and has the time."""
    if not setup.database_url:
        return
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    name = "postgresql"
    try:
        url = make_url(setup.database_url)
    except ArgumentError:
        # The text may hold a password.
        advice = "expected postgresql+psycopg://user:password@host:5432/database"
        yield Finding(name, Level.STOP, "the URL cannot be read", advice)
        return
    shown = url.render_as_string(hide_password=True)
    if url.get_backend_name() != "postgresql":
        advice = "expected postgresql+psycopg://user:password@host:5432/database"
        yield Finding(name, Level.STOP, f"{url.get_backend_name()} is not PostgreSQL", advice)
        return
    try:
        engine = create_engine(url.set(drivername="postgresql+psycopg"), connect_args=_LIMITED)
        with engine.connect() as connection:
            version = connection.exec_driver_sql("SHOW server_version").scalar_one()
            theirs = float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())
        engine.dispose()
    except ModuleNotFoundError:
        yield Finding(name, Level.STOP, "psycopg is not installed", "pip install 'psycopg[binary]'")
        return
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        advice = "start it, and check host, port, user, password and the name of the database"
        yield Finding(name, Level.STOP, f"{shown} does not answer: {said}", advice)
        return
    skew = theirs - time.time()
    if abs(skew) > _SKEW_SECONDS:
        yield Finding(name, Level.WARNING, f"{shown}: its clock is {skew:+.0f} s off ours", "keep both on time by NTP")
        return
    yield Finding(name, Level.OK, f"{version} at {shown}")


_LIMITED = {"connect_timeout": _CONNECT_SECONDS, "application_name": "gephyra-doctor"}


def _problem(address: str) -> str:
    """Why this address cannot be listened on; empty if it can."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        return "expected HOST:PORT"
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: a port whose last connections are just ending is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            probe.listen(1)
    except OSError as error:
        return error.strerror or str(error)
    return ""
