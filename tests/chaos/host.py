"""A server on loopback that is killed and started again, and what its processes leave behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from gephyra.service.crash import VARIABLE, Place
from tests.support.server import wait_for

_READY = "gephyra: serving on "


def free_address() -> str:
    """A port of loopback that nobody has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


class Host:
    """`python -m gephyra.service`, or another command, on one folder and one port in all its lives."""

    def __init__(
        self, folder: Path, command: tuple[str, ...] = ("gephyra.service",), arguments: tuple[str, ...] = (),
        data: Path | None = None,
    ) -> None:  # fmt: skip
        self.data, self.log = data or folder / "data", folder / "log"
        self._crash = folder / "crash"
        (self._crash / "passed").mkdir(parents=True)
        self.address = free_address()
        self._command, self._arguments = command, arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._pen: subprocess.Popen[bytes] | None = None
        self.lives = 0

    def launch(self) -> None:
        """Begin a life, without waiting until it serves."""
        assert not self.alive, "it lives"
        self._put_pen_down()
        self.lives += 1
        command = [sys.executable, "-m", *self._command, "--data", str(self.data), "--listen", self.address]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", VARIABLE: str(self._crash)}
        with self.log.open("ab") as log:
            self._said = log.tell()
            # Another process writes the log, which grows whatever this one may do to its files.
            pen = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log)
        with pen.stdin as ink:  # type: ignore[union-attr]
            self._process = subprocess.Popen([*command, *self._arguments], stdout=ink, stderr=ink, env=environment)
        self._pen = pen

    def serving(self) -> bool:
        """Whether this life has come so far as to serve."""
        with self.log.open("rb") as log:
            log.seek(self._said)
            return _READY.encode() in log.read()

    def start(self) -> None:
        """Begin a life that serves; one that dies before is begun again."""
        while True:
            self.launch()
            wait_for(lambda: self.serving() or not self.alive, what="the start of a server")
            if self.alive:
                return
            assert self.wait() == -signal.SIGKILL, self.log.read_text()[-4000:]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False before the first life and after each."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, as a power cut is for a process."""
        assert self._process is not None
        self._process.kill()
        self.wait()

    def stop(self, seconds: float = 40.0) -> int:
        """SIGTERM; the exit status."""
        assert self._process is not None
        self._process.terminate()
        return self.wait(seconds)

    def wait(self, seconds: float = 40.0) -> int:
        """The exit status of this life, which ends by itself; all that it said is in the log then."""
        assert self._process is not None
        status = self._process.wait(seconds)
        self._put_pen_down()
        return status

    def _put_pen_down(self) -> None:
        if self._pen is not None:
            self._pen.wait(10)

    def workers(self) -> list[psutil.Process]:
        """Every worker process of this folder, whichever life it is of."""
        found = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
            except psutil.Error:
                continue
            if "gephyra.service.worker" in words and str(self.data / "artefacts") in words:
                found.append(process)
        return found

    def arm(self, place: Place) -> None:
        """The next process that comes by dies there."""
        (self._crash / place).touch()

    def fired(self, place: Place) -> bool:
        """Whether a process died there since it was armed."""
        return not (self._crash / place).exists()

    def disarm(self, place: Place) -> bool:
        """Take a trap away; False if a process died there before."""
        try:
            (self._crash / place).unlink()
        except FileNotFoundError:
            return False
        return True

    def passed(self) -> set[str]:
        """Names of the places that any process of any life came by."""
        return {path.name for path in (self._crash / "passed").iterdir()}

    def close(self) -> None:
        """Leave no process behind, whatever happened."""
        if self.alive:
            self.kill()
        self._put_pen_down()
        deadline = time.monotonic() + 10
        while (left := self.workers()) and time.monotonic() < deadline:
            for worker in left:
                worker.kill()
            time.sleep(0.05)

    def litter(self) -> list[str]:
        """Files that a stopped server with nothing to do must not have."""
        patterns = (
            "artefacts/**/staging/*",
            "**/*.part",
            "jobs/*/work-*",
            "jobs/*/checkpoints*",
            "jobs/*/sampler-*",
            "servers/*",
        )
        return sorted(str(path.relative_to(self.data)) for each in patterns for path in self.data.glob(each))
