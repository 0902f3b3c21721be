"""The worker's end of the socket: a thread reads commands, so that a stop is heard in the middle of work."""

import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator

from gephyra.protos import worker_pb2

from ..exits import NONSENSE, SERVER_GONE
from ..framing import FrameTooLarge, receive_frame, write_frame

__all__ = ["Channel"]


class Channel:
    """Commands in, events out. `start` begins to listen; the end of the socket ends the process at once."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._commands: queue.SimpleQueue[worker_pb2.WorkerCommand] = queue.SimpleQueue()
        self._stopped: set[int] = set()
        self._sending = threading.Lock()

    def start(self) -> None:
        """Listen on a daemon thread."""
        threading.Thread(target=self._listen, name="gephyra-commands", daemon=True).start()

    def beat(self, seconds: float) -> None:
        """Give a sign of life every `seconds`, on a daemon thread."""

        def run() -> None:
            while True:
                self.send(worker_pb2.WorkerEvent(heartbeat=worker_pb2.WorkerEvent.Heartbeat()))
                time.sleep(seconds)

        threading.Thread(target=run, name="gephyra-heartbeat", daemon=True).start()

    def commands(self) -> Iterator[worker_pb2.WorkerCommand]:
        """Every command but stops, in order, for ever."""
        while True:
            yield self._commands.get()

    def stopped(self, command_id: int) -> Callable[[], bool]:
        """A function that tells whether this command was asked to stop."""
        return lambda: command_id in self._stopped

    def send(self, event: worker_pb2.WorkerEvent) -> None:
        """Send an event; waits while the server does not read."""
        try:
            with self._sending:
                self._connection.sendall(write_frame(event.SerializeToString()))
        except ConnectionError:
            os._exit(SERVER_GONE)

    def _listen(self) -> None:
        try:
            while (frame := receive_frame(self._connection)) is not None:
                command = worker_pb2.WorkerCommand.FromString(frame)
                if command.WhichOneof("command") == "stop":
                    self._stopped.add(command.stop.command_id)
                else:
                    self._commands.put(command)
        except (FrameTooLarge, ValueError):
            os._exit(NONSENSE)
        # Not sys.exit: the main thread may be in a long computation, and its result is nobody's any more.
        os._exit(SERVER_GONE)
