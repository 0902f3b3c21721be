"""A server of the S3 protocol on loopback, of the tests' own: moto's, where it is installed."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

MISSING = (
    "S3's part is not run: moto is not installed; pip install 'moto[server]' (the tests start a server of their own)"
)
SECRET = "not-to-be-told"
_PATIENCE = 60.0


@contextmanager
def s3_bucket() -> Iterator[tuple[str, dict[str, str]]]:
    """The URL of an empty bucket, and the environment that leads there; skips the test without moto."""
    if find_spec("moto") is None:
        pytest.skip(MISSING)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _make_bucket(f"http://127.0.0.1:{port}/bucket", process)
        yield "s3://bucket/some/prefix", environment(port)
    finally:
        process.kill()
        process.wait()


def environment(port: int) -> dict[str, str]:
    """What obstore needs to find a server on loopback."""
    return {
        **os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "some-key-id", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1",
    }  # fmt: skip


def _make_bucket(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="PUT")):
                return
        except OSError:
            assert process.poll() is None, "the S3 server ended"
            assert time.monotonic() < deadline, "the S3 server did not come up"
            time.sleep(0.1)
